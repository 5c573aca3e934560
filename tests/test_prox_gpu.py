"""The proximal operators on CUDA: equal to the CPU over the case table. Skipped without a GPU."""

from __future__ import annotations

import pytest
import torch

import lpgd_native.prox as prox
from prox_cases import normal, parametrize

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available()
        or not torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::prox_rows", "CUDA"),
        reason="no GPU, or built without CUDA",
    ),
]


def both(case, arguments):
    """Values and gradients, of the GPU and of the CPU."""
    results = []
    for device in ("cuda", "cpu"):
        leaves = [a.detach().to(device).requires_grad_() for a in arguments]
        out = case.run(*leaves)
        assert out.device.type == device
        weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=device)
        grads = torch.autograd.grad((out.flatten() * weights).sum(), leaves)
        results.append([out.detach(), *grads])
    return zip(*results, strict=True)


@parametrize()
@pytest.mark.parametrize("n", [1, 7, 33, 700, 4100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_agrees_with_the_cpu(case, n, dtype):
    """Rows narrower than a warp, a warp's, a block's, of several pieces."""
    arguments = [a.to(dtype) for a in case.arguments(5, case.width or n)]
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    for left, right in both(case, arguments):
        torch.testing.assert_close(left.cpu(), right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("n", [130, 5000])
def test_what_lies_on_no_16_bytes(n, offset):
    x = normal(offset + 3 * n).to("cuda", torch.float32)[offset:].view(3, n)
    expected = prox.prox_l1(x.cpu(), 0.5)
    assert torch.equal(prox.prox_l1(x, 0.5).cpu(), expected)


@parametrize()
def test_results_repeat_bit_for_bit(case):
    arguments = [a.cuda() for a in case.arguments(64, case.width or 700)]
    assert torch.equal(case.run(*arguments), case.run(*arguments))


def test_the_smallest_sizes():
    for n in (1, 2, 3):
        x = normal(2, n).cuda()
        torch.testing.assert_close(
            prox.project_simplex(x).cpu(), prox.project_simplex(x.cpu()), rtol=1e-12, atol=1e-12
        )


def test_a_cuda_graph_replays_it():
    x = normal(64, 300).cuda()
    prox.project_simplex(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = prox.project_simplex(x)
    x.copy_(normal(64, 300, seed=5))
    graph.replay()
    torch.testing.assert_close(out.cpu(), prox.project_simplex(x.cpu()), rtol=1e-12, atol=1e-12)
