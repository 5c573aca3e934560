"""One table of oracles: every property is tested on all of them.

A case gives the oracle, every x of its set for a small problem, and the optimal value of larger
ones by another package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.sparse import csgraph
from torch import Tensor

from lpgd_native import oracles
from lpgd_native.reference import oracles as twins

Value = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Case:
    name: str
    oracle: Any
    #: of one cost
    shape: tuple[int, ...]
    vertices: Callable[[], Tensor]
    #: costs must not be negative
    nonnegative: bool = False
    #: a cost of +inf forbids
    forbids: bool = True
    #: (oracle, shape, optimal value by another package; inf: there is none)
    larger: tuple[tuple[Any, tuple[int, ...], Value], ...] = ()
    instance: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def by_scipy_assignment(c: np.ndarray) -> float:
    try:
        rows, columns = scipy.optimize.linear_sum_assignment(c)
    except ValueError:  # infeasible
        return np.inf
    return float(c[rows, columns].sum())


def neighbours_of(height: int, width: int, count: int) -> list[tuple[int, int]]:
    """Directed edges between the cells of a grid, by number."""
    steps = [s for s in itertools.product((-1, 0, 1), repeat=2) if s != (0, 0)]
    steps = [s for s in steps if count == 8 or 0 in s]
    return [
        (i * width + j, (i + a) * width + j + b)
        for i, j in itertools.product(range(height), range(width))
        for a, b in steps
        if 0 <= i + a < height and 0 <= j + b < width
    ]


def by_csgraph(neighbours: int) -> Value:
    def value(c: np.ndarray) -> float:
        flat, edges = c.ravel(), np.array(neighbours_of(*c.shape, neighbours))
        edges = edges[np.isfinite(flat[edges[:, 1]])]
        # csgraph takes a stored zero for no edge: all weights are moved up, by too little to matter
        weights = flat[edges[:, 1]] + 1e-13
        graph = scipy.sparse.csr_matrix((weights, tuple(edges.T)), shape=(c.size, c.size))
        return float(csgraph.dijkstra(graph, indices=0)[-1] + flat[0])

    return value


def by_networkx_grid(neighbours: int) -> Value:
    def value(c: np.ndarray) -> float:
        flat, graph = c.ravel(), nx.DiGraph()
        graph.add_nodes_from(range(c.size))
        graph.add_weighted_edges_from(
            (a, b, flat[b]) for a, b in neighbours_of(*c.shape, neighbours) if flat[b] < np.inf
        )
        try:
            return float(nx.dijkstra_path_length(graph, 0, c.size - 1) + flat[0])
        except nx.NetworkXNoPath:
            return np.inf

    return value


def by_bellman_ford(edges: list[tuple[int, int]], source: int, target: int) -> Value:
    def value(c: np.ndarray) -> float:
        graph = nx.MultiDiGraph()
        graph.add_nodes_from((source, target))
        graph.add_weighted_edges_from(
            (a, b, w) for (a, b), w in zip(edges, c, strict=True) if w < np.inf
        )
        try:
            return float(nx.bellman_ford_path_length(graph, source, target))
        except nx.NetworkXNoPath:
            return np.inf

    return value


def by_networkx_tree(edges: list[tuple[int, int]], nodes: int) -> Value:
    def value(c: np.ndarray) -> float:
        graph = nx.MultiGraph()
        graph.add_nodes_from(range(nodes))
        graph.add_weighted_edges_from(
            (a, b, w) for (a, b), w in zip(edges, c, strict=True) if w < np.inf
        )
        if not nx.is_connected(graph):
            return np.inf
        return sum(d["weight"] for *_, d in nx.minimum_spanning_edges(graph, keys=False))

    return value


def by_milp(weights: np.ndarray, capacity: np.ndarray) -> Value:
    def value(c: np.ndarray) -> float:
        finite = np.where(np.isfinite(c), c, 1.0)  # never taken, either way
        found = scipy.optimize.milp(
            finite,
            constraints=scipy.optimize.LinearConstraint(weights, ub=capacity),
            bounds=scipy.optimize.Bounds(0, 1),
            integrality=np.ones(len(c)),
            options={"mip_rel_gap": 0.0},
        )
        return float(finite @ np.round(found.x))

    return value


def by_sorting(k: int) -> Value:
    return lambda c: float(np.sort(c)[:k].sum())


def by_rearrangement(c: np.ndarray) -> float:
    return float(np.sort(c)[::-1] @ np.arange(1.0, len(c) + 1.0))


def by_recursion(c: np.ndarray) -> float:
    total = np.full((c.shape[0] + 1, c.shape[1] + 1), np.inf)
    total[0, 0] = 0.0
    for i, j in np.ndindex(*c.shape):
        before = min(total[i, j], total[i, j + 1], total[i + 1, j])
        total[i + 1, j + 1] = c[i, j] + before
    return float(total[-1, -1])


def random_edges(nodes: int, share: float, seed: int) -> list[tuple[int, int]]:
    """From low to high numbers that a permutation hides, some of them twice."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(nodes)
    pairs = [
        (int(names[a]), int(names[b]))
        for a, b in itertools.combinations(range(nodes), 2)
        if rng.random() < share
    ]
    return pairs + pairs[:2]


