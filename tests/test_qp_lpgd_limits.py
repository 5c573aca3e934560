"""LPGD's limits and scales: tau -> 0, large tau, rho, relative tau."""

from __future__ import annotations

import itertools

import pytest
import torch

from cases import NAMES, Data, parametrize_cases, random_qp
from losses import OUTPUTS, gradients, leaves_of, weights_for
from lpgd_native import LPGD, Implicit, solve_lp, solve_qp

QP = random_qp(70, 4, n=8, m=5, p=1, lower=True, upper=True)
ENVELOPES = ["lower", "upper", "average"]


def errors(strategy, truth: dict, data: Data = QP, outputs=("x",)) -> dict[str, float]:
    got = gradients(data, strategy, outputs)
    return {name: float((got[name] - truth[name]).abs().max()) for name in truth}


@pytest.mark.parametrize("outputs", [("x",), OUTPUTS], ids=["x", "all"])
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_small_tau_gives_the_derivative_with_the_expected_order(envelope, outputs):
    """On a fixed active set q, h, b, lb, ub are exact, P, G, A too in the average, else O(tau)."""
    truth = gradients(QP, Implicit(), outputs)
    full = errors(LPGD(2e-4, envelope=envelope), truth, outputs=outputs)
    half = errors(LPGD(1e-4, envelope=envelope), truth, outputs=outputs)
    for name in NAMES:
        if name in "PGA" and envelope != "average":
            assert 1e-7 < half[name] < 1e-1
            assert full[name] / half[name] == pytest.approx(2.0, rel=1e-2)
        else:
            # what is left is rounding over tau
            assert half[name] < 1e-9


def test_small_tau_gives_finite_differences_of_the_loss():
    got = gradients(QP, LPGD(1e-3), ["x"])
    (g,) = weights_for([solve_qp(*QP).x])
    moves = weights_for(list(QP), seed=3)
    eps = 1e-6
    for name, direction in zip(NAMES, moves, strict=True):
        ends = [
            (g * solve_qp(*QP._replace(**{name: getattr(QP, name) + s * direction})).x).sum()
            for s in (eps, -eps)
        ]
        slope = float((got[name] * direction).sum())
        assert slope == pytest.approx(float(ends[0] - ends[1]) / (2 * eps), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("rho", [1e-3, 0.1, 10.0])
def test_with_rho_the_limit_is_the_derivative_of_the_regularised_problem(rho):
    at = solve_qp(*QP).x
    eye = torch.eye(QP.q.shape[-1], dtype=torch.float64)
    regularised = QP._replace(P=QP.P + rho * eye, q=QP.q - rho * at)
    truth = gradients(regularised, Implicit(), ["x"])
    for name, error in errors(LPGD(1e-4, rho=rho), truth).items():
        assert error < 1e-9, name


def test_the_bias_of_rho_grows_with_it():
    truth = gradients(QP, Implicit(), ["x"])
    bias = [
        errors(LPGD(1e-4, rho=rho), truth)["q"] / float(truth["q"].abs().max())
        for rho in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e4)
    ]
    assert all(a < b for a, b in itertools.pairwise(bias))
    assert bias[1] / bias[0] == pytest.approx(10.0, rel=0.05)  # linear at first
    assert bias[-1] == pytest.approx(1.0, abs=1e-2)  # then nothing moves any more
    assert bias[0] < 1e-2


def test_rho_over_tau_is_unbiased():
    truth = gradients(QP, Implicit(), ["x"])
    coarse, fine = (
        errors(LPGD(tau, rho_over_tau=1.0, envelope="average"), truth) for tau in (1e-3, 1e-4)
    )
    for name in NAMES:
        assert fine[name] < 1e-2
        assert coarse[name] / fine[name] == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("weight", [0.5, 3.0])
