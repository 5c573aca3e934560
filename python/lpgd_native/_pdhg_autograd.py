"""Autograd of the sparse solver: LPGD by solves again, begun at the solution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lpgd_native import _pdhg_ops as _pdhg_ops
from lpgd_native._interrupt import interruptible
from lpgd_native._qp_autograd import _adapt, _warn_of_fallbacks
from lpgd_native._qp_forward import tau_of
from lpgd_native._qp_methods import Options
from lpgd_native.gradients import LPGD
from lpgd_native.status import GradientStatus

__all__ = ["Pattern", "PdhgOptions", "solve"]

_raw_solve = interruptible(torch.ops.lpgd.solve_sparse_qp.default)
_SHRINK_ROUNDS = 3  # as the dense solver


@dataclass(frozen=True)
class Pattern:
    """Compressed rows that all items share; crow None: no such matrix."""

    crow: Tensor | None
    col: Tensor | None
    rows: int
    cols: int

    def row_of_entries(self) -> Tensor:
        """[nnz] the row of each entry; nothing waits for the device."""
        assert self.crow is not None
        assert self.col is not None
        entries = torch.arange(len(self.col), device=self.crow.device)
        return torch.searchsorted(self.crow, entries, right=True) - 1


@dataclass(frozen=True)
class PdhgOptions:
    """What a solve needs beside its tensors."""

    name: str
    gradient: LPGD
    eps: float
    max_iter: int
    patterns: tuple[Pattern, ...]  # of P, G, A
    columns: Tensor | None = None  # of the same, see _pdhg_columns.py
    start: tuple[Tensor, ...] | None = None  # x, y, z, each [batch, .]


def solve(data: tuple[Tensor | None, ...], options: PdhgOptions) -> tuple[Tensor, ...]:
    """The eight outputs of the op; `data` has values [nnz] or [batch, nnz] for P, G and A."""
    out: tuple[Tensor, ...] = _SparseSolve.apply(*data, options)  # type: ignore[no-untyped-call]
    return out


def _solve_op(
    data: tuple[Tensor | None, ...],
    options: PdhgOptions,
    rho: Tensor | None = None,
    start: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, ...]:
    P, q, G, h, A, b, lb, ub = data
    of_P, of_G, of_A = ((p.crow, p.col) for p in options.patterns)
    x0, y0, z0 = start if start is not None else (None, None, None)
    out: tuple[Tensor, ...] = _raw_solve(
        *(*of_P, P, q, *of_G, G, h, *of_A, A, b, lb, ub, rho, x0, y0, z0),
        options.columns,
        options.eps,
        options.max_iter,
    )
    return out


class _SparseSolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        *data, options = args
        out = _solve_op(tuple(data), options, start=options.start)
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*out[5:])
        ctx.save_for_backward(*data, *out[:6])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        data, point = ctx.saved_tensors[:8], ctx.saved_tensors[8:]
        if all(g is None for g in upstream[:5]):
            return (None,) * 9
        grads = tuple(
            torch.zeros_like(p) if g is None else g
            for g, p in zip(upstream[:5], point[:5], strict=True)
        )
        direction, midpoint = _quotient(data, point, grads, ctx.options)
        return (*_gradients(data, direction, midpoint, ctx), None)


def _quotient(
    data: tuple[Tensor | None, ...],
    point: tuple[Tensor, ...],
    grads: tuple[Tensor, ...],
    options: PdhgOptions,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """LPGD's direction and midpoint (core/qp_combine.h) from both perturbed solutions."""
    *at, status = point
    strategy, count = options.gradient, at[0].shape[0]
    assert data[1] is not None
    tau = tau_of(strategy, data[1], count, grads, (1,) * 5)
    rho = strategy.rho + strategy.rho_over_tau * tau
    finite = torch.stack([g.isfinite().all(-1) for g in grads]).all(0)
    nonzero = torch.stack([g.ne(0).any(-1) for g in grads]).any(0)
    usable = nonzero & (status <= 1)
    todo = usable & finite
    sides = {"lower": (1.0,), "upper": (-1.0,), "average": (1.0, -1.0)}[strategy.envelope]
    found = {sign: [p.clone() for p in at] for sign in (1.0, -1.0)}
    ok = {sign: torch.zeros_like(todo) for sign in (1.0, -1.0)}

    def run(items: Tensor, signs: tuple[float, ...]) -> None:
        index = items.nonzero().squeeze(-1)
        if len(index) == 0 or not signs:
            return
        out = _perturbed(data, at, grads, options, tau, rho, index, signs)
        for place, sign in enumerate(signs):
            rows = slice(place * len(index), (place + 1) * len(index))
            good = out[5][rows] == 0
            ok[sign][index[good]] = True
            for target, value in zip(found[sign], out[:5], strict=False):
                target[index[good]] = value[rows][good]

    run(todo, sides)
    other = tuple(s for s in (1.0, -1.0) if s not in sides)
    run(todo & ~(ok[1.0] | ok[-1.0]), other)
    shrunk = torch.zeros_like(todo)
    for _ in range(_SHRINK_ROUNDS):
        left = todo & ~(ok[1.0] | ok[-1.0])
        if not bool(left.any()):
            break
        tau = torch.where(left, 0.1 * tau, tau)
        shrunk |= left
        run(left, sides)
    plus, minus = ok[1.0], ok[-1.0]
    if len(sides) == 1:  # the side not asked for stands in only where the other failed
        plus, minus = (plus, minus & ~plus) if sides[0] > 0 else (plus & ~minus, minus)
    width = tau * (plus.to(tau) + minus.to(tau)).clamp(min=1)
    direction, midpoint = [], []
    for here, left, right in zip(at, found[1.0], found[-1.0], strict=True):
        a = torch.where(plus[:, None], left, here)
        b = torch.where(minus[:, None], right, here)
        step = torch.where(todo[:, None], (a - b) / width[:, None], 0.0)
        # an upstream gradient that is not finite is handed on
        step = torch.where((usable & ~finite)[:, None], torch.full_like(step, torch.nan), step)
        direction.append(step)
        midpoint.append(0.5 * (a + b))
    if strategy.auto_state is not None:
        _adapt(strategy.auto_state, at[0], status, direction[0] * tau[:, None], grads)
    wanted = torch.stack([ok[s] for s in sides]).all(0)
    code = torch.full_like(status, GradientStatus.OK)
    code[todo & ~wanted] = GradientStatus.OTHER_SIDE
    code[todo & wanted & shrunk] = GradientStatus.SHRUNK
    code[todo & ~(plus | minus)] = GradientStatus.ZERO
    _warn_of_fallbacks(code, Options(options.name, strategy, options.eps, options.max_iter))
    return tuple(direction), tuple(midpoint)


