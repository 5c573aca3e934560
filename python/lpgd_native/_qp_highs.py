"""``method="highs"``: vertices of linear programs from HiGHS, and its LPGD, as torch operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpgd_native import _highs
from lpgd_native._highs import Program
from lpgd_native._qp_highs_program import numbers, point_of, program_of, residuals_of
from lpgd_native._qp_methods import METHODS, Method, Options
from lpgd_native._qp_ops import batch_of
from lpgd_native.gradients import LPGD
from lpgd_native.status import GradientStatus, Status

__all__ = ["MAX_ITER"]

MAX_ITER = 2**31 - 1  # simplex iterations: no limit


@torch.library.custom_op("lpgd::highs_solve", mutates_args=())
def _highs_solve(
    q: Tensor,
    G: Tensor | None,
    h: Tensor | None,
    A: Tensor | None,
    b: Tensor | None,
    lb: Tensor | None,
    ub: Tensor | None,
    batch: int,
    eps: float,
    max_iter: int,
    integral: Sequence[int],
) -> tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor
]:  # the outputs of lpgd::solve_qp and the basis [B, n + p + m]
    program = program_of((None, q, G, h, A, b, lb, ub), batch, integral)
    with np.errstate(all="ignore"):
        answer = _highs.solve_programs(program, eps, max_iter, torch.get_num_threads())
        residuals = residuals_of(program, answer)
    p = 0 if A is None else A.shape[-2]
    point = point_of(answer, p, lb is not None, ub is not None)
    x, y, z, z_lb, z_ub, residual = (
        torch.from_numpy(np.array(part)).to(q.device, q.dtype) for part in (*point, residuals)
    )
    status, iterations, basis = (
        torch.from_numpy(part).to(q.device)
        for part in (answer.status, answer.iterations, answer.basis)
    )
    return x, y, z, z_lb, z_ub, status, iterations, residual, basis


def _empty_point(
    q: Tensor, G: Tensor | None, A: Tensor | None, lb: Tensor | None, ub: Tensor | None, batch: int
) -> list[Tensor]:
    n = q.shape[-1]
    sizes = [
        n,
        0 if A is None else A.shape[-2],
        0 if G is None else G.shape[-2],
        0 if lb is None else n,
        0 if ub is None else n,
    ]
    return [q.new_empty(batch, size) for size in sizes]


@_highs_solve.register_fake
def _(
    q: Tensor, G: Any, h: Any, A: Any, b: Any, lb: Any, ub: Any, batch: int, *_: Any
) -> tuple[Tensor, ...]:
    point = _empty_point(q, G, A, lb, ub, batch)
    facts = [q.new_empty(batch, dtype=torch.int32) for _ in range(2)]
    width = sum(part.shape[1] for part in point[:3])
    basis = q.new_empty(batch, width, dtype=torch.int8)
    return (*point, *facts, q.new_empty(batch, 3), basis)


_Data = Sequence[Tensor | None]


class _Perturbed:
    """Solutions of the problem moved along the loss gradient, for some of the items."""

    def __init__(
        self,
        data: _Data,
        grads: Sequence[Tensor | None],
        batch: int,
        integral: Sequence[int],
        basis: np.ndarray,
        settings: tuple[float, int, int],
    ) -> None:
        _, _, G, _, A, _, lb, ub = data
        self.base = program_of(data, batch, integral)
        g_x, g_y, g_z, g_lb, g_ub = (None if g is None else numbers(g) for g in grads)
        p, m = (0 if t is None else t.shape[-2] for t in (A, G))
        self.g_x = g_x
        rows = [np.zeros((batch, size)) if g is None else -g for g, size in ((g_y, p), (g_z, m))]
        self.rows = None if g_y is None and g_z is None else np.concatenate(rows, -1)
        self.lb = g_lb if lb is not None else None
        self.ub = None if g_ub is None or ub is None else -g_ub
        self.shape = p, lb is not None, ub is not None
        self.basis, self.settings = basis, settings

    def solve(
        self, items: np.ndarray, steps: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """The points of `items` [K] (numbers of items) at `steps` [K] along g; which are solved."""
        eps, max_iter, threads = self.settings
        base = self.base

        def moved(value: np.ndarray, g: np.ndarray | None, rank: int = 1) -> np.ndarray:
            if g is None:
                return value if value.ndim == rank else value[items]
            here = value if value.ndim == rank else value[items]
            there: np.ndarray = here + steps[:, None] * g[items]
            return there

        program = Program(
            np.ascontiguousarray(moved(base.cost, self.g_x)),
            moved(base.matrix, None, 2),
            moved(base.row_lower, self.rows),
            moved(base.row_upper, self.rows),
            moved(base.col_lower, self.lb),
            moved(base.col_upper, self.ub),
            base.integral,
        )
        answer = _highs.solve_programs(program, eps, max_iter, threads, self.basis[items])
        return point_of(answer, *self.shape), answer.status == Status.OK


def _both_ends(
    perturbed: _Perturbed, point: list[np.ndarray], tau: np.ndarray, sides: int, live: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Ends a and c of every item, their distance and the GradientStatus."""
    plus, minus = ([part.copy() for part in point] for _ in range(2))
    found = np.zeros((2, len(tau)), bool)
    tau = tau.copy()
    status = np.full(len(tau), int(GradientStatus.OK), np.int32)

    def attempt(items: np.ndarray, which: int) -> None:
        """Both sides at once: one batch."""
        signs = [s for s, bit in ((1.0, 1), (-1.0, 2)) if which & bit]
        every = np.concatenate([items] * len(signs))
        steps = np.repeat(signs, len(items)) * tau[every]
        there, ok = perturbed.solve(every, steps)
        for end, row, sign in ((plus, 0, 1.0), (minus, 1, -1.0)):
            good = ok & (np.sign(steps) == sign)
            found[row, every[good]] = True
            for mine, new in zip(end, there, strict=True):
                mine[every[good]] = new[good]

    left = np.nonzero(live)[0]
    if len(left):
        attempt(left, sides)
        if sides != 3 and not found[sides - 1, left].all():
            attempt(left[~found[sides - 1, left]], 3 - sides)
        wanted = found[0] & found[1] if sides == 3 else found[sides - 1]
        status[live & ~wanted] = int(GradientStatus.OTHER_SIDE)
        for _ in range(3):
            left = np.nonzero(live & ~found.any(0))[0]
            if not len(left):
                break
            tau[left] /= 10.0
            attempt(left, 3)
            shrunk = left[found[:, left].all(0)]
            status[shrunk] = int(GradientStatus.SHRUNK)
        status[live & ~found.any(0)] = int(GradientStatus.ZERO)
    width = tau * np.maximum(found.sum(0), 1)
    return plus, minus, width, status


