"""Proximal algorithms on batches, with a status for every item.

x is [..., n]: the last dimension is the vector, the others are items. An item that has
converged is frozen, so its result does not depend on its neighbours. The loop ends when all
have, or after `max_iter`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpgd_native._strategies.base import count, number
from lpgd_native.proximal import Function
from lpgd_native.status import Status

__all__ = ["Result", "admm", "chambolle_pock", "fista", "proximal_gradient"]

Operator = Callable[[Tensor], Tensor]
_Advance = Callable[..., tuple[tuple[Tensor, ...], Tensor]]


class Result(NamedTuple):
    """x [..., n]; of each item: status (`Status`, int32), iterations, the last residual."""

    x: Tensor
    status: Tensor
    iterations: Tensor
    residual: Tensor


class _Loop:
    """Iterates until all items are done, and freezes those that are."""

    def __init__(
        self, name: str, x: Tensor, tol: float, max_iter: int, **steps: float | Tensor
    ) -> None:
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point or x.dim() < 1:
            raise ValueError(f"{name}: x0 must be a floating-point tensor [..., n]")
        if x.layout != torch.strided:
            raise TypeError(f"{name}: x0 must be dense, got layout {x.layout}")
        number(name, "tol", tol, positive=True)
        count(name, "max_iter", max_iter)
        for arg, value in steps.items():
            _check_step(name, arg, value, x)
        self.tol, self.max_iter = tol, max_iter
        items = x.shape[:-1]
        self.status = x.new_full(items, Status.MAX_ITERATIONS, dtype=torch.int32)
        self.iterations = x.new_zeros(items, dtype=torch.int32)
        self.residual = x.new_full(items, torch.inf)

    def run(self, advance: _Advance, *state: Tensor) -> Result:
        """From `state`, x first; advance(*state) gives the next one and the residuals [...]."""
        for _ in range(self.max_iter):
            after, residual = advance(*state)
            live = self._live().unsqueeze(-1)
            state = tuple(torch.where(live, a, b) for a, b in zip(after, state, strict=True))
            if self._record(residual.detach()):
                break
        return Result(state[0], self.status, self.iterations, self.residual)

    def _live(self) -> Tensor:
        return self.status == Status.MAX_ITERATIONS

    def _record(self, residual: Tensor) -> bool:
        """Whether all items are done."""
        live = self._live()
        self.residual = torch.where(live, residual, self.residual)
        self.iterations = self.iterations + live.to(torch.int32)
        done = live & (residual <= self.tol)
        broken = live & ~residual.isfinite()
        self.status = self.status.masked_fill(done, Status.OK)
        self.status = self.status.masked_fill(broken, Status.NUMERICAL_ERROR)
        return bool((self.status != Status.MAX_ITERATIONS).all())


def _check_step(name: str, arg: str, value: Any, x: Tensor) -> None:
    if not isinstance(value, Tensor):
        number(name, arg, value, positive=True)
        return
    if not value.dtype.is_floating_point or value.layout != torch.strided:
        got = value.dtype if value.layout == torch.strided else value.layout
        raise TypeError(
            f"{name}: {arg} must be a number or a dense floating-point tensor, got {got}"
        )
    if value.dim() and value.device != x.device:
        raise ValueError(f"{name}: {arg} must be on {x.device} as x0 is, got {value.device}")
    shape = value.shape
    one = value.dim() == 0 or shape[-1] == 1
    lead = zip(reversed(shape[:-1]), reversed(x.shape[:-1]), strict=False)
    if not one or value.dim() > x.dim() or any(s not in (1, n) for s, n in lead):
        raise ValueError(
            f"{name}: {arg} must be a number or [..., 1] that broadcasts with x0 "
            f"{list(x.shape)}, got {list(shape)}"
        )


def _relative(change: Tensor, size: Tensor) -> Tensor:
    out: Tensor = change.norm(dim=-1) / (1 + size.norm(dim=-1))
    return out


def proximal_gradient(
    grad: Operator,
    g: Function,
    x0: Tensor,
    step: float | Tensor,
    *,
    tol: float = 1e-6,
    max_iter: int = 1000,
) -> Result:
    """argmin_x f(x) + g(x), f smooth with gradient `grad`: x <- prox_{step g}(x - step grad(x)).

    step: at most 1 / L (below 2 / L), L the Lipschitz constant of grad; a number or [..., 1].
    Converged: ||x_new - x|| <= tol (1 + ||x_new||).
    """

    def advance(x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        after = g.prox(x - step * grad(x), step)
        return (after,), _relative(after - x, after)

    return _Loop("proximal_gradient", x0, tol, max_iter, step=step).run(advance, x0)


def fista(
    grad: Operator,
    g: Function,
    x0: Tensor,
    step: float | Tensor,
    *,
    tol: float = 1e-6,
    max_iter: int = 1000,
    restart: bool = True,
) -> Result:
    """argmin_x f(x) + g(x) by the accelerated proximal gradient (Beck & Teboulle 2009).

    Arguments as in `proximal_gradient`, step at most 1 / L. restart: an item whose momentum points
    uphill loses it (O'Donoghue & Candes 2015). Converged: the gradient step from the extrapolated
    point moves by at most tol (1 + ||x||).
    """

    def advance(x: Tensor, y: Tensor, speed: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        after = g.prox(y - step * grad(y), step)
        if restart:
            uphill = ((y - after) * (after - x)).sum(-1, keepdim=True) > 0
            speed = torch.where(uphill.detach(), 1.0, speed)
        faster = (1 + (1 + 4 * speed * speed).sqrt()) / 2
        ahead = after + (speed - 1) / faster * (after - x)
        return (after, ahead, faster), _relative(after - y, after)

    loop = _Loop("fista", x0, tol, max_iter, step=step)
    return loop.run(advance, x0, x0, x0.new_ones((*x0.shape[:-1], 1)))


def admm(
    f: Function,
    g: Function,
    x0: Tensor,
    rho: float | Tensor = 1.0,
    *,
    tol: float = 1e-6,
    max_iter: int = 1000,
    relaxation: float = 1.6,
) -> Result:
    """argmin_x f(x) + g(x), both with a prox (scaled ADMM, x = z; Boyd et al. 2011).

    rho: penalty, a number or [..., 1]. relaxation: in (0, 2). Returns z, in the domain of g.
    Converged: primal ||x - z|| and dual rho ||z_new - z|| residuals at most tol (1 + ||z||).
    """
    if not 0 < relaxation < 2:
        raise ValueError(f"admm: relaxation must be in (0, 2), got {relaxation!r}")

    def advance(z: Tensor, u: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        x = f.prox(z - u, 1.0 / rho)
        mixed = relaxation * x + (1 - relaxation) * z
        after = g.prox(mixed + u, 1.0 / rho)
        dual_residual = _relative(rho * (after - z), after)
        residual = torch.maximum(_relative(x - after, after), dual_residual)
        return (after, u + mixed - after), residual

    return _Loop("admm", x0, tol, max_iter, rho=rho).run(advance, x0, torch.zeros_like(x0))


def chambolle_pock(
    f: Function,
    g: Function,
    forward: Operator,
    adjoint: Operator,
    x0: Tensor,
    tau: float | Tensor,
    sigma: float | Tensor,
    *,
    tol: float = 1e-6,
    max_iter: int = 1000,
) -> Result:
    """argmin_x f(x) + g(K x), K given as functions `forward` and `adjoint` (Chambolle & Pock 2011).

    tau sigma ||K||^2 <= 1. Converged: primal and dual moves, ||x_new - x|| / tau and
    ||y_new - y|| / sigma, at most tol (1 + ||x|| or ||y||).
    """
    dual = g.conjugate()

    def advance(x: Tensor, ahead: Tensor, y: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        y_new = dual.prox(y + sigma * forward(ahead), sigma)
        x_new = f.prox(x - tau * adjoint(y_new), tau)
        residual = torch.maximum(
            _relative((x_new - x) / tau, x_new), _relative((y_new - y) / sigma, y_new)
        )
        return (x_new, 2 * x_new - x, y_new), residual

    loop = _Loop("chambolle_pock", x0, tol, max_iter, tau=tau, sigma=sigma)
    return loop.run(advance, x0, x0, torch.zeros_like(forward(x0)))