RNG = np.random.default_rng(7)
GRID = oracles.grid_edges(5, 5)
DAG = [(3, 1), (0, 3), (0, 1), (1, 4), (3, 4), (0, 4), (1, 2), (2, 4), (0, 1)]
TANGLE = random_edges(30, 0.3, 1)
RING = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3), (0, 1)]
NETWORK = random_edges(25, 0.3, 2)
WHOLE = torch.tensor([[2.0, 3.0, 1.0, 4.0, 2.0, 0.0, 9.0]], dtype=torch.float64)
REAL = torch.from_numpy(RNG.uniform(0.1, 1.0, (2, 7)))
ROOM = torch.tensor([1.3, 1.7], dtype=torch.float64)
PACK = RNG.integers(1, 20, (2, 24)).astype(float), np.array([60.0, 70.0])
SUITCASE = RNG.uniform(1.0, 9.0, (3, 20)), np.array([30.0, 28.0, 33.0])
VALUES = torch.tensor([0.5, -1.0, 4.0, 0.5, 2.0], dtype=torch.float64)


def case_of_assignment(n: int, m: int, *larger: tuple[int, int]) -> Case:
    oracle = oracles.LinearAssignment()
    return Case(
        f"assignment {n}x{m}",
        oracle,
        (n, m),
        lambda: twins.assignments(n, m),
        larger=tuple((oracle, shape, by_scipy_assignment) for shape in larger),
    )


