"""What a strategy has to know of a solver: one method, batched."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Oracle", "OracleSolution"]


class OracleSolution(NamedTuple):
    """Minimisers of a batch of linear costs."""

    x: Tensor
    """[..., *shape], of the dtype and device of the costs."""
    objective: Tensor
    """[...]: ``<c, x>``; NaN where there is no solution."""
    status: Tensor
    """[...], int32: values of `lpgd_native.Status`. Where it is not OK, x is zero, but for
    MAX_ITERATIONS, with which an oracle may return the best x it has found."""


@runtime_checkable
class Oracle(Protocol):
    """argmin_x <c, x> over x in X, for a batch of costs c [..., *shape].

    `solve` carries no gradient: a strategy of `lpgd_native.gradients` gives it one. Leading
    dimensions of the costs and of the tensors of an instance broadcast, so that a strategy can
    hand over all the costs it needs (both sides of an average, all samples of a noise) in one call
    with a further leading dimension.
    """

    event_dim: int
    """How many trailing dimensions of c make one cost: 1 for vectors, 2 for matrices."""

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The minimisers; a problem without one is a status, not an exception."""
        ...
