"""The solution is right: optimality conditions, other solvers, the twin, the other precision."""

from __future__ import annotations

import pytest
import torch

from cases import Data, assignment, parametrize_cases, random_lp, random_qp, rows, transport
from lpgd_native import Status, solve_lp, solve_qp
from oracles import clarabel_x, highs_objective, kkt_violations, objective, reference_x

pytestmark = pytest.mark.on_device


@parametrize_cases()
def test_every_item_is_solved(case):
    solution = solve_qp(*case.build())
    assert solution.status.dtype == torch.int32
    assert solution.iterations.dtype == torch.int32
    assert (solution.status == Status.OK).all()


@parametrize_cases()
def test_shapes(case):
    data = case.build()
    s, n = solve_qp(*data), data.q.shape[-1]
    m = 0 if data.G is None else data.G.shape[-2]
    p = 0 if data.A is None else data.A.shape[-2]
    for part, size in zip(s[:5], (n, p, m, n, n), strict=True):
        assert part.shape == (*data.batch, size)
    for part in s[5:]:
        assert part.shape == data.batch


@parametrize_cases()
def test_optimality_conditions(case):
    data = case.build()
    for name, violation in kkt_violations(data, solve_qp(*data)).items():
        assert violation.max() < 1e-9, name


@parametrize_cases(lambda case: case.unique_duals)
def test_a_clear_active_set_makes_the_solution_exact(case):
    data = case.build()
    solution = solve_qp(*data)
    for name, violation in kkt_violations(data, solution).items():
        assert violation.max() < 1e-12, name


@parametrize_cases()
def test_reported_residuals(case):
    data = case.build()
    s = solve_qp(*data)
    terms = [data.q, -s.z_lb, s.z_ub]
    value = 0.0
    if data.P is not None:
        Px = rows(0.5 * (data.P + data.P.mT), s.x)
        terms.append(Px)
        value = value - 0.5 * (s.x * Px).sum(-1)
    primal = [s.x.new_zeros(s.x.shape[:-1])]
    if data.A is not None:
        terms.append(rows(data.A.mT, s.y))
        primal.append((rows(data.A, s.x) - data.b).abs())
        value = value - (data.b * s.y).sum(-1)
    if data.G is not None:
        terms.append(rows(data.G.mT, s.z))
        primal.append(rows(data.G, s.x) - data.h)
        value = value - (torch.where(data.h.isinf(), 0.0, data.h) * s.z).sum(-1)
    if data.lb is not None:
        primal.append(data.lb - s.x)
        value = value + (torch.where(data.lb.isinf(), 0.0, data.lb) * s.z_lb).sum(-1)
    if data.ub is not None:
        primal.append(s.x - data.ub)
        value = value - (torch.where(data.ub.isinf(), 0.0, data.ub) * s.z_ub).sum(-1)
    worst = [
        v.clamp(min=0).amax(-1) if v.dim() > s.status.dim() and v.shape[-1] else v.new_zeros(())
        for v in primal
    ]
    expected = {
        "primal_residual": torch.stack([w.expand(data.batch) for w in worst]).amax(0),
        "dual_residual": sum(terms).abs().amax(-1),
        "gap": (objective(data, s.x) - value).abs(),
    }
    for name, right in expected.items():
        # both are rounding errors of sums of terms of this size
        torch.testing.assert_close(getattr(s, name), right, rtol=1e-6, atol=1e-11)


@parametrize_cases(lambda case: case.unique and not case.large)
def test_agrees_with_the_twin(case):
    data = case.build()
    x = solve_qp(*data).x.reshape(-1, data.q.shape[-1])
    for k, item in enumerate(data.items()):
        torch.testing.assert_close(x[k], reference_x(item), rtol=1e-8, atol=1e-8)


@parametrize_cases()
def test_float32_agrees_with_float64(case):
    data = case.build()
    single, double = solve_qp(*data.to(torch.float32)), solve_qp(*data)
    assert single.x.dtype == torch.float32
    assert (single.status == Status.OK).all()
    value = objective(data, single.x.double())
    torch.testing.assert_close(value, objective(data, double.x), rtol=1e-4, atol=1e-4)
    if case.unique:
        torch.testing.assert_close(single.x.double(), double.x, rtol=1e-3, atol=1e-3)
    for name, violation in kkt_violations(data, [t.double() for t in single[:5]]).items():
        assert violation.max() < 1e-4, name


def _check_against_clarabel(n: int, count: int) -> None:
    data = random_qp(n, 256, n=n, m=n, p=n // 2, shift=0.01)
    solution = solve_qp(*data)
    assert (solution.status == Status.OK).all()
    for violation in kkt_violations(data, solution).values():
        assert violation.max() < 1e-9
    for k in range(0, 256, 256 // count):
        assert (solution.x[k] - clarabel_x(data.item(k))).abs().max() < 1e-6


@pytest.mark.parametrize(("n", "count"), [(10, 256), (50, 32), (100, 12)])
def test_random_strictly_convex(n, count):
    _check_against_clarabel(n, count)


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 100])
def test_random_strictly_convex_all(n):
    _check_against_clarabel(n, 256)


@parametrize_cases(lambda case: case.unique)
def test_agrees_with_clarabel(case):
    data = case.build()
    x = solve_qp(*data).x.reshape(-1, data.q.shape[-1])
    for k, item in enumerate(data.items()):
        torch.testing.assert_close(x[k], clarabel_x(item), rtol=0, atol=1e-6)


