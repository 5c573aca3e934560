"""A perturbed problem without a solution: the other side, a smaller tau, zero; told, never NaN."""

from __future__ import annotations

import warnings

import pytest
import torch

from cases import Data, random_lp, random_qp, rows
from losses import leaves_of, weights_for
from lpgd_native import LPGD, GradientStatus, Implicit, solve_lp, solve_qp

SIDES = {"lower": 1, "upper": 2, "average": 3}


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# x_0 is free with curvature 1; x_1, x_2 >= 0 cost 1 each and have no curvature: the problem is
# unbounded as soon as a shift makes a cost negative
HALF_OPEN = Data(torch.diag(tensor(1, 0, 0)), tensor(0.5, 1, 1), lb=tensor(-9, 0, 0))


def q_gradient(strategy, *g: torch.Tensor) -> torch.Tensor:
    """Gradient of q for each row of upstream gradients."""
    upstream = torch.stack(g)
    q = HALF_OPEN.q.expand_as(upstream).clone().requires_grad_()
    x = solve_qp(HALF_OPEN.P, q, lb=HALF_OPEN.lb, gradient=strategy).x
    return torch.autograd.grad(x, q, upstream)[0]


def raw_status(tau: float, envelope: str, *g: torch.Tensor) -> list[int]:
    upstream = torch.stack(g)
    P, q, lb = HALF_OPEN.P, HALF_OPEN.q, HALF_OPEN.lb
    data = (P, q.expand_as(upstream).clone(), None, None, None, None, lb, None)
    *point, status, _, _ = torch.ops.lpgd.solve_qp(*data, 1e-9, 60)
    out = torch.ops.lpgd.resolve_qp(
        *data,
        *point,
        status,
        upstream,
        *[None] * 4,
        torch.full((len(upstream),), tau, dtype=torch.float64),
        torch.zeros(len(upstream), dtype=torch.float64),
        SIDES[envelope],
        1e-9,
        60,
    )
    assert all(torch.isfinite(part).all() for part in out[:10])
    return out[10].tolist()


FINE, LOW, HIGH, BOTH = tensor(1, 0, 0), tensor(1, -2, 0), tensor(1, 2, 0), tensor(1, -2, 2)


def test_fine_needs_no_fallback():
    for envelope in SIDES:
        grad = q_gradient(LPGD(1.0, envelope=envelope), FINE)
        torch.testing.assert_close(grad, tensor(-1, 0, 0)[None], rtol=0, atol=1e-9)
        assert raw_status(1.0, envelope, FINE, HIGH if envelope == "lower" else FINE) == [0, 0]


@pytest.mark.parametrize(
    ("envelope", "g"), [("lower", LOW), ("average", LOW), ("upper", HIGH), ("average", HIGH)]
)
def test_the_other_side_stands_in(envelope, g):
    """x_0 moves by -g_0 on either side; x_1 stays at its bound on the side that exists."""
    assert raw_status(1.0, envelope, FINE, g) == [GradientStatus.OK, GradientStatus.OTHER_SIDE]
    with pytest.warns(RuntimeWarning, match="of 2 items 1 used the other side alone"):
        grad = q_gradient(LPGD(1.0, envelope=envelope), FINE, g)
    torch.testing.assert_close(grad, tensor(-1, 0, 0).expand(2, 3), rtol=0, atol=1e-9)


