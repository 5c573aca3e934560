"""torch.func on the solvers agrees with eager; a second derivative raises."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad, jacrev, jvp, vjp, vmap

from cases import NAMES, Data, random_lp, random_qp
from losses import QP, each_strategy, eager, loss_of, weights_for
from lpgd_native import LPGD, Implicit, solve_lp, solve_qp
from transforms import assert_all_close, forward_mode


@each_strategy
def test_func_grad_and_vjp(strategy):
    (weights,) = weights_for([QP.q])
    loss = loss_of(strategy, weights)
    expected = eager(strategy, QP, weights)
    assert_all_close(grad(loss, argnums=tuple(range(8)))(*QP), expected)
    value, pull = vjp(loss, *QP)
    assert_all_close(pull(torch.ones_like(value)), expected)


@each_strategy
def test_jacrev(strategy):
    item = QP.item(0)

    def x_of(q: torch.Tensor) -> torch.Tensor:
        return solve_qp(item.P, q, *item[2:], gradient=strategy).x

    jacobian = jacrev(x_of)(item.q)
    q = item.q.clone().requires_grad_()
    x = x_of(q)
    rows = [torch.autograd.grad(x[k], q, retain_graph=True)[0] for k in range(4)]
    torch.testing.assert_close(jacobian, torch.stack(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [[], ["P", "G"], ["h", "lb"], ["q"]], ids=str)
def test_vmap(shared):
    """Over problems; what is not mapped is shared. Items alone are the measure."""
    wide = QP._replace(h=QP.h + 9.0, A=None, b=None)
    dims = [None if t is None or n in shared else 0 for n, t in zip(NAMES, wide, strict=True)]
    data = Data(*(t[0] if n in shared else t for n, t in zip(NAMES, wide, strict=True)))
    mapped = vmap(lambda *d: solve_qp(*d), in_dims=tuple(dims))(*data)
    assert_all_close(mapped[:5], solve_qp(*data)[:5])
    assert torch.equal(mapped.status, solve_qp(*data).status)


def test_vmap_over_a_batch_dimension_and_twice():
    data = random_qp(101, 2, 3, n=4, m=3)
    expected = solve_qp(*data)
    once = vmap(lambda *d: solve_qp(*d), in_dims=(1, 1, 1, 1), out_dims=1)(*data[:4])
    twice = vmap(vmap(lambda *d: solve_qp(*d)))(*data[:4])
    q_last = vmap(lambda q: solve_qp(data.P[0], q, data.G[0], data.h[0]), in_dims=2)(
        data.q[0].unsqueeze(-1)
    )
    assert_all_close(once[:5], expected[:5])
    assert_all_close(twice[:5], expected[:5])
    assert_all_close([q_last.x[0]], [expected.x[0]])


@each_strategy
def test_vmap_of_grad_and_grad_of_vmap(strategy):
    (weights,) = weights_for([QP.q])
    expected = eager(strategy, QP, weights)
    per_item = vmap(
        lambda w, *d: grad(loss_of(strategy, w), argnums=tuple(range(8)))(*d),
        in_dims=(0,) * 9,
    )(weights, *QP)
    assert_all_close(per_item, expected)

    def total(*data: torch.Tensor) -> torch.Tensor:
        return vmap(lambda w, *d: loss_of(strategy, w)(*d))(weights, *data).sum()

    assert_all_close(grad(total, argnums=tuple(range(8)))(*QP), expected)


@each_strategy
def test_vmap_of_grad_with_shared_data(strategy):
    """Per-sample gradients of what all samples share."""
    item = QP.item(0)

    def loss(P: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return solve_qp(P, q, item.G, item.h, gradient=strategy).x.square().sum()

    per_sample = vmap(grad(loss), in_dims=(None, 0))(item.P, QP.q)
    for k in range(3):
        torch.testing.assert_close(per_sample[k], grad(loss)(item.P, QP.q[k]), rtol=1e-9, atol=1e-9)


@forward_mode
def test_jvp_of_implicit_is_the_directional_derivative():
    moves = weights_for(list(QP))
    primal, tangent = jvp(lambda *d: solve_qp(*d, gradient=Implicit())[:5], tuple(QP), tuple(moves))
    eps = 1e-6
    ends = [solve_qp(*(t + s * d for t, d in zip(QP, moves, strict=True)))[:5] for s in (eps, -eps)]
    assert_all_close(primal, solve_qp(*QP)[:5])
    for got, plus, minus in zip(tangent, *ends, strict=True):
        torch.testing.assert_close(got, (plus - minus) / (2 * eps), rtol=1e-6, atol=1e-6)


@forward_mode
@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_jvp_of_lpgd_is_its_finite_difference(envelope):
    """(z*(w + tau w') - z*(w - tau w')) / (2 tau), or one side of it."""
    data, tau = random_qp(102, 3, n=4, m=3, p=1), 0.05
    moves = weights_for(list(data[:6]))
    strategy = LPGD(tau, envelope=envelope)
    _, tangent = jvp(lambda *d: solve_qp(*d, gradient=strategy)[:3], data[:6], tuple(moves))
    at = {
        s: solve_qp(*(t + s * tau * d for t, d in zip(data[:6], moves, strict=True)))[:3]
        for s in (-1, 0, 1)
    }
    high, low = {"lower": (1, 0), "upper": (0, -1), "average": (1, -1)}[envelope]
    for got, plus, minus in zip(tangent, at[high], at[low], strict=True):
        expected = (plus - minus) / ((high - low) * tau)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@forward_mode
def test_forward_and_reverse_mode_of_implicit_are_transposes():
    leaves = QP.map(lambda t: t.clone().requires_grad_())
    x = solve_qp(*leaves).x
    (w,), moves = weights_for([x], seed=3), weights_for(list(QP), seed=4)
    grads = torch.autograd.grad(x, list(leaves), w)
    _, tangent = jvp(lambda *d: solve_qp(*d).x, tuple(QP), tuple(moves))
    reverse = sum(float((g * d).sum()) for g, d in zip(grads, moves, strict=True))
    assert float((w * tangent).sum()) == pytest.approx(reverse, rel=1e-9)


@each_strategy
def test_a_second_derivative_raises(strategy):
    leaves = QP.map(lambda t: t.clone().requires_grad_())
    x = solve_qp(*leaves, gradient=strategy).x
    (first,) = torch.autograd.grad(x.square().sum(), leaves.q, create_graph=True)
    with pytest.raises(NotImplementedError, match="solve_qp: the gradient can't be differentiated"):
        torch.autograd.grad(first.sum(), leaves.q)
    with pytest.raises(NotImplementedError, match="no double backward"):
        grad(lambda q: grad(lambda r: solve_qp(QP.P, r, *QP[2:]).x.square().sum())(q).sum())(QP.q)


def test_linear_programs_under_transforms():
    data = random_lp(103, 4)
    weights = weights_for([data.q])[0]

    def loss(c: torch.Tensor, G, h, lb, ub, w) -> torch.Tensor:
        return (w * solve_lp(c, G, h, None, None, lb, ub, gradient=LPGD(2.0)).x).sum()

    rest = (data.G, data.h, data.lb, data.ub, weights)
    c = data.q.clone().requires_grad_()
    expected = torch.autograd.grad(loss(c, *rest), c)[0]
    torch.testing.assert_close(vmap(grad(loss))(data.q, *rest), expected, rtol=1e-12, atol=1e-12)
    assert expected.any()
