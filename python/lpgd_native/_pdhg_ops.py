"""The raw op ``torch.ops.lpgd.solve_sparse_qp``: shapes for tracing, vmap, autocast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lpgd_native import _native as _native
from lpgd_native._batching import vmap_flattened

__all__ = ["SPARSE_RANKS"]

# core dimensions of the arguments, in schema order; a pattern is no part of the batch
SPARSE_RANKS = (
    *(None, None, 1, 1),  # P and q
    *(None, None, 1, 1),  # G and h
    *(None, None, 1, 1),  # A and b
    *(1, 1, 1),  # lb, ub, rho
    *(1, 1, 1),  # x0, y0, z0
    *(None, None, None),  # columns, eps, max_iter
)


def _fake_solve_sparse_qp(*args: Any) -> tuple[Tensor, ...]:
    q, G_crow, A_crow, lb, ub = args[3], args[4], args[8], args[12], args[13]
    batch = 1
    for tensor, rank in zip(args, SPARSE_RANKS, strict=True):
        if rank == 1 and tensor is not None and tensor.dim() == 2:
            batch = tensor.shape[0]
            break
    n = q.shape[-1]
    sizes = (
        n,
        0 if A_crow is None else A_crow.shape[0] - 1,
        0 if G_crow is None else G_crow.shape[0] - 1,
        0 if lb is None else n,
        0 if ub is None else n,
    )
    counts = [q.new_empty(batch, dtype=torch.int32) for _ in range(2)]
    return (*(q.new_empty(batch, size) for size in sizes), *counts, q.new_empty(batch, 3))


def _vmap_rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
    op = torch.ops.lpgd.solve_sparse_qp
    return vmap_flattened(op, SPARSE_RANKS, info, in_dims, args)


torch.library.register_fake("lpgd::solve_sparse_qp", _fake_solve_sparse_qp)
torch.library.register_vmap("lpgd::solve_sparse_qp", _vmap_rule)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("lpgd::solve_sparse_qp", _device, torch.float32)