def _perturbed(
    data: tuple[Tensor | None, ...],
    at: list[Tensor],
    grads: tuple[Tensor, ...],
    options: PdhgOptions,
    tau: Tensor,
    rho: Tensor,
    index: Tensor,
    signs: tuple[float, ...],
) -> tuple[Tensor, ...]:
    """Both sides in one batch: q + tau g_x, h - tau g_z, b - tau g_y, bounds likewise."""
    count = at[0].shape[0]
    everything = len(index) == count
    step = torch.cat([sign * tau[index] for sign in signs])[:, None]
    ridge = rho[index].repeat(len(signs))[:, None] if bool((rho > 0).any()) else None

    def rows(tensor: Tensor) -> Tensor:
        chosen = tensor if everything else tensor[index]
        return torch.cat([chosen] * len(signs)) if len(signs) > 1 else chosen

    def moved(tensor: Tensor | None, grad: Tensor, way: float) -> Tensor | None:
        if tensor is None:
            return None
        base = tensor if tensor.dim() == 1 else rows(tensor)
        return (base + way * step * rows(grad)).contiguous()

    P, q, G, h, A, b, lb, ub = data
    g_x, g_y, g_z, g_lb, g_ub = grads
    here = [rows(part).contiguous() for part in at[:3]]
    q = moved(q, g_x, 1.0)
    if ridge is not None and q is not None:
        q = q - ridge * here[0]
    P, G, A = (t if t is None or t.dim() == 1 else rows(t).contiguous() for t in (P, G, A))
    there = (
        *(P, q, G, moved(h, g_z, -1.0), A, moved(b, g_y, -1.0)),
        *(moved(lb, g_lb, 1.0), moved(ub, g_ub, -1.0)),
    )
    return _solve_op(there, options, ridge, tuple(here))


def _gradients(
    data: tuple[Tensor | None, ...],
    direction: tuple[Tensor, ...],
    midpoint: tuple[Tensor, ...],
    ctx: Any,
) -> list[Tensor | None]:
    """dL/dw along the direction at the midpoint; those of P, G and A on their entries alone."""
    d_x, d_y, d_z, d_lb, d_ub = direction
    m_x, m_y, m_z = midpoint[:3]
    of_P, of_G, of_A = ctx.options.patterns
    formulas: list[Callable[[], Tensor]] = [
        lambda: _on_pattern(of_P, 0.5 * d_x, m_x, 0.5 * m_x, d_x),
        lambda: d_x,
        lambda: _on_pattern(of_G, d_z, m_x, m_z, d_x),
        lambda: -d_z,
        lambda: _on_pattern(of_A, d_y, m_x, m_y, d_x),
        lambda: -d_y,
        lambda: d_lb,
        lambda: -d_ub,
    ]
    grads: list[Tensor | None] = [None] * 8
    for index, tensor in enumerate(data):
        if tensor is not None and ctx.needs_input_grad[index]:
            value = formulas[index]()
            if tensor.dim() == 1:  # one item: as in a batch, to the sign of a zero
                value = value[0] if len(value) == 1 else value.sum(0)
            grads[index] = value
    return grads


def _on_pattern(pattern: Pattern, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """[batch, nnz] the entries of a b' + c d' that the pattern has."""
    row, col = pattern.row_of_entries(), pattern.col
    assert col is not None
    return a[:, row] * b[:, col] + c[:, row] * d[:, col]
