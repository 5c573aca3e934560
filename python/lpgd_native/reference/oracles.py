"""The combinatorial oracles by enumeration: every x of the set is listed, the best one is taken.

Small problems alone. Of equally good x the first in the list is returned, which need not be the one
that the native oracle finds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Edges = Sequence[tuple[int, int]]


def best_of(costs: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """The x [..., *shape] among vertices [V, *shape], and <costs, x>: inf where none is allowed."""
    dims = tuple(range(-(vertices.dim() - 1), 0))
    c = costs.unsqueeze(-vertices.dim())
    terms = torch.where(vertices != 0, c * vertices, torch.zeros_like(c))
    values, at = terms.to(torch.float64).sum(dims).min(-1)
    return vertices[at], values


def _stack(masks: Iterable[Tensor], like: Tensor) -> Tensor:
    found = list(masks)
    return torch.stack(found) if found else like.new_zeros(0, *like.shape)


def _mask(places: Iterable[int], size: int) -> Tensor:
    out = torch.zeros(size, dtype=torch.float64)
    out[list(places)] = 1.0
    return out


def assignments(n: int, m: int) -> Tensor:
    """Every way to give the rows of [n, m] columns of their own; the columns rows, where n > m."""
    if n > m:
        return assignments(m, n).mT
    eye = torch.eye(m, dtype=torch.float64)
    return torch.stack([eye[list(p)] for p in itertools.permutations(range(m), n)])


def grid_paths(
    height: int, width: int, neighbours: int, source: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Every path without a cell twice."""
    steps = [s for s in itertools.product((-1, 0, 1), repeat=2) if s != (0, 0)]
    steps = [s for s in steps if neighbours == 8 or 0 in s]
    found, open_paths = [], [[source]]
    while open_paths:
        path = open_paths.pop()
        if path[-1] == target:
            found.append(_mask((i * width + j for i, j in path), height * width))
            continue
        near = [(path[-1][0] + a, path[-1][1] + b) for a, b in steps]
        open_paths += [
            [*path, c] for c in near
            if 0 <= c[0] < height and 0 <= c[1] < width and c not in path
        ]  # fmt: skip
    return torch.stack(found).reshape(-1, height, width)


def dag_paths(edges: Edges, source: int, target: int) -> Tensor:
    """Every path along directed edges, as masks of these."""
    found, open_paths = [], [(source, [])]  # type: ignore[var-annotated]
    while open_paths:
        at, used = open_paths.pop()
        if at == target:
            found.append(_mask(used, len(edges)))
            continue
        open_paths += [(h, [*used, k]) for k, (t, h) in enumerate(edges) if t == at]
    return _stack(found, torch.zeros(len(edges), dtype=torch.float64))


def subsets(n: int, k: int) -> Tensor:
    """Every choice of k among n."""
    return torch.stack([_mask(s, n) for s in itertools.combinations(range(n), k)])


def permutations(values: Tensor) -> Tensor:
    """Every order of the values."""
    places = torch.tensor(list(itertools.permutations(range(len(values)))))
    return values[places]


def packings(weights: Tensor, capacity: Tensor) -> Tensor:
    """Every choice whose weights [d, n] stay within the capacity [d]."""
    n = weights.shape[-1]
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)
    return every[(every @ weights.to(torch.float64).T <= capacity).all(-1)]


def spanning_trees(edges: Edges, nodes: int) -> Tensor:
    """Every choice of nodes - 1 edges that joins all nodes."""

    def joins(chosen: Iterable[int]) -> bool:
        part = list(range(nodes))
        for k in chosen:
            a, b = (part[node] for node in edges[k])
            part = [a if p == b else p for p in part]
        return len(set(part)) == 1

    choices = itertools.combinations(range(len(edges)), nodes - 1)
    masks = (_mask(chosen, len(edges)) for chosen in choices if joins(chosen))
    return _stack(masks, torch.zeros(len(edges), dtype=torch.float64))


def alignments(n: int, m: int, window: int | None = None) -> Tensor:
    """Every monotone path from the first to the last pair."""
    found, open_paths = [], [[(0, 0)]]
    while open_paths:
        path = open_paths.pop()
        i, j = path[-1]
        if (i, j) == (n - 1, m - 1):
            found.append(_mask((a * m + b for a, b in path), n * m).reshape(n, m))
            continue
        for a, b in ((i + 1, j + 1), (i + 1, j), (i, j + 1)):
            if a < n and b < m and (window is None or abs(a - b) <= window):
                open_paths.append([*path, (a, b)])
    return _stack(found, torch.zeros(n, m, dtype=torch.float64))
