"""Columns of compressed matrices, for devices where many lanes share a problem.

C'y by rows would have lanes add to the same place, in an order that changes from run to run. So a
CUDA block takes it by columns, and each entry is told its row and where it is among the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lpgd_native._pdhg_autograd import Pattern

__all__ = ["columns_of"]


def columns_of(patterns: tuple[Pattern, ...], n: int, device: torch.device) -> Tensor:
    """Of the patterns of P, G and A: the int32 vector `columns` of ``solve_sparse_qp``.

    start [n + 1], row [nnz] and slot [nnz] of the rows of A and G together, and the same of P. By
    torch's sorting alone: nothing waits for the device.
    """
    of_P, of_G, of_A = patterns
    rows, cols = [], []
    before = 0
    for pattern in (of_A, of_G):
        if pattern.crow is not None and pattern.col is not None:
            rows.append(pattern.row_of_entries() + before)
            cols.append(pattern.col)
            before += pattern.rows
    empty = torch.empty(0, dtype=torch.int64, device=device)
    parts = _columns(torch.cat([empty, *rows]), torch.cat([empty, *cols]), n)
    if of_P.crow is not None and of_P.col is not None:
        parts += _columns(of_P.row_of_entries(), of_P.col, n)
    return torch.cat(parts).to(torch.int32)


def _columns(row: Tensor, col: Tensor, n: int) -> list[Tensor]:
    ordered, slot = torch.sort(col, stable=True)
    start = torch.searchsorted(ordered, torch.arange(n + 1, device=col.device))
    return [start, row[slot], slot]
