"""A cone program of cvxpy with linear cones alone, as the blocks of our QP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpgd_native.cvxpy._affine import Affine
from lpgd_native.qp import QPSolution

__all__ = ["BLOCKS", "Entries", "Program", "entries_of"]

BLOCKS = ("P", "q", "G", "h", "A", "b", "lb", "ub")


@dataclass(frozen=True)
class Entries:
    """A matrix in triplets, whose values are affine in a parameter vector.

    Entry k is at (row_k, column_k); its value is the sum of coef over the terms of entry k, each
    times the parameter numbered by the term, or times 1 where that number is `parameters`.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    entry: NDArray[np.int64]
    parameter: NDArray[np.int64]
    coef: NDArray[np.float64]
    shape: tuple[int, int]
    parameters: int


def entries_of(reduced: Any, parameters: int, shape: tuple[int, int]) -> Entries:
    """Entries of cvxpy's map from parameters to the values of a matrix in compressed columns."""
    if reduced.reduced_mat is None or reduced.problem_data_index is None:
        none = np.zeros(0, np.int64)
        return Entries(none, none, none, none, np.zeros(0), shape, parameters)
    row, starts, size = reduced.problem_data_index
    column = np.repeat(np.arange(size[1]), np.diff(starts))
    terms = reduced.reduced_mat.tocoo()
    keep = terms.data != 0
    return Entries(
        np.asarray(row, np.int64),
        column.astype(np.int64),
        terms.row[keep].astype(np.int64),
        terms.col[keep].astype(np.int64),
        terms.data[keep].astype(np.float64),
        (int(size[0]), int(size[1])),
        parameters,
    )


@dataclass(frozen=True)
class Program:
    """min 1/2 x'Px + q'x with rows ``C x + d``: first `zero` of them = 0, then `nonneg` >= 0.

    A nonnegative row with one variable, whose coefficient no parameter moves, is a bound; the first
    such row of each side of a variable. So G and h have the rest.

    Attributes:
        blocks: the arguments of `solve_qp`, affine in the parameters; None where absent.
        n: number of variables.
        dual_index, dual_factor: for the rows in their order, where their multiplier is in the
            concatenation of y, z, z_lb, z_ub, and the factor it is to be taken by.
    """

    blocks: dict[str, Affine | None]
    n: int
    dual_index: NDArray[np.int64]
    dual_factor: NDArray[np.float64]

    def row_duals(self, found: QPSolution) -> Tensor:
        """Multipliers of the rows, [..., zero + nonneg], in their order."""
        parts = torch.cat([found.y, found.z, found.z_lb, found.z_ub], -1)
        index = torch.from_numpy(self.dual_index).to(parts.device)
        factor = torch.from_numpy(self.dual_factor).to(parts.device, parts.dtype)
        return parts.index_select(-1, index) * factor

    @staticmethod
    def of(P: Entries, q: Entries, rows: Entries, n: int, zero: int, nonneg: int) -> Program:
        """The program of three maps; the last column of `rows` is d, q is one column."""
        bound, side, scale = _bounds(rows, n, zero, nonneg)
        lower, upper = bound & (side > 0), bound & (side < 0)
        is_zero = np.arange(zero + nonneg) < zero
        rest = ~is_zero & ~bound
        variable = _variable_of(rows, n, zero + nonneg)
        blocks: dict[str, Affine | None] = dict.fromkeys(BLOCKS)
        if P.entry.size:
            blocks["P"] = _matrix(P, np.arange(n), n, 1.0)
        blocks["q"] = _vector(q, np.arange(n), np.ones(n), n, 0.0, column=0)
        for names, kind in ((("A", "b"), is_zero), (("G", "h"), rest)):
            count = int(kind.sum())
            if count:
                to = np.where(kind, np.cumsum(kind) - 1, -1)
                blocks[names[0]] = _matrix(rows, to, count, -1.0, columns=n)
                blocks[names[1]] = _vector(rows, to, np.ones(len(to)), count, 0.0, column=n)
        for name, kind, infinite in (("lb", lower, -np.inf), ("ub", upper, np.inf)):
            if kind.any():
                to = np.where(kind, variable, -1)
                blocks[name] = _vector(rows, to, -1.0 / scale, n, infinite, column=n)
        place = np.zeros(zero + nonneg, np.int64)
        count = int(rest.sum())
        place[:zero] = np.arange(zero)
        place[rest] = zero + np.arange(count)
        place[lower] = zero + count + variable[lower]
        place[upper] = zero + count + n + variable[upper]
        factor = np.where(bound, 1.0 / np.abs(scale), 1.0)
        return Program(blocks, n, place, factor)


