"""Linear assignment: rows to columns, each at most once, at least total cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpgd_native._oracle_ops import answer, check_costs, kernel_device, no_instance
from lpgd_native._prox_checks import compute_dtype, result_dtype
from lpgd_native.oracles.protocol import OracleSolution
from lpgd_native.status import raise_on_failure

__all__ = ["AssignmentColumns", "LinearAssignment", "assignment_columns", "linear_assignment"]


class AssignmentColumns(NamedTuple):
    """What `assignment_columns` returns."""

    columns: Tensor
    """[..., n], int64: the column of each row; -1 for rows without one."""
    row_duals: Tensor
    """[..., n]: u with ``u_i + v_j <= c_ij``, with equality for the pairs that are assigned."""
    col_duals: Tensor
    """[..., m]: v. Where n < m, v is zero or less, and zero for columns without a row (and so is u
    where n > m), so that ``sum u + sum v`` is the least cost."""
    objective: Tensor
    """[...]: the least cost; NaN where there is no assignment."""
    status: Tensor
    """[...], int32: values of `lpgd_native.Status`."""


def _call(name: str, costs: Any, mask: bool) -> tuple[Tensor, tuple[int, ...], tuple[Tensor, ...]]:
    costs = check_costs(name, costs, 2)
    lead = tuple(costs.shape[:-2])
    work = costs.to(kernel_device(costs), compute_dtype(costs))
    if len(lead) != 1:
        work = work.reshape(math.prod(lead), *costs.shape[-2:])
    return costs, lead, torch.ops.lpgd.oracle_assignment(work.contiguous(), mask)


def linear_assignment(costs: Tensor, *, throw: bool = False) -> OracleSolution:
    """argmin_x sum_ij costs_ij x_ij over x in {0, 1}: a column of its own for every row.

    costs: [..., n, m]; +inf forbids a pair. Where n > m, every column gets a row of its own
    instead. Shortest augmenting paths after Jonker and Volgenant (1987), in float64 inside. Among
    equally good assignments the one returned depends on the costs alone: not on the batch, on
    threads, on the machine or on the device. No gradient: `OracleLayer` gives one.

    An item with a NaN or -inf has status NUMERICAL_ERROR, one without an assignment
    PRIMAL_INFEASIBLE; x is zero there. `throw` raises `SolverError` instead.

    Raises:
        TypeError: costs is not a dense floating-point tensor.
        ValueError: costs has fewer than two dimensions.
    """
    name = "linear_assignment"
    costs, lead, (x, _, _, _, objective, status) = _call(name, costs, True)
    return answer(name, costs, lead, (x, objective, status), throw)


def assignment_columns(costs: Tensor, *, throw: bool = False) -> AssignmentColumns:
    """The column of each row in the assignment of least cost, and its optimal duals.

    costs: [..., n, m]. As `linear_assignment`, without the [n, m] mask: what is written is n + m
    numbers an item.
    """
    name = "assignment_columns"
    costs, lead, (_, columns, u, v, objective, status) = _call(name, costs, False)
    status = status.reshape(lead)
    if throw:
        raise_on_failure(name, status)
    rows, cols = costs.shape[-2:]
    if rows > cols:  # the op gives the row of each column
        at = columns.new_full((columns.shape[0], rows + 1), -1)
        places = torch.where(columns < 0, rows, columns)  # failed items write past the rows
        numbers = torch.arange(cols, device=columns.device).expand_as(places)
        columns = at.scatter(1, places, numbers)[:, :rows]
    dtype, device = result_dtype(costs), costs.device
    return AssignmentColumns(
        columns.reshape(*lead, rows).to(device),
        u.reshape(*lead, rows).to(device, dtype),
        v.reshape(*lead, cols).to(device, dtype),
        objective.reshape(lead).to(device, dtype),
        status.to(device),
    )


@dataclass(frozen=True)
class LinearAssignment:
    """argmin_x <c, x> over assignments x of rows to columns: `linear_assignment`, as an oracle.

    Costs c are [..., n, m].
    """

    event_dim = 2

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The assignments of least cost."""
        no_instance("LinearAssignment", instance)
        return linear_assignment(c)
