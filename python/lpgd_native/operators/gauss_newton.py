"""Regularised Gauss-Newton for a batch, in the smaller of the dimensions of x and y."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["KOTRE", "GaussNewton", "gauss_newton"]

Linearise = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

KOTRE = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-5, 1e-5)
"""Weights of the regularisation in the iterations of Gauss-Newton."""


class GaussNewton(NamedTuple):
    """What `EIT.gauss_newton` found."""

    x: Tensor
    """[..., T]"""
    residual: Tensor
    """[...]: ||F(x) - y|| over ||y|| before the last step"""
    iterations: Tensor
    """[...] int32: steps taken"""
    status: Tensor
    """[...] int32: OK, or NUMERICAL_ERROR where the matrix of an iterate was not positive definite
    or y not finite; x is the last iterate before
    """


def gauss_newton(
    linearise: Linearise,
    y: Tensor,
    x: Tensor,
    weights: Sequence[float],
    power: float,
    minimum: float | None,
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, residual, iterations and status of the items; a failing one stops at its last iterate.

    linearise: J [B, m, T], F [B, m] and status [B] at x [B, T].
    """
    size = x.norm(dim=1)
    residual = torch.full_like(size, torch.nan)
    taken = torch.zeros(len(x), dtype=torch.int32, device=x.device)
    status = torch.where(y.isfinite().all(1), 0, 4).to(torch.int32)
    active = status == 0
    before = x
    for weight in weights:
        if not bool(active.any()):
            break
        at = active.nonzero()[:, 0]
        J, values, bad = linearise(x[at])
        fine = bad == 0
        x[at[~fine]], status[at[~fine]] = before[at[~fine]], 4
        active[at[~fine]] = False
        at, J, r = at[fine], J[fine], (values - y[at])[fine]
        residual[at] = r.norm(dim=1) / y[at].norm(dim=1).clamp_min(torch.finfo(y.dtype).tiny)
        damping = weight * J.square().sum(1).clamp_min(1e-300) ** power
        if J.shape[1] < J.shape[2]:  # (J'J + D)^-1 J' = D^-1 J' (J D^-1 J' + I)^-1
            scaled = J / damping.unsqueeze(1)
            matrix = scaled @ J.mT
            matrix.diagonal(dim1=1, dim2=2).add_(1.0)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            step = scaled.mT @ torch.cholesky_solve(r.unsqueeze(-1), factor)
        else:
            matrix = J.mT @ J
            matrix.diagonal(dim1=1, dim2=2).add_(damping)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            step = torch.cholesky_solve(J.mT @ r.unsqueeze(-1), factor)
        moved = x[at] - step[..., 0]
        if minimum is not None:
            moved = moved.clamp_min(minimum)
        fine = (failed == 0) & moved.isfinite().all(1)
        status[at[~fine]] = 4
        active[at[~fine]] = False
        at, moved = at[fine], moved[fine]
        before = x.clone()
        x[at] = moved
        taken[at] += 1
        small = (moved - before[at]).norm(dim=1) < tolerance * size[at]
        active[at[small]] = False
    return x, residual, taken, status
