"""LPGD by its definition: difference quotients, envelopes and their gradients, LPs."""

from __future__ import annotations

import math

import pytest
import torch

from cases import NAMES, Case, Data, assignment, parametrize_cases, random_lp, random_qp
from losses import OUTPUTS, gradients, weights_for
from lpgd_native import LPGD, reference, solve_lp, solve_qp
from oracles import objective, stacked

pytestmark = pytest.mark.on_device

QP = random_qp(70, 4, n=8, m=5, p=1, lower=True, upper=True)
SIDES = {"lower": (1.0,), "upper": (-1.0,), "average": (1.0, -1.0)}


def quotient_gradients(item: Data, g, tau: float, rho: float, envelope: str) -> dict:
    """(dL/dw(z_+) - dL/dw(z_-)) / (distance in tau) of one problem, solved by the twin."""
    problem = stacked(item)
    x = reference.solve_qp(*problem)
    steps = {s * tau: reference.resolve_qp(problem, x[0], g, s * tau, rho) for s in SIDES[envelope]}
    if len(steps) == 1:
        steps[0.0] = x
    (high, (x_h, y_h, z_h)), (low, (x_l, y_l, z_l)) = sorted(steps.items(), reverse=True)
    width, m = high - low, 0 if item.h is None else int(torch.isfinite(item.h).sum())
    z = (z_h - z_l) / width
    out = {"q": (x_h - x_l) / width}
    out["P"] = 0.5 * (torch.outer(x_h, x_h) - torch.outer(x_l, x_l)) / width
    out["b"] = -(y_h - y_l) / width
    out["A"] = (torch.outer(y_h, x_h) - torch.outer(y_l, x_l)) / width
    out["h"] = -z[:m]
    out["G"] = (torch.outer(z_h, x_h) - torch.outer(z_l, x_l))[:m] / width
    n_lb = 0 if item.lb is None else int(torch.isfinite(item.lb).sum())
    out["lb"], out["ub"] = z[m : m + n_lb], -z[m + n_lb :]
    return out


def _rows_in_use(item: Data, name: str) -> torch.Tensor:
    bound = {"G": item.h, "h": item.h, "lb": item.lb, "ub": item.ub}.get(name)
    return slice(None) if bound is None else torch.isfinite(bound)


def _for_the_twin(case: Case) -> bool:
    return case.smooth and not case.large and "lb" not in case.edge


