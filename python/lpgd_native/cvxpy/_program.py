"""A cone program of cvxpy with linear cones alone, as the blocks of our QP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpgd_native.cvxpy._affine import Affine
from lpgd_native.qp import QPSolution

__all__ = ["BLOCKS", "PARTS", "Entries", "Program", "entries_of", "expanded"]

BLOCKS = ("P", "q", "G", "h", "A", "b", "lb", "ub")
PARTS = (*BLOCKS, "M", "m", "p", "r")

_Tensors = dict[str, Tensor | None]


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


def expanded(found: QPSolution, batch: tuple[int, ...]) -> QPSolution:
    """A solution that nothing batched had a part in, for each item of the batch."""
    if tuple(found.status.shape) == batch:
        return found
    parts = (t.expand(*batch, t.shape[-1]) for t in found[:5])
    facts = (t.expand(batch) for t in found[5:])
    return QPSolution(*parts, *facts)


@dataclass(frozen=True)
class Program:
    """min 1/2 x'Px + q'x with rows ``C x + d``: first `zero` of them = 0, then `nonneg` >= 0.

    A nonnegative row with one variable, whose coefficient no parameter moves, is a bound; the first
    such row of each side of a variable. So G and h have the rest.

    cvxpy writes ``sum_squares(F x - g)`` with variables t of their own, ``t = F x - g``. Variables
    such as these, in one equality alone with a coefficient that does not move, and by themselves in
    the objective, are put in: P and q gain ``M' diag(p) M`` and ``M' (p m + r)`` of
    ``t = M x + m`` with objective ``1/2 sum p t^2 + r t``.

    Attributes:
        parts: the arguments of `solve_qp` over the variables kept, and M, m, p, r, all affine in
            the parameters; None where absent.
        order: for every variable, its place in the concatenation of the kept and the others.
        dual_index, dual_factor: for the rows in their order, where their multiplier is in the
            concatenation of y, z, z_lb, z_ub and the multipliers of the rows put in, and the
            factor it is to be taken by.
        scale: the coefficients of the variables put in.
    """

    parts: dict[str, Affine | None]
    order: NDArray[np.int64]
    dual_index: NDArray[np.int64]
    dual_factor: NDArray[np.float64]
    scale: NDArray[np.float64]

    def assemble(self, parts: _Tensors) -> _Tensors:
        """The arguments of `solve_qp` from the values of the parts."""
        blocks = {name: parts[name] for name in BLOCKS}
        M, m, p, r = (parts[name] for name in ("M", "m", "p", "r"))
        if M is None:
            return blocks
        assert m is not None
        weighted = None if p is None else p * m
        pull = r if weighted is None else weighted if r is None else weighted + r
        if p is not None:
            square = M.mT @ (p.unsqueeze(-1) * M)
            P = blocks["P"]
            blocks["P"] = square if P is None else P + square
        if pull is not None:
            q = blocks["q"]
            assert q is not None
            blocks["q"] = q + _times(M.mT, pull)
        return blocks

    def primal(self, found: QPSolution, parts: _Tensors) -> Tensor:
        """All variables, [..., n]."""
        given = self._put_in(found, parts)
        if given is None:
            return found.x
        order = torch.from_numpy(self.order).to(given.device)
        return torch.cat([found.x, given], -1).index_select(-1, order)

    def duals(self, found: QPSolution, parts: _Tensors) -> Tensor:
        """The multipliers of all rows, [..., zero + nonneg]."""
        given = self._put_in(found, parts)
        duals = [found.y, found.z, found.z_lb, found.z_ub]
        if given is not None:  # the objective's derivative in them is all that pulls at their rows
            p, r = parts["p"], parts["r"]
            force = torch.zeros_like(given) if p is None else p * given
            force = force if r is None else force + r
            duals.append(force / torch.from_numpy(self.scale).to(given.device, given.dtype))
        index = torch.from_numpy(self.dual_index).to(found.x.device)
        factor = torch.from_numpy(self.dual_factor).to(found.x.device, found.x.dtype)
        return torch.cat(duals, -1).index_select(-1, index) * factor

    @staticmethod
    def _put_in(found: QPSolution, parts: _Tensors) -> Tensor | None:
        """The variables put in, t = M x + m."""
        M, m = parts["M"], parts["m"]
        return None if M is None or m is None else _times(M, found.x) + m

    @staticmethod
    def of(P: Entries, q: Entries, rows: Entries, n: int, zero: int, nonneg: int) -> Program:
        """The program of three maps; the last column of `rows` is d, q is one column."""
        count = zero + nonneg
        moved, value = _coefficients(rows, n)
        bound, scale = _bounds(rows, n, zero, count, moved, value)
        lower, upper = bound & (scale > 0), bound & (scale < 0)
        out, source = _to_put_in(P, rows, n, zero, moved, value)
        kept = np.setdiff1d(np.arange(n), out)
        place = np.full(n + 1, -1)  # of a kept variable, and of the constant
        place[kept], place[n] = np.arange(kept.size), kept.size
        number = np.full(n, -1)  # of a variable put in
        number[out] = np.arange(out.size)
        coef = np.ones(count)
        coef[source] = value[_entry_at(rows, source, out)]
        is_zero = np.arange(count) < zero
        is_zero[source] = False
        rest = (np.arange(count) >= zero) & ~bound
        variable = np.zeros(count, np.int64)
        inside = rows.column < n
        variable[rows.row[inside]] = rows.column[inside]

        parts: dict[str, Affine | None] = dict.fromkeys(PARTS)
        size = kept.size
        if (place[P.column] >= 0).any():
            parts["P"] = _matrix(P, place[:n], place, (size, size), np.ones(n))
        parts["q"] = _vector(q, place[:n], np.ones(n), size, 0.0, column=0)
        ones = np.ones(count)
        for (matrix, vector), kind in ((("A", "b"), is_zero), (("G", "h"), rest)):
            to = np.where(kind, np.cumsum(kind) - 1, -1)
            if kind.any():
                parts[matrix] = _matrix(rows, to, place, (int(kind.sum()), size), -ones)
                parts[vector] = _vector(rows, to, ones, int(kind.sum()), 0.0, column=n)
        for name, kind, infinite in (("lb", lower, -np.inf), ("ub", upper, np.inf)):
            if kind.any():
                to = np.where(kind, place[variable], -1)
                parts[name] = _vector(rows, to, -1.0 / scale, size, infinite, column=n)
        if out.size:
            to = np.full(count, -1)
            to[source] = np.arange(out.size)
            parts["M"] = _matrix(rows, to, place, (out.size, size), -1.0 / coef)
            parts["m"] = _vector(rows, to, -1.0 / coef, out.size, 0.0, column=n)
            diagonal = replace(P, column=np.where(P.row == P.column, 0, 1))
            for name, entries in (("p", diagonal), ("r", q)):
                made = _vector(entries, number, np.ones(n), out.size, 0.0, column=0)
                if not made.constant or made.base.any():
                    parts[name] = made

        ends = np.cumsum([int(is_zero.sum()), int(rest.sum()), size, size])
        index = np.zeros(count, np.int64)
        index[is_zero] = np.arange(ends[0])
        index[rest] = ends[0] + np.arange(int(rest.sum()))
        index[lower] = ends[1] + place[variable[lower]]
        index[upper] = ends[2] + place[variable[upper]]
        index[source] = ends[3] + np.arange(out.size)
        factor = np.where(bound, 1.0 / np.abs(scale), 1.0)
        order = np.where(number >= 0, size + number, place[:n])
        return Program(parts, order, index, factor, coef[source])


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """A matrix [..., k, n] and a vector [..., n]; one product where the matrix has no batch."""
    if matrix.dim() == 2:
        return vector @ matrix.mT
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _coefficients(rows: Entries, n: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """For each entry: does a parameter move it, and its constant part."""
    size = rows.row.size
    free = rows.parameter < rows.parameters
    moved = np.zeros(size, bool)
    moved[rows.entry[free]] = True
    value = np.zeros(size)
    np.add.at(value, rows.entry[~free], rows.coef[~free])
    return moved, value


def _entry_at(
    rows: Entries, row: NDArray[np.int64], column: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Numbers of the entries at these places."""
    keys = rows.row * rows.shape[1] + rows.column
    order = np.argsort(keys)
    found: NDArray[np.int64] = order[
        np.searchsorted(keys, row * rows.shape[1] + column, sorter=order)
    ]
    return found


