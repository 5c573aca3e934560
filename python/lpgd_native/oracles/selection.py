"""Choosing and ordering: the k cheapest entries, rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from lpgd_native._oracle_ops import check_costs, kernel_device, no_instance, solve
from lpgd_native._prox_checks import compute_dtype
from lpgd_native.oracles.protocol import OracleSolution

__all__ = ["Ranking", "TopK", "ranking", "top_k"]


def top_k(costs: Tensor, k: int, *, throw: bool = False) -> OracleSolution:
    """argmin_x <costs, x> over x in {0, 1}^n with sum x = k: the k smallest costs.

    costs: [..., n]; +inf forbids an entry. For the k largest scores pass ``-scores``. Of equal
    costs those with the lowest index are taken. By quickselect, O(n) expected. No gradient:
    `OracleLayer` gives one.

    An item with a NaN or -inf has status NUMERICAL_ERROR, one with fewer than k finite costs
    PRIMAL_INFEASIBLE; x is zero there. `throw` raises `SolverError` instead.

    Raises:
        TypeError: costs is not a dense floating-point tensor, or k not an int.
        ValueError: k is not between 0 and n.
    """
    name = "top_k"
    costs = check_costs(name, costs, 1)
    if isinstance(k, bool) or not isinstance(k, int):
        raise TypeError(f"{name}: k must be an int, got {k!r}")
    if not 0 <= k <= costs.shape[-1]:
        raise ValueError(f"{name}: k = {k} must be between 0 and n, costs is {list(costs.shape)}")
    return solve(name, torch.ops.lpgd.oracle_top_k, costs, 1, k, throw=throw)


@dataclass(frozen=True)
class TopK:
    """argmin_x <c, x> over x in {0, 1}^n with sum x = k: `top_k`, as an oracle.

    Args:
        k: how many of the costs c [..., n] are taken.
    """

    k: int
    event_dim = 1

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The masks of the k smallest costs."""
        no_instance("TopK", instance)
        return top_k(c, self.k)


def _can_look_at(values: Tensor) -> bool:
    """Its numbers are there, and no device has to be waited for."""
    return (
        values.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not is_in_torch_dispatch_mode()
        and not torch._C._functorch.is_functorch_wrapped_tensor(values)
    )


def ranking(costs: Tensor, values: Tensor | None = None, *, throw: bool = False) -> OracleSolution:
    """argmin_x <costs, x> over the permutations x of `values`, or of (1, ..., n) by default.

    costs: [..., n], finite; values: [n], in any order. The largest cost gets the smallest value: by
    default x holds the ranks of the costs, 1 for the largest (Rolinek et al. 2020). For ranks that
    count from the smallest pass ``-scores``. Of equal costs the first gets the smaller value. By a
    radix sort, O(n) in practice. No gradient: `OracleLayer` gives one.

    An item with a cost that is not finite has status NUMERICAL_ERROR and x = 0; `throw` raises
    `SolverError` instead.

    Raises:
        TypeError: costs or values is not a dense floating-point tensor.
        ValueError: values is not [n], or not finite.
    """
    name = "ranking"
    costs = check_costs(name, costs, 1)
    n = costs.shape[-1]
    device, dtype = kernel_device(costs), compute_dtype(costs)
    if values is None:
        ordered = torch.arange(1, n + 1, dtype=dtype, device=device)
    else:
        if not isinstance(values, Tensor):
            raise TypeError(f"{name}: values must be a torch.Tensor, got {type(values).__name__}")
        if values.shape != (n,):
            raise ValueError(
                f"{name}: values must be [n] with n = {n} as in costs {list(costs.shape)}, "
                f"got {list(values.shape)}"
            )
        if not values.dtype.is_floating_point or values.layout != torch.strided:
            got = values.dtype if values.layout == torch.strided else values.layout
            raise TypeError(f"{name}: values must be a dense floating-point tensor, got {got}")
        if "meta" in (values.device.type, costs.device.type) and values.device != costs.device:
            raise ValueError(
                f"{name}: values must be on {costs.device} as costs are, got {values.device}"
            )
        if _can_look_at(values) and not bool(values.isfinite().all()):
            raise ValueError(f"{name}: values must be finite")
        ordered = torch.sort(values.detach().to(device, dtype)).values
    return solve(name, torch.ops.lpgd.oracle_ranking, costs, 1, ordered, throw=throw)


class Ranking:
    """argmin_x <c, x> over the permutations x of `values`: `ranking`, as an oracle.

    Args:
        values: [n], in any order; None: (1, ..., n). Costs c are [..., n].
    """

    event_dim = 1

    def __init__(self, values: Tensor | None = None) -> None:
        self.values = values

    def __repr__(self) -> str:
        return "Ranking()" if self.values is None else f"Ranking([{len(self.values)}])"

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The permutations of least cost."""
        no_instance("Ranking", instance)
        return ranking(c, self.values)
