"""Forward mode of the QP: tangents of the solution along tangents of the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpgd_native._qp_checks import DATA_RANKS
from lpgd_native._qp_methods import METHODS, NO_POINT, Options
from lpgd_native.gradients import LPGD

__all__ = ["implicit_tangents", "lpgd_tangents", "relative_tau", "tau_of"]

_Tensors = Sequence[Tensor | None]


def relative_tau(tau: Tensor, parts: _Tensors, ranks: Sequence[int]) -> Tensor:
    """Return tau / ||parts|| per item, and tau itself where all parts are zero."""
    flat = [
        t.flatten(-rank).expand(tau.shape[0], -1)
        for t, rank in zip(parts, ranks, strict=True)
        if t is not None and t.numel() > 0
    ]
    if not flat:
        return tau
    # scaled by the largest entry, since squares leave float32's range early
    largest = torch.stack([t.abs().amax(-1) for t in flat]).amax(0)
    unit = torch.where(largest > 0, largest, 1)
    # running sums: torch's sums take an order that depends on the size of the batch
    square = torch.zeros_like(tau)
    for t in flat:
        square = square + (t / unit[:, None]).square().cumsum(-1)[:, -1]
    return torch.where(largest > 0, tau / unit / square.sqrt(), tau)


def tau_of(strategy: LPGD, q: Tensor, count: int, parts: _Tensors, ranks: Sequence[int]) -> Tensor:
    """[count] the tau of every item, for loss gradients (or tangents) `parts`."""
    auto = strategy.auto_state
    if auto is not None:
        if torch.compiler.is_compiling():
            raise RuntimeError('LPGD: tau="auto" keeps a number in Python; not for torch.compile')
        size = relative_tau(q.new_ones(count), (q,), (1,))  # 1 / ||q||, and 1 where q is zero
        return relative_tau(auto.value / size, parts, ranks)
    if isinstance(strategy.tau, Tensor):
        tau = strategy.tau.to(q)
        # vmap joins its dimension to the batch in front
        tau = tau if len(tau) == count else tau.repeat(count // len(tau))
    else:
        assert not isinstance(strategy.tau, str)
        tau = q.new_full((count,), strategy.tau)
    return relative_tau(tau, parts, ranks) if strategy.relative else tau


def lpgd_tangents(
    data: _Tensors,
    point: Sequence[Tensor],
    tangents: _Tensors,
    strategy: LPGD,
    options: Options,
) -> tuple[Tensor, ...]:
    """(z*(w + tau w') - z*(w - tau w')) / (2 tau), or one side of it.

    Where one of two sides has no solution, the other alone is used; where none has, the tangent is
    zero. rho has no part in this direction: nothing is perturbed but the data.
    """
    batch = point[0].shape[0]
    assert data[1] is not None
    tau = tau_of(strategy, data[1], batch, tangents, DATA_RANKS)

    def moved(sign: float) -> tuple[tuple[Tensor, ...], Tensor]:
        there = [
            w if t is None or w is None else w + sign * tau.reshape(-1, *(1,) * rank) * t
            for w, t, rank in zip(data, tangents, DATA_RANKS, strict=True)
        ]
        out = METHODS[options.method].solve(there, NO_POINT, options)
        ok = (out[5] == 0)[:, None]
        return tuple(torch.where(ok, v, p) for v, p in zip(out[:5], point, strict=False)), ok

    here, none = tuple(point[:5]), torch.zeros_like(tau, dtype=torch.bool)[:, None]
    plus, plus_ok = moved(1.0) if strategy.envelope != "upper" else (here, none)
    minus, minus_ok = moved(-1.0) if strategy.envelope != "lower" else (here, none)
    width = tau[:, None] * (plus_ok.to(tau.dtype) + minus_ok.to(tau.dtype)).clamp(min=1)
    return tuple((a - b) / width for a, b in zip(plus, minus, strict=True))


def implicit_tangents(
    data: _Tensors, point: Sequence[Tensor], tangents: _Tensors
) -> tuple[Tensor, ...]:
    """The KKT system of the active set, solved for the change of the data."""
    x, y, z, z_lb, z_ub, status = point
    dP, dq, dG, dh, dA, db, dlb, dub = tangents

    def times(matrix: Tensor, vector: Tensor) -> Tensor:
        return (matrix @ vector.unsqueeze(-1)).squeeze(-1)

    g_x, g_y, g_z = torch.zeros_like(x), torch.zeros_like(y), torch.zeros_like(z)
    if dP is not None:
        g_x = g_x + times(0.5 * (dP + dP.mT), x)
    if dq is not None:
        g_x = g_x + dq
    if dG is not None:
        g_x, g_z = g_x + times(dG.mT, z), g_z + times(dG, x)
    if dh is not None:
        g_z = g_z - dh
    if dA is not None:
        g_x, g_y = g_x + times(dA.mT, y), g_y + times(dA, x)
    if db is not None:
        g_y = g_y - db
    # the slots of bounds are -x <= -lb and x <= ub
    g_lb = torch.zeros_like(z_lb) if dlb is None else torch.zeros_like(z_lb) + dlb
    g_ub = torch.zeros_like(z_ub) if dub is None else torch.zeros_like(z_ub) - dub
    out = torch.ops.lpgd.implicit_qp(*data, x, y, z, z_lb, z_ub, status, g_x, g_y, g_z, g_lb, g_ub)
    result: tuple[Tensor, ...] = out[:5]
    return result
