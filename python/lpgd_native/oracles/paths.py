"""Shortest paths: over the cells of a grid, and along the edges of an acyclic graph."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lpgd_native._oracle_graphs import GraphPlan, edge_tensor, node
from lpgd_native._oracle_ops import check_costs, kernel_device, no_instance, solve
from lpgd_native.oracles.protocol import OracleSolution

__all__ = [
    "DagShortestPath",
    "GridShortestPath",
    "dag_shortest_path",
    "grid_edges",
    "grid_shortest_path",
]


def _cell(name: str, arg: str, at: Any, height: int, width: int) -> int:
    if not isinstance(at, (tuple, list)) or len(at) != 2 or not all(type(k) is int for k in at):
        raise TypeError(f"{name}: {arg} must be a pair (row, column) of ints, got {at!r}")
    row, column = int(at[0]), int(at[1])
    if not (-height <= row < height and -width <= column < width):
        raise ValueError(f"{name}: {arg} = {(row, column)} is outside the grid [{height}, {width}]")
    return (row % height) * width + column % width


def grid_shortest_path(
    costs: Tensor,
    *,
    neighbours: int = 8,
    source: tuple[int, int] = (0, 0),
    target: tuple[int, int] = (-1, -1),
    clamp: bool = False,
    throw: bool = False,
) -> OracleSolution:
    """argmin_x <costs, x> over the masks x of paths from `source` to `target` on a grid.

    costs: [..., height, width], what it costs to be on a cell, both ends included (the convention
    of the Warcraft maps of Vlastelica et al. 2020); zero or more, +inf is a wall. `neighbours`: 4,
    or 8 with the diagonals. Cells may be counted from the end, as (-1, -1).

    clamp: search with max(costs, 0), as Vlastelica et al. do with perturbed costs, which a strategy
    can move below zero; the objective is still that of the costs. By default such items fail.

    Dijkstra's algorithm, in float64 inside. Which of equally short paths is returned depends on the
    costs of the item alone. No gradient: `OracleLayer` gives one.

    An item with a negative cost or a NaN has status NUMERICAL_ERROR, one whose target is walled off
    PRIMAL_INFEASIBLE; x is zero there. `throw` raises `SolverError` instead.

    Raises:
        TypeError: costs is not a dense floating-point tensor; source or target is not a pair.
        ValueError: a shape or a cell that does not fit.
    """
    name = "grid_shortest_path"
    costs = check_costs(name, costs, 2)
    if neighbours not in (4, 8):
        raise ValueError(f"{name}: neighbours must be 4 or 8, got {neighbours!r}")
    height, width = costs.shape[-2:]
    if height < 1 or width < 1:
        raise ValueError(f"{name}: costs must have rows and columns, got {list(costs.shape)}")
    start = _cell(name, "source", source, height, width)
    end = _cell(name, "target", target, height, width)
    op = torch.ops.lpgd.oracle_grid_path
    if not clamp:
        return solve(name, op, costs, 2, start, end, neighbours == 8, throw=throw)
    raised = torch.where((costs < 0) & (costs > -torch.inf), 0.0, costs)
    found = solve(name, op, raised, 2, start, end, neighbours == 8, throw=throw)
    value = torch.where(found.x != 0, costs, 0.0).sum((-2, -1)).to(found.objective.dtype)
    return found._replace(objective=torch.where(found.status == 0, value, found.objective))


@dataclass(frozen=True)
class GridShortestPath:
    """argmin_x <c, x> over the masks x of paths on a grid: `grid_shortest_path`, as an oracle.

    Args:
        neighbours, source, target, clamp: as in `grid_shortest_path`; costs c are
            [..., height, width].
    """

    neighbours: int = 8
    source: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (-1, -1)
    clamp: bool = False
    event_dim = 2

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The shortest paths."""
        no_instance("GridShortestPath", instance)
        return grid_shortest_path(
            c,
            neighbours=self.neighbours,
            source=self.source,
            target=self.target,
            clamp=self.clamp,
        )