@parametrize_cases(_for_the_twin)
@pytest.mark.parametrize("envelope", SIDES)
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_difference_quotients_agree_with_the_twin(case, envelope, rho):
    data = case.build().flat()
    if math.prod(data.batch) > 1:  # a batched copy of each: no sums
        data = data.map(lambda t: t)._replace(
            **{
                name: t.expand(*data.batch, *t.shape).clone()
                for name, t in zip(NAMES, data, strict=True)
                if t is not None and t.dim() == (2 if name in "PGA" else 1)
            }
        )
    tau = 0.2
    got = gradients(data, LPGD(tau, rho=rho, envelope=envelope), ["x"])
    (g,) = weights_for([solve_qp(*data).x])
    for k, item in enumerate(data.items()):
        _, _, _, d, _, b = stacked(item)
        g_x = g[k] if data.batch else g
        right = quotient_gradients(item, (g_x, 0 * b, 0 * d), tau, rho, envelope)
        for name, grad in got.items():
            left = (grad[k] if data.batch else grad)[_rows_in_use(item, name)]
            torch.testing.assert_close(left, right[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("envelope", SIDES)
def test_difference_quotients_of_dual_losses_agree_with_the_twin(envelope):
    data, tau = random_qp(71, 4, n=5, m=3, p=2), 0.05
    got = gradients(data, LPGD(tau, envelope=envelope), ["x", "y", "z"])
    g = weights_for(solve_qp(*data)[:3])
    for k, item in enumerate(data.items()):
        right = quotient_gradients(item, tuple(w[k] for w in g), tau, 0.0, envelope)
        for name, grad in got.items():
            torch.testing.assert_close(grad[k], right[name], rtol=1e-6, atol=1e-6)


def envelope_value(data: Data, at, g, tau: float, rho: float, sign: float) -> torch.Tensor:
    """The envelope from its definition, as a function of the data, by two solves.

    lower (sign 1):  min_x <g, x - x*> + rho / (2 tau) ||x - x*||^2 + D(x) / tau
    upper (sign -1): max_x <g, x - x*> - rho / (2 tau) ||x - x*||^2 - D(x) / tau
    with D(x) = max_duals L(x, .) - L*; x*, y*, z* (`at`) and g stay what they are. The dual parts
    of g shift b and h, with the other sign.
    """
    shift = sign * tau
    moved = data._replace(q=data.q + shift * g[0] - rho * at[0])
    if data.b is not None:
        moved = moved._replace(b=data.b - shift * g[1])
    if data.h is not None:
        moved = moved._replace(h=data.h - shift * g[2])
    if data.lb is not None:
        moved = moved._replace(lb=data.lb + shift * g[3], ub=data.ub - shift * g[4])
    if rho:
        P = 0.0 if data.P is None else data.P
        moved = moved._replace(P=P + rho * torch.eye(data.q.shape[-1], dtype=data.q.dtype))
    least = objective(moved, solve_qp(*moved).x) + 0.5 * rho * at[0].square().sum(-1)
    base = objective(data, solve_qp(*data).x)
    constant = sum((w * p).sum(-1) for w, p in zip(g, at, strict=True))
    return (least - base) / shift - constant


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("envelope", SIDES)
@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("duals", [False, True])
def test_gradients_of_the_envelopes_are_exact_at_any_tau(name, envelope, rho, duals):
    at = solve_qp(*QP)[:5]
    outputs, tau = (OUTPUTS, 0.03) if duals else (("x",), 0.7)
    g = weights_for(at[: len(outputs)])
    g = [*g, *(torch.zeros_like(part) for part in at[len(g) :])]
    grad = gradients(QP, LPGD(tau, rho=rho, envelope=envelope), outputs)[name]
    for seed in range(4):
        (direction,) = weights_for([grad], seed=100 + seed)

        def value(step: float) -> torch.Tensor:
            moved = QP._replace(**{name: getattr(QP, name) + step * direction})  # noqa: B023
            sides = [envelope_value(moved, at, g, tau, rho, s) for s in SIDES[envelope]]
            return sum(sides) / len(sides)

        def quotient(eps: float) -> torch.Tensor:
            return (value(eps) - value(-eps)) / (2 * eps)

        expected = (4 * quotient(5e-6) - quotient(1e-5)) / 3
        slope = (grad * direction).flatten(1).sum(-1)
        torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("tau", [0.05, 0.7, 5.0])
def test_the_envelopes_enclose_the_linearised_loss(tau):
    """At the solution itself and wherever the data moves; and they open with tau."""
    at = solve_qp(*QP)[:5]
    g = [weights_for(at)[0], *(torch.zeros_like(part) for part in at[1:])]
    for size in (0.0, 1e-3, 0.1):
        moves = weights_for(list(QP), seed=5)
        moved = Data(*(t + size * d for t, d in zip(QP, moves, strict=True)))
        moved = moved._replace(P=QP.P + size * torch.eye(8, dtype=torch.float64))
        solution = solve_qp(*moved)
        ok = solution.status == 0
        loss = (g[0] * (solution.x - at[0])).sum(-1)
        lower = envelope_value(moved, at, g, tau, 0.0, 1.0)
        upper = envelope_value(moved, at, g, tau, 0.0, -1.0)
        assert ok.any()
        assert (lower <= loss + 1e-10)[ok].all()
        assert (loss <= upper + 1e-10)[ok].all()
        assert (envelope_value(moved, at, g, 2 * tau, 0.0, 1.0) <= lower + 1e-10)[ok].all()
        assert (envelope_value(moved, at, g, 2 * tau, 0.0, -1.0) >= upper - 1e-10)[ok].all()


def cost_gradient(c, rest, g, strategy) -> torch.Tensor:
    c = c.clone().requires_grad_()
    x = solve_lp(c, *rest, gradient=strategy).x
    return torch.autograd.grad((g * x).sum(), c)[0]


@pytest.mark.parametrize("envelope", SIDES)
def test_an_lp_gives_zero_until_the_vertex_moves(envelope):
    """On the simplex: e_0 is left for e_2 when tau (g_0 - g_2) passes the gap of the costs."""
    c = torch.tensor([1.0, 4.0, 2.0, 3.0], dtype=torch.float64)
    g = torch.tensor([0.5, 0.2, -1.5, 0.0], dtype=torch.float64)  # lower: at 0.5; upper: never
    one, zero = torch.ones(1, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    rest = (None, None, one, one[0, :1], zero)
    for tau in (0.01, 0.3, 0.49):
        grad = cost_gradient(c, rest, g, LPGD(tau, envelope=envelope))
        assert grad.abs().max() < 1e-12
    for tau in (0.51, 1.0, 20.0):
        grad = cost_gradient(c, rest, g, LPGD(tau, envelope=envelope))
        low = torch.tensor([-1.0, 0.0, 1.0, 0.0], dtype=torch.float64) / tau
        # upper: costs c - tau g; e_1 costs 4 - 0.2 tau, e_0 1 - 0.5 tau: e_0 stays for good
        expected = {"lower": low, "upper": 0 * low, "average": 0.5 * low}[envelope]
        torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [lambda: random_lp(73, 8, n=6, m=4), lambda: assignment(4, 8)])
@pytest.mark.parametrize("tau", [0.01, 0.5, 10.0])
def test_lower_on_an_lp_is_the_blackbox_gradient(make, tau):
    data = make()
    (g,) = weights_for([data.q])
    grad = cost_gradient(data.q, data[2:], g, LPGD(tau, envelope="lower"))
    moved, still = (solve_lp(c, *data[2:]).x for c in (data.q + tau * g, data.q))
    torch.testing.assert_close(grad, (moved - still) / tau, rtol=1e-8, atol=1e-8)
    upper = cost_gradient(data.q, data[2:], g, LPGD(tau, envelope="upper"))
    other = solve_lp(data.q - tau * g, *data[2:]).x
    torch.testing.assert_close(upper, (still - other) / tau, rtol=1e-8, atol=1e-8)
    average = cost_gradient(data.q, data[2:], g, LPGD(tau))
    torch.testing.assert_close(average, 0.5 * (grad + upper), rtol=1e-8, atol=1e-8)


@parametrize_cases()
@pytest.mark.parametrize("tau", [1e-2, 1.0, 1e3])
def test_gradients_are_finite_and_that_of_P_symmetric(case, tau):
    grads = gradients(case.build(), LPGD(tau, rho=0.1), ["x"])
    for grad in grads.values():
        assert torch.isfinite(grad).all()
    if "P" in grads:
        torch.testing.assert_close(grads["P"], grads["P"].mT, rtol=1e-12, atol=1e-12)
