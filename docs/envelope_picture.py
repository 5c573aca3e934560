"""Draws docs/images/envelopes.png: `.venv/bin/python docs/envelope_picture.py`.

An LP picks the cheapest of three options; the loss charges for the one picked. Left: the loss as a
function of one cost, and the envelopes that LPGD descends. Right: the gradients, from `solve_lp`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import lpgd_native as lpgd

CHARGE = torch.tensor([1.0, 0.4, 0.0], dtype=torch.float64)  # of picking option 1, 2, 3
TAUS = (0.25, 0.75)
COLOURS = ("#1b9e77", "#7570b3")


def pick(costs: Tensor, gradient: lpgd.LPGD | lpgd.Implicit) -> Tensor:
    """The cheapest of three options for costs [..., 3], as the solution of an LP [..., 3]."""
    one = torch.ones(1, 3, dtype=costs.dtype)
    return lpgd.solve_lp(
        costs, A=one, b=one[:, 0], lb=torch.zeros_like(one[0]), gradient=gradient
    ).x


def value(costs: Tensor) -> Tensor:
    """The least <c, x> over the three options."""
    return costs.amin(-1)


def gradient(first: Tensor, strategy: lpgd.LPGD | lpgd.Implicit) -> Tensor:
    """What the strategy says of the loss's derivative in the first cost."""
    costs = line(first).requires_grad_()
    (grad,) = torch.autograd.grad((pick(costs, strategy) @ CHARGE).sum(), costs)
    return grad[:, 0]


def line(first: Tensor) -> Tensor:
    """Costs [k, 3]: the first one runs, option 2 costs 0.5 and option 3 costs 0.8."""
    rest = torch.tensor([0.5, 0.8], dtype=first.dtype).expand(len(first), 2)
    return torch.cat([first[:, None], rest], -1)


def draw() -> plt.Figure:
    """The figure with both panels."""
    first = torch.linspace(-0.6, 1.6, 881, dtype=torch.float64) + 1e-4  # off the ties
    costs = line(first)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
    left.plot(first, pick(costs, lpgd.Implicit()) @ CHARGE, "k", lw=2, label="loss of the solution")
    right.plot(first, gradient(first, lpgd.Implicit()), "k", lw=2, label="derivative: zero")
    for tau, colour in zip(TAUS, COLOURS, strict=True):
        lower = (value(costs + tau * CHARGE) - value(costs)) / tau
        upper = (value(costs) - value(costs - tau * CHARGE)) / tau
        left.plot(first, lower, colour, lw=1, ls="--")
        left.plot(first, upper, colour, lw=1, ls=":")
        left.plot(first, (lower + upper) / 2, colour, label=rf"LPGD average, $\tau$ = {tau}")
        right.plot(
            first,
            gradient(first, lpgd.LPGD(tau=tau)),
            colour,
            label=rf"LPGD average, $\tau$ = {tau}",
        )
    left.plot([], [], "0.4", lw=1, ls="--", label="lower envelope")
    left.plot([], [], "0.4", lw=1, ls=":", label="upper envelope")
    left.set(xlabel="cost of option 1", ylabel="loss", title="What is descended")
    right.set(xlabel="cost of option 1", ylabel="gradient in that cost", title="What comes back")
    for axes in (left, right):
        axes.legend(fontsize=8, frameon=False, loc="upper right" if axes is left else "lower left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).parent / "images" / "envelopes.png", dpi=110)
