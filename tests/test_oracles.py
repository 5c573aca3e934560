"""The native oracles: values against enumeration and other packages, statuses, batches, threads."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpgd_native import SolverError, Status, oracles
from lpgd_native.reference import oracles as twins
from oracle_cases import CASES, draw, kinds_of, parametrize, scale_of

pytestmark = pytest.mark.on_device

F64 = torch.float64

each_kind = pytest.mark.parametrize(
    ("case", "kind"),
    [pytest.param(c, k, id=f"{c}, {k}") for c in CASES for k in kinds_of(c)],
)


def objective_of(c: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """<c, x> of an item, where a forbidden entry that is not taken counts nothing."""
    return torch.where(x != 0, c * x, 0.0).sum()


@each_kind
def test_best_of_all(case, kind):
    vertices = case.vertices()
    costs = draw(case, kind, 20)
    solution = case.oracle.solve(costs)
    assert isinstance(solution, oracles.OracleSolution)
    assert solution.x.shape == costs.shape
    best_x, best = twins.best_of(costs, vertices)
    for c, x, objective, status, twin, value in zip(costs, *solution, best_x, best, strict=True):
        if torch.isinf(value):
            assert status == Status.PRIMAL_INFEASIBLE
            assert torch.isnan(objective)
            assert not x.any()
            continue
        assert status == Status.OK
        tolerance = 1e-13 * scale_of(c)
        assert abs(objective - value) <= tolerance
        assert abs(objective_of(c, x) - value) <= tolerance
        assert (vertices == x).flatten(1).all(1).any(), "not an x of the set"
        if kind == "normal":  # the minimiser is unique
            assert torch.equal(x, twin)


LARGER = [
    pytest.param(c, oracle, shape, value, k, id=f"{c}, {shape}, {k}")
    for c in CASES
    for oracle, shape, value in c.larger
    for k in kinds_of(c)
    if k not in ("huge", "tiny")  # beyond what other packages resolve
]


@pytest.mark.parametrize(("case", "oracle", "shape", "value", "kind"), LARGER)
def test_as_good_as_other_packages(case, oracle, shape, value, kind):
    costs = draw(case, kind, 4, shape=shape)
    solution = oracle.solve(costs)
    for c, x, objective, status in zip(costs, *solution, strict=True):
        expected = value(c.numpy())
        if np.isinf(expected):
            assert status == Status.PRIMAL_INFEASIBLE
            continue
        assert status == Status.OK
        assert abs(objective - expected) <= 1e-9 * scale_of(c)
        assert abs(objective_of(c, x) - expected) <= 1e-9 * scale_of(c)


@parametrize
def test_a_bad_item_is_a_status_of_its_own(case):
    costs = draw(case, "normal", 9)
    expected = case.oracle.solve(costs)
    broken = costs.clone()
    broken.flatten(1)[3, -1] = torch.nan
    broken.flatten(1)[5, 0] = -torch.inf
    solution = case.oracle.solve(broken)
    for item in (3, 5):
        assert solution.status[item] == Status.NUMERICAL_ERROR
        assert torch.isnan(solution.objective[item])
        assert not solution.x[item].any()
    others = [k for k in range(9) if k not in (3, 5)]
    for left, right in zip(solution, expected, strict=True):
        assert torch.equal(left[others], right[others])


@pytest.mark.cpu_only("about threads")
@parametrize
def test_nothing_hangs_on_batch_or_threads(case):
    costs = torch.cat([draw(case, kind, 50) for kind in kinds_of(case)])
    whole = case.oracle.solve(costs)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            again = case.oracle.solve(costs)
            assert all(torch.equal(*pair) for pair in zip(whole[::2], again[::2], strict=True))
    finally:
        torch.set_num_threads(threads)
    parts = [case.oracle.solve(part) for part in costs.split(17)]
    assert torch.equal(torch.cat([p.x for p in parts]), whole.x)
    alone = case.oracle.solve(costs[11])
    assert torch.equal(alone.x, whole.x[11])


@parametrize
def test_leading_dimensions_dtypes_and_layouts(case):
    costs = draw(case, "normal", 6)
    flat = case.oracle.solve(costs)
    shaped = case.oracle.solve(costs.reshape(2, 1, 3, *case.shape))
    assert shaped.status.shape == (2, 1, 3)
    assert torch.equal(shaped.x.reshape(flat.x.shape), flat.x)
    strided = torch.stack([costs, -costs], -1)[..., 0]
    assert torch.equal(case.oracle.solve(strided).x, flat.x)
    none = case.oracle.solve(costs[:0])
    assert none.x.shape == costs[:0].shape
    assert none.status.shape == (0,)
    single = case.oracle.solve(costs.float())
    assert single.x.dtype == single.objective.dtype == torch.float32
    assert torch.equal(single.x.double(), flat.x)
    torch.testing.assert_close(single.objective.double(), flat.objective, rtol=1e-5, atol=1e-5)
    half = case.oracle.solve(costs.to(torch.bfloat16))
    assert half.x.dtype == torch.bfloat16
    rounded = case.oracle.solve(costs.to(torch.bfloat16).float())
    assert torch.equal(half.x.float(), rounded.x)


@parametrize
def test_no_gradient_and_pickles(case):
    costs = draw(case, "normal", 2).requires_grad_()
    solution = case.oracle.solve(costs)
    assert not solution.x.requires_grad
    assert not solution.objective.requires_grad
    again = pickle.loads(pickle.dumps(case.oracle))
    assert isinstance(again, oracles.Oracle)
    assert again.event_dim == len(case.shape)
    assert torch.equal(again.solve(costs).x, solution.x)
    assert repr(again) == repr(case.oracle)


def test_throw_names_the_items():
    costs = torch.zeros(2, 3, 2, 2)
    costs[1, 2, 0] = torch.inf
    costs[0, 1, 0, 0] = torch.nan
    with pytest.raises(SolverError, match=r"2 of 6 items failed") as caught:
        oracles.linear_assignment(costs, throw=True)
    assert caught.value.items == {
        (0, 1): Status.NUMERICAL_ERROR,
        (1, 2): Status.PRIMAL_INFEASIBLE,
    }


def test_numbers_too_large_to_add_are_refused():
    for case in CASES:
        costs = draw(case, "normal", 2)
        costs[0].flatten()[-1] = 1e301
        assert case.oracle.solve(costs).status.tolist() == [Status.NUMERICAL_ERROR, Status.OK]


# --- properties ----------------------------------------------------------------------------------

sizes = st.integers(1, 7)
seeds = st.integers(0, 2**31)


def random_costs(seed: int, *shape: int) -> torch.Tensor:
    """Some of them equal, some forbidden."""
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(shape, dtype=F64, generator=generator)
    c = c.round() if seed % 2 else c
    if seed % 3 == 0:
        c[torch.rand(shape, generator=generator) < 0.2] = torch.inf
    return c


@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=sizes, m=sizes)
def test_assignment_is_equivariant(seed, n, m):
    """Rows and columns permuted, transposed, shifted, scaled."""
    c = random_costs(seed, n, m)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(k, generator=generator) for k in (n, m))
    base = oracles.linear_assignment(c)
    assert torch.equal(oracles.linear_assignment(c.mT).status, base.status)
    if base.status:
        return
    for other, expected in (
        (c[rows][:, columns], base.objective),
        (c.mT, base.objective),
        (3.5 * c, 3.5 * base.objective),
        (c + 2.0, base.objective + 2.0 * min(n, m)),
    ):
        torch.testing.assert_close(oracles.linear_assignment(other).objective, expected)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=sizes, m=sizes)
def test_grid_paths_and_alignments_are_symmetric(seed, n, m):
    c = random_costs(seed, n, m)
    turned = oracles.time_warping(c.mT)
    straight = oracles.time_warping(c)
    assert torch.equal(turned.status, straight.status)
    torch.testing.assert_close(turned.objective, straight.objective, equal_nan=True)
    c = c.abs()
    forth = oracles.grid_shortest_path(c)
    for back in (c.mT, c.flip(0, 1)):
        other = oracles.grid_shortest_path(back)
        assert torch.equal(other.status, forth.status)
        torch.testing.assert_close(other.objective, forth.objective, equal_nan=True)
    if forth.status == Status.OK:
        fewer = oracles.grid_shortest_path(c, neighbours=4)
        assert fewer.status != Status.OK or fewer.objective >= forth.objective - 1e-12


@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=st.integers(1, 40), data=st.data())
def test_choice_and_order_are_equivariant(seed, n, data):
    c = random_costs(2 * seed, n)
    finite = torch.where(torch.isinf(c), 9.0, c)
    places = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    k = data.draw(st.integers(0, n))
    chosen = oracles.top_k(c, k)
    assert torch.equal(oracles.top_k(c[places], k).status, chosen.status)
    if chosen.status == Status.OK:
        assert chosen.x.sum() == k
        torch.testing.assert_close(oracles.top_k(c[places], k).objective, chosen.objective)
    ranks = oracles.ranking(finite)
    torch.testing.assert_close(oracles.ranking(finite[places]).objective, ranks.objective)
    assert sorted(ranks.x.tolist()) == list(range(1, n + 1))
