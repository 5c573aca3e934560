"""Checks of the QP's arguments, for torch tensors and numpy arrays alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["DATA_RANKS", "DEFAULT_MAX_ITER", "check_settings", "check_shapes"]

DEFAULT_MAX_ITER = 100

DATA_RANKS = (2, 1, 2, 1, 2, 1, 1, 1)
"""Core dimensions of P, q, G, h, A, b, lb, ub."""


def check_settings(name: str, eps: float | None, max_iter: int | None) -> None:
    if eps is not None and not (isinstance(eps, (int, float)) and math.isfinite(eps) and eps > 0):
        raise ValueError(f"{name}: eps must be finite and positive, got {eps!r}")
    if max_iter is not None and (
        isinstance(max_iter, bool) or not isinstance(max_iter, int) or max_iter < 1
    ):
        raise ValueError(f"{name}: max_iter must be a positive integer, got {max_iter!r}")


def check_shapes(
    name: str, names: tuple[str, ...], data: tuple[Any, ...]
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The arguments with empty blocks made None, and the batch shape."""
    P, q, G, h, A, b, lb, ub = data
    if q.ndim < 1 or q.shape[-1] < 1:
        raise ValueError(f"{name}: {names[1]} must be [..., n] with n >= 1, got {list(q.shape)}")
    n = q.shape[-1]

    def matrix(arg: str, tensor: Any, rows: str) -> int:
        if tensor is None:
            return 0
        if tensor.ndim < 2 or tensor.shape[-1] != n or (arg == "P" and tensor.shape[-2] != n):
            raise ValueError(
                f"{name}: {arg} must be [..., {rows}, n] with n = {n} entries of {names[1]}, "
                f"got {list(tensor.shape)}"
            )
        return int(tensor.shape[-2])

    def vector(arg: str, tensor: Any, size: int, letter: str, what: str) -> None:
        if tensor is not None and (tensor.ndim < 1 or tensor.shape[-1] != size):
            raise ValueError(
                f"{name}: {arg} must be [..., {letter}] with {letter} = {size} {what}, "
                f"got {list(tensor.shape)}"
            )

    matrix("P", P, "n")
    m, p = matrix("G", G, "m"), matrix("A", A, "p")
    for left, right, a, c in (("G", "h", G, h), ("A", "b", A, b)):
        if (a is None) != (c is None):
            missing, there = (left, right) if a is None else (right, left)
            raise ValueError(f"{name}: {there} is given without {missing}; pass both or neither")
    vector("h", h, m, "m", "rows of G")
    vector("b", b, p, "p", "rows of A")
    vector("lb", lb, n, "n", f"entries of {names[1]}")
    vector("ub", ub, n, "n", f"entries of {names[1]}")
    shapes = {
        arg: tuple(t.shape[: t.ndim - rank])
        for arg, t, rank in zip(names, data, DATA_RANKS, strict=True)
        if t is not None
    }
    try:
        distinct = set(shapes.values()) - {()}
        batch = distinct.pop() if len(distinct) == 1 else np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{arg} {list(shape)}" for arg, shape in shapes.items())
        raise ValueError(f"{name}: batch dimensions don't broadcast: {listed}") from None
    if m == 0:
        G = h = None
    if p == 0:
        A = b = None
    return (P, q, G, h, A, b, lb, ub), batch
