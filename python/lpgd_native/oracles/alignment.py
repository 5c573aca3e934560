"""Dynamic time warping: monotone alignments of two sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lpgd_native._oracle_ops import check_costs, no_instance, solve
from lpgd_native.oracles.protocol import OracleSolution

__all__ = ["TimeWarping", "time_warping"]


def time_warping(
    costs: Tensor, *, window: int | None = None, throw: bool = False
) -> OracleSolution:
    """argmin_x <costs, x> over the masks x of alignments: paths from (0, 0) to (n - 1, m - 1) by
    steps down, right, or both at once.

    costs: [..., n, m], of any sign, e.g. the distances of the elements of two sequences; +inf
    forbids a pair. `window`: pairs with |i - j| above it are forbidden (Sakoe and Chiba 1978). The
    dynamic program, O(n m), in float64 inside; of equally good steps into a pair the diagonal one
    is kept before the one down, and that before the one to the right. No gradient: `OracleLayer`
    gives one.

    An item with a NaN or -inf has status NUMERICAL_ERROR, one without an alignment
    PRIMAL_INFEASIBLE; x is zero there. `throw` raises `SolverError` instead.

    Raises:
        TypeError: costs is not a dense floating-point tensor, or window not an int.
        ValueError: costs has no rows or columns, or window is negative.
    """
    name = "time_warping"
    costs = check_costs(name, costs, 2)
    if 0 in costs.shape[-2:]:
        raise ValueError(f"{name}: costs must have rows and columns, got {list(costs.shape)}")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int)):
        raise TypeError(f"{name}: window must be an int or None, got {window!r}")
    if window is not None and window < 0:
        raise ValueError(f"{name}: window must not be negative, got {window}")
    op = torch.ops.lpgd.oracle_alignment
    # a window as wide as the matrix forbids nothing
    width = -1 if window is None else min(window, max(costs.shape[-2:]))
    return solve(name, op, costs, 2, width, throw=throw)


@dataclass(frozen=True)
class TimeWarping:
    """argmin_x <c, x> over the masks x of alignments: `time_warping`, as an oracle.

    Args:
        window: as in `time_warping`; costs c are [..., n, m].
    """

    window: int | None = None
    event_dim = 2

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The alignments of least cost."""
        no_instance("TimeWarping", instance)
        return time_warping(c, window=self.window)
