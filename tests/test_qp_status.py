"""Failure is a status of its item; an item's result is its own, whatever it is batched with."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from cases import INF, NAMES, Data, parametrize_cases, random_lp, random_qp, rows
from lpgd_native import LPGD, SolverError, Status, solve_lp, solve_qp

pytestmark = pytest.mark.on_device

GOOD = random_qp(40, 9, n=5, m=4, p=2, lower=True, upper=True)


def _set(item: Data, name: str, index: tuple[int, ...], value: float) -> Data:
    tensor = getattr(item, name).clone()
    tensor[index] = value
    return item._replace(**{name: tensor})


def _contradicting_rows(item: Data, margin: float = 1.0) -> Data:
    G, h = item.G.clone(), item.h.clone()
    G[1], h[1] = -G[0], -h[0] - margin
    return item._replace(G=G, h=h)


def _contradicting_equalities(item: Data, margin: float = 1.0) -> Data:
    A, b = item.A.clone(), item.b.clone()
    A[1], b[1] = 2 * A[0], 2 * b[0] + margin
    return item._replace(A=A, b=b)


def _equality_against_a_bound(item: Data, margin: float = 1.0) -> Data:
    A, b = item.A.clone(), item.b.clone()
    A[0], b[0] = 0, item.ub[2] + margin
    A[0, 2] = 1
    return item._replace(A=A, b=b)


def _row_against_bounds(item: Data, margin: float = 1.0) -> Data:
    least = torch.where(item.G[0] > 0, item.G[0] * item.lb, item.G[0] * item.ub).sum()
    return _set(item, "h", (0,), float(least) - margin)


def _ray(item: Data, slope: float = 1.0) -> Data:
    """Variable 0 may grow for ever, and the objective falls with it."""
    P, G, A = item.P.clone(), item.G.clone(), item.A.clone()
    P[0], P[:, 0], A[:, 0] = 0, 0, 0
    G[:, 0] = -G[:, 0].abs()
    x = 0.5 * (item.lb + item.ub)  # feasible still
    out = item._replace(P=P, G=G, h=torch.maximum(item.h, G @ x + 0.5), A=A, b=A @ x)
    return _set(_set(out, "q", (0,), -slope), "ub", (0,), INF)


INFEASIBLE = {
    "rows": _contradicting_rows,
    "equalities": _contradicting_equalities,
    "crossed bounds": lambda item: _set(item, "lb", (1,), float(item.ub[1]) + 1e-3),
    "equality against a bound": _equality_against_a_bound,
    "row against bounds": _row_against_bounds,
    "h -inf": lambda item: _set(item, "h", (1,), -INF),
    "lb +inf": lambda item: _set(item, "lb", (1,), INF),
    "ub -inf": lambda item: _set(item, "ub", (1,), -INF),
}
UNBOUNDED = {"ray": _ray}
BROKEN = {
    **{
        f"{name} {value}": lambda item, name=name, value=value: _set(
            item, name, (0,) * getattr(item, name).dim(), value
        )
        for name in NAMES
        for value in (math.nan, INF)
        if name in "PqGAb" or value != INF
    },
    "P indefinite": lambda item: _set(item, "P", (0, 0), -1.0),
    "P negative": lambda item: item._replace(P=-item.P),
    "P saddle": lambda item: _set(_set(item, "P", (0, 1), 9.0), "P", (1, 0), 9.0),
}
BAD = {
    **{name: (make, Status.PRIMAL_INFEASIBLE) for name, make in INFEASIBLE.items()},
    **{name: (make, Status.DUAL_INFEASIBLE) for name, make in UNBOUNDED.items()},
    **{name: (make, Status.NUMERICAL_ERROR) for name, make in BROKEN.items()},
}


def stack(*items: Data) -> Data:
    return Data(*(None if ts[0] is None else torch.stack(ts) for ts in zip(*items, strict=True)))


def assert_same(left, right, exact: bool = True) -> None:
    for a, b in zip(left, right, strict=True):
        if exact:
            assert torch.equal(a, b)
        else:
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_item_gets_its_status_and_leaves_its_neighbours_alone(name, dtype):
    make, status = BAD[name]
    items = list(GOOD.to(dtype).items())
    for place in (0, 4, 8):
        mixed = [make(item) if k == place else item for k, item in enumerate(items)]
        solution = solve_qp(*stack(*mixed))
        assert solution.status[place] == status
        for part in solution[:5]:
            assert torch.isfinite(part).all()
        for k, item in enumerate(items):
            if k != place:
                assert_same((part[k] for part in solution), solve_qp(*item))


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("margin", [1e2, 1.0, 1e-1, 1e-2])
@pytest.mark.parametrize(
    "make",
    [
        _contradicting_rows,
        _contradicting_equalities,
        _equality_against_a_bound,
        _row_against_bounds,
    ],
)
def test_infeasible_by_a_margin(make, margin, linear):
    data = stack(
        *(
            make(item, margin)
            for item in random_qp(41, 20, n=6, m=5, p=2, lower=True, upper=True).items()
        )
    )
    if linear:
        data = data._replace(P=None)
    assert (solve_qp(*data).status == Status.PRIMAL_INFEASIBLE).all()


@pytest.mark.parametrize("linear", [False, True])
def test_a_slight_contradiction_is_never_called_solved(linear):
    """By 1e-3 the proof may stay out of reach; the item must not pass for solved."""
    for make in (_contradicting_rows, _equality_against_a_bound, _row_against_bounds):
        items = random_qp(41, 20, n=6, m=5, p=2, lower=True, upper=True).items()
        data = stack(*(make(item, 1e-3) for item in items))
        if linear:
            data = data._replace(P=None)
        status = solve_qp(*data).status
        unsolved = (status == Status.PRIMAL_INFEASIBLE) | (status == Status.MAX_ITERATIONS)
        assert unsolved.all()
        assert (status == Status.PRIMAL_INFEASIBLE).sum() >= 5


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("slope", [1e2, 1.0, 1e-1, 1e-2])
def test_unbounded_with_a_slope(slope, linear):
    data = stack(
        *(
            _ray(item, slope)
            for item in random_qp(42, 20, n=6, m=5, p=2, lower=True, upper=True).items()
        )
    )
    if linear:
        data = data._replace(P=None)
    assert (solve_qp(*data).status == Status.DUAL_INFEASIBLE).all()


@pytest.mark.parametrize("slope", [1.0, 1e-2, 1e-4, 1e-6])
def test_unbounded_is_never_called_infeasible_or_solved(slope):
    """Only bounds from below: feasible whatever the numbers say."""
    for seed in range(5):
        data = random_qp(seed, 100, n=6, lower=True)
        P, q = data.P.clone(), data.q.clone()
        P[:, 0], P[..., 0], q[:, 0] = 0, 0, -slope
        status = solve_qp(P, q, lb=data.lb).status
        assert not (status == Status.PRIMAL_INFEASIBLE).any()
        assert not (status == Status.OK).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_bounded_and_feasible_is_never_called_otherwise(scale, dtype):
    for data in (random_lp(43, 200), random_qp(44, 200, lower=True, upper=True, rank=2)):
        q = scale * data.q
        P = None if data.P is None else scale * data.P
        status = solve_qp(*data._replace(P=P, q=q).to(dtype)).status
        assert (status == Status.OK).all()


def test_linear_programs_without_bounds():
    c = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    status = solve_lp(c).status
    assert status.tolist() == [Status.DUAL_INFEASIBLE, Status.OK]


def test_infinite_entries_are_no_bounds():
    data = GOOD.item(0)
    off = torch.full_like(data.ub, INF)
    none = solve_qp(*data._replace(lb=None, ub=None))
    infinite = solve_qp(*data._replace(lb=-off, ub=off))
    assert_same(none[:3], infinite[:3], exact=False)
    assert not infinite.z_lb.any()
    assert not infinite.z_ub.any()
    rows_off = solve_qp(*data._replace(h=torch.full_like(data.h, INF)))
    assert_same(rows_off[0], solve_qp(*data._replace(G=None, h=None))[0], exact=False)
    assert not rows_off.z.any()


def test_residuals_of_items_without_a_point_are_infinite():
    s = solve_qp(*BROKEN["q nan"](GOOD.item(0)))
    assert not s.x.any()
    assert torch.stack([s.primal_residual, s.dual_residual, s.gap]).isinf().all()
    assert s.iterations == 0


#: kAloneFromFew of csrc/cpu/qp.h
ALONE_FROM = 24


@parametrize_cases()
def test_results_do_not_depend_on_the_batch(case):
    data = case.build()
    whole = solve_qp(*data)
    count = math.prod(data.batch)
    flat = [part.reshape(count, *part.shape[len(data.batch) :]) for part in whole]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    pairs = zip(data.flat(), (2, 1, 2, 1, 2, 1, 1, 1), strict=True)
    shuffled = solve_qp(*(t if t is None or t.dim() == r else t[order] for t, r in pairs))
    if count > 1:
        assert_same([part[order] for part in flat], shuffled)
    for k, item in enumerate(data.items()):
        alone = solve_qp(*item)
        if data.q.shape[-1] < ALONE_FROM or count <= 2:
            assert_same([part[k] for part in flat], alone)
            continue
        # a handful of larger problems is laid out another way: equal to rounding
        torch.testing.assert_close(flat[0][k], alone.x, rtol=1e-9, atol=1e-9)
        thrice = solve_qp(*(t if t is None else t.expand(3, *t.shape) for t in item))
        assert_same([part[k] for part in flat], [part[1] for part in thrice])


@pytest.mark.cpu_only("about threads")
@pytest.mark.parametrize("strategy", [None, LPGD(tau=0.5), LPGD(tau=5.0, envelope="lower")])
def test_results_do_not_depend_on_threads(strategy):
    data = random_qp(45, 150, n=8, m=8, p=3, lower=True, upper=True)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = data.map(lambda t: t.clone().requires_grad_())
            s = solve_qp(*leaves, gradient=strategy)
            grads = torch.autograd.grad(s.x.square().sum(), leaves)
            results.append((*s, *grads))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert_same(results[0], other)


def test_results_are_repeatable():
    assert_same(solve_qp(*GOOD), solve_qp(*GOOD))


def test_throw_lists_the_items():
    items = list(random_qp(46, 6, n=5, m=4, p=2, lower=True, upper=True).items())
    items[1], items[5] = _contradicting_rows(items[1]), BROKEN["q nan"](items[5])
    data = stack(*items).map(lambda t: t.reshape(2, 3, *t.shape[1:]))
    with pytest.raises(SolverError) as info:
        solve_qp(*data, throw=True)
    assert info.value.items == {(0, 1): Status.PRIMAL_INFEASIBLE, (1, 2): Status.NUMERICAL_ERROR}
    text = str(info.value)
    assert "solve_qp: 2 of 6 items failed" in text
    assert "[0, 1]: primal_infeasible" in text
    assert "[1, 2]: numerical_error" in text
    assert "primal_infeasible: no x meets the constraints (elastic=True" in text
    assert "numerical_error: data that is not finite" in text
    assert "max_iterations" not in text
    assert (solve_qp(*GOOD, throw=True).status == Status.OK).all()


def test_throw_shortens_a_long_list():
    data = GOOD._replace(q=GOOD.q * math.nan).map(lambda t: t.repeat(2, *[1] * (t.dim() - 1)))
    with pytest.raises(SolverError, match=r"18 of 18 items failed.*and 8 more") as info:
        solve_qp(*data, throw=True)
    assert len(info.value.items) == 18


def test_throw_of_a_single_problem():
    with pytest.raises(SolverError, match="solve_lp: 1 of 1 items failed"):
        solve_lp(torch.ones(2, dtype=torch.float64), throw=True)


@pytest.mark.parametrize("batch", [(0,), (2, 0), (0, 3)])
@pytest.mark.parametrize("strategy", [None, LPGD()])
def test_an_empty_batch(batch, strategy):
    one = random_qp(47, n=4, m=3, p=2, lower=True, upper=True)
    data = one._replace(
        q=one.q.expand(*batch, 4), h=one.h.expand(*batch, 3), ub=one.ub.expand(*batch, 4)
    )
    leaves = data.map(lambda t: t.clone().requires_grad_())
    s = solve_qp(*leaves, gradient=strategy, throw=True)
    for part, size in zip(s[:5], (4, 2, 3, 4, 4), strict=True):
        assert part.shape == (*batch, size)
    assert all(part.shape == batch for part in s[5:])
    grads = torch.autograd.grad(s.x.sum() + s.y.sum() + s.z_ub.sum(), leaves)
    for grad, leaf in zip(grads, leaves, strict=True):
        assert grad.shape == leaf.shape
        assert not grad.any()


def test_absent_blocks_and_zero_rows_are_the_same():
    data = random_qp(48, 3, n=4)
    none, q = solve_qp(data.P, data.q), data.q
    zero = solve_qp(
        data.P, q, q.new_zeros(0, 4), q.new_zeros(0), q.new_zeros(3, 0, 4), q.new_zeros(0)
    )
    assert_same(none, zero)
    assert none.y.shape == none.z.shape == (3, 0)
    assert none.z_lb.shape == none.z_ub.shape == (3, 4)
    assert not none.z_lb.any()
    torch.testing.assert_close(rows(data.P, none.x), -q, rtol=0, atol=1e-12)


def test_gradients_of_failed_items_are_zero_and_stay_with_them():
    """A failed item has no derivative: it adds nothing to what the batch shares."""
    items = list(random_qp(49, 4, n=5, m=4, p=2, lower=True, upper=True).items())
    kinds = ("rows", "equalities", "crossed bounds", "q nan", "P negative", "ray")
    for strategy in (None, LPGD(tau=0.3)):
        for kind in kinds:
            data = stack(*items, BAD[kind][0](items[0]))
            leaves = data.map(lambda t: t.clone().requires_grad_())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                solution = solve_qp(*leaves, gradient=strategy)
                grads = torch.autograd.grad((solution.x.square()).sum(), leaves)
            alone = stack(*items).map(lambda t: t.clone().requires_grad_())
            right = torch.autograd.grad(solve_qp(*alone, gradient=strategy).x.square().sum(), alone)
            for name, grad, expected in zip(NAMES, grads, right, strict=True):
                assert torch.equal(grad[:4], expected), (kind, name)
                assert not grad[4].any(), (kind, name, strategy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_that_cross_by_next_to_nothing_have_a_finite_certificate(dtype):
    least = torch.full((2, 1), torch.finfo(dtype).smallest_normal / 8, dtype=dtype)  # subnormal
    solution = solve_qp(
        torch.ones(1, 1, dtype=dtype), torch.zeros(2, 1, dtype=dtype), lb=least, ub=0.0
    )
    assert (solution.status == Status.PRIMAL_INFEASIBLE).all()
    assert solution.z_lb.isfinite().all()
    assert (solution.z_lb > 0).all()
    assert torch.equal(solution.z_lb, solution.z_ub)


def test_a_neighbour_of_other_units_does_not_scale_the_rows_of_an_item():
    """A row of subnormal numbers, which one scaling does not bring to 1."""
    q = torch.tensor([[1.0, 1.0], [-4.0, 1.0]])
    P = torch.tensor([[[1.0, 0.0], [0.0, torch.nan]], [[64.0, 51.0], [51.0, 45.0]]])
    A, b = torch.full((1, 2), 1.4e-45), torch.zeros(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        both, alone = solve_qp(P, q, A=A, b=b), solve_qp(P[1:], q[1:], A=A, b=b)
    assert both.status.tolist() == [Status.NUMERICAL_ERROR, Status.OK]
    assert torch.equal(both.x[1:], alone.x)