@torch.library.custom_op("lpgd::highs_resolve", mutates_args=())
def _highs_resolve(
    q: Tensor,
    G: Tensor | None,
    h: Tensor | None,
    A: Tensor | None,
    b: Tensor | None,
    lb: Tensor | None,
    ub: Tensor | None,
    point: Sequence[Tensor],
    solved: Tensor,
    g_x: Tensor | None,
    g_y: Tensor | None,
    g_z: Tensor | None,
    g_lb: Tensor | None,
    g_ub: Tensor | None,
    tau: Tensor,
    basis: Tensor,
    sides: int,
    eps: float,
    max_iter: int,
    integral: Sequence[int],
) -> tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor
]:  # the outputs of lpgd::resolve_qp
    data = (None, q, G, h, A, b, lb, ub)
    grads = (g_x, g_y, g_z, g_lb, g_ub)
    batch = len(tau)
    here = [numbers(part) for part in point]
    given = [numbers(g) for g in grads if g is not None and g.numel()]
    with np.errstate(all="ignore"):
        finite = np.logical_and.reduce([np.isfinite(g).all(-1) for g in given])
        moves = np.logical_or.reduce([(g != 0).any(-1) for g in given])
        has_point = np.isin(solved.cpu().numpy(), (Status.OK, Status.MAX_ITERATIONS))
        live = finite & moves & has_point
        threads = torch.get_num_threads()
        settings = (eps, max_iter, threads)
        warm = basis.cpu().numpy()
        perturbed = _Perturbed(data, grads, batch, integral, warm, settings)
        plus, minus, width, status = _both_ends(perturbed, here, numbers(tau), sides, live)
        scale = np.where(live, 1.0 / width, 0.0)[:, None]
        directions = [(a - c) * scale for a, c in zip(plus, minus, strict=True)]
        midpoints = [(a + c) / 2.0 for a, c in zip(plus, minus, strict=True)]
    for part in directions:
        part[~finite & has_point] = np.nan  # handed on, not hidden
    out = [torch.from_numpy(part).to(q.device, q.dtype) for part in (*directions, *midpoints)]
    x, y, z, z_lb, z_ub, m_x, m_y, m_z, m_lb, m_ub = out
    codes = torch.from_numpy(status).to(q.device)
    return x, y, z, z_lb, z_ub, m_x, m_y, m_z, m_lb, m_ub, codes


@_highs_resolve.register_fake
def _(
    q: Tensor, G: Any, h: Any, A: Any, b: Any, lb: Any, ub: Any, point: list[Tensor], *_: Any
) -> tuple[Tensor, ...]:
    batch = point[0].shape[0]
    twice = [t for _ in range(2) for t in _empty_point(q, G, A, lb, ub, batch)]
    return (*twice, q.new_empty(batch, dtype=torch.int32))


def _solve(data: _Data, start: _Data, options: Options) -> tuple[Tensor, ...]:
    # the simplex method has no use for a start without a basis
    settings = (options.eps, options.max_iter, list(options.integral))
    out: tuple[Tensor, ...] = torch.ops.lpgd.highs_solve(*data[1:], batch_of(data), *settings)
    return out


def _resolve(
    tensors: _Data,
    tau: Tensor,
    rho: Tensor,
    sides: int,
    state: Sequence[Tensor],
    options: Options,
) -> tuple[Tensor, ...]:
    strategy = options.gradient
    if isinstance(strategy, LPGD) and (strategy.rho or strategy.rho_over_tau):
        # a quadratic program, which the interior point solves exactly
        ipm = METHODS["ipm"]
        out: tuple[Tensor, ...] = torch.ops.lpgd.resolve_qp.default(
            *tensors, tau, rho, sides, options.eps, ipm.default_max_iter
        )
        return out
    data, point, solved, grads = tensors[1:8], tensors[8:13], tensors[13], tensors[14:]
    settings = (sides, options.eps, options.max_iter, list(options.integral))
    result: tuple[Tensor, ...] = torch.ops.lpgd.highs_resolve(
        *data, list(point), solved, *grads, tau, state[0], *settings
    )
    return result


def _check(name: str, data: _Data) -> None:
    if data[0] is not None:
        raise ValueError(
            f'{name}: method="highs" solves linear programs (P=None); with P use method="ipm"'
        )
    _highs.load(name)


METHODS["highs"] = Method(_solve, _resolve, MAX_ITER, _check)
