"""The solution that a solve is given to begin from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from lpgd_native.qp import QPSolution

__all__ = ["start_of"]


def start_of(
    name: str, warm_start: QPSolution, data: tuple[Tensor | None, ...], batch: tuple[int, ...]
) -> tuple[Tensor | None, ...]:
    """x, y, z, z_lb, z_ub of a given solution, [prod(batch), ...] and without history."""
    _, q, G, _, A, _, lb, ub = data
    assert q is not None
    n, items = q.shape[-1], math.prod(batch)
    p, m = (0 if t is None else t.shape[-2] for t in (A, G))
    sizes = {"x": n, "y": p, "z": m, "z_lb": n, "z_ub": n}
    out: list[Tensor | None] = []
    for part, size in sizes.items():
        tensor = getattr(warm_start, part, None)
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name}: warm_start must be a QPSolution, got {type(warm_start).__name__}"
            )
        if tensor.dtype != q.dtype or tensor.device != q.device:
            raise TypeError(
                f"{name}: warm_start.{part} must be {q.dtype} on {q.device}, as the problem, "
                f"got {tensor.dtype} on {tensor.device}"
            )
        try:
            rows = tensor.detach().expand(*batch, size)
        except RuntimeError:
            raise ValueError(
                f"{name}: warm_start.{part} must be {[*batch, size]} or broadcast to it, "
                f"got {list(tensor.shape)}"
            ) from None
        absent = (part == "z_lb" and lb is None) or (part == "z_ub" and ub is None)
        out.append(rows[..., :0].reshape(items, 0) if absent else rows.reshape(items, size))
    return tuple(None if t is None else t.contiguous() for t in out)