LPS = {
    "assignment_10": lambda: assignment(10, 16, seed=1),
    "assignment_whole_costs": lambda: _whole_costs(assignment(6, 8, seed=2)),
    "assignment_1": lambda: assignment(1, 2, seed=3),
    "transport_balanced": lambda: transport(5, 8, 16, seed=4),
    "transport_slack": lambda: _spare(transport(6, 6, 16, seed=5)),
    "transport_ties": lambda: _whole_costs(transport(4, 5, 16, seed=6)),
    "random": lambda: random_lp(7, 64, n=8, m=10),
    "random_equalities": lambda: random_lp(8, 64, n=10, m=6, p=4),
    "zero_costs": lambda: (lambda d: d._replace(q=0 * d.q))(random_lp(9, 4)),
}


def _whole_costs(data: Data) -> Data:
    return data._replace(q=(4 * data.q).floor())


def _spare(data: Data) -> Data:
    return data._replace(h=data.h + 1.0)


@pytest.mark.cpu_only("HiGHS is a library for the CPU")
@pytest.mark.parametrize("name", LPS)
def test_degenerate_lps_reach_the_objective_of_highs(name):
    data = LPS[name]()
    solution = solve_lp(*data[1:])
    assert (solution.status == Status.OK).all()
    for violation in kkt_violations(data, solution).values():
        assert violation.max() < 1e-9
    for k, item in enumerate(data.items()):
        right = highs_objective(item)
        assert abs(float(objective(item, solution.x[k])) - right) <= 1e-8 * (1 + abs(right))


def test_a_projection_in_closed_form():
    """On the simplex: max(v - t, 0) with t from sorting."""
    v = torch.randn(7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    n = v.shape[-1]
    eye, one = torch.eye(n, dtype=torch.float64), torch.ones(1, n, dtype=torch.float64)
    x = solve_qp(eye, -v, None, None, one, one[0, :1], torch.zeros(n, dtype=torch.float64)).x
    top = v.sort(-1, descending=True).values
    t = (top.cumsum(-1) - 1) / torch.arange(1, n + 1)
    k = (top > t).sum(-1, keepdim=True)
    torch.testing.assert_close(x, (v - t.gather(-1, k - 1)).clamp(min=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_lps_on_the_simplex_at_any_scale_of_their_costs(scale, dtype):
    """The least cost wins; many of these are close calls."""
    generator = torch.Generator().manual_seed(0)
    c = scale * torch.randn(5000, 4, dtype=dtype, generator=generator)
    one = torch.ones(1, 4, dtype=dtype)
    s = solve_lp(c, A=one, b=one[0, :1], lb=torch.zeros(4, dtype=dtype))
    assert (s.status == Status.OK).all()
    excess = (c * s.x).sum(-1) - c.amin(-1)
    assert excess.abs().max() < scale * (1e-8 if dtype == torch.float64 else 1e-3)


@pytest.mark.parametrize("ridge", [1e-3, 1e-6, 1e-9, 1e-12, 1e-20, 0.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_an_lp_with_a_tiny_ridge(ridge, dtype):
    data = random_lp(10, 64, n=6, m=0, p=2)
    P = ridge * torch.eye(6, dtype=torch.float64)
    s = solve_qp(*data._replace(P=P).to(dtype))
    assert (s.status == Status.OK).all()
    value, best = (objective(data, x.double()) for x in (s.x, solve_lp(*data[1:]).x))
    tolerance = 10 * ridge + (1e-7 if dtype == torch.float64 else 1e-3)
    assert (value - best).abs().max() < tolerance


@pytest.mark.parametrize("power", [-6, -3, 3, 6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["strict", "low_rank", "lp"])
def test_the_scale_of_the_objective_does_not_move_the_minimiser(kind, dtype, power):
    data = {
        "strict": lambda: random_qp(33, 100, n=10, m=5, p=2, lower=True, upper=True),
        "low_rank": lambda: random_qp(34, 100, n=20, lower=True, upper=True, rank=3),
        "lp": lambda: random_lp(35, 100, n=5, m=4),
    }[kind]()
    factor = 10.0**power
    P = None if data.P is None else factor * data.P
    scaled = solve_qp(*data._replace(P=P, q=factor * data.q).to(dtype))
    assert (scaled.status == Status.OK).all()
    x = solve_qp(*data.to(dtype)).x
    values = objective(data, x.double()), objective(data, scaled.x.double())
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(*values, rtol=tolerance, atol=tolerance)


def test_only_the_symmetric_part_of_P_counts():
    data = random_qp(30, 3, n=4, m=3)
    skew = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other = solve_qp(data.P + skew - skew.T, *data[1:])
    for left, right in zip(solve_qp(*data)[:5], other[:5], strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


def test_eps_and_max_iter_are_obeyed():
    data = random_qp(31, 4, n=20, m=20, p=5)
    short = solve_qp(*data, max_iter=1)
    assert (short.iterations <= 1).all()
    assert (short.status == Status.MAX_ITERATIONS).any()
    # where P is positive definite the active set ends the iterations whatever eps is; not so here
    data = random_qp(31, 4, n=20, m=20, p=5, lower=True, upper=True)._replace(P=None)
    rough, fine = solve_qp(*data, eps=1e-2), solve_qp(*data, eps=1e-9)
    assert (rough.iterations < fine.iterations).all()


def test_views_and_strides():
    """Arguments that are not contiguous are read right and left as they are."""
    data = random_qp(32, 3, n=4, m=3, p=1, lower=True, upper=True)

    def strided(t: torch.Tensor) -> torch.Tensor:
        wide = t.new_full((*t.shape[:-1], 2 * t.shape[-1]), torch.nan)
        wide[..., ::2] = t
        return wide[..., ::2]

    views = data.map(strided)._replace(G=data.G.mT.contiguous().mT)
    before = [t.clone() for t in views]
    for left, right in zip(solve_qp(*data), solve_qp(*views), strict=True):
        assert torch.equal(left, right)
    assert all(torch.equal(a, b) for a, b in zip(before, views, strict=True))
