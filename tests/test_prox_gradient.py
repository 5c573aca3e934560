"""Derivatives of the proximal operators: finite differences, kinks, forward mode, properties."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

import lpgd_native.prox as prox
from prox_cases import parametrize
from transforms import forward_mode

pytestmark = pytest.mark.on_device


def leaves_of(case, rows=3, n=6, seed=0):
    return [a.clone().requires_grad_() for a in case.arguments(rows, case.width or n, seed)]


@forward_mode
@parametrize()
@pytest.mark.parametrize("seed", [0, 11])
def test_gradcheck(case, seed):
    """Both modes, against finite differences; random data is away from kinks."""
    leaves = leaves_of(case, seed=seed)
    assert torch.autograd.gradcheck(
        case.run, leaves, eps=1e-6, atol=1e-5, check_forward_ad=True, check_batched_grad=True
    )


@parametrize()
def test_broadcast_parameters_get_the_sum(case):
    """A gradient of a parameter that rows or coordinates share is the sum of the gradients."""
    x, *parameters = case.arguments(3, case.width or 6)
    small = [(p[:1] if p.dim() == 2 else p).clone().requires_grad_() for p in parameters]
    full = [p.detach().expand(len(x), -1).clone().requires_grad_() for p in small]
    weights = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)
    if not small:
        return
    left = torch.autograd.grad((weights * case.run(x, *small)).sum(), small)
    right = torch.autograd.grad((weights * case.run(x, *full)).sum(), full)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a.flatten(), b.sum(0), rtol=1e-12, atol=1e-12)


@parametrize()
def test_second_derivative_raises(case):
    leaves = leaves_of(case)
    (g, *_) = torch.autograd.grad(case.run(*leaves).square().sum(), leaves, create_graph=True)
    with pytest.raises(NotImplementedError, match="no double backward"):
        torch.autograd.grad(g.sum(), leaves[0])


@parametrize(wanted=lambda case: case.convex)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_firmly_nonexpansive(case, seed, scale):
    """||Px - Py||^2 <= <Px - Py, x - y>; projections are idempotent."""
    _, *parameters = case.arguments(4, case.width or 6)
    x, y = scale * case.x(4, 6, seed), scale * case.x(4, 6, seed + 1)
    left, right = case.run(x, *parameters), case.run(y, *parameters)
    moved = left - right
    slack = 1e-10 * (1 + scale) ** 2
    assert (moved.square().sum(-1) <= (moved * (x - y)).sum(-1) + slack).all()
    if case.projection:
        torch.testing.assert_close(case.run(left, *parameters), left, rtol=1e-8, atol=1e-8)


@parametrize(wanted=lambda case: case.convex)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_jacobian_is_symmetric_and_between_0_and_1(case, seed):
    x, *parameters = case.arguments(1, case.width or 5)
    x = case.x(1, 5, seed)

    def run(v):
        return case.run(v[None], *parameters)[0]

    jacobian = torch.autograd.functional.jacobian(run, x[0])
    torch.testing.assert_close(jacobian, jacobian.T, rtol=1e-9, atol=1e-9)
    eigenvalues = torch.linalg.eigvalsh((jacobian + jacobian.T) / 2)
    assert eigenvalues.min() > -1e-9
    assert eigenvalues.max() < 1 + 1e-9


def slope(function, x, *parameters):
    """The result at x, and its derivatives with respect to x and the parameters."""
    leaves = [
        torch.tensor([float(v)], dtype=torch.float64).requires_grad_() for v in (x, *parameters)
    ]
    out = function(*leaves)
    return out.item(), [g.item() for g in torch.autograd.grad(out.sum(), leaves)]


@pytest.mark.parametrize(
    ("function", "arguments", "value", "derivatives"),
    [
        (prox.prox_l1, (0.5, 0.5), 0.0, [0, 0]),
        (prox.prox_l1, (-0.5, 0.5), 0.0, [0, 0]),
        (prox.prox_l0, (2.0, 2.0), 0.0, [0, 0]),
        (prox.prox_elastic_net, (0.5, 0.5, 1.0), 0.0, [0, 0, 0]),
        (prox.prox_huber, (2.0, 1.0, 1.0), 1.0, [0.5, -0.5, 0]),
        (prox.prox_hinge, (1.0, 0.5), 1.0, [0, 0]),
        (prox.prox_hinge, (0.5, 0.5), 1.0, [0, 0]),
        (prox.project_box, (1.0, 1.0, 2.0), 1.0, [0, 1, 0]),
        (prox.project_box, (2.0, 1.0, 2.0), 2.0, [0, 0, 1]),
        (prox.project_box, (5.0, 2.0, 2.0), 2.0, [0, 0, 1]),
        (prox.project_nonnegative, (0.0,), 0.0, [0]),
        (prox.project_linf_ball, (1.0, 1.0), 1.0, [0, 1]),
        (prox.project_linf_ball, (-1.0, 1.0), -1.0, [0, -1]),
        (prox.prox_log_barrier, (0.0, 0.0), 0.0, [0, 0]),
        (prox.prox_negative_entropy, (0.0, 0.0), 0.0, [0, 0]),
        (prox.prox_poisson, (1.0, 0.0, 1.0), 0.0, [0, 0, 0]),
        (prox.prox_l_half, (1.5, 1.0), 0.0, [0, 0]),
        (prox.prox_mcp, (1.0, 1.0, 3.0), 0.0, [0, 0, 0]),
        (prox.prox_mcp, (3.0, 1.0, 3.0), 3.0, [1.5, -1.5, -0.5]),
        (prox.prox_scad, (1.0, 1.0, 4.0), 0.0, [0, 0, 0]),
        (prox.prox_scad, (2.0, 1.0, 4.0), 1.0, [1, -1, 0]),
        (prox.prox_scad, (4.0, 1.0, 4.0), 4.0, [1.5, -2, -0.5]),
        (prox.prox_firm, (1.0, 1.0, 2.0), 0.0, [0, 0, 0]),
        (prox.prox_firm, (2.0, 1.0, 2.0), 2.0, [2, 0, -1]),
        (prox.prox_l2, (1.0, 1.0), 0.0, [0, 0]),
        (prox.project_l2_ball, (1.0, 1.0), 1.0, [1, 0]),
        (prox.project_l1_ball, (1.0, 1.0), 1.0, [1, 0]),
        (prox.prox_linf, (1.0, 1.0), 0.0, [0, 0]),
        (prox.project_halfspace, (1.0, 1.0, 1.0), 1.0, [1, 0, 0]),
    ],
)
def test_derivative_at_kinks(function, arguments, value, derivatives):
    out, slopes = slope(function, *arguments)
    assert out == pytest.approx(value, abs=1e-12)
    assert slopes == pytest.approx(derivatives, abs=1e-12)


def jacobian_of(function, x):
    return torch.autograd.functional.jacobian(function, torch.tensor(x, dtype=torch.float64))


def test_derivative_at_ties():
    """Coordinates at a threshold count as zero; runs that meet count as one."""
    at_threshold = jacobian_of(prox.project_simplex, [1.0, 0.0])
    torch.testing.assert_close(at_threshold, torch.tensor([[0.0, 0], [0, 0]]).double())
    fit = jacobian_of(prox.project_isotonic, [1.0, 1.0])
    torch.testing.assert_close(fit, torch.full((2, 2), 0.5).double())
    cone = jacobian_of(prox.project_second_order_cone, [1.0, 1.0])
    torch.testing.assert_close(cone, torch.eye(2).double())
    polar = jacobian_of(prox.project_second_order_cone, [-1.0, 1.0])
    torch.testing.assert_close(polar, torch.zeros(2, 2).double())
    line = jacobian_of(lambda v: prox.prox_total_variation(v, 0.0), [1.0, 1.0])
    torch.testing.assert_close(line, torch.full((2, 2), 0.5).double())
