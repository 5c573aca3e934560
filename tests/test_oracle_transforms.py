"""The oracles under torch's transforms, autocast, and input that does not fit."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lpgd_native import build_info, oracles
from oracle_cases import CASES, draw, parametrize
from transforms import compiles

F64 = torch.float64
EDGES = torch.tensor([[0, 0, 1], [1, 2, 2]])
PLAN = torch.tensor([[0, 0, 1], [1, 2, 2], [0, 1, 2]])


def costs(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=F64, generator=torch.Generator().manual_seed(1))


RAW = {
    "oracle_assignment": (costs(2, 3, 4), True),
    "oracle_grid_path": (costs(2, 3, 4), 0, 11, True),
    "oracle_dag_path": (costs(2, 3), PLAN, 3, 0, 2),
    "oracle_top_k": (costs(2, 5), 2),
    "oracle_ranking": (costs(2, 5), torch.arange(5.0, dtype=F64)),
    "oracle_knapsack": (-costs(2, 5), costs(1, 2, 5), costs(2, 2), 0, 1000),
    "oracle_spanning_tree": (costs(2, 3), EDGES, 3),
    "oracle_alignment": (costs(2, 3, 4), -1),
}


@pytest.mark.parametrize("name", RAW)
def test_opcheck(name):
    torch.library.opcheck(getattr(torch.ops.lpgd, name).default, RAW[name])


def test_opcheck_of_the_columns_of_tall_assignments():
    inputs = (costs(2, 4, 3).float(), False)
    torch.library.opcheck(torch.ops.lpgd.oracle_assignment.default, inputs)


QUICK = ("assignment 4x4", "path in a DAG", "knapsack, two resources, by branching")


@compiles
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=str(c), marks=() if str(c) in QUICK else pytest.mark.slow) for c in CASES],
)
def test_compile_fullgraph_dynamic(case):
    compiled = torch.compile(
        lambda c: case.oracle.solve(2 * c), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for lead in ((3,), (5,)):
        c = draw(case, "normal", *lead)
        for left, right in zip(compiled(c), case.oracle.solve(2 * c), strict=True):
            assert torch.equal(left, right)


@parametrize
def test_vmap(case):
    c = draw(case, "normal", 3, 4)
    expected = case.oracle.solve(c)
    for in_dim, moved in ((0, c), (1, c.transpose(0, 1))):
        out = torch.func.vmap(case.oracle.solve, in_dims=in_dim)(moved)
        for left, right in zip(out, expected, strict=True):
            assert torch.equal(left, right)
    alone = torch.func.vmap(case.oracle.solve)(c[0])
    assert torch.equal(alone.x, expected.x[0])


def test_vmap_of_the_data_of_a_knapsack():
    c, weights, capacity = -costs(3, 6), costs(4, 2, 6), costs(4, 2)
    out = torch.func.vmap(lambda w, k: oracles.binary_knapsack(c, w, k).x)(weights, capacity)
    for k in range(4):
        assert torch.equal(out[k], oracles.binary_knapsack(c, weights[k], capacity[k]).x)


@parametrize
def test_autocast_computes_in_float32(case):
    c = draw(case, "normal", 3).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = case.oracle.solve(c)
        double = case.oracle.solve(c.double())
    assert out.x.dtype == torch.float32
    assert torch.equal(out.x, case.oracle.solve(c.float()).x)
    assert double.x.dtype == F64


class DevicesOfOps(TorchDispatchMode):
    """Where the tensors are that our ops are given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "lpgd":
            tensors = [a for a in args if isinstance(a, torch.Tensor)]
            self.seen.append({t.device.type for t in tensors})
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not build_info()["cuda_compiler"], reason="built without CUDA")
@parametrize
def test_tensors_of_a_gpu_stay_there(case):
    """With tensors that only say where they are: no GPU is needed."""
    oracle, seen = case.oracle, DevicesOfOps()
    if isinstance(oracle, oracles.Knapsack):
        room = 6.0 if isinstance(oracle.capacity, float) else oracle.capacity.tolist()
        oracle = oracles.Knapsack(oracle.weights, room)
    with FakeTensorMode(allow_non_fake_inputs=True):
        if isinstance(oracle, oracles.Knapsack):
            oracle.weights = torch.empty_like(oracle.weights, device="cuda")
        c = torch.empty(2, 3, *case.shape, dtype=F64, device="cuda")
        with seen:
            solution = oracle.solve(c)
    assert seen.seen == [{"cuda"}]
    assert {part.device.type for part in solution} == {"cuda"}
    assert solution.x.shape == c.shape


# --- bad input -----------------------------------------------------------------------------------