def _variable_of(rows: Entries, n: int, count: int) -> NDArray[np.int64]:
    """The last variable with an entry in each row."""
    out = np.zeros(count, np.int64)
    inside = rows.column < n
    out[rows.row[inside]] = rows.column[inside]
    return out


def _bounds(
    rows: Entries, n: int, zero: int, nonneg: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Which rows are bounds, with the sign and the value of their coefficient (1 elsewhere)."""
    count = zero + nonneg
    inside = rows.column < n
    entries = np.bincount(rows.row[inside], minlength=count)
    moved = np.zeros(count, bool)  # rows with a coefficient that a parameter moves
    term_row, term_inside = rows.row[rows.entry], inside[rows.entry]
    free = term_inside & (rows.parameter < rows.parameters)
    moved[term_row[free]] = True
    scale = np.zeros(count)
    fixed = term_inside & ~free
    np.add.at(scale, term_row[fixed], rows.coef[fixed])
    bound = (entries == 1) & ~moved & (scale != 0) & (np.arange(count) >= zero)
    variable = _variable_of(rows, n, count)
    for sign in (1, -1):  # of several rows on one side of a variable the first is its bound
        kind = np.flatnonzero(bound & (np.sign(scale) == sign))
        _, first = np.unique(variable[kind], return_index=True)
        again = np.setdiff1d(np.arange(kind.size), first)
        bound[kind[again]] = False
    return bound, np.sign(scale), np.where(bound, scale, 1.0)


def _affine(
    entries: Entries,
    kept: NDArray[np.bool_],
    position: NDArray[np.int64],
    factor: NDArray[np.float64],
    shape: tuple[int, ...],
    fill: float,
) -> Affine:
    """Of the terms whose entries are kept; `position` and `factor` are of entries."""
    term = kept[entries.entry]
    at, parameter = position[entries.entry[term]], entries.parameter[term]
    coef = entries.coef[term] * factor[entries.entry[term]]
    base = np.full(int(np.prod(shape)), fill)
    base[position[kept]] = 0.0
    fixed = parameter == entries.parameters
    np.add.at(base, at[fixed], coef[fixed])
    return Affine(shape, base, at[~fixed], parameter[~fixed], coef[~fixed], entries.parameters)


def _matrix(
    entries: Entries, to: NDArray[np.int64], count: int, sign: float, columns: int | None = None
) -> Affine:
    """Rows moved to the rows `to` (-1: left out) of a matrix of `count` rows, times `sign`."""
    columns = entries.shape[1] if columns is None else columns
    row = to[entries.row]
    kept = (row >= 0) & (entries.column < columns)
    position = np.where(kept, row * columns + entries.column, 0)
    factor = np.full(len(row), sign)
    return _affine(entries, kept, position, factor, (count, columns), 0.0)


def _vector(
    entries: Entries,
    to: NDArray[np.int64],
    scale: NDArray[np.float64],
    count: int,
    fill: float,
    column: int,
) -> Affine:
    """One column, its rows moved to `to` (-1: left out) and taken by `scale`."""
    position = to[entries.row]
    kept = (position >= 0) & (entries.column == column)
    out = _affine(entries, kept, position, scale[entries.row], (count,), fill)
    # a row without an entry there has the value zero
    rows = to[to >= 0]
    out.base[rows] = np.where(np.isinf(out.base[rows]), 0.0, out.base[rows])
    return out
