"""Values of the proximal operators: the twin, an independent solver, layouts, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lpgd_native.prox as prox
from prox_cases import SEPARABLE_CASES, normal, parametrize, uniform

cp = pytest.importorskip("cvxpy")

pytestmark = pytest.mark.on_device


def close(left, right, tolerance=1e-9):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


@parametrize()
@pytest.mark.parametrize("n", [2, 7, 33])
def test_twin(case, n):
    if case.width is not None:
        n = case.width
    rows = 8 if n < 10 else 3
    arguments = case.arguments(rows, n)
    close(case.run(*arguments), case.twin(*arguments))


def distances(case, x, out, parameters):
    """To Clarabel's solutions, and whether `out` has the lower objective.

    At tolerances from where it is still coarse to where it breaks down.
    """
    exact = {
        "static_regularization_constant": 1e-13,
        "iterative_refinement_reltol": 1e-16,
        "iterative_refinement_abstol": 1e-16,
    }
    for tolerance, more in ((1e-12, {}), (1e-14, {}), (1e-14, exact), (1e-12, exact)):
        p = cp.Variable(len(x))
        value, constraints = case.objective(cp, p, *parameters)
        problem = cp.Problem(cp.Minimize(cp.sum_squares(p - x) / 2 + value), constraints)
        settings = {f"tol_{k}": tolerance for k in ("gap_abs", "gap_rel", "feas")}
        last = {f"reduced_tol_{k}": 1.0 for k in ("gap_abs", "gap_rel", "feas", "ktratio")}
        problem.solve(solver=cp.CLARABEL, max_iter=500, **settings, **last, **more)
        solution, least = torch.from_numpy(p.value), problem.objective.value
        p.value = out.numpy()
        better = not constraints and problem.objective.value <= least
        yield float((solution - out).abs().max()), better


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")
@parametrize(wanted=lambda case: case.objective is not None)
def test_independent_solver(case):
    """An interior point stops short of 1e-7 or breaks down past it: one of its tries is to agree.

    Where none comes nearer than 1e-6, ours is to have the lower objective (strongly convex).
    """
    x, *parameters = case.arguments(3)
    out = case.run(x, *parameters)
    for row in range(len(x)):
        given = [(q if q.dim() == 1 else q[row if len(q) > 1 else 0]).numpy() for q in parameters]
        tries = []
        for distance, better in distances(case, x[row].numpy(), out[row], given):
            tries.append((distance, better))
            if distance <= 1e-7:
                break
        assert distance <= 1e-7 or any(b and d <= 1e-6 for d, b in tries), tries


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")
def test_weighted_isotonic():
    """By Clarabel; equal weights change nothing; whole ones are those of repeated entries."""
    x, w = normal(4, 7, seed=50), uniform(4, 7, seed=51)
    out = prox.project_isotonic(x, w)
    for row in range(4):
        p = cp.Variable(7)
        distance = cp.sum_squares(cp.multiply(np.sqrt(w[row].numpy()), p - x[row].numpy()))
        problem = cp.Problem(cp.Minimize(distance / 2), [cp.diff(p) >= 0])
        tight = {f"tol_{k}": 1e-13 for k in ("gap_abs", "gap_rel", "feas")}
        last = {f"reduced_tol_{k}": 1.0 for k in ("gap_abs", "gap_rel", "feas", "ktratio")}
        problem.solve(solver=cp.CLARABEL, **tight, **last)
        close(out[row], torch.from_numpy(p.value), 1e-7)
    close(prox.project_isotonic(x, 3 * torch.ones_like(x)), prox.project_isotonic(x))
    close(prox.project_isotonic(x, w, increasing=False), -prox.project_isotonic(-x, w))
    times = torch.tensor([1, 3, 2, 1, 4, 1, 2])
    repeated = prox.project_isotonic(x.repeat_interleave(times, -1))
    again = prox.project_isotonic(x, times.double()).repeat_interleave(times, -1)
    close(again, repeated)


@parametrize()
@pytest.mark.parametrize("n", [1, 1025])
def test_sizes_and_layouts(case, n):
    """Rows of one, of an odd number; along other dimensions; strided and transposed."""
    n = case.width or n
    x, *parameters = case.arguments(3, n)
    expected = case.run(x, *parameters)
    assert expected.shape == x.shape
    assert expected.is_contiguous()
    assert not expected.isnan().any()
    wide = torch.randn(3, 2 * n, dtype=x.dtype)
    wide[:, ::2] = x
    assert torch.equal(case.run(wide[:, ::2], *parameters), expected)
    turned = [p.T.contiguous() if p.dim() == 2 else p[:, None] for p in parameters]
    assert torch.equal(case.run(x.T, *turned, dim=0).T, expected)
    assert torch.equal(case.run(x.T.contiguous(), *turned, dim=-2).T, expected)
    blocks = x.reshape(3, 1, n).expand(3, 2, n)
    spread = [p.unsqueeze(-2) if p.dim() == 2 else p for p in parameters]
    out = case.run(blocks, *spread)
    assert torch.equal(out[:, 0], expected)
    assert torch.equal(out[:, 1], expected)


@parametrize()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_results_too_large_for_the_caches(case, dtype):
    """8 MiB and more are written past them: as in a small batch, whatever the rows' alignment."""
    n = case.width or 1025
    rows = 2**23 // (n * dtype.itemsize) + 1
    x = case.x(1, n).to(dtype).expand(rows, n).contiguous()
    parameters = [p[:1] if p.dim() == 2 else p for p in case.parameters(1, n)]
    leaves = [a.to(dtype).requires_grad_() for a in (x, *parameters)]
    few = [leaves[0][:1], *leaves[1:]]
    out, expected = case.run(*leaves), case.run(*few)
    tolerance = 64 * torch.finfo(dtype).eps
    close(out, expected.expand_as(out), tolerance)
    weights = torch.linspace(-1, 1, n, dtype=dtype)
    (g,) = torch.autograd.grad((out * weights).sum(), leaves[:1])
    (g_few,) = torch.autograd.grad((expected * weights).sum(), leaves[:1])
    close(g, g_few[:1].expand_as(g), tolerance)


