"""The oracles' kernels on CUDA: the same x as on the CPU, ties included. Skipped where there is no
GPU.
"""

from __future__ import annotations

import pytest
import torch

from lpgd_native import LPGD, Status, oracles
from oracle_cases import CASES, DAG, RING, draw, kinds_of, parametrize, random_edges
from test_oracle_transforms import RAW

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available()
        or not torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::oracle_top_k", "CUDA"),
        reason="no GPU, or built without CUDA",
    ),
]

F64 = torch.float64


def on_gpu(oracle):
    """The same oracle for costs of the GPU."""
    if not isinstance(oracle, oracles.Knapsack):
        return oracle
    data = (oracle.weights, oracle.capacity)
    moved = (v.cuda() if isinstance(v, torch.Tensor) else v for v in data)
    return oracles.Knapsack(*moved, method=oracle.method, max_nodes=oracle.max_nodes)


def assert_same(left, right):
    """x and statuses to the bit, objectives to rounding."""
    assert left.x.device.type == left.objective.device.type == left.status.device.type == "cuda"
    assert torch.equal(left.status.cpu(), right.status)
    assert torch.equal(left.x.cpu(), right.x)
    tolerance = 1e-12 if right.objective.dtype == F64 else 1e-5
    torch.testing.assert_close(
        left.objective.cpu(), right.objective, rtol=tolerance, atol=tolerance, equal_nan=True
    )


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("case", "kind"),
    [pytest.param(c, k, id=f"{c}, {k}") for c in CASES for k in kinds_of(c)],
)
def test_answers_are_those_of_the_cpu(case, kind, dtype):
    costs = draw(case, kind, 70).to(dtype)
    assert_same(on_gpu(case.oracle).solve(costs.cuda()), case.oracle.solve(costs))


@pytest.mark.parametrize(
    ("case", "oracle", "shape", "kind"),
    [
        pytest.param(c, oracle, shape, k, id=f"{c}, {shape}, {k}")
        for c in CASES
        for oracle, shape, _ in c.larger
        for k in kinds_of(c)
    ],
)
def test_answers_of_larger_items(case, oracle, shape, kind):
    costs = draw(case, kind, 5, shape=shape)
    assert_same(on_gpu(oracle).solve(costs.cuda()), oracle.solve(costs))


TREE = random_edges(400, 0.1, 3)
ORDERED = sorted((min(e), max(e)) for e in TREE)


@pytest.mark.parametrize(
    ("oracle", "shape"),
    [
        pytest.param(oracle, shape, id=f"{type(oracle).__name__}, {shape}")
        for oracle, shape in (
            # costs in shared memory, in place, turned in global memory
            (oracles.LinearAssignment(), (2, 150, 150)),
            (oracles.LinearAssignment(), (600, 90, 100)),
            (oracles.LinearAssignment(), (3, 700, 300)),
            (oracles.GridShortestPath(), (3, 40, 40)),
            (oracles.GridShortestPath(), (2, 150, 170)),
            (oracles.DagShortestPath(ORDERED, nodes=400), (70, len(ORDERED))),
            (oracles.TopK(1000), (3, 20_000)),
            (oracles.Ranking(), (3, 9_000)),
            (oracles.SpanningTree(TREE, 400), (3, len(TREE))),
            (oracles.TimeWarping(), (3, 130, 90)),
            (oracles.TimeWarping(window=60), (3, 420, 400)),
        )
    ],
)
@pytest.mark.parametrize("ties", [False, True])
def test_items_beyond_a_warp_and_shared_memory(oracle, shape, ties):
    generator = torch.Generator().manual_seed(5)
    costs = torch.rand(shape, generator=generator, dtype=torch.float32)
    costs = (5 * costs).round() if ties else costs
    assert_same(oracle.solve(costs.cuda()), oracle.solve(costs))


@pytest.mark.parametrize("method", ["auto", "table", "branch"])
@pytest.mark.parametrize("dims", [1, 2])
def test_knapsacks_with_large_tables(method, dims):
    generator = torch.Generator().manual_seed(6)
    count = 4 if method == "branch" else 9
    weights = torch.randint(1, 30, (dims, 60), generator=generator).to(F64)
    capacity = torch.tensor([300.0, 25.0][:dims], dtype=F64) + torch.arange(count).unsqueeze(-1)
    costs = -torch.rand(count, 60, generator=generator)
    right = oracles.binary_knapsack(costs, weights, capacity, method=method, max_nodes=20_000)
    left = oracles.binary_knapsack(
        costs.cuda(), weights.cuda(), capacity.cuda(), method=method, max_nodes=20_000
    )
    assert_same(left, right)