CASES = (
    case_of_assignment(4, 4, (9, 9), (40, 40), (65, 65)),
    case_of_assignment(3, 5, (7, 13), (20, 33)),
    case_of_assignment(5, 2, (13, 7), (33, 20)),
    case_of_assignment(1, 1, (2, 2), (1, 8), (8, 1)),
    Case(
        "grid, 8 neighbours",
        oracles.GridShortestPath(),
        (3, 4),
        lambda: twins.grid_paths(3, 4, 8, (0, 0), (2, 3)),
        nonnegative=True,
        larger=(
            (oracles.GridShortestPath(), (12, 12), by_csgraph(8)),
            (oracles.GridShortestPath(), (7, 30), by_networkx_grid(8)),
        ),
    ),
    Case(
        "grid, 4 neighbours, other ends",
        oracles.GridShortestPath(neighbours=4, source=(2, 1), target=(0, -2)),
        (4, 4),
        lambda: twins.grid_paths(4, 4, 4, (2, 1), (0, 2)),
        nonnegative=True,
        larger=((oracles.GridShortestPath(4), (15, 9), by_csgraph(4)),),
    ),
    Case(
        "grid, clamped",
        oracles.GridShortestPath(clamp=True),
        (3, 3),
        lambda: twins.grid_paths(3, 3, 8, (0, 0), (2, 2)),
        nonnegative=True,
    ),
    Case(
        "path in a DAG",
        oracles.DagShortestPath(DAG, 0, 4),
        (len(DAG),),
        lambda: twins.dag_paths(DAG, 0, 4),
        larger=(
            (oracles.DagShortestPath(GRID), (len(GRID),), by_bellman_ford(GRID, 0, 24)),
            (
                oracles.DagShortestPath(TANGLE, TANGLE[0][0], TANGLE[-3][1], nodes=30),
                (len(TANGLE),),
                by_bellman_ford(TANGLE, TANGLE[0][0], TANGLE[-3][1]),
            ),
        ),
    ),
    Case(
        "top 3 of 7",
        oracles.TopK(3),
        (7,),
        lambda: twins.subsets(7, 3),
        larger=tuple(
            (oracles.TopK(k), (n,), by_sorting(k)) for n, k in ((1, 1), (50, 50), (999, 100))
        ),
    ),
    Case(
        "ranking",
        oracles.Ranking(),
        (5,),
        lambda: twins.permutations(torch.arange(1.0, 6.0, dtype=torch.float64)),
        forbids=False,
        larger=tuple((oracles.Ranking(), (n,), by_rearrangement) for n in (1, 30, 500)),
    ),
    Case(
        "ranking of given values",
        oracles.Ranking(VALUES),
        (5,),
        lambda: twins.permutations(VALUES),
        forbids=False,
    ),
    Case(
        "knapsack, whole weights",
        oracles.Knapsack(WHOLE[0], 6.0),
        (7,),
        lambda: twins.packings(WHOLE, torch.tensor([6.0])),
        larger=((oracles.Knapsack(*map(torch.from_numpy, PACK)), (24,), by_milp(*PACK)),),
    ),
    Case(
        "knapsack, two resources, by branching",
        oracles.Knapsack(REAL, ROOM),
        (7,),
        lambda: twins.packings(REAL, ROOM),
        larger=tuple(
            (
                oracles.Knapsack(*map(torch.from_numpy, data), method="branch"),
                (data[0].shape[1],),
                by_milp(*data),
            )
            for data in (PACK, SUITCASE)
        ),
    ),
    Case(
        "spanning tree",
        oracles.SpanningTree(RING, 4),
        (len(RING),),
        lambda: twins.spanning_trees(RING, 4),
        larger=(
            (
                oracles.SpanningTree(NETWORK, 25),
                (len(NETWORK),),
                by_networkx_tree(NETWORK, 25),
            ),
        ),
    ),
    Case(
        "time warping",
        oracles.TimeWarping(),
        (4, 3),
        lambda: twins.alignments(4, 3),
        larger=((oracles.TimeWarping(), (20, 31), by_recursion),),
    ),
    Case(
        "time warping in a window",
        oracles.TimeWarping(window=1),
        (4, 4),
        lambda: twins.alignments(4, 4, 1),
    ),
)

KINDS = ("normal", "ties", "equal", "huge", "tiny", "forbidden")
"""Of costs; see `draw`."""


def draw(case: Case, kind: str, *lead: int, shape: tuple[int, ...] | None = None) -> Tensor:
    """Costs [*lead, *shape], float64."""
    generator = torch.Generator().manual_seed(len(case.name) + 31 * KINDS.index(kind))
    size = (*lead, *(case.shape if shape is None else shape))
    c = torch.randn(size, dtype=torch.float64, generator=generator)
    if kind == "ties":
        c = c.round()
    elif kind == "equal":
        c = torch.full(size, -1.0, dtype=torch.float64)
    elif kind in ("huge", "tiny"):
        c = c * (1e150 if kind == "huge" else 1e-150)
    if case.nonnegative:
        c = c.abs()
    if kind == "forbidden":
        c[torch.rand(size, generator=generator) < 0.35] = torch.inf
    return c


def kinds_of(case: Case) -> list[str]:
    return [kind for kind in KINDS if case.forbids or kind != "forbidden"]


def scale_of(c: Tensor) -> float:
    """The size of what sums of these costs round to."""
    return float(c[torch.isfinite(c)].abs().sum()) if torch.isfinite(c).any() else 1.0


parametrize = pytest.mark.parametrize("case", CASES, ids=str)
