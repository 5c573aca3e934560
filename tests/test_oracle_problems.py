"""The native oracles one by one: duals, walls, ties, both methods of the knapsack, OR-tools."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpgd_native import Status, oracles
from lpgd_native.oracles.knapsack import _most_states
from oracle_cases import CASES, KINDS, draw, scale_of

F64 = torch.float64


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


@pytest.mark.parametrize("method", ["auto", "table"])
def test_which_method_takes_a_knapsack_hangs_on_its_own_data(method):
    """A capacity that is not whole is what whole weights can use of it, whoever is beside it."""
    c = -torch.ones(2, 5, dtype=F64)  # equally good choices: methods would differ
    weights = torch.tensor([[1.0, 2.0, 2.0, 1.0, 2.0]], dtype=F64)
    capacity = torch.tensor([[4.5], [9.0]], dtype=F64)
    together = oracles.binary_knapsack(c, weights, capacity, method=method)
    assert together.status.tolist() == [Status.OK, Status.OK]
    for k in range(2):
        alone = oracles.binary_knapsack(c[k], weights, capacity[k], method=method)
        whole = oracles.binary_knapsack(c[k], weights, capacity[k].floor(), method=method)
        assert torch.equal(alone.x, together.x[k])
        assert torch.equal(whole.x, together.x[k])


@pytest.mark.parametrize(
    ("capacity", "states"),
    [
        (6.0, 7),
        (6.5, 7),
        (0, 1),
        (-1.0, 0),
        (float("inf"), 0),
        (float("nan"), 0),
        ([3.0, 4.0], 20),
        (torch.tensor([[3.0, 4.5], [9.0, -1.0], [1.0, torch.nan]]), 20),
        (torch.tensor([[1e9, 2e9], [1.0, 1.0]]), 4),
        (torch.tensor(5.0), 6),
        (torch.empty(0, 2), 0),
        ("room", None),
        (torch.tensor([True]), None),
    ],
)
def test_the_states_that_kernels_are_told(capacity, states):
    assert _most_states(capacity) == states


def test_a_knapsack_notices_capacities_that_are_written_over():
    oracle = oracles.Knapsack(torch.ones(3), torch.tensor([2.0]))
    assert oracle._is_unchanged()
    oracle.capacity.fill_(3.0)
    assert not oracle._is_unchanged()


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