@pytest.mark.parametrize("shape", [(5, 40, 60), (5, 60, 40), (300, 70, 70)])
def test_columns_and_duals(shape):
    costs = (9 * torch.rand(shape, generator=torch.Generator().manual_seed(7))).round().to(F64)
    costs[1, 2] = torch.inf
    left, right = oracles.assignment_columns(costs.cuda()), oracles.assignment_columns(costs)
    for a, b in zip(left, right, strict=True):
        assert a.device.type == "cuda"
        torch.testing.assert_close(a.cpu(), b, rtol=1e-13, atol=1e-13, equal_nan=True)
    assert torch.equal(left.columns.cpu(), right.columns)


@parametrize
def test_a_bad_item_is_a_status_of_its_own(case):
    costs = draw(case, "normal", 9)
    costs.flatten(1)[3, -1] = torch.nan
    costs.flatten(1)[5, 0] = -torch.inf
    left = on_gpu(case.oracle).solve(costs.cuda())
    assert left.status[3] == left.status[5] == Status.NUMERICAL_ERROR
    assert_same(left, case.oracle.solve(costs))


@parametrize
def test_nothing_waits_for_the_device(case):
    oracle, costs = on_gpu(case.oracle), draw(case, "normal", 4).cuda()
    expected = oracle.solve(costs)  # graphs are copied by the first solve
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = oracle.solve(costs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(again.x, expected.x)


@parametrize
def test_a_cuda_graph_solves_new_costs(case):
    oracle, costs = on_gpu(case.oracle), draw(case, "normal", 6).cuda()
    others = draw(case, "ties", 6)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        oracle.solve(costs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = oracle.solve(costs)
    costs.copy_(others)
    graph.replay()
    assert_same(out, case.oracle.solve(others))


def test_the_current_stream_is_used():
    costs = torch.rand(64, 30, 30, device="cuda")
    expected = oracles.linear_assignment(costs).x
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        x = oracles.linear_assignment(costs + 0.0).x
    stream.synchronize()
    assert torch.equal(x, expected)


@parametrize
def test_an_empty_batch(case):
    costs = torch.zeros(2, 0, *case.shape, dtype=F64, device="cuda")
    solution = on_gpu(case.oracle).solve(costs)
    assert solution.x.shape == costs.shape
    assert solution.status.shape == (2, 0)


def test_a_layer_and_its_gradient():
    costs = torch.rand(5, 6, 6, dtype=F64, generator=torch.Generator().manual_seed(8))
    grads = []
    for device in ("cuda", "cpu"):
        layer = oracles.OracleLayer(oracles.LinearAssignment(), gradient=LPGD(tau=0.5))
        c = costs.to(device).requires_grad_()
        weights = torch.arange(36.0, dtype=F64, device=device).reshape(6, 6)
        (layer(c).x * weights).sum().backward()
        grads.append(c.grad.cpu())
    assert torch.equal(*grads)


def test_a_graph_that_is_none_is_a_status():
    """What only the raw ops can be given: the host has not looked at it."""
    costs = torch.rand(3, len(DAG), dtype=F64, device="cuda")
    plan = oracles.DagShortestPath(DAG, 0, 4)._plan.on(costs.device)
    for wrong in (-1, 5, 2**40):
        broken = plan.clone()
        broken[1, 3] = wrong
        status = torch.ops.lpgd.oracle_dag_path(costs, broken, 5, 0, 4)[2]
        assert status.tolist() == [Status.NUMERICAL_ERROR] * 3
    edges = torch.tensor(RING, device="cuda").T.contiguous()
    edges[0, 0] = 4
    costs = torch.rand(3, len(RING), dtype=F64, device="cuda")
    status = torch.ops.lpgd.oracle_spanning_tree(costs, edges, 4)[2]
    assert status.tolist() == [Status.NUMERICAL_ERROR] * 3


@pytest.mark.parametrize("name", RAW)
def test_opcheck(name):
    inputs = [v.cuda() if isinstance(v, torch.Tensor) else v for v in RAW[name]]
    torch.library.opcheck(getattr(torch.ops.lpgd, name).default, tuple(inputs))
