"""The EIT map from the formula: dense matrices, item by item, derivatives by autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["eit_jacobian", "eit_matrix", "eit_voltages"]


def eit_matrix(weights: Tensor, cells: Tensor, coefficients: Tensor, unknowns: int) -> Tensor:
    """A(w) = sum_c w_c sum_pairs c_pq (e_p - e_q)(e_p - e_q)' for weights [C], cells [C, 3]."""
    steps = weights.new_zeros(3 * len(cells), unknowns)
    pairs = torch.stack([cells[:, [0, 1]], cells[:, [0, 2]], cells[:, [1, 2]]], 1).reshape(-1, 2)
    rows = torch.arange(len(pairs))
    steps[rows, pairs[:, 0]] = 1.0
    steps[rows, pairs[:, 1]] = -1.0
    scale = (weights[:, None] * coefficients).reshape(-1, 1)
    return steps.T @ (scale * steps)


def eit_voltages(
    weights: Tensor,
    cells: Tensor,
    coefficients: Tensor,
    electrodes: Tensor,
    unknowns: int,
    drives: Tensor,
    measured: Tensor,
    pairs: Tensor,
) -> Tensor:
    """y_k = measured' E' A^+ E drive [B, m] for weights [B, C], with the pseudo-inverse of the
    whole A.
    """
    out = []
    for w in weights:
        solved = torch.linalg.pinv(eit_matrix(w, cells, coefficients, unknowns), hermitian=True)
        table = measured @ solved[electrodes][:, electrodes] @ drives.T
        out.append(table[pairs[:, 1].long(), pairs[:, 0].long()])
    return torch.stack(out)


def eit_jacobian(weights: Tensor, *rest: Any) -> Tensor:
    """dF/dw [B, m, C] by autograd."""

    def one(w: Tensor) -> Tensor:
        return eit_voltages(w.unsqueeze(0), *rest)[0]

    return torch.stack([torch.autograd.functional.jacobian(one, w) for w in weights])  # type: ignore[no-untyped-call]
