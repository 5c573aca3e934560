"""The batched QP on numpy arrays: the same kernels, no tensors, no gradients."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lpgd_native._native import _C
from lpgd_native._qp_checks import DATA_RANKS, DEFAULT_MAX_ITER, check_settings, check_shapes

__all__ = ["NumpyQPSolution", "solve_qp_numpy"]

_NAMES = ("P", "q", "G", "h", "A", "b", "lb", "ub")
_SOLVERS: dict[np.dtype[Any], tuple[Callable[..., Any], float]] = {
    np.dtype(np.float64): (_C.solve_qp_float64, 1e-9),
    np.dtype(np.float32): (_C.solve_qp_float32, 1e-4),
}


class NumpyQPSolution(NamedTuple):
    """As `QPSolution`, field by field, in numpy arrays."""

    x: NDArray[Any]
    y: NDArray[Any]
    z: NDArray[Any]
    z_lb: NDArray[Any]
    z_ub: NDArray[Any]
    status: NDArray[np.int32]
    iterations: NDArray[np.int32]
    primal_residual: NDArray[Any]
    dual_residual: NDArray[Any]
    gap: NDArray[Any]


def _bound(bound: Any, q: Any) -> Any:
    """A bound given as one number, for all variables."""
    number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
    if not number or not isinstance(q, np.ndarray) or q.ndim == 0:
        return bound
    return np.full(q.shape[-1], bound, q.dtype)


def _flatten(array: NDArray[Any] | None, rank: int, batch: tuple[int, ...]) -> NDArray[Any] | None:
    if array is None:
        return None
    lead, core = array.shape[: array.ndim - rank], array.shape[array.ndim - rank :]
    if math.prod(lead) == 1:
        return np.ascontiguousarray(array.reshape(core))
    if lead != batch:
        array = np.broadcast_to(array, (*batch, *core))
    return np.ascontiguousarray(array.reshape(math.prod(batch), *core))


def solve_qp_numpy(
    P: NDArray[Any] | None,
    q: NDArray[Any],
    G: NDArray[Any] | None = None,
    h: NDArray[Any] | None = None,
    A: NDArray[Any] | None = None,
    b: NDArray[Any] | None = None,
    lb: NDArray[Any] | float | None = None,
    ub: NDArray[Any] | float | None = None,
    *,
    eps: float | None = None,
    max_iter: int | None = None,
    num_threads: int | None = None,
) -> NumpyQPSolution:
    """argmin_x 1/2 x'Px + q'x  subject to  G x <= h,  A x = b,  lb <= x <= ub, for a batch.

    Shapes, defaults and statuses as in `solve_qp`; arrays are float32 or float64, all of one dtype.

    Args:
        P, q, G, h, A, b: as in `solve_qp`: [..., n, n], [..., n], [..., m, n], [..., m],
            [..., p, n], [..., p]; all but q may be None.
        lb, ub: [..., n], or one number for all variables.
        eps, max_iter: as in `solve_qp`: 1e-9 (float32: 1e-4) and 100.
        num_threads: threads over the batch; default: the number of processors.

    Raises:
        TypeError: an argument that is not an array, or of another dtype.
        ValueError: shapes that don't fit, settings out of range.
    """
    name = "solve_qp_numpy"
    lb, ub = _bound(lb, q), _bound(ub, q)
    given: tuple[Any, ...] = (P, q, G, h, A, b, lb, ub)
    for arg, array in zip(_NAMES, given, strict=True):
        if array is None and arg != "q":
            continue
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: {arg} must be a numpy array, got {type(array).__name__}")
        if array.dtype not in _SOLVERS:
            raise TypeError(f"{name}: {arg} must be float32 or float64, got {array.dtype}")
    for arg, array in zip(_NAMES, given, strict=True):
        if array is not None and array.dtype != q.dtype:
            raise TypeError(f"{name}: {arg} must have the dtype of q, {q.dtype}, got {array.dtype}")
    if num_threads is not None and (not isinstance(num_threads, int) or num_threads < 1):
        raise ValueError(f"{name}: num_threads must be a positive integer, got {num_threads!r}")
    check_settings(name, eps, max_iter)
    data, batch = check_shapes(name, _NAMES, given)
    flat = [_flatten(a, rank, batch) for a, rank in zip(data, DATA_RANKS, strict=True)]
    solver, default_eps = _SOLVERS[q.dtype]
    *point, status, iterations, residuals = solver(
        *flat,
        default_eps if eps is None else eps,
        max_iter or DEFAULT_MAX_ITER,
        min(num_threads or os.cpu_count() or 1, max(1, math.prod(batch))),
    )
    n = q.shape[-1]
    x, y, z, z_lb, z_ub = (part.reshape(*batch, part.shape[-1]) for part in point)
    if lb is None:
        z_lb = np.zeros((*batch, n), q.dtype)
    if ub is None:
        z_ub = np.zeros((*batch, n), q.dtype)
    primal, dual, gap = (residuals[:, k].reshape(batch) for k in range(3))
    return NumpyQPSolution(
        x, y, z, z_lb, z_ub, status.reshape(batch), iterations.reshape(batch), primal, dual, gap
    )
