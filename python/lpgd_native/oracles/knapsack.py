"""0/1 knapsack in one or several resources."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from lpgd_native._batching import flatten_batch
from lpgd_native._oracle_ops import answer, check_costs, kernel_device
from lpgd_native._prox_checks import compute_dtype
from lpgd_native.oracles.protocol import OracleSolution

__all__ = ["Knapsack", "binary_knapsack"]

_METHODS = {"auto": 0, "table": 1, "branch": 2}
_LARGEST_TABLE = 2**30  # kKnapsackLargestTable
_Data = Tensor | float | list[Any]


def _resource(name: str, arg: str, value: Any, costs: Tensor) -> Tensor:
    device = costs.device
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # written on the device: no copy that a CUDA graph could not hold
        value = torch.full((), value, dtype=torch.float64, device=device)
    elif not isinstance(value, Tensor):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name}: {arg} must be a tensor or numbers, got {value!r}")
        value = torch.tensor(value, dtype=torch.float64, device=device)
    if value.dtype == torch.bool or value.dtype.is_complex:
        raise TypeError(f"{name}: {arg} must be a tensor of real numbers, got {value.dtype}")
    if value.layout != torch.strided:
        raise TypeError(f"{name}: {arg} must be dense, got layout {value.layout}")
    if value.device != device and (value.dim() > 0 or value.device.type == "meta"):
        raise ValueError(f"{name}: {arg} must be on the device of costs, {device}")
    held: Tensor = value.detach().to(kernel_device(costs), torch.float64)
    return held


def _most_states(capacity: Any) -> int | None:
    """The most states that a table of any item needs, of those that can have one: what a kernel is
    told where the host doesn't read the capacities at each solve. None: not data of a knapsack.
    """
    if isinstance(capacity, (int, float)):
        return int(capacity) + 1 if 0 <= capacity < _LARGEST_TABLE else 0
    if not isinstance(capacity, Tensor):
        try:
            capacity = torch.tensor(capacity, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            return None  # the solve will say so
    if capacity.dtype == torch.bool or capacity.dtype.is_complex or capacity.device.type == "meta":
        return None
    states = (torch.floor(capacity.detach().to("cpu", torch.float64)) + 1).clamp(min=0).prod(-1)
    states = states[states <= _LARGEST_TABLE]
    return int(states.max()) if states.numel() else 0


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

    On a GPU tables get room for capacities that are numbers, or that a `Knapsack` was given when
    it was made and read then. For others "auto" sets aside what its largest table would take, and
    "table" waits for the device to read them. Nothing else waits. A CUDA graph keeps the room of
    its recording: an item that needs more has status NUMERICAL_ERROR.

    Raises:
        TypeError: costs is not a dense floating-point tensor; weights or capacity are not dense
            real numbers; max_nodes is not an int.
        ValueError: shapes that do not fit, an unknown method, max_nodes out of range.
    """
    return _solve(costs, weights, capacity, method, max_nodes, throw, None)


def _solve(
    costs: Tensor,
    weights: _Data,
    capacity: _Data,
    method: str,
    max_nodes: int,
    throw: bool,
    states: int | None,
) -> OracleSolution:
    """`binary_knapsack`; `states`: `_most_states` of the capacity, where known."""
    name = "binary_knapsack"
    costs = check_costs(name, costs, 1)
    if not isinstance(method, str) or method not in _METHODS:
        raise ValueError(f"{name}: method must be one of {sorted(_METHODS)}, got {method!r}")
    if isinstance(max_nodes, bool) or not isinstance(max_nodes, int):
        raise TypeError(f"{name}: max_nodes must be an int, got {max_nodes!r}")
    if not 1 <= max_nodes < 2**63:
        raise ValueError(f"{name}: max_nodes must be between 1 and 2^63 - 1, got {max_nodes}")
    n = costs.shape[-1]
    weights = _resource(name, "weights", weights, costs)
    on_host = kernel_device(costs).type in ("cpu", "meta")
    if states is None and not on_host and (method == "table" or isinstance(capacity, (int, float))):
        states = _most_states(capacity)
    capacity = _resource(name, "capacity", capacity, costs)
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
    work = costs.to(kernel_device(costs), compute_dtype(costs)).expand(*lead, n)
    work = work.reshape(batch, n).contiguous()
    weights = flatten_batch(weights, 2, lead).reshape(-1, *weights.shape[-2:])
    capacity = flatten_batch(capacity, 1, lead).reshape(-1, capacity.shape[-1])
    told = (_METHODS[method], max_nodes, -1 if states is None else states)
    out = torch.ops.lpgd.oracle_knapsack(work, weights, capacity, *told)
    return answer(name, costs, lead, out, throw)


class Knapsack:
    """argmin_x <c, x> over x in {0, 1}^n with ``weights x <= capacity``, as an oracle.

    Args:
        weights, capacity: as in `binary_knapsack`, of every solve that gives none of its own
            (``layer(c, weights=..., capacity=...)``); costs c are [..., n], the negative of the
            values.
        method, max_nodes: as in `binary_knapsack`.
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
        self._states = _most_states(capacity)
        self._version = self._version_now()

    def _version_now(self) -> int | None:
        """What changes when the capacities are written over; None: that can't be seen."""
        if not isinstance(self.capacity, Tensor):
            return 0
        return None if self.capacity.is_inference() else self.capacity._version

    def _is_unchanged(self) -> bool:
        if torch.compiler.is_compiling():  # has no versions
            return True
        return self._version is not None and self._version_now() == self._version

    def __repr__(self) -> str:
        return f"Knapsack(method={self.method!r})"

    def solve(
        self, c: Tensor, *, weights: _Data | None = None, capacity: _Data | None = None
    ) -> OracleSolution:
        """The best choices."""
        weights = self.weights if weights is None else weights
        states = None
        if capacity is None:
            capacity = self.capacity
            if isinstance(c, Tensor) and c.device.type != "cpu" and self._is_unchanged():
                states = self._states
        if weights is None or capacity is None:
            raise ValueError("Knapsack: weights and capacity must be given to it or to solve")
        return _solve(c, weights, capacity, self.method, self.max_nodes, False, states)