def grid_edges(height: int, width: int) -> list[tuple[int, int]]:
    """The edges to the right and down of a grid of nodes, row by row: first those within a row,
    then those to the next. The order is that of PyEPO's shortest-path model.
    """
    out = []
    for i in range(height):
        first = i * width
        out += [(first + j, first + j + 1) for j in range(width - 1)]
        if i < height - 1:
            out += [(first + j, first + j + width) for j in range(width)]
    return out


def _topological(name: str, edges: Sequence[Sequence[int]], nodes: int) -> list[int]:
    """The places of the edges in a topological order of their tails, lowest node first."""
    leaving: list[list[int]] = [[] for _ in range(nodes)]
    entering = [0] * nodes
    for k, (tail, head) in enumerate(edges):
        leaving[tail].append(k)
        entering[head] += 1
    ready = [v for v in range(nodes) if entering[v] == 0]
    order: list[int] = []
    while ready:
        tail = heapq.heappop(ready)
        for k in leaving[tail]:
            order.append(k)
            head = edges[k][1]
            entering[head] -= 1
            if entering[head] == 0:
                heapq.heappush(ready, head)
    if len(order) < len(edges):
        raise ValueError(f"{name}: edges must not have a cycle")
    return order


class DagShortestPath:
    """argmin_x <c, x> over the masks x of paths from `source` to `target`: the oracle of an acyclic
    directed graph that is given once.

    edges: pairs (tail, head), [E, 2]; c is [..., E], of any sign, +inf closes an edge. `nodes`: the
    largest node and one, by default; `target`: the last node. The order of the nodes is worked out
    here, once; solving is one pass over the edges, O(E), in float64 inside. Of equally short ways
    to a node that along the first edge (by its tail in this order, then by its place) is kept.

    An item with a NaN or -inf has status NUMERICAL_ERROR, one whose target cannot be reached
    PRIMAL_INFEASIBLE; x is zero there. No gradient: `OracleLayer` gives one.

    Raises:
        TypeError: edges are no pairs of integers.
        ValueError: a node out of range, or a cycle.
    """

    event_dim = 1

    def __init__(
        self,
        edges: Sequence[Sequence[int]] | Tensor,
        source: int = 0,
        target: int = -1,
        *,
        nodes: int | None = None,
    ) -> None:
        name = "DagShortestPath"
        self.edges, self.nodes = edge_tensor(name, edges, nodes)
        self.source = node(name, "source", source, self.nodes)
        self.target = node(name, "target", target, self.nodes)
        order = torch.tensor(_topological(name, self.edges.tolist(), self.nodes), dtype=torch.int64)
        self._plan = GraphPlan(torch.stack([*self.edges[order].T, order]).contiguous())

    def __repr__(self) -> str:
        return (
            f"DagShortestPath({len(self.edges)} edges, {self.nodes} nodes, source={self.source}, "
            f"target={self.target})"
        )

    def solve(self, c: Tensor, *, throw: bool = False, **instance: Any) -> OracleSolution:
        """The shortest paths."""
        name = "DagShortestPath"
        no_instance(name, instance)
        c = check_costs(name, c, 1)
        if c.shape[-1] != len(self.edges):
            raise ValueError(
                f"{name}: costs must be [..., {len(self.edges)}], one an edge, got {list(c.shape)}"
            )
        graph = self._plan.on(kernel_device(c)), self.nodes, self.source, self.target
        return solve(name, torch.ops.lpgd.oracle_dag_path, c, 1, *graph, throw=throw)


def dag_shortest_path(
    costs: Tensor,
    edges: Sequence[Sequence[int]] | Tensor,
    source: int = 0,
    target: int = -1,
    *,
    nodes: int | None = None,
    throw: bool = False,
) -> OracleSolution:
    """argmin_x <costs, x> over the paths of an acyclic graph: `DagShortestPath` for one call.

    It sorts the nodes each time; where the graph stays the same, make the object once.
    """
    return DagShortestPath(edges, source, target, nodes=nodes).solve(costs, throw=throw)
