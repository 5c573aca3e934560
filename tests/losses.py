"""Losses of the solution with known gradients, and what comes back through a strategy."""

from __future__ import annotations

import pytest
import torch

from cases import NAMES, Data, random_qp
from lpgd_native import LPGD, Implicit, solve_qp

OUTPUTS = ("x", "y", "z", "z_lb", "z_ub")


def leaves_of(data: Data) -> Data:
    return data.map(lambda t: t.clone().requires_grad_())


def weights_for(outputs, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(o.shape, dtype=torch.float64, generator=generator).to(o) for o in outputs]


def gradients(data: Data, strategy, outputs=OUTPUTS, seed: int = 0) -> dict[str, torch.Tensor]:
    """Gradients of a random linear loss of the outputs named, by argument."""
    leaves = leaves_of(data)
    solution = solve_qp(*leaves, gradient=strategy)
    parts = [getattr(solution, name) for name in outputs]
    loss = sum((w * p).sum() for w, p in zip(weights_for(parts, seed), parts, strict=True))
    present = {
        name: leaf
        for name, leaf in zip(NAMES, leaves, strict=True)
        if leaf is not None and leaf.numel()
    }
    return dict(zip(present, torch.autograd.grad(loss, list(present.values())), strict=True))


STRATEGIES = [Implicit(), LPGD(0.2), LPGD(0.3, rho=0.1, envelope="lower", relative=True)]
each_strategy = pytest.mark.parametrize(
    "strategy", STRATEGIES, ids=["implicit", "average", "lower"]
)
QP = random_qp(100, 3, n=4, m=3, p=1, lower=True, upper=True)


def loss_of(strategy, weights):
    def loss(*data: torch.Tensor | None) -> torch.Tensor:
        s = solve_qp(*data, gradient=strategy)
        return (weights * s.x).sum() + s.x.square().sum()

    return loss


def eager(strategy, data: Data, weights) -> list[torch.Tensor]:
    leaves = data.map(lambda t: t.clone().requires_grad_())
    present = [leaf for leaf in leaves if leaf is not None]
    return list(torch.autograd.grad(loss_of(strategy, weights)(*leaves), present))
