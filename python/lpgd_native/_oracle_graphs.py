"""Graphs as oracles take them: pairs of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["GraphPlan", "edge_tensor", "node"]


class GraphPlan:
    """What an op is told of a graph, an int64 tensor that has been checked.

    It is copied to a device when a solve there first asks for it, and stays: later solves copy
    nothing and wait for nothing, so that they can be recorded in a CUDA graph.
    """

    def __init__(self, plan: Tensor) -> None:
        self._plan = plan
        self._copies: dict[str, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """The plan on that device."""
        if device.type in ("cpu", "meta"):
            return self._plan
        key = str(device)
        if key in self._copies:
            return self._copies[key]
        copy = self._plan.to(device)
        if type(copy) is Tensor:  # while tracing it may be a stand-in
            self._copies[key] = copy
        return copy

    def __getstate__(self) -> dict[str, Any]:
        return {"_plan": self._plan, "_copies": {}}


_MOST_NODES = 2**31 - 128


def edge_tensor(
    name: str, edges: Sequence[Sequence[int]] | Tensor, nodes: int | None
) -> tuple[Tensor, int]:
    """Edges as an int64 tensor [E, 2] of the CPU, and the number of nodes."""
    if isinstance(edges, Tensor):
        given = edges
    else:
        try:
            given = torch.tensor(edges)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise TypeError(f"{name}: edges must be pairs of integers") from None
    if given.layout != torch.strided or given.device.type == "meta":
        raise TypeError(f"{name}: edges must be a dense tensor with values")
    if given.numel() == 0:
        given = given.reshape(0, 2).to(torch.int64)
    if given.dtype.is_floating_point or given.dtype.is_complex or given.dtype == torch.bool:
        raise TypeError(f"{name}: edges must be pairs of integers, got {given.dtype}")
    if given.dim() != 2 or given.shape[1] != 2:
        raise ValueError(f"{name}: edges must be [E, 2], got {list(given.shape)}")
    out = given.detach().to("cpu", torch.int64)
    least = int(out.max()) + 1 if len(out) else 1
    if nodes is None:
        nodes = least
    if isinstance(nodes, bool) or not isinstance(nodes, int):
        raise TypeError(f"{name}: nodes must be an int, got {nodes!r}")
    if nodes > _MOST_NODES:
        raise ValueError(f"{name}: nodes must be at most {_MOST_NODES}, got {nodes}")
    if nodes < least or (len(out) and int(out.min()) < 0):
        raise ValueError(f"{name}: edges must join nodes 0 to {nodes - 1}, got {least - 1}")
    return out, nodes


def node(name: str, arg: str, value: Any, nodes: int) -> int:
    """A node, counted from the end where it is negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: {arg} must be an int, got {value!r}")
    if not -nodes <= value < nodes:
        raise ValueError(f"{name}: {arg} = {value} is not one of the {nodes} nodes")
    return value % nodes