@pytest.mark.parametrize("envelope", SIDES)
def test_tau_shrinks_where_both_sides_fail(envelope):
    """At tau = 1 both sides are unbounded, at 0.1 neither is."""
    assert raw_status(1.0, envelope, BOTH) == [GradientStatus.SHRUNK]
    with pytest.warns(RuntimeWarning, match="of 2 items 1 used a smaller tau"):
        grad = q_gradient(LPGD(1.0, envelope=envelope), FINE, BOTH)
    right = q_gradient(LPGD(0.1, envelope=envelope), BOTH)
    torch.testing.assert_close(grad[1:], right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("envelope", SIDES)
def test_zero_where_nothing_helps(envelope):
    """Equal rows ask for different right-hand sides: no tau keeps the problem feasible."""
    data = random_qp(80, 3, n=4, p=1)
    A, b = data.A.repeat(1, 2, 1), data.b.repeat(1, 2)
    leaves = leaves_of(data._replace(A=A, b=b))
    strategy = LPGD(0.5, envelope=envelope)
    y = solve_qp(*leaves, gradient=strategy).y
    g = torch.ones_like(y)
    g[1, 1] = -1.0
    with pytest.warns(RuntimeWarning, match="of 3 items 1 got a zero gradient"):
        grads = torch.autograd.grad(y, [leaves.q, leaves.b, leaves.P], g)
    for grad in grads:
        assert torch.isfinite(grad).all()
        assert not grad[1].any()
        assert grad[0].any()
        assert grad[2].any()


def test_rho_keeps_the_perturbed_problem_bounded():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grad = q_gradient(LPGD(1.0, rho=1.0), FINE, LOW, BOTH)
        assert torch.isfinite(grad).all()
        assert torch.isfinite(q_gradient(LPGD(1.0, rho_over_tau=1.0), FINE, LOW, BOTH)).all()


def test_a_fallback_leaves_the_other_items_alone():
    alone = q_gradient(LPGD(1.0), FINE)
    with pytest.warns(RuntimeWarning, match="1 used the other side alone, 1 used a smaller tau"):
        mixed = q_gradient(LPGD(1.0), BOTH, FINE, LOW, FINE, FINE)
    for k in (1, 3, 4):
        assert torch.equal(mixed[k], alone[0])


def test_the_warning_counts_and_names():
    with pytest.warns(RuntimeWarning) as caught:
        q_gradient(LPGD(1.0), BOTH, FINE, LOW, LOW)
    (warning,) = caught
    assert warning.filename == __file__  # the line that called for the backward pass
    text = str(warning.message)
    assert text.startswith("solve_qp: perturbed problems had no solution: of 4 items ")
    assert "2 used the other side alone" in text
    assert "1 used a smaller tau" in text
    assert "rho > 0" in text


@pytest.mark.parametrize("envelope", SIDES)
@pytest.mark.parametrize("tau", [0.1, 1.0, 100.0])
def test_open_sets_never_give_nan(envelope, tau):
    """LPs on unbounded polyhedra, losses of everything: whatever falls back, numbers come out."""
    data = random_lp(81, 40, n=5, m=4)._replace(ub=None)
    c, G = data.q.abs() + 0.1, data.G.abs()
    leaves = leaves_of(data._replace(q=c, G=G, h=rows(G, data.lb) + 1.0))
    s = solve_lp(*leaves[1:], gradient=LPGD(tau, envelope=envelope))
    assert not s.status.any()
    present = [leaf for leaf in leaves if leaf is not None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        parts = [s.x, s.z, s.z_lb]
        grads = torch.autograd.grad(parts, present, weights_for(parts))
    for grad in grads:
        assert torch.isfinite(grad).all()


def test_a_tau_below_the_tolerance_is_told():
    data = random_qp(82, 3, n=4, m=3)
    leaves = leaves_of(data)
    x = solve_qp(*leaves, gradient=LPGD(1e-3)).x
    with pytest.warns(RuntimeWarning, match="below what the tolerance eps = 1e-09 resolves"):
        torch.autograd.grad(x, leaves.q, 1e-8 * torch.ones_like(x), retain_graph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.autograd.grad(x, leaves.q, torch.ones_like(x), retain_graph=True)
        torch.autograd.grad(x, leaves.q, torch.zeros_like(x), retain_graph=True)
        for strategy in (LPGD(1e-3, relative=True), Implicit()):
            x = solve_qp(*leaves, gradient=strategy).x
            torch.autograd.grad(x, leaves.q, 1e-8 * torch.ones_like(x))