@parametrize()
def test_empty(case):
    n = case.width or 5
    for shape in ((0, n), (2, 0, n)):
        x = torch.zeros(shape, dtype=torch.float64)
        parameters = [p[:1] if p.dim() == 2 else p for p in case.parameters(1, n)]
        leaves = [x.requires_grad_(), *(p.clone().requires_grad_() for p in parameters)]
        out = case.run(*leaves)
        assert out.shape == shape
        for g, leaf in zip(torch.autograd.grad(out.sum(), leaves), leaves, strict=True):
            assert torch.equal(g, torch.zeros_like(leaf))


@parametrize()
@pytest.mark.parametrize("n", [5, 1025])
def test_float32_agrees(case, n):
    arguments = case.arguments(3, case.width or n)
    out = case.run(*(a.float() for a in arguments))
    assert out.dtype == torch.float32
    close(out.double(), case.run(*(a.float().double() for a in arguments)), 2e-4)


@pytest.mark.cpu_only("about the CPU's autocast")
@parametrize()
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(case, half):
    arguments = [a.to(half) for a in case.arguments(3)]
    expected = case.run(*(a.float() for a in arguments))
    out = case.run(*arguments)
    assert out.dtype == half
    torch.testing.assert_close(out, expected.to(half), rtol=0, atol=0, equal_nan=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wide = case.run(*arguments)
    assert wide.dtype == torch.float32
    torch.testing.assert_close(wide, expected, rtol=0, atol=0, equal_nan=True)


@parametrize()
def test_nan_stays_in_its_row(case):
    x, *parameters = case.arguments(4, 9)
    expected = case.run(x, *parameters)
    broken = x.clone()
    broken[1, 2] = torch.nan
    out = case.run(broken, *parameters)
    assert out[1, 2].isnan()
    rest = [0, 2, 3]
    assert torch.equal(out[rest], expected[rest])
    if case not in SEPARABLE_CASES and "group" not in case.name:
        assert out[1].isnan().all()


@pytest.mark.cpu_only("about threads")
@parametrize()
def test_same_bits_for_any_number_of_threads(case):
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            leaves = [a.clone().requires_grad_() for a in case.arguments(64, case.width or 700)]
            out = case.run(*leaves)
            results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
        for left, right in zip(*results, strict=True):
            assert torch.equal(left, right)
    finally:
        torch.set_num_threads(before)
