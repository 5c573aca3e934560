"""Patterns of injected currents and measured voltages on a ring of electrodes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["current_patterns", "measurement_pairs"]

Array = NDArray[Any]
NAMES = "adjacent, opposite, skip-k, trigonometric"


def current_patterns(what: str, pattern: str | ArrayLike, count: int) -> Array:
    """[patterns, count], each row summing to zero.

    "adjacent": +1 at electrode k, -1 at k + 1, for every k. "skip-k": the same with k electrodes
    between. "opposite": half the ring apart. "trigonometric": cos(j t), sin(j t) for j = 1, ...,
    count/2, t the electrode's angle; count - 1 rows. Or an array.
    """
    if isinstance(pattern, str):
        return _named(what, pattern, count)
    array = np.ascontiguousarray(pattern, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != count or not len(array):
        raise ValueError(f"EIT: {what} must be [patterns, {count}], got {list(array.shape)}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        i, j = bad[0]
        raise ValueError(f"EIT: {what}[{i}, {j}] = {array[i, j]} is not finite")
    sums = array.sum(axis=1)
    off = np.flatnonzero(np.abs(sums) > 1e-12 * np.abs(array).sum(axis=1))
    if len(off):
        raise ValueError(
            f"EIT: {what}[{off[0]}] sums to {sums[off[0]]:.6g}, a pattern must sum to zero"
        )
    empty = np.flatnonzero(~array.any(axis=1))
    if len(empty):
        raise ValueError(f"EIT: {what}[{empty[0]}] is zero")
    return array


def _named(what: str, name: str, count: int) -> Array:
    if name == "trigonometric":
        angles = 2 * np.pi * np.arange(count) / count
        waves = [f(j * angles) for j in range(1, count // 2 + 1) for f in (np.cos, np.sin)]
        rows = np.stack(waves[: count - 1])  # sin(count/2 t) is zero at the electrodes
        waved: Array = rows - rows.mean(axis=1, keepdims=True)  # rounding
        return waved
    skip = re.fullmatch(r"skip-(\d+)", name)
    if name == "adjacent":
        apart = 1
    elif name == "opposite":
        if count % 2:
            raise ValueError(f"EIT: {what} = 'opposite' needs an even number of electrodes")
        apart = count // 2
    elif skip:
        apart = int(skip[1]) + 1
        if apart >= count:
            raise ValueError(f"EIT: {what} = {name!r} skips all of {count} electrodes")
    else:
        raise ValueError(f"EIT: {what} must be an array or one of {NAMES}, got {name!r}")
    rows = np.zeros((count, count))
    k = np.arange(count)
    rows[k, k], rows[k, (k + apart) % count] = 1.0, -1.0
    return rows


def measurement_pairs(drive: Array, measure: Array, drop_driven: bool, keep: Any) -> Array:
    """[m, 2]: drive and measurement of each voltage, drive by drive."""
    wanted = np.ones((len(drive), len(measure)), dtype=bool)
    if keep is not None:
        wanted = np.asarray(keep)
        if wanted.shape != (len(drive), len(measure)) or wanted.dtype != bool:
            raise ValueError(
                f"EIT: keep must be booleans [{len(drive)}, {len(measure)}], "
                f"got {wanted.dtype} {list(wanted.shape)}"
            )
    if drop_driven:
        wanted = wanted & ~((drive != 0).astype(int) @ (measure != 0).astype(int).T > 0)
    if not wanted.any():
        raise ValueError(
            "EIT: no measurement is left; drop_driven=False keeps those at driven electrodes"
        )
    pairs: Array = np.ascontiguousarray(np.argwhere(wanted), dtype=np.int32)
    return pairs