@pytest.mark.parametrize("envelope", ["lower", "upper"])
def test_rho_over_tau_and_a_large_tau_project(weight, envelope):
    """x_s tends to Proj_F(x* - s g / weight)."""
    sign, tau = 1.0 if envelope == "lower" else -1.0, 1e5
    x = solve_qp(*QP).x
    (g,) = weights_for([x])
    q = QP.q.clone().requires_grad_()
    strategy = LPGD(tau, rho_over_tau=weight, envelope=envelope)
    moved = solve_qp(QP.P, q, *QP[2:], gradient=strategy).x
    (grad,) = torch.autograd.grad((g * moved).sum(), q)
    eye = torch.eye(8, dtype=torch.float64)
    projection = solve_qp(eye, -(x - sign * g / weight), *QP[2:]).x
    torch.testing.assert_close(x + sign * tau * grad, projection, rtol=0, atol=1e-4)


def test_a_large_tau_minimises_the_linearised_loss():
    x = solve_qp(*QP).x
    (g,) = weights_for([x])
    tau = 1e5
    q = QP.q.clone().requires_grad_()
    moved = solve_qp(QP.P, q, *QP[2:], gradient=LPGD(tau, envelope="lower")).x
    (grad,) = torch.autograd.grad((g * moved).sum(), q)
    best = solve_lp(g, *QP[2:]).x
    torch.testing.assert_close(x + tau * grad, best, rtol=0, atol=1e-4)


def scaled_gradients(strategy, factor, data: Data = QP) -> list[torch.Tensor]:
    leaves = leaves_of(data)
    x = solve_qp(*leaves, gradient=strategy).x
    return torch.autograd.grad(x, leaves, factor * weights_for([x])[0])


@pytest.mark.parametrize("factor", [2.0**-8, 0.5, 16.0, 2.0**10])
def test_only_tau_times_the_gradient_matters(factor):
    tau = 0.25
    left = scaled_gradients(LPGD(tau / factor), factor)
    right = scaled_gradients(LPGD(tau), 1.0)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, factor * b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 0.3, 1e6])
def test_relative_tau_does_not_see_the_scale_of_the_loss(factor):
    left = scaled_gradients(LPGD(0.3, relative=True), factor)
    right = scaled_gradients(LPGD(0.3, relative=True), 1.0)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a / factor, b, rtol=1e-8, atol=1e-9)


def test_relative_tau_is_measured_per_item():
    """tau / ||g|| of each item, ||g|| over all outputs."""
    data = random_qp(74, 3, n=5, m=3, p=1)
    leaves = leaves_of(data)
    s = solve_qp(*leaves, gradient=LPGD(0.1, relative=True))
    g = [w * torch.tensor([[0.1], [1.0], [10.0]]) for w in weights_for(s[:3])]
    whole = torch.autograd.grad(s[:3], leaves[:6], g)
    for k, item in enumerate(data.items()):
        part = [w[k] for w in g]
        norm = float(torch.cat(part).norm())
        one = leaves_of(item)
        alone = solve_qp(*one, gradient=LPGD(0.1 / norm))
        right = torch.autograd.grad(alone[:3], one[:6], part)
        for a, b in zip(whole, right, strict=True):
            torch.testing.assert_close(a[k], b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("strategy", [LPGD(0.3), LPGD(0.3, relative=True), LPGD(1.0, rho=1.0)])
def test_no_gradient_gives_exactly_zero(strategy):
    leaves = leaves_of(QP)
    x = solve_qp(*leaves, gradient=strategy).x
    g = weights_for([x])[0]
    g[1] = 0
    grads = torch.autograd.grad(x, leaves, g)
    for grad in grads:
        assert not grad[1].any()
        assert grad[[0, 2, 3]].any()


@pytest.mark.parametrize("output", OUTPUTS)
def test_losses_of_multipliers(output):
    truth = gradients(QP, Implicit(), [output])
    for name, error in errors(LPGD(1e-4), truth, outputs=[output]).items():
        assert error < 1e-8, name


@parametrize_cases(lambda case: case.smooth and not case.edge)
def test_average_with_a_small_tau_is_implicit_on_every_case(case):
    data = case.build()
    truth = gradients(data, Implicit(), ["x"])
    for name, error in errors(LPGD(1e-5), truth, data).items():
        assert error < 1e-8 * (1 + float(truth[name].abs().max())), name
