"""Settings that are numbers of Python, and larger than single precision goes."""

from __future__ import annotations

import math

import pytest
import torch

import lpgd_native as lpgd
from lpgd_native import LPGD, Blackbox, oracles, solve_lp, solve_qp

HUGE = 1e300


def solve(gradient, dtype, **options):
    q = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=dtype, requires_grad=True)
    bounds = {"lb": torch.zeros(2, dtype=dtype), "ub": torch.ones(2, dtype=dtype)}
    solve_qp(
        torch.eye(2, dtype=dtype), q, gradient=gradient, **bounds, **options
    ).x.sum().backward()
    return q.grad


def refuses(what):
    return pytest.raises(ValueError, match=rf"{what} must be within the range of torch\.float32")


@pytest.mark.parametrize("strategy", [LPGD(HUGE), LPGD(1.0, rho=HUGE)], ids=["tau", "rho"])
def test_gradients_of_programs(strategy):
    with refuses("gradient: (tau|rho)"):
        solve(strategy, torch.float32)


@pytest.mark.parametrize("strategy", [LPGD(HUGE), Blackbox(HUGE)], ids=["LPGD", "Blackbox"])
def test_gradients_of_oracles(strategy):
    layer = oracles.OracleLayer(oracles.TopK(1), strategy)
    c = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    with refuses("gradient: tau"):
        layer(c).x.sum().backward()
    with refuses("gradient: tau"):
        solve_lp(c, lb=torch.zeros(3), ub=torch.ones(3), gradient=strategy).x.sum().backward()


def test_the_price_of_slacks():
    with refuses("elastic_penalty"):
        solve(LPGD(1.0), torch.float32, elastic=True, elastic_penalty=HUGE)


def test_weights_of_proximal_operators_are_infinite():
    x = torch.tensor([3.0, -1.0])
    assert torch.equal(lpgd.prox_l1(x, HUGE), lpgd.prox_l1(x, math.inf))
    assert torch.equal(lpgd.project_box(x, -HUGE, HUGE), x)
