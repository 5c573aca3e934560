"""The solvers behind ``method=``: one table, one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lpgd_native import _qp_ops as _qp_ops  # registers the raw ops
from lpgd_native._interrupt import interruptible
from lpgd_native._qp_checks import DEFAULT_MAX_ITER
from lpgd_native.gradients import GradientStrategy

__all__ = ["METHODS", "NO_POINT", "Method", "Options"]

NO_POINT = (None,) * 5

_Data = Sequence[Tensor | None]


@dataclass(frozen=True)
class Options:
    """What a solve needs beside its tensors."""

    name: str  # of the public function, for messages
    gradient: GradientStrategy
    eps: float
    max_iter: int
    method: str = "ipm"
    integral: tuple[int, ...] = ()  # variables that are whole numbers


class Method(NamedTuple):
    """A solver. Batches are flat: tensors [B, core...], or [core...] for what the batch shares."""

    solve: Callable[[_Data, _Data, Options], tuple[Tensor, ...]]
    """(P, q, G, h, A, b, lb, ub), start (x, y, z, z_lb, z_ub, or five None), options -> x, y, z,
    z_lb, z_ub, status, iterations, residuals [B, 3]: the outputs of lpgd::solve_qp. Further tensors
    [B, k] may follow, not differentiable: the state that `resolve` starts from."""
    resolve: Callable[[_Data, Tensor, Tensor, int, Sequence[Tensor], Options], tuple[Tensor, ...]]
    """(data, point with its status, five loss gradients), tau [B], rho [B], sides (1 lower, 2
    upper, 3 both), state, options -> directions (5), midpoints (5), gradient status: the outputs
    of lpgd::resolve_qp."""
    default_max_iter: int
    check: Callable[[str, _Data], None] | None = None
    """(public name, data): raises what the arguments have that this solver can't take."""


# an overload by name costs less than a packet, which looks for the one that fits
_raw_solve = interruptible(torch.ops.lpgd.solve_qp.default)
_raw_solve_from = interruptible(torch.ops.lpgd.solve_qp_from.default)
_raw_resolve = interruptible(torch.ops.lpgd.resolve_qp.default)


def _ipm_solve(data: _Data, start: _Data, options: Options) -> tuple[Tensor, ...]:
    out: tuple[Tensor, ...]
    if start[0] is None:
        out = _raw_solve(*data, options.eps, options.max_iter)
    else:
        out = _raw_solve_from(*data, *start, options.eps, options.max_iter)
    return out


def _ipm_resolve(
    tensors: _Data,
    tau: Tensor,
    rho: Tensor,
    sides: int,
    state: Sequence[Tensor],
    options: Options,
) -> tuple[Tensor, ...]:
    settings = (sides, options.eps, options.max_iter)
    out: tuple[Tensor, ...] = _raw_resolve(*tensors, tau, rho, *settings)
    return out


METHODS: dict[str, Method] = {"ipm": Method(_ipm_solve, _ipm_resolve, DEFAULT_MAX_ITER)}
