"""The EIT map in batched dense torch, for devices without kernels of ours, and to test these."""

from __future__ import annotations

import torch
from torch import Tensor

from lpgd_native._eit_plan import EitPlan

__all__ = ["DenseEit"]


class DenseEit:
    """Matrices, their Cholesky factors, potentials under unit currents."""

    def __init__(self, plan: EitPlan, electrodes: int) -> None:
        self.unknowns = len(plan.order)
        self.electrodes = electrodes
        self.link = plan.links.long()
        self.cell_link = plan.cell_link.long()
        self.coefficients = plan.coefficients

    def to(self, device: torch.device) -> DenseEit:
        """The same on a device."""
        if self.link.device != device:
            self.link = self.link.to(device)
            self.cell_link = self.cell_link.to(device)
            self.coefficients = self.coefficients.to(device)
        return self

    def potentials(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials [B, n + 1, L] (zero at the ground, the last) and status [B]."""
        batch, n = weights.shape[0], self.unknowns
        parts = (weights.double().unsqueeze(-1) * self.coefficients).flatten(1)
        link = parts.new_zeros(batch, len(self.link)).index_add(1, self.cell_link.flatten(), parts)
        p, q = self.link[:, 0], self.link[:, 1]
        flat = torch.cat([p * n + q, q * n + p, p * n + p, q * n + q])
        values = torch.cat([-link, -link, link, link], dim=1)
        matrix = values.new_zeros(batch, n * n).index_add(1, flat, values)
        matrix = matrix.reshape(batch, n, n)[:, : n - 1, : n - 1]
        with torch.no_grad():
            bad = torch.linalg.cholesky_ex(matrix)[1] != 0
            bad = bad | ~weights.isfinite().all(-1)
        eye = torch.eye(n - 1, dtype=matrix.dtype, device=matrix.device)
        matrix = torch.where(bad[:, None, None], eye, matrix)
        factor = torch.linalg.cholesky_ex(matrix)[0]
        currents = eye[:, n - self.electrodes :]
        solved = torch.cholesky_solve(currents.expand(batch, -1, -1), factor)
        # the ground's row and column
        solved = torch.nn.functional.pad(solved, (0, 1, 0, 1))
        return solved, 4 * bad.to(torch.int32)

    def forward(
        self, weights: Tensor, drives: Tensor, measured: Tensor, pairs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Voltages [B, m] and status [B]."""
        solved, status = self.potentials(weights)
        table = measured @ solved[:, -self.electrodes :] @ drives.mT
        out = table[:, pairs[:, 1].long(), pairs[:, 0].long()]
        return torch.where(status[:, None] != 0, torch.nan, out).to(weights.dtype), status

    def jacobian(
        self, weights: Tensor, drives: Tensor, measured: Tensor, pairs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Jacobian [B, m, C], voltages [B, m] and status [B]."""
        solved, status = self.potentials(weights)
        steps = solved[:, self.link[:, 0]] - solved[:, self.link[:, 1]]  # [B, links, L]
        u = (steps @ drives.mT)[..., pairs[:, 0].long()]
        z = (steps @ measured.mT)[..., pairs[:, 1].long()]
        products = (u * z).mT[..., self.cell_link]  # [B, m, C, 3]
        jacobian = -(products * self.coefficients).sum(-1)
        voltages = self.forward(weights, drives, measured, pairs)[0]
        jacobian = torch.where(status[:, None, None] != 0, 0.0, jacobian)
        return jacobian.to(weights.dtype), voltages, status
