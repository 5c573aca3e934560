"""What holds for any problem, searched by hypothesis: every draw is a small random program."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import INF, Data, random_qp, rows
from lpgd_native import Status, solve_lp, solve_qp
from oracles import kkt_violations, objective

PROFILE = settings(max_examples=25, derandomize=True, deadline=None, database=None)


@st.composite
def programs(draw, linear: bool | None = None, batch: int = 3) -> Data:
    """Feasible and bounded: a QP with P > 0 or of low rank in a box, or an LP in a box."""
    n = draw(st.integers(1, 8))
    kind = "lp" if linear else draw(st.sampled_from(["strict", "low_rank", "lp"]))
    if linear is False and kind == "lp":
        kind = "strict"
    boxed = kind != "strict" or draw(st.booleans())
    data = random_qp(
        draw(st.integers(0, 10**6)),
        batch,
        n=n,
        m=draw(st.integers(0, 8)),
        p=draw(st.integers(0, n // 2)),
        lower=boxed,
        upper=boxed,
        rank=max(1, n // 3) if kind == "low_rank" else None,
    )
    return data._replace(P=None) if kind == "lp" else data


def solved(data: Data):
    solution = solve_qp(*data)
    assert (solution.status == Status.OK).all()
    return solution


def same_value(data: Data, left: torch.Tensor, right: torch.Tensor, scale: float = 1.0) -> None:
    values = objective(data, left) / scale, objective(data, right) / scale
    torch.testing.assert_close(*values, rtol=1e-7, atol=1e-7)


@PROFILE
@given(programs())
def test_optimality_conditions(data):
    for name, violation in kkt_violations(data, solved(data)).items():
        assert violation.max() < 1e-9, name


@PROFILE
@given(programs(), st.floats(-6, 6))
def test_scaling_the_objective_scales_the_multipliers(data, power):
    factor = 10.0**power
    P = None if data.P is None else factor * data.P
    left, right = solved(data), solved(data._replace(P=P, q=factor * data.q))
    same_value(data, left.x, right.x)
    scaled = [right.x, *(part / factor for part in right[1:5])]
    for name, violation in kkt_violations(data, scaled).items():
        assert violation.max() < 1e-7, name


@PROFILE
@given(programs(linear=False), st.floats(-3, 3))
def test_scaling_the_variables(data, power):
    """x = factor u: the same problem in other units."""
    factor = 10.0**power
    units = Data(
        data.P * factor**2,
        data.q * factor,
        None if data.G is None else data.G * factor,
        data.h,
        None if data.A is None else data.A * factor,
        data.b,
        None if data.lb is None else data.lb / factor,
        None if data.ub is None else data.ub / factor,
    )
    same_value(data, solved(data).x, factor * solved(units).x)


@PROFILE
@given(programs(), st.floats(-3, 3), st.randoms(use_true_random=False))
def test_scaling_the_rows(data, power, random):
    """Each row by its own factor: the multipliers take it up."""
    if data.G is None:
        return
    m = data.G.shape[-2]
    factors = torch.tensor([10.0 ** (power * random.random()) for _ in range(m)]).double()
    left = solved(data)
    right = solved(data._replace(G=data.G * factors[:, None], h=data.h * factors))
    same_value(data, left.x, right.x)
    moved = [right.x, right.y, right.z * factors, right.z_lb, right.z_ub]
    for name, violation in kkt_violations(data, moved).items():
        assert violation.max() < 1e-7, name


@PROFILE
@given(programs(), st.randoms(use_true_random=False))
def test_permuting_variables_and_rows_permutes_the_solution(data, random):
    def shuffled(count: int) -> list[int]:
        order = list(range(count))
        random.shuffle(order)
        return order

    n = data.q.shape[-1]
    var = shuffled(n)
    row = shuffled(0 if data.G is None else data.G.shape[-2])
    eq = shuffled(0 if data.A is None else data.A.shape[-2])
    moved = Data(
        None if data.P is None else data.P[:, var][..., var],
        data.q[:, var],
        None if data.G is None else data.G[:, row][..., var],
        None if data.h is None else data.h[:, row],
        None if data.A is None else data.A[:, eq][..., var],
        None if data.b is None else data.b[:, eq],
        None if data.lb is None else data.lb[:, var],
        None if data.ub is None else data.ub[:, var],
    )
    left, right = solved(data), solved(moved)
    torch.testing.assert_close(left.x[:, var], right.x, rtol=1e-7, atol=1e-7)
    back = (left.x[:, var], left.y[:, eq], left.z[:, row], left.z_lb[:, var], left.z_ub[:, var])
    for violation in kkt_violations(moved, back).values():
        assert violation.max() < 1e-9


@PROFILE
@given(programs())
def test_duplicate_constraints_change_nothing(data):
    left = solved(data)
    if data.G is not None:
        twice = data._replace(G=torch.cat([data.G, data.G], 1), h=torch.cat([data.h, data.h], 1))
        same_value(data, left.x, solved(twice).x)
    if data.lb is not None:  # bounds as rows as well
        eye = torch.eye(data.q.shape[-1], dtype=torch.float64).expand(len(data.q), -1, -1)
        G = eye if data.G is None else torch.cat([data.G, eye], 1)
        h = data.ub if data.h is None else torch.cat([data.h, data.ub], 1)
        same_value(data, left.x, solved(data._replace(G=G, h=h)).x)


@PROFILE
@given(programs())
def test_redundant_equalities_change_nothing(data):
    if data.A is None:
        return
    A = torch.cat([data.A, data.A, data.A.sum(1, keepdim=True)], 1)
    b = torch.cat([data.b, data.b, data.b.sum(1, keepdim=True)], 1)
    same_value(data, solved(data).x, solved(data._replace(A=A, b=b)).x)


@PROFILE
@given(programs())
def test_rows_that_are_off_and_bounds_far_away_change_nothing(data):
    n, count = data.q.shape[-1], len(data.q)
    left = solved(data)
    off = Data(
        data.P,
        data.q,
        torch.ones(count, 2, n, dtype=torch.float64)
        if data.G is None
        else torch.cat([data.G, torch.ones(count, 2, n, dtype=torch.float64)], 1),
        torch.full((count, 2), INF, dtype=torch.float64)
        if data.h is None
        else torch.cat([data.h, torch.full((count, 2), INF, dtype=torch.float64)], 1),
        data.A,
        data.b,
        data.lb if data.lb is not None else torch.full_like(data.q, -INF),
        data.ub if data.ub is not None else torch.full_like(data.q, 1e4),
    )
    same_value(data, left.x, solved(off).x)


@PROFILE
@given(programs(linear=False))
def test_inequalities_as_two_halves_of_an_equality(data):
    if data.A is None:
        return
    G, h = torch.cat([data.A, -data.A], 1), torch.cat([data.b, -data.b], 1)
    if data.G is not None:
        G, h = torch.cat([data.G, G], 1), torch.cat([data.h, h], 1)
    same_value(data, solved(data).x, solved(data._replace(A=None, b=None, G=G, h=h)).x)


@PROFILE
@given(programs(batch=6), st.lists(st.integers(0, 5), max_size=4), st.floats(1e-2, 10))
def test_infeasible_items_leave_the_others_alone(data, bad, margin):
    n = data.q.shape[-1]
    G = torch.zeros(6, 2, n, dtype=torch.float64)
    G[:, 0, 0], G[:, 1, 0] = 1, -1
    h = torch.full((6, 2), INF, dtype=torch.float64)
    for k in bad:  # x_0 <= -margin and x_0 >= margin
        h[k] = -margin
    whole = Data(
        data.P,
        data.q,
        G if data.G is None else torch.cat([data.G, G], 1),
        h if data.h is None else torch.cat([data.h, h], 1),
        *data[4:],
    )
    left = solve_qp(*whole)
    for k in range(6):
        assert left.status[k] == (Status.PRIMAL_INFEASIBLE if k in bad else Status.OK)
        for a, b in zip(left, solve_qp(*whole.item(k)), strict=True):
            assert torch.equal(a[k], b)


@PROFILE
@given(
    st.floats(0.01, 100),
    st.floats(-100, 100),
    st.floats(-10, 10),
    st.floats(0, 10),
    st.floats(-10, 10),
)
def test_one_variable_in_closed_form(p, q, lower, width, bound):
    """Clip -q / p to [lower, lower + width] and to x <= bound."""
    wide = [torch.tensor(v, dtype=torch.float64) for v in (p, q, lower, lower + width, bound)]
    P, q_, lb, ub, h = (w.reshape(1) for w in wide)
    s = solve_qp(P[:, None], q_, torch.ones(1, 1, dtype=torch.float64), h, None, None, lb, ub)
    if bound < lower:
        assert s.status == Status.PRIMAL_INFEASIBLE or lower - bound < 1e-6
        return
    assert s.status == Status.OK
    expected = min(max(-q / p, lower), lower + width, bound)
    torch.testing.assert_close(s.x, torch.tensor([expected]).double(), rtol=1e-6, atol=1e-6)


@PROFILE
@given(programs(linear=True))
def test_weak_duality_is_tight(data):
    """c'x = -(b'y + h'z - lb'z_lb + ub'z_ub), with multipliers of the right sign."""
    s = solve_lp(*data[1:])
    assert (s.status == Status.OK).all()
    value = (data.lb * s.z_lb).sum(-1) - (data.ub * s.z_ub).sum(-1)
    if data.A is not None:
        value = value - (data.b * s.y).sum(-1)
    if data.G is not None:
        value = value - (data.h * s.z).sum(-1)
    torch.testing.assert_close((data.q * s.x).sum(-1), value, rtol=1e-7, atol=1e-7)


@PROFILE
@given(programs(), st.integers(0, 10**6))
def test_no_feasible_point_is_better(data, seed):
    s = solved(data)
    generator = torch.Generator().manual_seed(seed)
    other = s.x + torch.randn(s.x.shape, dtype=torch.float64, generator=generator)
    if data.A is not None:  # back onto A x = b
        other = other - rows(torch.linalg.pinv(data.A), rows(data.A, other) - data.b)
    # towards the solution, until it is feasible; convexity does the rest
    step = other - s.x
    worst = torch.ones(len(s.x), dtype=torch.float64)
    for value, room in (
        (step, None if data.ub is None else data.ub - s.x),
        (-step, None if data.lb is None else s.x - data.lb),
        *([] if data.G is None else [(rows(data.G, step), data.h - rows(data.G, s.x))]),
    ):
        if room is not None:
            ratio = torch.where(value > 0, room.clamp(min=0) / value, 1.0)
            worst = torch.minimum(worst, ratio.amin(-1))
    better = objective(data, s.x + worst[:, None] * step) - objective(data, s.x)
    assert (better > -1e-9 * (1 + objective(data, s.x).abs())).all()
