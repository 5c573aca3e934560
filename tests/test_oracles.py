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
from oracle_cases import CASES, KINDS, draw, kinds_of, parametrize

F64 = torch.float64

each_kind = pytest.mark.parametrize(
    ("case", "kind"),
    [pytest.param(c, k, id=f"{c}, {k}") for c in CASES for k in kinds_of(c)],
)


def objective_of(c: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """<c, x> of an item, where a forbidden entry that is not taken counts nothing."""
    return torch.where(x != 0, c * x, 0.0).sum()


def scale_of(c: torch.Tensor) -> float:
    return float(c[torch.isfinite(c)].abs().sum()) if torch.isfinite(c).any() else 1.0


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


# --- assignment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 1), (30, 41)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_duals_prove_the_assignment(shape, kind):
    """LP duality: u_i + v_j <= c_ij, and sum u + sum v is the cost."""
    costs = draw(CASES[0], kind, 10, shape=shape)
    columns, u, v, objective, status = oracles.assignment_columns(costs)
    solution = oracles.linear_assignment(costs)
    assert torch.equal(status, solution.status)
    assert torch.equal(objective, solution.objective) or (status != 0).any()
    n, m = shape
    for k in (status == 0).nonzero()[:, 0].tolist():
        tolerance = 1e-12 * scale_of(costs[k])
        assert (u[k, :, None] + v[k] <= costs[k] + tolerance).all()
        assert abs(u[k].sum() + v[k].sum() - objective[k]) <= tolerance
        if n < m:
            assert (v[k] <= 0).all()
        if n > m:
            assert (u[k] <= 0).all()
        rows = (columns[k] >= 0).nonzero()[:, 0]
        assert len(rows) == min(n, m)
        mask = torch.zeros(shape, dtype=F64)
        mask[rows, columns[k, rows]] = 1.0
        assert torch.equal(mask, solution.x[k])
    failed = status != 0
    assert (columns[failed] == -1).all()


def test_assignment_of_nothing():
    for shape in ((0, 0), (0, 3), (3, 0)):
        solution = oracles.linear_assignment(torch.zeros(2, *shape))
        assert solution.x.shape == (2, *shape)
        assert not solution.status.any()
        assert not solution.objective.any()
        assert (oracles.assignment_columns(torch.zeros(2, *shape)).columns == -1).all()


def test_hard_assignments():
    """Costs (i + 1)(j + 1), on which augmenting row reduction crawls, and distances."""
    for n in (17, 64, 130):
        i = torch.arange(1.0, n + 1, dtype=F64)
        points = torch.rand(2, n, 2, dtype=F64)
        for costs in (i[:, None] * i, -i[:, None] * i, torch.cdist(*points)):
            value = CASES[0].larger[0][2](costs.numpy())
            found = oracles.linear_assignment(costs).objective
            torch.testing.assert_close(found, torch.tensor(value, dtype=F64), rtol=1e-12, atol=0)


# --- paths ---------------------------------------------------------------------------------------


def test_grid_of_one_cell_and_of_one_row():
    assert oracles.grid_shortest_path(torch.tensor([[3.0]])).objective == 3.0
    line = oracles.grid_shortest_path(torch.rand(1, 9))
    assert line.x.all()
    same = oracles.grid_shortest_path(torch.rand(4, 4), source=(1, 2), target=(1, 2))
    assert same.x.sum() == 1
    assert same.x[1, 2] == 1


def test_walls():
    costs = torch.ones(5, 5)
    costs[2, :4] = torch.inf
    path = oracles.grid_shortest_path(costs, neighbours=4)
    assert path.objective == 9 + 0
    costs[2, 4] = torch.inf
    assert oracles.grid_shortest_path(costs).status == Status.PRIMAL_INFEASIBLE
    open_end = torch.ones(2, 2)
    open_end[0, 0] = torch.inf
    assert oracles.grid_shortest_path(open_end).status == Status.PRIMAL_INFEASIBLE


def test_negative_costs_on_a_grid_are_refused_per_item():
    costs = torch.ones(3, 4, 4)
    costs[1, 2, 2] = -1e-3
    solution = oracles.grid_shortest_path(costs)
    assert solution.status.tolist() == [0, Status.NUMERICAL_ERROR, 0]


def test_clamped_costs_on_a_grid():
    costs = torch.randn(6, 4, 5, dtype=F64)
    costs[3, 0, 1] = torch.nan
    costs[4, 0, 1] = -torch.inf
    solution = oracles.GridShortestPath(clamp=True).solve(costs)
    raised = oracles.grid_shortest_path(costs.clamp(min=0))
    assert solution.status.tolist() == [0, 0, 0, Status.NUMERICAL_ERROR, Status.NUMERICAL_ERROR, 0]
    good = [0, 1, 2, 5]
    assert torch.equal(solution.x[good], raised.x[good])
    value = (solution.x * costs)[good].sum((-2, -1))
    torch.testing.assert_close(solution.objective[good], value)
    assert torch.isnan(solution.objective[3:5]).all()


def test_grid_edges_are_those_of_pyepo():
    utils = pytest.importorskip("pyepo.model.utils")
    for grid in ((5, 5), (2, 4), (1, 3), (4, 1)):
        assert utils._get_grid_arcs(grid) == oracles.grid_edges(*grid)


def test_dag_without_a_way():
    solution = oracles.dag_shortest_path(torch.ones(2), [(0, 1), (2, 3)], 0, 3)
    assert solution.status == Status.PRIMAL_INFEASIBLE
    stay = oracles.dag_shortest_path(torch.ones(2), [(0, 1), (2, 3)], 1, 1)
    assert stay.status == Status.OK
    assert stay.objective == 0
    lonely = oracles.DagShortestPath([], 0, 0).solve(torch.zeros(3, 0))
    assert not lonely.status.any()


def test_dag_with_a_cycle_is_refused():
    with pytest.raises(ValueError, match="cycle"):
        oracles.DagShortestPath([(0, 1), (1, 2), (2, 1)])


# --- ties ----------------------------------------------------------------------------------------


def test_ties_go_to_the_lowest_index():
    equal = torch.zeros(6)
    equal[2] = -0.0
    assert oracles.top_k(equal, 2).x.tolist() == [1, 1, 0, 0, 0, 0]
    assert oracles.ranking(equal).x.tolist() == [1, 2, 3, 4, 5, 6]
    many = torch.ones(100).clone()
    many[::3] = 0
    kept = oracles.top_k(many, 40).x.nonzero()[:, 0].tolist()
    assert kept == sorted([*range(0, 100, 3), *[k for k in range(100) if k % 3][:6]])
    order = torch.randint(0, 5, (200,)).to(F64)
    ranks = oracles.ranking(order).x
    by_torch = torch.argsort(order, descending=True, stable=True)
    assert torch.equal(torch.argsort(ranks), by_torch)
    edges = [(0, 1), (1, 2), (2, 0), (0, 1)]
    assert oracles.spanning_tree(torch.zeros(4), edges).x.tolist() == [1, 1, 0, 0]
    assert torch.equal(oracles.time_warping(torch.zeros(3, 3)).x, torch.eye(3))


# --- knapsack ------------------------------------------------------------------------------------


def test_both_methods_of_the_knapsack_agree():
    generator = torch.Generator().manual_seed(3)
    for dims in (1, 2, 3):
        weights = torch.randint(0, 8, (30, dims, 12), generator=generator)
        capacity = torch.randint(0, 25, (30, dims), generator=generator)
        costs = torch.randn(30, 12, dtype=F64, generator=generator)
        for c in (costs, costs.round()):
            table = oracles.binary_knapsack(c, weights, capacity, method="table")
            branch = oracles.binary_knapsack(c, weights, capacity, method="branch")
            assert not table.status.any()
            assert not branch.status.any()
            torch.testing.assert_close(table.objective, branch.objective)
            for x in (table.x, branch.x):
                used = (weights.to(F64) @ x[..., None])[..., 0]
                assert (used <= capacity).all()


def test_knapsack_statuses():
    c = -torch.ones(4, 3, dtype=F64)
    weights = torch.ones(4, 1, 3)
    capacity = torch.full((4, 1), 2.0)
    capacity[1] = -1.0
    weights[2, 0, 0] = -1.0
    capacity[3] = torch.nan
    for method in ("auto", "branch", "table"):
        solution = oracles.binary_knapsack(c, weights, capacity, method=method)
        assert solution.status.tolist() == [0, 2, 4, 4]
    half = torch.full((1, 3), 0.5)
    assert oracles.binary_knapsack(c[0], half, [2.0], method="table").status == 4
    stopped = oracles.binary_knapsack(c[0], half, [1.0], method="branch", max_nodes=2)
    assert stopped.status == Status.MAX_ITERATIONS


def test_knapsack_takes_what_weighs_nothing_and_fills_to_the_brim():
    c = torch.tensor([-1.0, -1.0, -1.0, 1.0], dtype=F64)
    solution = oracles.binary_knapsack(c, torch.tensor([0.0, 0.1, 0.2, 0.0], dtype=F64), 0.3)
    assert solution.x.tolist() == [1, 1, 1, 0]  # 0.1 + 0.2 > 0.3 in binary


def test_knapsack_data_per_item_and_per_call():
    generator = torch.Generator().manual_seed(5)
    c = torch.randn(3, 4, 6, dtype=F64, generator=generator)
    weights = torch.rand(4, 2, 6, dtype=F64, generator=generator)
    capacity = torch.rand(3, 1, 2, dtype=F64, generator=generator) * 3
    oracle = oracles.Knapsack()
    with pytest.raises(ValueError, match="weights and capacity"):
        oracle.solve(c)
    together = oracle.solve(c, weights=weights, capacity=capacity)
    for i in range(3):
        for j in range(4):
            one = oracles.binary_knapsack(c[i, j], weights[j], capacity[i, 0])
            assert torch.equal(one.x, together.x[i, j])


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


# --- beside OR-tools -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_as_good_as_ortools(seed):
    """Whole costs, which its assignment takes alone; its knapsack is a branch and bound, too."""
    solvers = pytest.importorskip("ortools.graph.python.linear_sum_assignment")
    knapsacks = pytest.importorskip("ortools.algorithms.python.knapsack_solver")
    rng = np.random.default_rng(seed)
    costs = rng.integers(-50, 50, (40, 40))
    peer = solvers.SimpleLinearSumAssignment()
    rows, columns = np.divmod(np.arange(1600), 40)
    peer.add_arcs_with_cost(rows, columns, costs.ravel())
    assert peer.solve() == peer.OPTIMAL
    ours = oracles.linear_assignment(torch.from_numpy(costs).double())
    assert ours.objective == peer.optimal_cost()
    weights, values = rng.integers(1, 60, (2, 40)), rng.integers(1, 60, 40)
    capacity = [300, 350]
    kind = knapsacks.SolverType.KNAPSACK_MULTIDIMENSION_BRANCH_AND_BOUND_SOLVER
    packer = knapsacks.KnapsackSolver(kind, "")
    packer.init(values.tolist(), weights.tolist(), capacity)
    best = packer.solve()
    chosen = oracles.binary_knapsack(
        torch.from_numpy(-values).double(), torch.from_numpy(weights), capacity, method="branch"
    )
    assert -chosen.objective == best


def test_numbers_too_large_to_add_are_refused():
    for case in CASES:
        costs = draw(case, "normal", 2)
        costs[0].flatten()[-1] = 1e301
        assert case.oracle.solve(costs).status.tolist() == [Status.NUMERICAL_ERROR, Status.OK]