def _bounds(
    rows: Entries,
    n: int,
    zero: int,
    count: int,
    moved: NDArray[np.bool_],
    value: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which rows are bounds, and their coefficients (1 elsewhere)."""
    inside = rows.column < n
    lone = (np.bincount(rows.row[inside], minlength=count) == 1) & (np.arange(count) >= zero)
    bound, scale, variable = np.zeros(count, bool), np.ones(count), np.zeros(count, np.int64)
    good = inside & lone[rows.row] & ~moved & (value != 0)
    bound[rows.row[good]] = True
    scale[rows.row[good]] = value[good]
    variable[rows.row[good]] = rows.column[good]
    for sign in (1, -1):  # of several rows on one side of a variable the first is its bound
        kind = np.flatnonzero(bound & (np.sign(scale) == sign))
        _, first = np.unique(variable[kind], return_index=True)
        bound[np.delete(kind, first)] = False
    return bound, np.where(bound, scale, 1.0)


def _to_put_in(
    P: Entries,
    rows: Entries,
    n: int,
    zero: int,
    moved: NDArray[np.bool_],
    value: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Variables to put in, and the equality that gives each of them."""
    inside = rows.column < n
    alone = np.bincount(rows.column[inside], minlength=n) == 1  # in one row
    coupled = P.row != P.column
    alone[P.row[coupled]] = alone[P.column[coupled]] = False
    several = np.bincount(rows.row[inside], minlength=rows.shape[0]) > 1  # something to put in
    good = inside & (rows.row < zero) & ~moved & (np.abs(value) > 1e-6)
    good &= alone[np.where(inside, rows.column, 0)] & several[rows.row]
    candidates = np.flatnonzero(good)
    _, first = np.unique(rows.row[candidates], return_index=True)  # one of a row
    chosen = candidates[first]
    return rows.column[chosen], rows.row[chosen]


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
    entries: Entries,
    to: NDArray[np.int64],
    place: NDArray[np.int64],
    shape: tuple[int, int],
    factor: NDArray[np.float64],
) -> Affine:
    """Rows moved to the rows `to` and columns to `place` (-1: left out), rows taken by `factor`."""
    row, column = to[entries.row], place[entries.column]
    kept = (row >= 0) & (column >= 0) & (column < shape[1])
    position = np.where(kept, row * shape[1] + column, 0)
    return _affine(entries, kept, position, factor[entries.row], shape, 0.0)


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
