"""``elastic=True``: constraints that give way at a price, by a problem with slacks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lpgd_native._qp_tensors import check_mask
from lpgd_native._strategies.base import filled

if TYPE_CHECKING:
    from lpgd_native.qp import QPSolution

__all__ = ["Enlarged", "checked_penalty"]

_PENALTY = 1e3
_Data = tuple[Tensor | None, ...]


def checked_penalty(name: str, elastic: bool, penalty: float | None) -> None:
    if penalty is None:
        return
    if not elastic:
        raise ValueError(f"{name}: elastic_penalty is given without elastic=True")
    if (
        isinstance(penalty, bool)
        or not isinstance(penalty, (int, float))
        or not (math.isfinite(penalty) and penalty > 0)
    ):
        raise ValueError(f"{name}: elastic_penalty must be finite and positive, got {penalty!r}")


def _beside(parts: list[Tensor]) -> Tensor:
    batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))  # type: ignore[no-untyped-call]
    return torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)


class Enlarged:
    """min 1/2 x'Px + q'x + penalty * sum(s)  s.t.  G x - s_h <= h,  A x + s_minus - s_plus = b.

    The variables are (x, s_h, s_plus, s_minus), the slacks >= 0; bounds on x stay.
    """

    def __init__(self, data: _Data, penalty: float | None) -> None:
        P, q, G, h, A, b, lb, ub = data
        assert q is not None
        self._given = data
        self._n = n = q.shape[-1]
        m = 0 if G is None else G.shape[-2]
        p = 0 if A is None else A.shape[-2]
        self._slacks = slacks = m + 2 * p
        pad = torch.nn.functional.pad

        def beside(matrix: Tensor, *blocks: Tensor) -> Tensor:
            lead = matrix.shape[:-2]
            return torch.cat([matrix, *(block.expand(*lead, *block.shape) for block in blocks)], -1)

        def eye(size: int) -> Tensor:
            return torch.eye(size, dtype=q.dtype, device=q.device)

        def zeros(rows: int, columns: int) -> Tensor:
            return q.new_zeros(rows, columns)

        if penalty is None:
            size = q.detach().abs().amax(-1, keepdim=True)
            # an infinite or nan q is its item's own error, not the slacks'
            price = _PENALTY * torch.nan_to_num(size, nan=1.0, posinf=1.0).clamp(min=1.0)
        else:
            price = filled(q, (1,), penalty, "elastic_penalty")
        self._price = price
        large = math.inf
        self.data: _Data = (
            None if P is None else pad(P, (0, slacks, 0, slacks)),
            torch.cat([q, price.expand(*q.shape[:-1], slacks)], -1),
            None if G is None else beside(G, -eye(m), zeros(m, 2 * p)),
            h,
            None if A is None else beside(A, zeros(p, m), -eye(p), eye(p)),
            b,
            pad(q.new_full((n,), -large) if lb is None else lb, (0, slacks)),
            None if ub is None else pad(ub, (0, slacks), value=large),
        )

    def padded(self, name: str, mask: Tensor) -> Tensor:
        """An integrality mask for the larger problem."""
        check_mask(name, mask, self._n)
        return torch.nn.functional.pad(mask, (0, self._slacks))

    def start(self, solution: QPSolution) -> QPSolution:
        """A solution of the problem as given, with the slacks and multipliers that go with it."""
        _, _, G, h, A, b, _, _ = (None if t is None else t.detach() for t in self._given)
        x, y, z = (part.detach() for part in (solution.x, solution.y, solution.z))
        rows = [x]
        if G is not None and h is not None:
            rows.append(((G @ x.unsqueeze(-1)).squeeze(-1) - h).clamp(min=0))
        if A is not None and b is not None:
            residual = (A @ x.unsqueeze(-1)).squeeze(-1) - b
            rows += [residual.clamp(min=0), (-residual).clamp(min=0)]
        bounds = [solution.z_lb.detach()]
        if G is not None:
            bounds.append(self._price - z)
        if A is not None:
            bounds += [self._price - y, self._price + y]
        return solution._replace(
            x=_beside(rows),
            z_lb=_beside(bounds),
            z_ub=torch.nn.functional.pad(solution.z_ub.detach(), (0, self._slacks)),
        )

    def original(self, solution: QPSolution) -> tuple[tuple[Tensor, ...], Tensor]:
        """(x, y, z, z_lb, z_ub) without slacks, and the largest violation of the constraints."""
        n, lb, ub = self._n, self._given[6], self._given[7]
        x = solution.x[..., :n]
        zero = x.new_zeros(()).expand(x.shape)
        z_lb = zero if lb is None else solution.z_lb[..., :n]
        z_ub = zero if ub is None else solution.z_ub[..., :n]
        residual = self._violation(x.detach())
        # there is no point where the solver found none
        residual = torch.where(torch.isfinite(solution.primal_residual), residual, math.inf)
        return (x, solution.y, solution.z, z_lb, z_ub), residual

    def _violation(self, x: Tensor) -> Tensor:
        _, _, G, h, A, b, lb, ub = (None if t is None else t.detach() for t in self._given)
        parts = [x.new_zeros(*x.shape[:-1], 1)]
        if G is not None and h is not None:
            parts.append((G @ x.unsqueeze(-1)).squeeze(-1) - h)
        if A is not None and b is not None:
            parts.append(((A @ x.unsqueeze(-1)).squeeze(-1) - b).abs())
        if lb is not None:
            parts.append(lb - x)
        if ub is not None:
            parts.append(x - ub)
        return torch.cat([part.expand(*x.shape[:-1], part.shape[-1]) for part in parts], -1).amax(
            -1
        )
