"""Proximal algorithms on batches, with a status for every item.

x is [..., n]: the last dimension is the vector, the others are items. An item that has
converged is frozen, so its result does not depend on its neighbours. The loop ends when all
have, or after `max_iter`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lpgd_native.proximal import Function
from lpgd_native.status import Status

__all__ = ["Result", "admm", "chambolle_pock", "fista", "proximal_gradient"]

Operator = Callable[[Tensor], Tensor]


class Result(NamedTuple):
    """x [..., n]; of each item: status (`Status`, int32), iterations, the last residual."""

    x: Tensor
    status: Tensor
    iterations: Tensor
    residual: Tensor


class _Loop:
    """Freezes items that are done."""

    def __init__(self, name: str, x: Tensor, tol: float, max_iter: int) -> None:
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point or x.dim() < 1:
            raise ValueError(f"{name}: x0 must be a floating-point tensor [..., n]")
        if not tol > 0:
            raise ValueError(f"{name}: tol must be positive, got {tol!r}")
        if max_iter < 1:
            raise ValueError(f"{name}: max_iter must be positive, got {max_iter!r}")
        self.tol = tol
        items = x.shape[:-1]
        self.status = x.new_full(items, Status.MAX_ITERATIONS, dtype=torch.int32)
        self.iterations = x.new_zeros(items, dtype=torch.int32)
        self.residual = x.new_full(items, torch.inf)

    def live(self) -> Tensor:
        return (self.status == Status.MAX_ITERATIONS).unsqueeze(-1)

    def step(self, residual: Tensor) -> bool:
        """Record the residuals [...] of this iteration; whether all items are done."""
        live = self.live().squeeze(-1)
        residual = residual.detach()
        self.residual = torch.where(live, residual, self.residual)
        self.iterations = self.iterations + live.to(torch.int32)
        done = live & (residual <= self.tol)
        broken = live & ~residual.isfinite()
        self.status = self.status.masked_fill(done, Status.OK)
        self.status = self.status.masked_fill(broken, Status.NUMERICAL_ERROR)
        return bool((self.status != Status.MAX_ITERATIONS).all())

    def result(self, x: Tensor) -> Result:
        return Result(x, self.status, self.iterations, self.residual)


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
    loop, x = _Loop("proximal_gradient", x0, tol, max_iter), x0
    for _ in range(max_iter):
        after = g.prox(x - step * grad(x), step)
        residual = _relative(after - x, after)
        x = torch.where(loop.live(), after, x)
        if loop.step(residual):
            break
    return loop.result(x)


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
    loop, x, y = _Loop("fista", x0, tol, max_iter), x0, x0
    speed = x0.new_ones((*x0.shape[:-1], 1))
    for _ in range(max_iter):
        after = g.prox(y - step * grad(y), step)
        residual = _relative(after - y, after)
        if restart:
            uphill = ((y - after) * (after - x)).sum(-1, keepdim=True) > 0
            speed = torch.where(uphill.detach(), 1.0, speed)
        faster = (1 + (1 + 4 * speed * speed).sqrt()) / 2
        ahead = after + (speed - 1) / faster * (after - x)
        live = loop.live()
        x, y = torch.where(live, after, x), torch.where(live, ahead, y)
        speed = torch.where(live, faster, speed)
        if loop.step(residual):
            break
    return loop.result(x)


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
    loop, z, u = _Loop("admm", x0, tol, max_iter), x0, torch.zeros_like(x0)
    for _ in range(max_iter):
        x = f.prox(z - u, 1.0 / rho)
        mixed = relaxation * x + (1 - relaxation) * z
        after = g.prox(mixed + u, 1.0 / rho)
        residual = torch.maximum(_relative(x - after, after), _relative(rho * (after - z), after))
        live = loop.live()
        u = torch.where(live, u + mixed - after, u)
        z = torch.where(live, after, z)
        if loop.step(residual):
            break
    return loop.result(z)


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
    loop, x, ahead = _Loop("chambolle_pock", x0, tol, max_iter), x0, x0
    dual = g.conjugate()
    y = torch.zeros_like(forward(x0))
    for _ in range(max_iter):
        y_new = dual.prox(y + sigma * forward(ahead), sigma)
        x_new = f.prox(x - tau * adjoint(y_new), tau)
        residual = torch.maximum(
            _relative((x_new - x) / tau, x_new), _relative((y_new - y) / sigma, y_new)
        )
        live = loop.live()
        ahead = torch.where(live, 2 * x_new - x, ahead)
        x, y = torch.where(live, x_new, x), torch.where(live, y_new, y)
        if loop.step(residual):
            break
    return loop.result(x)