@parametrize
def test_costs_that_do_not_fit(case):
    with pytest.raises(TypeError, match=r"costs must be a torch.Tensor, got list"):
        case.oracle.solve([1.0])
    with pytest.raises(TypeError, match="must be float32 or float64"):
        case.oracle.solve(torch.ones(case.shape, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"costs must be .* got \[\]"):
        case.oracle.solve(torch.tensor(1.0))
    with pytest.raises(TypeError, match="dense"):
        case.oracle.solve(torch.ones(case.shape).to_sparse())
    if not isinstance(case.oracle, oracles.Knapsack):
        with pytest.raises(TypeError, match="takes costs alone, got A"):
            case.oracle.solve(torch.ones(case.shape), A=1)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "neighbours must be 4 or 8, got 6", lambda c: oracles.grid_shortest_path(
            c, neighbours=6)),
        (ValueError, r"source = \(3, 0\) is outside the grid \[3, 4\]",
         lambda c: oracles.grid_shortest_path(c, source=(3, 0))),
        (TypeError, "target must be a pair", lambda c: oracles.grid_shortest_path(c, target=1)),
        (ValueError, "must have rows and columns", lambda c: oracles.grid_shortest_path(c[:0])),
        (ValueError, r"one an edge, got \[3, 4\]", lambda c: oracles.dag_shortest_path(
            c, [(0, 1)])),
        (ValueError, r"edges must be \[E, 2\], got \[3\]", lambda c: oracles.DagShortestPath(
            [0, 1, 2])),
        (TypeError, "pairs of integers", lambda c: oracles.DagShortestPath([(0.0, 1.0)])),
        (ValueError, "nodes 0 to 1", lambda c: oracles.DagShortestPath([(0, 5)], nodes=2)),
        (ValueError, "nodes 0 to 1", lambda c: oracles.SpanningTree([(0, -1), (0, 1)])),
        (ValueError, "target = 7 is not one of the 2 nodes", lambda c: oracles.DagShortestPath(
            [(0, 1)], 0, 7)),
        (TypeError, "source must be an int", lambda c: oracles.DagShortestPath([(0, 1)], 0.5)),
        (ValueError, r"one an edge, got \[3, 4\]", lambda c: oracles.spanning_tree(c, [(0, 1)])),
        (ValueError, "k = 5 must be between", lambda c: oracles.top_k(c, 5)),
        (TypeError, "k must be an int", lambda c: oracles.top_k(c, 1.0)),
        (ValueError, r"values must be \[n\] with n = 4", lambda c: oracles.ranking(
            c, torch.ones(3))),
        (TypeError, "values must be a torch.Tensor", lambda c: oracles.ranking(c, [1.0])),
        (ValueError, "method must be one of", lambda c: oracles.binary_knapsack(
            c, torch.ones(4), 1.0, method="dp")),
        (ValueError, r"weights must be \[4\] and capacity a number", lambda c:
         oracles.binary_knapsack(c, torch.ones(3), 1.0)),
        (ValueError, "leading dimensions must broadcast", lambda c: oracles.binary_knapsack(
            c, torch.ones(2, 1, 4), torch.ones(1))),
        (TypeError, "weights must be a tensor or numbers", lambda c: oracles.binary_knapsack(
            c, "heavy", 1.0)),
        (ValueError, "window must not be negative", lambda c: oracles.time_warping(c, window=-1)),
        (TypeError, "window must be an int", lambda c: oracles.time_warping(c, window=0.5)),
        (ValueError, "must have rows and columns", lambda c: oracles.time_warping(c[:, :0])),
    ],
)  # fmt: skip
def test_bad_input(error, message, call):
    with pytest.raises(error, match=message):
        call(torch.ones(3, 4))


@pytest.mark.parametrize(
    ("message", "name", "inputs"),
    [
        ("topological order", "oracle_dag_path", (costs(2, 3), PLAN.flip(1), 3, 0, 2)),
        ("out of range", "oracle_dag_path", (costs(2, 3), PLAN + 1, 3, 0, 2)),
        ("out of range", "oracle_spanning_tree", (costs(2, 3), -EDGES, 3)),
        ("int64 tensor", "oracle_spanning_tree", (costs(2, 3), EDGES.int(), 3)),
        ("cells of the grid", "oracle_grid_path", (costs(2, 3, 4), 0, 12, True)),
        ("source and target", "oracle_dag_path", (costs(2, 3), PLAN, 3, 0, 3)),
        ("between 0 and n", "oracle_top_k", (costs(2, 3), 4)),
        ("contiguous", "oracle_top_k", (costs(3, 2).T, 1)),
        ("dimensions", "oracle_assignment", (costs(2, 3), True)),
        ("float64", "oracle_knapsack", (costs(2, 3), costs(1, 1, 3).float(), costs(1, 1), 0, 9)),
        ("as many", "oracle_knapsack", (costs(2, 3), costs(3, 1, 3), costs(1, 1), 0, 9)),
        ("dtype", "oracle_ranking", (costs(2, 3), torch.ones(3))),
        ("float32 or float64", "oracle_alignment", (costs(2, 3, 4).half(), -1)),
    ],
)
def test_raw_ops_refuse_what_would_read_out_of_bounds(message, name, inputs):
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.lpgd, name)(*inputs)
