"""The same kernels on CUDA: equal to the CPU over the case table. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch

from cases import parametrize_cases, random_qp
from losses import OUTPUTS, gradients
from lpgd_native import LPGD, Implicit, Status, solve_qp

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available()
        or not torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::solve_qp", "CUDA"),
        reason="no GPU, or built without CUDA",
    ),
]

STRATEGIES = {
    "implicit": Implicit(),
    "average": LPGD(0.2, rho=0.1),
    "lower": LPGD(0.3, rho=0.1, envelope="lower", relative=True),
}


@parametrize_cases()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_values_agree_with_the_cpu(case, dtype):
    data = case.build().to(dtype)
    left, right = solve_qp(*data.map(lambda t: t.cuda())), solve_qp(*data)
    assert torch.equal(left.status.cpu(), right.status)
    tolerance = 1e-8 if dtype == torch.float64 else 1e-3
    parts = 5 if case.unique_duals else 1 if case.unique else 0
    for a, b in zip(left[:parts], right[:parts], strict=True):
        assert a.device.type == "cuda"
        torch.testing.assert_close(a.cpu(), b, rtol=tolerance, atol=tolerance)


@parametrize_cases(lambda case: case.smooth)
@pytest.mark.parametrize("name", STRATEGIES)
def test_gradients_agree_with_the_cpu(case, name):
    data = case.build()
    outputs = OUTPUTS if name == "implicit" else ("x",)
    left = gradients(data.map(lambda t: t.cuda()), STRATEGIES[name], outputs)
    right = gradients(data, STRATEGIES[name], outputs)
    for argument, grad in left.items():
        torch.testing.assert_close(grad.cpu(), right[argument], rtol=1e-6, atol=1e-6)


def test_a_bad_item_leaves_its_neighbours_alone():
    data = random_qp(140, 9, n=5, m=4, p=2, lower=True, upper=True).map(lambda t: t.cuda())
    q, lb = data.q.clone(), data.lb.clone()
    q[1, 0], lb[5, 0] = torch.nan, data.ub[5, 0] + 1
    good, mixed = solve_qp(*data), solve_qp(*data._replace(q=q, lb=lb))
    assert mixed.status.tolist() == [
        {1: Status.NUMERICAL_ERROR, 5: Status.PRIMAL_INFEASIBLE}.get(k, Status.OK) for k in range(9)
    ]
    keep = [k for k in range(9) if k not in (1, 5)]
    for a, b in zip(good, mixed, strict=True):
        assert torch.equal(a[keep], b[keep])


def test_the_current_stream_is_used():
    data = random_qp(141, 64, n=20, m=20, p=5).map(lambda t: t.cuda())
    expected = solve_qp(*data).x
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        q = data.q + 0.0  # made on this stream: another would read it too early
        x = solve_qp(data.P, q, *data[2:]).x
    stream.synchronize()
    assert torch.equal(x, expected)


@pytest.mark.parametrize("batch", [(0,), (2, 0)])
def test_an_empty_batch(batch):
    q = torch.zeros(*batch, 3, dtype=torch.float64, device="cuda", requires_grad=True)
    eye = torch.eye(3, dtype=torch.float64, device="cuda")
    s = solve_qp(eye, q, ub=q.detach() + 1, gradient=LPGD())
    assert s.x.shape == s.z_ub.shape == (*batch, 3)
    assert torch.autograd.grad(s.x.sum(), q)[0].shape == q.shape


def test_opcheck():
    flat = random_qp(142, 3, n=4, m=3, p=1).map(lambda t: t.cuda()).flat()
    torch.library.opcheck(torch.ops.lpgd.solve_qp.default, (*flat, 1e-9, 60))


@pytest.mark.parametrize(("n", "batch"), [(5, 1), (10, 700), (32, 9), (33, 9), (64, 40), (130, 3)])
def test_warps_blocks_and_their_workspaces(n, batch):
    """Of each kind that cuda/geometry.h knows; more items than workers, and fewer."""
    data = random_qp(150, batch, n=n, m=n, p=n // 2)
    solution, again = (solve_qp(*data.map(lambda t: t.cuda())) for _ in range(2))
    assert solution.status.eq(Status.OK).all()
    torch.testing.assert_close(solution.x.cpu(), solve_qp(*data).x, rtol=1e-7, atol=1e-7)
    assert torch.equal(solution.x, again.x)  # whoever took which item


def test_a_cuda_graph_replays_it():
    """Static shapes, no host reads; the counter of items starts at 0 again."""
    data = random_qp(143, 40, n=8, m=6, p=2).map(lambda t: t.cuda())
    flat = data.flat()
    torch.ops.lpgd.solve_qp(*flat, 1e-9, 60)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x, *_ = torch.ops.lpgd.solve_qp(*flat, 1e-9, 60)
    for _ in range(2):
        flat.q.mul_(0.5)
        graph.replay()
        assert torch.equal(x, torch.ops.lpgd.solve_qp(*flat, 1e-9, 60)[0])
