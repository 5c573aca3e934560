"""What must not change the answer, searched by hypothesis on degenerate and badly scaled programs.

test_properties.py draws random programs, whose solutions are clear; here are families of the
literature, units from 1e-6 to 1e6, and batches in which some items have no solution.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import families
from cases import INF, NAMES, RANKS, Data, assignment, random_qp, rows, transport
from lpgd_native import LPGD, Implicit, Status, solve_lp, solve_qp
from oracles import kkt_violations, objective

PROFILE = settings(max_examples=25, derandomize=True, deadline=None, database=None)

PROGRAMS = {
    "assignment": lambda seed: assignment(4, 3, seed=seed),
    "assignment_ties": lambda seed: families.whole_costs(assignment(4, 3, seed=seed)),
    "transport_ties": lambda seed: families.whole_costs(transport(3, 4, 3, seed=seed)),
    "knapsack": lambda seed: families.knapsack(seed, n=8, batch=3),
    "shortest_path": lambda seed: families.shortest_path(seed, side=3, batch=3),
    "max_flow": lambda seed: families.max_flow(seed, layers=2, width=2, batch=3),
    "least_absolute": lambda seed: families.least_absolute(seed, n=2, m=6, batch=3),
    "matrix_game": lambda seed: families.matrix_game(seed, n=3, batch=3),
    "isotonic": lambda seed: families.isotonic(seed, n=8, batch=3),
    "portfolio": lambda seed: families.portfolio(seed, n=6, k=2, batch=3),
    "dual_simplex": lambda seed: families.dual_simplex(seed, n=8, rank=3, batch=3),
    "svm": lambda seed: families.svm(seed, n=2, m=6, batch=3),
    "lasso": lambda seed: families.lasso(seed, n=3, m=5, batch=3),
    "control": lambda seed: families.control(seed, nx=2, steps=3, batch=3),
    "strict": lambda seed: random_qp(seed, 3, n=6, m=4, p=2, lower=True, upper=True),
}


@st.composite
def programs(draw, names=tuple(PROGRAMS)) -> Data:
    return PROGRAMS[draw(st.sampled_from(names))](draw(st.integers(0, 10**6)))


def each(data: Data) -> Data:
    """Nothing shared by the batch: [3, ...] for every argument."""
    pairs = zip(data, RANKS, strict=True)
    return Data(
        *(
            None if t is None else t.expand(*data.batch, *t.shape[t.dim() - r :]).clone()
            for t, r in pairs
        )
    )


def solved(data: Data):
    solution = solve_qp(*data)
    assert (solution.status == Status.OK).all(), solution.status.tolist()
    for name, violation in kkt_violations(data, solution).items():
        assert violation.max() < 1e-9, name
    return solution


def same_value(data: Data, left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(objective(data, left), objective(data, right), rtol=1e-8, atol=1e-8)


def shuffled(random, count: int) -> list[int]:
    order = list(range(count))
    random.shuffle(order)
    return order


@PROFILE
@given(programs(), st.floats(-6, 6))
def test_scaling_the_objective(data, power):
    """The multipliers scale with it, and stay multipliers of the unscaled problem."""
    factor = 10.0**power
    P = None if data.P is None else factor * data.P
    left, right = solved(data), solved(data._replace(P=P, q=factor * data.q))
    same_value(data, left.x, right.x)
    back = [right.x, *(part / factor for part in right[1:5])]
    for name, violation in kkt_violations(data, back).items():
        assert violation.max() < 1e-8, name


@PROFILE
@given(programs(), st.randoms(use_true_random=False))
def test_scaling_each_row_between_1e_6_and_1e6(data, random):
    def units(t: Tensor | None) -> Tensor:
        count = 0 if t is None else t.shape[-2]
        return torch.tensor([10.0 ** random.uniform(-6, 6) for _ in range(count)]).double()

    g, e = units(data.G), units(data.A)
    left = solved(data)
    moved = data._replace(
        G=None if data.G is None else data.G * g[:, None],
        h=None if data.h is None else data.h * g,
        A=None if data.A is None else data.A * e[:, None],
        b=None if data.b is None else data.b * e,
    )
    right = solve_qp(*moved)
    assert (right.status == Status.OK).all()
    same_value(data, left.x, right.x)
    back = [right.x, right.y * e, right.z * g, right.z_lb, right.z_ub]
    for name, violation in kkt_violations(data, back).items():
        assert violation.max() < 1e-9, name


def _other_units(data: Data, d: Tensor) -> Data:
    """x = d u, in u."""
    return Data(
        None if data.P is None else data.P * d[:, None] * d,
        data.q * d,
        None if data.G is None else data.G * d,
        data.h,
        None if data.A is None else data.A * d,
        data.b,
        None if data.lb is None else data.lb / d,
        None if data.ub is None else data.ub / d,
    )


def _units(random, data: Data, power: float) -> Tensor:
    return torch.tensor(
        [10.0 ** random.uniform(-power, power) for _ in range(data.q.shape[-1])]
    ).double()


@PROFILE
@given(programs(), st.randoms(use_true_random=False))
def test_scaling_each_variable_between_1e_1_and_1e1(data, random):
    d = _units(random, data, 1)
    same_value(data, solved(data).x, d * solved(_other_units(data, d)).x)


@PROFILE
@given(programs(), st.randoms(use_true_random=False))
def test_scaling_each_variable_between_1e_2_and_1e2(data, random):
    """Multipliers as well, each relative to the unit of its variable."""
    d = _units(random, data, 2)
    moved = solve_qp(*_other_units(data, d))
    assert (moved.status == Status.OK).all()
    same_value(data, solved(data).x, d * moved.x)
    back = [d * moved.x, moved.y, moved.z, moved.z_lb / d, moved.z_ub / d]
    for name, violation in kkt_violations(data, back).items():
        assert violation.max() < 1e-6, name


@PROFILE
@given(programs(), st.randoms(use_true_random=False))
def test_units_further_apart_are_answered_or_given_up(data, random):
    """Units between 1e-3 and 1e3: never a status that is not so."""
    d = _units(random, data, 3)
    moved = solve_qp(*_other_units(data, d))
    assert ((moved.status == Status.OK) | (moved.status == Status.MAX_ITERATIONS)).all()
    right = (objective(data, solved(data).x) - objective(data, d * moved.x)).abs()
    size = 1 + objective(data, d * moved.x).abs()
    assert (right < 1e-6 * size)[moved.status == Status.OK].all()


@pytest.mark.parametrize("strategy", [Implicit(), LPGD(tau=1e-3)], ids=["implicit", "lpgd"])
@pytest.mark.parametrize("shared", ["", "P", "PGhAb"])
@pytest.mark.parametrize("power", [4, 8])
def test_gradients_in_units_between_1e_8_and_1e8(power, shared, strategy):
    """x = d u, in u, with L = <w, x>. With nothing shared, an item in plain units is between."""
    data = random_qp(3, 6, n=6, m=4, p=2, lower=True, upper=True)
    generator = torch.Generator().manual_seed(1)
    d = 10 ** (power * (2 * torch.rand(6, 6, dtype=torch.float64, generator=generator) - 1))
    d[2] = 1.0
    if shared:
        d = d[0]
        only = {name: getattr(data, name)[0] for name in shared}
        data = data._replace(**only)
        if shared != "P":  # else no x may meet all of it
            data = data._replace(lb=data.lb[0], ub=data.ub[0])
    pairs = d[..., :, None] * d[..., None, :]
    powers = Data(pairs, d, d[..., None, :], 1.0, d[..., None, :], 1.0, 1 / d, 1 / d)
    moved = Data(*(t * unit for t, unit in zip(data, powers, strict=True)))
    w = torch.randn(6, 6, dtype=torch.float64, generator=generator)

    def gradients(data: Data, w: Tensor) -> tuple[Tensor, ...]:
        leaves = Data(*(t.clone().requires_grad_() for t in data))
        solution = solve_qp(*leaves, gradient=strategy)
        assert (solution.status == Status.OK).all()
        return torch.autograd.grad((w * solution.x).sum(), leaves)

    for name, left, right, unit in zip(
        NAMES, gradients(data, w), gradients(moved, w * d), powers, strict=True
    ):
        torch.testing.assert_close(right * unit, left, rtol=1e-6, atol=1e-7, msg=name)


@PROFILE
@given(programs(), st.floats(-3, 2))
def test_scaling_all_variables(data, power):
    d = torch.full(data.q.shape[-1:], 10.0**power, dtype=torch.float64)
    moved = _other_units(data, d)
    right = solve_qp(*moved)
    assert (right.status == Status.OK).all()
    same_value(data, solved(data).x, d * right.x)


@pytest.mark.parametrize("power", [-6, -5, -4, 3, 4, 5, 6])
def test_extreme_units_of_the_variables(power):
    """Each family at x of 1e6 to 1e-6."""
    for name, build in PROGRAMS.items():
        for seed in range(5):
            data = build(seed)
            d = torch.full(data.q.shape[-1:], 10.0**power, dtype=torch.float64)
            right = solve_qp(*_other_units(data, d))
            assert (right.status == Status.OK).all(), name
            same_value(data, solved(data).x, d * right.x)


@PROFILE
@given(programs(), st.randoms(use_true_random=False))
def test_permuting_variables_and_rows(data, random):
    var = shuffled(random, data.q.shape[-1])
    row = shuffled(random, 0 if data.G is None else data.G.shape[-2])
    eq = shuffled(random, 0 if data.A is None else data.A.shape[-2])
    moved = Data(
        None if data.P is None else data.P[..., var, :][..., var],
        data.q[..., var],
        None if data.G is None else data.G[..., row, :][..., var],
        None if data.h is None else data.h[..., row],
        None if data.A is None else data.A[..., eq, :][..., var],
        None if data.b is None else data.b[..., eq],
        None if data.lb is None else data.lb[..., var],
        None if data.ub is None else data.ub[..., var],
    )
    left, right = solved(data), solved(moved)
    same_value(moved, left.x[..., var], right.x)
    if data.P is not None and (torch.linalg.eigvalsh(data.P)[..., 0] > 1e-6).all():
        torch.testing.assert_close(left.x[..., var], right.x, rtol=1e-9, atol=1e-9)


@PROFILE
@given(programs(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_duplicate_constraints(data, random, copies):
    """Rows again, in other units and in any place; bounds again as rows."""
    data = each(data)
    n, count = data.q.shape[-1], len(data.q)
    eye = torch.eye(n, dtype=torch.float64).expand(count, n, n)
    G, h = [], []
    if data.G is not None:
        for k in range(copies + 1):
            unit = 1.0 if k == 0 else 10.0 ** random.uniform(-2, 2)
            G.append(unit * data.G)
            h.append(unit * data.h)
    if data.lb is not None:
        G.append(-eye)
        h.append(-data.lb)
    if data.ub is not None:
        G.append(eye)
        h.append(data.ub)
    if not G:
        return
    G, h = torch.cat(G, 1), torch.cat(h, 1)
    order = shuffled(random, h.shape[-1])
    same_value(data, solved(data).x, solved(data._replace(G=G[:, order], h=h[:, order])).x)


@PROFILE
@given(programs(), st.integers(0, 10**6), st.integers(1, 4))
def test_redundant_equalities(data, seed, extra):
    """Combinations of the equalities, and one of them as two inequalities."""
    if data.A is None:
        return
    data = each(data)
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(extra, data.A.shape[1], dtype=torch.float64, generator=generator)
    A = torch.cat([data.A, mix @ data.A], 1)
    b = torch.cat([data.b, rows(mix, data.b)], 1)
    G, h = torch.cat([A[:, :1], -A[:, :1]], 1), torch.cat([b[:, :1], -b[:, :1]], 1)
    left = solved(data)
    same_value(data, left.x, solved(data._replace(A=A, b=b)).x)
    if data.G is not None:
        G, h = torch.cat([data.G, G], 1), torch.cat([data.h, h], 1)
    same_value(data, left.x, solved(data._replace(G=G, h=h)).x)


@PROFILE
@given(programs(), st.randoms(use_true_random=False))
def test_a_variable_fixed_by_bounds_or_by_an_equality(data, random):
    """At its optimal value: so the optimum stays."""
    data = each(data)
    left = solved(data)
    k = random.randrange(data.q.shape[-1])
    value = left.x[:, k]
    lb = torch.full_like(data.q, -INF) if data.lb is None else data.lb.clone()
    ub = torch.full_like(data.q, INF) if data.ub is None else data.ub.clone()
    value = value.clamp(lb[:, k], ub[:, k])
    lb[:, k] = ub[:, k] = value
    unit = torch.zeros(len(value), 1, data.q.shape[-1], dtype=torch.float64)
    unit[:, 0, k] = 1
    A = unit if data.A is None else torch.cat([data.A, unit], 1)
    b = value[:, None] if data.b is None else torch.cat([data.b, value[:, None]], 1)
    same_value(data, left.x, solved(data._replace(lb=lb, ub=ub)).x)
    same_value(data, left.x, solved(data._replace(A=A, b=b)).x)


# Batches in which some items have no solution -----------------------------------------------------

KINDS = ("fine", "infeasible", "unbounded", "broken")


def _spoil(data: Data, k: int, kind: str) -> None:
    """Item k of a batch in a box, in place."""
    if kind == "infeasible":  # contradicts the bounds
        data.G[k, 0], data.h[k, 0] = 0.0, -1.0 - data.ub[k, 0].abs() - data.lb[k, 0].abs()
        data.G[k, 0, 0] = 1.0
    elif kind == "unbounded":
        if data.P is not None:
            data.P[k, 0], data.P[k, :, 0] = 0.0, 0.0
        data.q[k, 0], data.ub[k, 0] = -1.0 - data.q[k, 0].abs(), INF
        data.G[k, :, 0] = -data.G[k, :, 0].abs()
        middle = 0.5 * (data.lb[k] + data.ub[k].clamp(max=10.0))
        data.h[k] = torch.maximum(data.h[k], data.G[k] @ middle + 0.5)
    elif kind == "broken":
        data.q[k, -1] = torch.nan


@PROFILE
@given(
    st.lists(st.sampled_from(KINDS), min_size=2, max_size=12),
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(2, 12),
)
def test_mixtures_leave_neighbours_alone(kinds, seed, linear, n):
    """Statuses, values, gradients."""
    fine = random_qp(seed, len(kinds), n=n, m=3, lower=True, upper=True)
    if linear:
        fine = fine._replace(P=None)
    mixed = fine.map(lambda t: t.clone())
    for k, kind in enumerate(kinds):
        _spoil(mixed, k, kind)
    expected = {
        "fine": Status.OK,
        "infeasible": Status.PRIMAL_INFEASIBLE,
        "unbounded": Status.DUAL_INFEASIBLE,
        "broken": Status.NUMERICAL_ERROR,
    }
    results = []
    for data in (fine, mixed):
        leaves = data.map(lambda t: t.clone().requires_grad_())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=RuntimeWarning)
            s = solve_qp(*leaves, gradient=LPGD(tau=0.1))
            present = [t for t in leaves if t is not None]
            results.append((s, torch.autograd.grad(s.x.square().sum(), present)))
    (whole, whole_grads), (some, some_grads) = results
    assert some.status.tolist() == [expected[kind] for kind in kinds]
    good = [k for k, kind in enumerate(kinds) if kind == "fine"]
    bad = [k for k, kind in enumerate(kinds) if kind != "fine"]
    for left, right in zip((*whole, *whole_grads), (*some, *some_grads), strict=True):
        torch.testing.assert_close(left[good], right[good], rtol=1e-12, atol=1e-12)
    for part in some[:5]:
        assert torch.isfinite(part).all()
    for grad in some_grads:
        assert not grad[bad].any()


# One variable, no constraints ---------------------------------------------------------------------


@PROFILE
@given(
    st.lists(
        st.tuples(st.floats(-6, 6), st.floats(-6, 6), st.sampled_from([-1, 1])),
        min_size=1,
        max_size=8,
    )
)
def test_one_free_variable(entries):
    """Curvature and slope between 1e-6 and 1e6: x = -q / p."""
    p = torch.tensor([10.0**a for a, _, _ in entries], dtype=torch.float64)
    q = torch.tensor([sign * 10.0**b for _, b, sign in entries], dtype=torch.float64)
    s = solve_qp(p[:, None, None], q[:, None])
    assert (s.status == Status.OK).all()
    torch.testing.assert_close(s.x[:, 0], -q / p, rtol=1e-9, atol=0)


@PROFILE
@given(
    st.lists(
        st.tuples(
            st.floats(-6, 6), st.sampled_from([-1, 1]), st.floats(-1e3, 1e3), st.floats(0, 1e3)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_linear_program_in_one_variable(entries):
    c = torch.tensor([[sign * 10.0**a] for a, sign, _, _ in entries], dtype=torch.float64)
    lb = torch.tensor([[low] for _, _, low, _ in entries], dtype=torch.float64)
    ub = lb + torch.tensor([[width] for _, _, _, width in entries], dtype=torch.float64)
    s = solve_lp(c, lb=lb, ub=ub)
    assert (s.status == Status.OK).all()
    torch.testing.assert_close(s.x, torch.where(c > 0, lb, ub), rtol=1e-9, atol=1e-9)


@PROFILE
@given(st.integers(1, 12), st.integers(0, 10**6), st.floats(-6, 6))
def test_without_constraints(n, seed, power):
    data = random_qp(seed, 4, n=n)
    factor = 10.0**power
    s = solve_qp(factor * data.P, factor * data.q)
    assert (s.status == Status.OK).all()
    torch.testing.assert_close(s.x, -torch.linalg.solve(data.P, data.q), rtol=1e-9, atol=1e-9)
    for empty in (s.y, s.z):
        assert empty.shape == (4, 0)


# Gradients ----------------------------------------------------------------------------------------

STRATEGIES = {
    "implicit": Implicit(),
    "average": LPGD(tau=1.0, relative=True),
    "lower": LPGD(tau=1e-2, envelope="lower"),
    "large": LPGD(tau=100.0, envelope="upper"),
}


def _gradients(data: Data, strategy) -> dict[str, Tensor]:
    leaves = data.map(lambda t: t.clone().requires_grad_())
    with warnings.catch_warnings():
        # a large step can leave a perturbed problem without solution: a documented fallback
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        s = solve_qp(*leaves, gradient=strategy)
        loss = sum((part.sin() * (1 + k)).sum() for k, part in enumerate(s[:5]))
        present = {k: t for k, t in zip(NAMES, leaves, strict=True) if t is not None}
        grads = torch.autograd.grad(loss, list(present.values()))
    return dict(zip(present, grads, strict=True))


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(PROFILE, max_examples=15)
@given(data=programs(), copies=st.integers(1, 2))
def test_gradients_are_finite_on_degenerate_problems(strategy, data, copies):
    """Every constraint `copies` times: active rows depend on each other."""
    data = data._replace(
        G=None if data.G is None else torch.cat([data.G] * copies, -2),
        h=None if data.h is None else torch.cat([data.h] * copies, -1),
        A=None if data.A is None else torch.cat([data.A] * copies, -2),
        b=None if data.b is None else torch.cat([data.b] * copies, -1),
    )
    for name, grad in _gradients(data, STRATEGIES[strategy]).items():
        assert torch.isfinite(grad).all(), name


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(PROFILE, max_examples=15)
@given(seed=st.integers(0, 10**6), shared=st.sets(st.sampled_from(NAMES), min_size=1, max_size=7))
def test_a_shared_argument_gets_the_sum_over_the_batch(strategy, seed, shared):
    """Not the mean; the same problems written out give the terms."""
    data = random_qp(seed, 4, n=5, m=3, p=1, lower=True, upper=True)
    one = data.item(0)
    # feasible in every combination: x of item 0 is strictly inside
    x = 0.5 * (one.lb + one.ub)
    base = Data(
        data.P,
        data.q,
        data.G,
        rows(data.G, x) + 0.5,
        data.A,
        rows(data.A, x),
        x - 1 - 0 * data.lb,
        x + 1 + 0 * data.ub,
    )
    base = Data(*(t[0] if k in shared else t for k, t in zip(NAMES, base, strict=True)))
    if "A" in shared or "G" in shared or "h" in shared or "b" in shared:
        first = {k: t[0] if t.dim() > r else t for k, t, r in zip(NAMES, base, RANKS, strict=True)}
        G, A = (base.G if base.G.dim() == 3 else first["G"][None]), base.A
        A = A if A.dim() == 3 else first["A"][None]
        h, b = rows(G, x) + 0.5, rows(A, x)
        if "h" in shared:  # one that suits all
            h = h.amax(0)
        if "b" in shared:  # makes A x = b hold for all with x in A's row space
            base = base._replace(A=A[0])
            b = b[0]
        base = base._replace(h=h if h.dim() == 1 or len(h) > 1 else h.expand(4, -1).clone())
        base = base._replace(b=b if b.dim() == 1 or len(b) > 1 else b.expand(4, -1).clone())
    if not any(t.dim() > r for t, r in zip(base, RANKS, strict=True)):
        return
    written_out = each(base)
    together = _gradients(base, STRATEGIES[strategy])
    apart = _gradients(written_out, STRATEGIES[strategy])
    for name, rank in zip(NAMES, RANKS, strict=True):
        expected = apart[name]
        if getattr(base, name).dim() == rank:
            expected = expected.sum(0)
        torch.testing.assert_close(together[name], expected, rtol=1e-10, atol=1e-10)
