"""What became of an item of a batch: failure is data, not an exception."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import torch

__all__ = [
    "PROGRAM_ADVICE",
    "GradientStatus",
    "SolverError",
    "Status",
    "fallbacks_in",
    "raise_on_failure",
]


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
    """What became of the perturbed problems of LPGD, an item each.

    Values of ``OracleLayer.gradient_status`` and of what ``torch.ops.lpgd.resolve_qp`` returns.
    """

    OK = 0
    """The envelope that was asked for."""
    OTHER_SIDE = 1
    """The perturbed problem had no solution on one side; the other side alone was used."""
    SHRUNK = 2
    """Neither side had a solution until tau was made ten, a hundred or a thousand times smaller."""
    ZERO = 3
    """No perturbed problem was solved: the gradient is zero."""


PROGRAM_ADVICE = {
    Status.MAX_ITERATIONS: "the residual fields say how near x is; eps or max_iter may be larger",
    Status.PRIMAL_INFEASIBLE: "no x meets the constraints (elastic=True lets them give way)",
    Status.DUAL_INFEASIBLE: "the objective falls without end on the constraints; x needs bounds",
    Status.NUMERICAL_ERROR: "data that is not finite, or P is not positive semidefinite",
}
"""What becomes of a failed program, for `raise_on_failure`."""

_FALLBACKS = {
    GradientStatus.OTHER_SIDE: "used the other side alone",
    GradientStatus.SHRUNK: "used a smaller tau",
    GradientStatus.ZERO: "got a zero gradient",
}


class SolverError(RuntimeError):
    """Raised with ``throw=True`` when items of the batch failed.

    ``error.items`` maps the index of each, a tuple, to its `Status`.
    """

    def __init__(self, message: str, items: dict[tuple[int, ...], Status]) -> None:
        super().__init__(message)
        self.items = items


def raise_on_failure(
    name: str, status: torch.Tensor, advice: Mapping[Status, str] | None = None
) -> None:
    """Raise a SolverError that lists the items of `status` [...] that are not OK (synchronises).

    `advice`: what to say of each kind of failure that there is.
    """
    failed = [] if status.device.type == "meta" else status.nonzero().tolist()
    if not failed:
        return
    items = {tuple(index): Status(int(status[tuple(index)])) for index in failed}
    shown = ", ".join(
        f"{list(index)}: {code.name.lower()}" for index, code in list(items.items())[:10]
    )
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    told = "".join(
        f". {code.name.lower()}: {text}"
        for code, text in (advice or {}).items()
        if code in items.values()
    )
    raise SolverError(
        f"{name}: {len(items)} of {status.numel()} items failed: {shown}{more}{told}", items
    )


def fallbacks_in(status: torch.Tensor) -> str:
    """What a warning says of gradient statuses, "of 8 items 2 used a smaller tau"; "" if all OK."""
    if not bool(status.any()):
        return ""
    counts = torch.bincount(status.flatten(), minlength=len(GradientStatus)).tolist()
    parts = [f"{counts[code]} {text}" for code, text in _FALLBACKS.items() if counts[code]]
    return f"of {status.numel()} items {', '.join(parts)}"
