"""Linear programs from tensors to HiGHS's form, and its answers back in ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpgd_native._highs import Answer, Program
from lpgd_native.status import Status

__all__ = ["numbers", "point_of", "program_of", "residuals_of"]

_Data = Sequence[Tensor | None]

_INFINITE = {torch.float64: 1e20, torch.float32: 1e9}


def numbers(t: Tensor) -> np.ndarray:
    return t.detach().to("cpu", torch.float64).numpy()


def _bound(t: Tensor | None, infinite: float, missing: np.ndarray) -> np.ndarray:
    if t is None:
        return missing
    value = numbers(t)
    out: np.ndarray = np.where(np.abs(value) >= infinite, np.copysign(np.inf, value), value)
    return out


def _together(parts: list[np.ndarray], rank: int) -> np.ndarray:
    """Concatenated along the rows; what is shared is repeated only beside what is not."""
    batches = {part.shape[0] for part in parts if part.ndim > rank}
    if batches:
        (batch,) = batches
        parts = [
            part if part.ndim > rank else np.broadcast_to(part, (batch, *part.shape))
            for part in parts
        ]
    out: np.ndarray = np.concatenate(parts, axis=-rank)
    return out


def program_of(
    data: _Data,
    batch: int,
    integral: Sequence[int],
    incumbent: bool = False,
    options: tuple[tuple[str, Any], ...] = (),
) -> Program:
    """Rows are those of A, then those of G."""
    _, q, G, h, A, b, lb, ub = data
    assert q is not None
    n, infinite = q.shape[-1], _INFINITE[q.dtype]
    cost = numbers(q)
    cost = np.broadcast_to(cost, (batch, n)) if cost.ndim == 1 else cost
    none, free = np.zeros((0, n)), np.full(n, np.inf)
    empty = np.zeros(0)
    right = empty if b is None else numbers(b)
    above = _bound(h, infinite, empty)
    return Program(
        np.ascontiguousarray(cost),
        _together([none if t is None else numbers(t) for t in (A, G)], 2),
        _together([right, np.full(above.shape[-1], -np.inf)], 1),
        _together([right, above], 1),
        _bound(lb, infinite, -free),
        _bound(ub, infinite, free),
        tuple(integral),
        incumbent,
        options,
    )


def point_of(answer: Answer, p: int, lb: bool, ub: bool) -> tuple[np.ndarray, ...]:
    """x, y, z, z_lb, z_ub in our signs."""
    none = np.zeros((len(answer.x), 0))
    row, col = answer.row_dual, answer.col_dual
    return (
        answer.x,
        -row[:, :p],
        np.maximum(-row[:, p:], 0.0),
        np.maximum(col, 0.0) if lb else none,
        np.maximum(-col, 0.0) if ub else none,
    )


def _sum_product(bound: np.ndarray, dual: np.ndarray) -> np.ndarray:
    """Their product per item; rows that are off have no multiplier."""
    product: np.ndarray = np.where(np.isfinite(bound), bound, 0.0) * dual
    total: np.ndarray = product.sum(-1)
    return total


def residuals_of(program: Program, answer: Answer) -> np.ndarray:
    """[B, 3] as measured: violation, dual residual, gap. Of integer programs: violation, 0, gap."""
    x = answer.x
    values = (program.matrix @ x[..., None])[..., 0] if program.matrix.size else x[:, :0]
    violation = np.concatenate(
        [
            program.row_lower - values,
            values - program.row_upper,
            program.col_lower - x,
            x - program.col_upper,
        ],
        axis=-1,
    ).max(-1, initial=0.0)
    if program.integral:
        dual, gap = np.zeros(len(x)), answer.gap
    else:
        row, col = answer.row_dual, answer.col_dual
        pulled = (np.swapaxes(program.matrix, -1, -2) @ row[..., None])[..., 0]
        dual = np.abs(program.cost - pulled - col).max(-1)
        lower, upper = np.maximum(row, 0.0), np.minimum(row, 0.0)
        bound = _sum_product(program.row_lower, lower) + _sum_product(program.row_upper, upper)
        lower, upper = np.maximum(col, 0.0), np.minimum(col, 0.0)
        bound += _sum_product(program.col_lower, lower) + _sum_product(program.col_upper, upper)
        gap = np.abs((program.cost * x).sum(-1) - bound)
    out: np.ndarray = np.stack([violation, dual, gap], -1)
    there = np.isin(answer.status, (Status.OK, Status.MAX_ITERATIONS))
    out[~there] = np.inf
    return out
