"""The sparse solver on CUDA: equal to the CPU. Skipped where there is no GPU."""

from __future__ import annotations

import math

import pytest
import torch

from lpgd_native import LPGD, Status, solve_lp, solve_qp
from test_pdhg import LPS, arguments, lasso, portfolio, raw, raw_inputs, to_csr

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available()
        or not torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::solve_sparse_qp", "CUDA"),
        reason="no GPU, or built without CUDA",
    ),
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are:UserWarning"),
]


def on_gpu(problem):
    return {k: None if v is None else v.cuda() for k, v in problem.items()}


def assert_close(left, right, tolerance):
    assert torch.equal(left.status.cpu(), right.status)
    for a, b in zip(left[:5], right[:5], strict=True):
        assert a.device.type == "cuda"
        torch.testing.assert_close(a.cpu(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LPS)
@pytest.mark.parametrize("count", [1, 3, 300])
def test_lps_agree_with_the_cpu(name, count):
    problem = arguments(LPS[name])
    problem["c"] = problem["c"] * torch.linspace(0.9, 1.1, count, dtype=torch.float64)[:, None]
    left, right = solve_lp(**on_gpu(problem)), solve_lp(**problem)
    assert torch.equal(left.status.cpu(), right.status)
    # an LP may have many solutions: the value is that of one
    value = (left.x.cpu() * problem["c"]).sum(-1)
    torch.testing.assert_close(value, (right.x * problem["c"]).sum(-1), rtol=1e-5, atol=1e-5)
    for part in ("primal_residual", "dual_residual", "gap"):
        assert bool((getattr(left, part) < 1e-4).all()), part


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("build", [lambda: portfolio(40, 4, 5), lambda: lasso(15, 25, 0.7)])
def test_qps_agree_with_the_cpu(build, dtype):
    data = [t if t is None else t.to(dtype) for t in build()]
    sparse = [to_csr(t) if k in (0, 2, 4) else t for k, t in enumerate(data)]
    eps = 1e-9 if dtype == torch.float64 else 1e-4
    there = [None if t is None else t.cuda() for t in sparse]
    left, right = solve_qp(*there, eps=eps), solve_qp(*sparse, eps=eps)
    tolerance = 1e-5 if dtype == torch.float64 else 2e-2
    torch.testing.assert_close(left.x.cpu(), right.x, rtol=tolerance, atol=tolerance)
    assert torch.equal(left.status.cpu(), right.status)


def test_matrices_of_their_own_and_gradients():
    g = torch.Generator().manual_seed(5)
    count, n, m = 6, 9, 7
    mask = torch.rand(m, n, generator=g) < 0.6
    G = torch.randn(count, m, n, generator=g, dtype=torch.float64) * mask
    x = torch.rand(count, n, generator=g, dtype=torch.float64)
    h = (G @ x[..., None])[..., 0] + 0.2
    P = torch.diag(1 + torch.rand(n, generator=g, dtype=torch.float64))
    q = torch.randn(count, n, generator=g, dtype=torch.float64)
    found = []
    for device in ("cpu", "cuda"):
        leaves = [t.to(device).requires_grad_() for t in (to_csr(P), q, to_csr(G), h)]
        solution = solve_qp(*leaves, gradient=LPGD(0.2), eps=1e-10)
        solution.x.square().sum().backward()
        found.append([solution.x.detach(), *(leaf.grad for leaf in leaves)])
    for a, b in zip(*found, strict=True):
        a, b = (t.values() if t.layout == torch.sparse_csr else t for t in (a, b))
        torch.testing.assert_close(b.cpu(), a, rtol=1e-5, atol=1e-5)


def test_statuses_of_a_mixed_batch():
    G = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64).to_sparse_csr().cuda()
    rows = [[1.0, 1.0], [1.0, -2.0], [math.inf, 1.0], [1.0, 1.0], [1.0, 1.0]]
    costs = [[1.0, 2.0], [1.0, 2.0], [-1.0, 0.0], [1.0, 1.0], [math.nan, 1.0]]
    h, c = (torch.tensor(t, dtype=torch.float64).cuda() for t in (rows, costs))
    lb = torch.tensor([[0.0, 0.0]] * 3 + [[2.0, 0.0]] + [[0.0, 0.0]], dtype=torch.float64).cuda()
    ub = torch.tensor([[math.inf, math.inf]] * 3 + [[1.0, 1.0]] * 2, dtype=torch.float64).cuda()
    solution = solve_lp(c, G, h, lb=lb, ub=ub)
    assert solution.status.tolist() == [
        Status.OK,
        Status.PRIMAL_INFEASIBLE,
        Status.DUAL_INFEASIBLE,
        Status.PRIMAL_INFEASIBLE,
        Status.NUMERICAL_ERROR,
    ]
    assert bool(solution.x.isfinite().all())


def test_a_pattern_that_is_none_is_found_on_the_device():
    inputs = gpu_inputs(4)
    expected = raw(*inputs)[5]
    assert not bool((expected == Status.NUMERICAL_ERROR).any())
    for place in (4, 5, 18):  # G_crow, G_col, columns
        bad = list(inputs)
        bad[place] = bad[place].clone()
        bad[place][1] = 10**6
        assert raw(*bad)[5].tolist() == [Status.NUMERICAL_ERROR] * 4


def gpu_inputs(count):
    from lpgd_native._pdhg_autograd import Pattern
    from lpgd_native._pdhg_columns import columns_of

    inputs = [t.cuda() if isinstance(t, torch.Tensor) else t for t in raw_inputs(count)]
    nothing, n = Pattern(None, None, 0, 0), inputs[3].shape[-1]
    pattern = Pattern(inputs[4], inputs[5], len(inputs[4]) - 1, n)
    inputs[18] = columns_of((nothing, pattern, nothing), n, inputs[3].device)
    return inputs


def test_opcheck():
    torch.library.opcheck(raw.default, tuple(gpu_inputs(3)))


def test_bits_repeat_and_graphs_replay():
    """No atomics on numbers, no host reads: a captured solve follows its inputs."""
    inputs = gpu_inputs(64)
    first, again = raw(*inputs), raw(*inputs)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    c = inputs[3].clone()
    inputs[3] = inputs[3].clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = raw(*inputs)
    inputs[3].copy_(2.0 * c)
    graph.replay()
    expected = raw(*[2.0 * c if k == 3 else t for k, t in enumerate(inputs)])
    for a, b in zip(out, expected, strict=True):
        assert torch.equal(a, b)


def test_an_empty_batch():
    problem = on_gpu(arguments(LPS["known"]))
    none = solve_lp(**{**problem, "c": problem["c"].expand(0, -1)})
    assert none.x.shape == (0, 60)
    assert none.status.shape == (0,)
