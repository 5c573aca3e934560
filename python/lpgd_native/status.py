"""What became of an item of a batch: failure is data, not an exception."""

from __future__ import annotations

from enum import IntEnum

import torch

__all__ = ["GradientStatus", "SolverError", "Status", "raise_on_failure"]


class Status(IntEnum):
    """Values of ``QPSolution.status``, an item each."""

    OK = 0
    """Solved to the tolerance ``eps``."""
    MAX_ITERATIONS = 1
    """Stopped before ``eps``; the residual fields say how near the returned point is."""
    PRIMAL_INFEASIBLE = 2
    """No x meets the constraints."""
    DUAL_INFEASIBLE = 3
    """The objective has no lower bound on the constraints."""
    NUMERICAL_ERROR = 4
    """Data that is not finite, P that is not positive semidefinite, or a breakdown in rounding."""


class GradientStatus(IntEnum):
    """Values of the ``status`` that ``torch.ops.lpgd.resolve_qp`` returns, an item each."""

    OK = 0
    """The envelope that was asked for."""
    OTHER_SIDE = 1
    """The perturbed problem had no solution on one side; the other side alone was used."""
    SHRUNK = 2
    """Neither side had a solution until tau was made ten, a hundred or a thousand times smaller."""
    ZERO = 3
    """No perturbed problem was solved: the gradient is zero."""


class SolverError(RuntimeError):
    """Raised with ``throw=True`` when items of the batch failed; ``items`` maps index to status."""

    def __init__(self, message: str, items: dict[tuple[int, ...], Status]) -> None:
        super().__init__(message)
        self.items = items


def raise_on_failure(name: str, status: torch.Tensor) -> None:
    """Raise a SolverError that lists the items of `status` [...] that are not OK (synchronises)."""
    failed = status.nonzero().tolist()
    if not failed:
        return
    items = {tuple(index): Status(int(status[tuple(index)])) for index in failed}
    shown = ", ".join(
        f"{list(index)}: {code.name.lower()}" for index, code in list(items.items())[:10]
    )
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    raise SolverError(
        f"{name}: {len(items)} of {status.numel()} items failed: {shown}{more}", items
    )
