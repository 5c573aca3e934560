"""Spanning trees of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lpgd_native._oracle_graphs import GraphPlan, edge_tensor
from lpgd_native._oracle_ops import check_costs, kernel_device, no_instance, solve
from lpgd_native.oracles.protocol import OracleSolution

__all__ = ["SpanningTree", "spanning_tree"]


class SpanningTree:
    """argmin_x <c, x> over the masks x of spanning trees of an undirected graph that is given once.

    edges: pairs of nodes, [E, 2]; c is [..., E], of any sign, +inf forbids an edge. `nodes`: the
    largest node and one, by default. For the tree of largest weight pass ``-weights``. Kruskal's
    algorithm; of equal costs the first edge comes first. No gradient: `OracleLayer` gives one.

    An item with a NaN or -inf has status NUMERICAL_ERROR, one whose graph is not connected
    PRIMAL_INFEASIBLE; x is zero there.

    Raises:
        TypeError: edges are no pairs of integers.
        ValueError: a node out of range.
    """

    event_dim = 1

    def __init__(self, edges: Sequence[Sequence[int]] | Tensor, nodes: int | None = None) -> None:
        self.edges, self.nodes = edge_tensor("SpanningTree", edges, nodes)
        self._plan = GraphPlan(self.edges.T.contiguous())

    def __repr__(self) -> str:
        return f"SpanningTree({len(self.edges)} edges, {self.nodes} nodes)"

    def solve(self, c: Tensor, *, throw: bool = False, **instance: Any) -> OracleSolution:
        """The trees of least cost."""
        name = "SpanningTree"
        no_instance(name, instance)
        c = check_costs(name, c, 1)
        if c.shape[-1] != len(self.edges):
            raise ValueError(
                f"{name}: costs must be [..., {len(self.edges)}], one an edge, got {list(c.shape)}"
            )
        graph = self._plan.on(kernel_device(c)), self.nodes
        return solve(name, torch.ops.lpgd.oracle_spanning_tree, c, 1, *graph, throw=throw)


def spanning_tree(
    costs: Tensor,
    edges: Sequence[Sequence[int]] | Tensor,
    nodes: int | None = None,
    *,
    throw: bool = False,
) -> OracleSolution:
    """argmin_x <costs, x> over the spanning trees of a graph: `SpanningTree` for one call."""
    return SpanningTree(edges, nodes).solve(costs, throw=throw)
