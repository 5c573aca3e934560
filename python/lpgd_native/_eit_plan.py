"""The symbolic half of the sparse solver: order of elimination, pattern of the factor.

Geometric nested dissection (George 1973): a set of nodes is split at the median of its longer side;
nodes of one half that touch the other are the separator, eliminated after both. On a planar mesh of
n nodes the factor has O(n log n) entries. Electrodes come last, so that voltages need the last
columns of the factor alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["EitPlan", "make_plan"]

Array = NDArray[Any]


class EitPlan(NamedTuple):
    """What ``torch.ops.lpgd.eit_*`` know of a mesh, see csrc/core/eit_types.h.

    Integers are in three tensors, so that their shapes tell all sizes: on a GPU nothing is read.
    """

    coefficients: torch.Tensor  # [cells, 3] float64
    plan: torch.Tensor  # int32: what is not in the other two, one array after the other
    links: torch.Tensor  # [links, 2] int32: pairs of unknowns, by place in the elimination
    factor: torch.Tensor  # [3, entries] int32: row; column and slot, row by row
    cell_link: torch.Tensor  # [cells, 3], a part of the plan
    order: Array  # [unknowns]: the unknown that is eliminated first, ...
    entries: int  # of the factor


def make_plan(cells: Array, coefficients: Array, where: Array, electrodes: Array) -> EitPlan:
    """The plan for cells [C, 3] of unknowns, at `where` [unknowns, 2].

    coefficients [C, 3] are those of the pairs 01, 02, 12 of a cell; electrodes [L] are unknowns.
    """
    count = len(where)
    order = _order(cells, where, electrodes)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    numbered = place[cells]
    pairs = np.stack([numbered[:, [0, 1]], numbered[:, [0, 2]], numbered[:, [1, 2]]], axis=1)
    pairs = np.sort(pairs.reshape(-1, 2), axis=1)  # column, row
    links, cell_link = np.unique(pairs, axis=0, return_inverse=True)
    free = count - 1  # the last electrode is the ground
    inner = links[:, 1] < free
    column, row = _factor_pattern(links[inner], free)
    link_slot = np.full(len(links), -1)
    keys = np.repeat(np.arange(free), np.diff(column)) * count + row
    link_slot[inner] = np.searchsorted(keys, links[inner, 0] * count + links[inner, 1])
    by_row = np.argsort(row, kind="stable")
    row_start = np.searchsorted(row[by_row], np.arange(free + 1))
    row_column = np.repeat(np.arange(free), np.diff(column))[by_row]
    cell_link = cell_link.reshape(-1, 3)
    link_start, link_cell = _grouped(cell_link, len(links))
    node_start, node_end = _grouped(links, count)
    parts = [cell_link, link_slot, link_start, link_cell, node_start, node_end // 2]
    parts += [column, row_start]
    plan = np.concatenate([np.asarray(part).reshape(-1) for part in parts])
    return EitPlan(
        torch.from_numpy(np.ascontiguousarray(coefficients, dtype=np.float64)),
        _integers(plan),
        _integers(links),
        _integers(np.stack([row, row_column, by_row])),
        _integers(cell_link),
        order,
        len(row),
    )


def _integers(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int32))


def _grouped(labels: Array, count: int) -> tuple[Array, Array]:
    """Places of the flattened labels 0, ..., count - 1, label by label, and where each starts."""
    places = np.argsort(labels.reshape(-1), kind="stable")
    return np.searchsorted(labels.reshape(-1)[places], np.arange(count + 1)), places


def _neighbours(cells: Array, count: int) -> tuple[Array, Array]:
    """Neighbours in compressed rows."""
    pairs = np.concatenate([cells[:, [i, j]] for i in range(3) for j in range(3) if i != j])
    pairs = np.unique(pairs, axis=0)
    return np.searchsorted(pairs[:, 0], np.arange(count + 1)), pairs[:, 1]


def _order(cells: Array, where: Array, electrodes: Array) -> Array:
    """Unknowns in the order of elimination."""
    start, neighbour = _neighbours(cells, len(where))
    side = np.zeros(len(where), dtype=np.int64)  # 0: not in the set being split
    out: list[Array] = []  # from the last on

    def split(nodes: Array) -> None:
        if len(nodes) <= 3:
            out.append(nodes)
            return
        at = where[nodes]
        axis = int(np.ptp(at, axis=0).argmax())
        middle = np.argpartition(at[:, axis], len(nodes) // 2)
        low, high = nodes[middle[: len(nodes) // 2]], nodes[middle[len(nodes) // 2 :]]
        side[low], side[high] = 1, 2
        candidates = [
            part[[(side[neighbour[start[i] : start[i + 1]]] == other).any() for i in part]]
            for part, other in ((low, 2), (high, 1))
        ]
        separator = min(candidates, key=len)
        side[nodes] = 0
        out.append(separator)
        split(np.setdiff1d(high, separator))
        split(np.setdiff1d(low, separator))

    split(np.setdiff1d(np.arange(len(where)), electrodes))
    return np.concatenate([*out[::-1], electrodes])


def _factor_pattern(links: Array, count: int) -> tuple[Array, Array]:
    """Columns [count + 1] and rows of the factor; links [.., 2] are (column, row) of the matrix.

    A column has the rows of its own entries and of the columns whose first row it is.
    """
    links = links[np.lexsort((links[:, 1], links[:, 0]))]
    begin = np.searchsorted(links[:, 0], np.arange(count + 1))
    children: list[list[int]] = [[] for _ in range(count)]
    structure: list[Array] = []
    for j in range(count):
        parts = [links[begin[j] : begin[j + 1], 1], *(structure[k][1:] for k in children[j])]
        rows = np.unique(np.concatenate(parts))
        structure.append(rows)
        if len(rows):
            children[rows[0]].append(j)
    column = np.concatenate([[0], np.cumsum([len(rows) for rows in structure])])
    return column, np.concatenate(structure) if structure else np.zeros(0, dtype=np.int64)
