"""``qpth.qp``: `QPFunction` with its call and its conventions, solved by `solve_qp`."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import torch
from torch import Tensor

from lpgd_native._warning import warn
from lpgd_native.gradients import GradientStrategy
from lpgd_native.qp import DEFAULT_EPS, QPSolution, solve_qp
from lpgd_native.status import Status

__all__ = ["QPFunction", "QPSolvers"]

_NAMES = ("Q", "p", "G", "h", "A", "b")
_RANKS = (2, 1, 2, 1, 2, 1)


class QPSolvers(Enum):
    """For code that names a solver; both are ours."""

    PDIPM_BATCHED = 1
    CVXPY = 2


class QPFunction:
    """argmin_z 1/2 z'Qz + p'z  subject to  G z <= h,  A z = b, as ``qpth.qp.QPFunction``.

    ``QPFunction(verbose=-1)(Q, p, G, h, A, b)`` gives z [nBatch, nz]; an argument is batched or
    shared, an empty tensor stands for an absent block, and nBatch is 1 where nothing is batched.

    What differs from qpth 0.0.18:

    - The gradient of an input that the batch shares is the sum over the batch, as everywhere in
      torch; qpth's is the mean, which ``reduction="mean"`` gives.
    - Q need only be positive semidefinite, so ``check_Q_spd=True`` is no longer the default.
    - An item without a solution has the gradient zero and does not disturb its neighbours; with
      verbose >= 0 a RuntimeWarning says how many there are. ``.last`` is the QPSolution of the
      last call, with the multipliers and the status of each item, without gradients.
    - Solutions are exact to rounding where the active set is clear; `eps` below what the dtype can
      reach (1e-9 in float64, 1e-4 in float32) means just that.

    Args:
        eps, maxIter: see `solve_qp` (eps, max_iter); None: its defaults.
        verbose: below 0: no warning (and no synchronisation of a GPU).
        notImprovedLim, solver: for the signature; no effect.
        check_Q_spd: raise a RuntimeError where Q is not positive definite.
        gradient: ``Implicit()`` (None, as qpth) or ``LPGD(...)``.
        reduction: ``"sum"`` or ``"mean"``, of the gradients of shared inputs.

    Raises:
        RuntimeError: Q is not positive definite, with check_Q_spd.
        TypeError, ValueError: see `solve_qp`; reduction is neither sum nor mean.

    Source: Amos & Kolter, OptNet, ICML 2017.
    """

    def __init__(
        self,
        eps: float | None = None,
        verbose: int = 0,
        notImprovedLim: int = 3,
        maxIter: int | None = None,
        solver: QPSolvers = QPSolvers.PDIPM_BATCHED,
        check_Q_spd: bool = False,
        *,
        gradient: GradientStrategy | None = None,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        if reduction not in ("sum", "mean"):
            raise ValueError(f'QPFunction: reduction must be "sum" or "mean", got {reduction!r}')
        self.eps, self.verbose, self.max_iter = eps, verbose, maxIter
        self.check_Q_spd, self.gradient, self.reduction = check_Q_spd, gradient, reduction
        self.last: QPSolution | None = None

    def __call__(self, Q: Tensor, p: Tensor, G: Tensor, h: Tensor, A: Tensor, b: Tensor) -> Tensor:
        """Minimisers z [nBatch, nz]."""
        given = dict(zip(_NAMES, (Q, p, G, h, A, b), strict=True))
        for name, value, rank in zip(_NAMES, given.values(), _RANKS, strict=True):
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"QPFunction: {name} must be a torch.Tensor (an empty one where there is no "
                    f"such block), got {type(value).__name__}"
                )
            if value.numel() and value.dim() not in (rank, rank + 1):
                wanted = f"{rank} dimensions, or {rank + 1} with the batch"
                raise ValueError(f"QPFunction: {name} must have {wanted}, got {list(value.shape)}")
        if self.check_Q_spd and bool((torch.linalg.cholesky_ex(Q.detach()).info != 0).any()):
            raise RuntimeError("Q is not SPD.")
        batch = max(
            (v.shape[0] for v, rank in zip(given.values(), _RANKS, strict=True) if v.dim() > rank),
            default=1,
        )
        if self.reduction == "mean":
            given = {
                name: value if value.dim() > rank else _scaled(value, batch)
                for (name, value), rank in zip(given.items(), _RANKS, strict=True)
            }
        eps = None if self.eps is None else max(self.eps, DEFAULT_EPS.get(p.dtype, 0.0))
        data = {name: value if value.numel() else None for name, value in given.items()}
        if data["p"] is None:
            raise ValueError(f"QPFunction: p must not be empty, got {list(p.shape)}")
        found = solve_qp(
            data["Q"],
            data["p"],
            *(data[name] for name in ("G", "h", "A", "b")),
            gradient=self.gradient,
            eps=eps,
            max_iter=self.max_iter,
        )
        self.last = QPSolution(*(part.detach() for part in found))
        if self.verbose >= 0:
            failed = int((found.status != Status.OK).sum())
            if failed:
                warn(
                    f"QPFunction: {failed} of {found.status.numel()} problems have no solution "
                    "(their gradient is zero); see .last.status"
                )
        return found.x if found.x.dim() == 2 else found.x.unsqueeze(0)


def _scaled(value: Tensor, batch: int) -> Tensor:
    """The same numbers, whose gradient is divided by the size of the batch."""
    return value.detach() + (value - value.detach()) / batch
