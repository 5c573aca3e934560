"""Draws docs/images/prox.png, every one-dimensional prox: python docs/prox_pictures.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import lpgd_native.prox as prox

PICTURES = (
    ("prox_l1", {"weight": 1.0}),
    ("prox_l0", {"weight": 0.5}),
    ("prox_squared_l2", {"weight": 1.0}),
    ("prox_elastic_net", {"weight_l1": 0.7, "weight_l2": 0.7}),
    ("prox_huber", {"weight": 1.0, "delta": 0.7}),
    ("prox_hinge", {"weight": 1.0}),
    ("project_box", {"lower": -1.0, "upper": 1.5}),
    ("project_nonnegative", {}),
    ("project_linf_ball", {"radius": 1.0}),
    ("prox_log_barrier", {"weight": 0.5}),
    ("prox_negative_entropy", {"weight": 0.5}),
    ("prox_logistic", {"weight": 2.0}),
    ("prox_poisson", {"counts": 1.0, "weight": 1.0}),
    ("prox_l_half", {"weight": 0.7}),
    ("prox_mcp", {"weight": 0.7, "gamma": 3.0}),
    ("prox_scad", {"weight": 0.6, "a": 3.7}),
    ("prox_firm", {"lower": 0.7, "upper": 2.0}),
)


def main() -> None:
    """Draw them all in one figure."""
    x = torch.linspace(-3, 3, 1201, dtype=torch.float64).requires_grad_()
    figure, axes = plt.subplots(3, 6, figsize=(13, 7), layout="constrained", sharex=True)
    for axis, (name, parameters) in zip(axes.flat, PICTURES, strict=False):
        out = getattr(prox, name)(x, **parameters)
        (slope,) = torch.autograd.grad(out.sum(), x)
        grid, value = x.detach(), out.detach().clone()
        value[1:][value.diff().abs() > 0.3] = torch.nan  # a jump is not a line
        axis.plot(grid, grid, color="0.8", linewidth=0.8)
        axis.plot(grid, slope, color="tab:orange", linewidth=1, linestyle="--")
        axis.plot(grid, value, color="tab:blue", linewidth=1.8)
        shown = ", ".join(f"{key} {number:g}" for key, number in parameters.items())
        axis.set_title(f"{name}\n{shown}", fontsize=8)
        axis.set_ylim(-3.1, 3.1)
        axis.tick_params(labelsize=7)
    for axis, above in zip(
        axes.flat[len(PICTURES) :], axes.flat[len(PICTURES) - 6 :], strict=False
    ):
        above.tick_params(labelbottom=True)  # nothing below it shows the ticks
        axis.axis("off")
        axis.plot([], [], color="tab:blue", label="prox")
        axis.plot([], [], color="tab:orange", linestyle="--", label="derivative")
        axis.plot([], [], color="0.8", label="x")
        axis.legend(loc="center")
    figure.savefig(Path(__file__).parent / "images/prox.png", dpi=90)


if __name__ == "__main__":
    main()
