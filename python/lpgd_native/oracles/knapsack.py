"""0/1 knapsack in one or several resources."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from lpgd_native._batching import flatten_batch
from lpgd_native._oracle_ops import answer, check_costs, on_cpu
from lpgd_native._prox_checks import compute_dtype
from lpgd_native.oracles.protocol import OracleSolution

__all__ = ["Knapsack", "binary_knapsack"]

_METHODS = {"auto": 0, "table": 1, "branch": 2}
_Data = Tensor | float | list[Any]


def _resource(name: str, arg: str, value: Any, device: torch.device) -> Tensor:
    if not isinstance(value, Tensor):
        if isinstance(value, bool) or not isinstance(value, (int, float, list, tuple)):
            raise TypeError(f"{name}: {arg} must be a tensor or numbers, got {value!r}")
        value = torch.tensor(value, dtype=torch.float64, device=device)
    if value.dtype == torch.bool or value.dtype.is_complex:
        raise TypeError(f"{name}: {arg} must be a tensor of real numbers, got {value.dtype}")
    if value.layout != torch.strided:
        raise TypeError(f"{name}: {arg} must be dense, got layout {value.layout}")
    if value.device != device and value.dim() > 0:
        raise ValueError(f"{name}: {arg} must be on the device of costs, {device}")
    return on_cpu(value.detach().to(torch.float64))


def binary_knapsack(
    costs: Tensor,
    weights: _Data,
    capacity: _Data,
    *,
    method: str = "auto",
    max_nodes: int = 10_000_000,
    throw: bool = False,
) -> OracleSolution:
    """argmin_x <costs, x> over x in {0, 1}^n with ``weights x <= capacity``: costs = -values.

    costs: [..., n]; entries of zero or more are never taken. weights: [n] with capacity a number,
    or [..., d, n] with capacity [..., d] for d resources; zero or more. Leading dimensions
    broadcast.

    method: "table" is the dynamic program over what is left of whole capacities, for whole weights:
    its time and memory are n times the product of all capacities + 1, whatever the values. "branch"
    is branch and bound, for any weights: fast where values and weights are not in step, exponential
    at worst; after `max_nodes` nodes an item ends with MAX_ITERATIONS and the best choice found.
    "auto" takes the table where the weights of an item are whole and the table has no more than
    2^20 entries. Branch and bound lets weights exceed a capacity by 1e-9 of it, since decimals do
    not add up exactly. What is chosen among equally good choices depends on the item's own data
    alone. No gradient: `OracleLayer` gives one.

    An item with a NaN, a negative weight, or (method "table") weights that are not whole or too
    large a table has status NUMERICAL_ERROR, one with a negative capacity PRIMAL_INFEASIBLE; x is
    zero there. `throw` raises `SolverError` instead.

    Raises:
        TypeError: costs is not a dense floating-point tensor; weights or capacity are not dense
            real numbers; max_nodes is not an int.
        ValueError: shapes that do not fit, an unknown method, max_nodes out of range.
    """
    name = "binary_knapsack"
    costs = check_costs(name, costs, 1)
    if not isinstance(method, str) or method not in _METHODS:
        raise ValueError(f"{name}: method must be one of {sorted(_METHODS)}, got {method!r}")
    if isinstance(max_nodes, bool) or not isinstance(max_nodes, int):
        raise TypeError(f"{name}: max_nodes must be an int, got {max_nodes!r}")
    if not 1 <= max_nodes < 2**63:
        raise ValueError(f"{name}: max_nodes must be between 1 and 2^63 - 1, got {max_nodes}")
    n = costs.shape[-1]
    weights = _resource(name, "weights", weights, costs.device)
    capacity = _resource(name, "capacity", capacity, costs.device)
    if weights.dim() == 1 and capacity.dim() == 0:
        weights, capacity = weights.unsqueeze(0), capacity.unsqueeze(0)
    fits = weights.dim() >= 2 and capacity.dim() >= 1 and weights.shape[-1] == n
    if not fits or weights.shape[-2] != capacity.shape[-1] or capacity.shape[-1] == 0:
        raise ValueError(
            f"{name}: weights must be [{n}] and capacity a number, or [..., d, {n}] and [..., d], "
            f"got {list(weights.shape)} and {list(capacity.shape)}"
        )
    leads = costs.shape[:-1], weights.shape[:-2], capacity.shape[:-1]
    try:
        lead = torch.broadcast_shapes(*leads)  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise ValueError(
            f"{name}: leading dimensions must broadcast, got costs {list(costs.shape)}, weights "
            f"{list(weights.shape)}, capacity {list(capacity.shape)}"
        ) from None
    batch = math.prod(lead)
    work = on_cpu(costs.to(compute_dtype(costs))).expand(*lead, n).reshape(batch, n).contiguous()
    weights = flatten_batch(weights, 2, lead).reshape(-1, *weights.shape[-2:])
    capacity = flatten_batch(capacity, 1, lead).reshape(-1, capacity.shape[-1])
    out = torch.ops.lpgd.oracle_knapsack(work, weights, capacity, _METHODS[method], max_nodes)
    return answer(name, costs, lead, out, throw)


class Knapsack:
    """The oracle of `binary_knapsack`: costs [..., n], the values' negative.

    weights and capacity are those of every solve that gives none of its own.
    """

    event_dim = 1
    instance_dims: ClassVar[dict[str, int]] = {"weights": 2, "capacity": 1}

    def __init__(
        self,
        weights: _Data | None = None,
        capacity: _Data | None = None,
        *,
        method: str = "auto",
        max_nodes: int = 10_000_000,
    ) -> None:
        self.weights, self.capacity = weights, capacity
        self.method, self.max_nodes = method, max_nodes

    def __repr__(self) -> str:
        return f"Knapsack(method={self.method!r})"

    def solve(
        self, c: Tensor, *, weights: _Data | None = None, capacity: _Data | None = None
    ) -> OracleSolution:
        """The best choices."""
        weights = self.weights if weights is None else weights
        capacity = self.capacity if capacity is None else capacity
        if weights is None or capacity is None:
            raise ValueError("Knapsack: weights and capacity must be given to it or to solve")
        return binary_knapsack(c, weights, capacity, method=self.method, max_nodes=self.max_nodes)
