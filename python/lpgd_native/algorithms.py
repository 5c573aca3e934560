"""Proximal algorithms on batches, with a status for every item.

An item is what the last `event_dim` dimensions of x hold: by default x is [..., n], a vector each.
What couples rows of an image or a matrix needs ``event_dim=2``. An item that has converged is
frozen, so its result does not depend on its neighbours. The loop ends when all have, or after
`max_iter`. Gradients flow through the iterations.
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
    """What an algorithm found. x carries a gradient."""

    x: Tensor
    """[..., *shape], the last iterate of each item"""
    status: Tensor
    """[...] int32, values of `Status`: OK, MAX_ITERATIONS, or NUMERICAL_ERROR where the residual
    was not finite (a step that is too large, most often)"""
    iterations: Tensor
    """[...] int32"""
    residual: Tensor
    """[...] the last one, by the algorithm's own measure"""


class _Loop:
    """Iterates until all items are done, and freezes those that are."""

    def __init__(
        self,
        name: str,
        x: Tensor,
        eps: float,
        max_iter: int,
        event_dim: int,
        **steps: float | Tensor,
    ) -> None:
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
            raise ValueError(f"{name}: x0 must be a floating-point tensor [..., n]")
        if x.layout != torch.strided:
            raise TypeError(f"{name}: x0 must be dense, got layout {x.layout}")
        number(name, "eps", eps, positive=True)
        count(name, "max_iter", max_iter)
        count(name, "event_dim", event_dim)
        if x.dim() < event_dim:
            raise ValueError(
                f"{name}: x0 must have the {event_dim} dimension(s) of an item, got {list(x.shape)}"
            )
        for arg, value in steps.items():
            _check_step(name, arg, value, x, event_dim)
        self.eps, self.max_iter = eps, max_iter
        self.lead = x.dim() - event_dim
        items = x.shape[: self.lead]
        self.status = x.new_full(items, Status.MAX_ITERATIONS, dtype=torch.int32)
        self.iterations = x.new_zeros(items, dtype=torch.int32)
        self.residual = x.new_full(items, torch.inf)

    def run(self, advance: _Advance, *state: Tensor) -> Result:
        """From `state`, x first; advance(*state) gives the next one and the residuals [...]."""
        for _ in range(self.max_iter):
            after, residual = advance(*state)
            live = self._live()
            state = tuple(
                torch.where(self.over(live, b), a, b) for a, b in zip(after, state, strict=True)
            )
            if self._record(residual.detach()):
                break
        return Result(state[0], self.status, self.iterations, self.residual)

    def over(self, value: Tensor, like: Tensor) -> Tensor:
        """[...] with ones behind, to broadcast with what an item has in `like`."""
        return value.reshape(*value.shape, *(1,) * (like.dim() - self.lead))

    def relative(self, change: Tensor, size: Tensor) -> Tensor:
        """[...] ||change|| / (1 + ||size||), the norms over an item."""
        out: Tensor = self._norm(change) / (1 + self._norm(size))
        return out

    def _norm(self, value: Tensor) -> Tensor:
        out: Tensor = value.flatten(self.lead).norm(dim=-1)
        return out

    def _live(self) -> Tensor:
        return self.status == Status.MAX_ITERATIONS

    def _record(self, residual: Tensor) -> bool:
        """Whether all items are done."""
        live = self._live()
        self.residual = torch.where(live, residual, self.residual)
        self.iterations = self.iterations + live.to(torch.int32)
        done = live & (residual <= self.eps)
        broken = live & ~residual.isfinite()
        self.status = self.status.masked_fill(done, Status.OK)
        self.status = self.status.masked_fill(broken, Status.NUMERICAL_ERROR)
        return bool((self.status != Status.MAX_ITERATIONS).all())


def _check_step(name: str, arg: str, value: Any, x: Tensor, event_dim: int) -> None:
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
    sizes = (*x.shape[: x.dim() - event_dim], *(1,) * event_dim)
    pairs = zip(reversed(value.shape), reversed(sizes), strict=False)
    if value.dim() > x.dim() or any(given not in (1, size) for given, size in pairs):
        ones = ", ".join("1" * event_dim)
        raise ValueError(
            f"{name}: {arg} must be a number or [..., {ones}] that broadcasts with x0 "
            f"{list(x.shape)}, got {list(value.shape)}"
        )


def _check_prox(name: str, **functions: object) -> None:
    """Functions must have what the algorithm calls."""
    for arg, value in functions.items():
        if not callable(getattr(value, "prox", None)):
            raise TypeError(
                f"{name}: {arg} must have prox(x, step), as the objects of lpgd_native.proximal "
                f"do (derive from proximal.Function for your own), got {type(value).__name__}"
            )


def proximal_gradient(
    grad: Operator,
    g: Function,
    x0: Tensor,
    step: float | Tensor,
    *,
    eps: float = 1e-6,
    max_iter: int = 1000,
    event_dim: int = 1,
) -> Result:
    """argmin_x f(x) + g(x), f smooth: x <- prox_{step g}(x - step grad(x)).

    Args:
        grad: x [..., *shape] -> the gradient of f there; of a data term 1/2 ||F(x) - y||^2 it is
            ``lambda x: operator.gradient(x, y)``.
        g: a function with a prox, from `lpgd_native.proximal` or your own.
        x0: [..., *shape], the start.
        step: at most 1 / L (below 2 / L), L the Lipschitz constant of grad, for a linear F
            ``operator.norm() ** 2``. A number, or one an item, with a 1 for every dimension of the
            item: [..., 1].
        eps: converged is ||x_new - x|| <= eps (1 + ||x_new||).
        max_iter: iterations at most.
        event_dim: how many dimensions make an item, 1 for vectors, 2 for images and matrices.

    Raises:
        TypeError: g has no prox, x0 or step is neither a number nor a dense tensor of them.
        ValueError: settings out of range, too few dimensions, a step of another shape.

    Source: Parikh & Boyd, Proximal Algorithms, 2014, section 4.2.
    """
    _check_prox("proximal_gradient", g=g)
    loop = _Loop("proximal_gradient", x0, eps, max_iter, event_dim, step=step)

    def advance(x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        after = g.prox(x - step * grad(x), step)
        return (after,), loop.relative(after - x, after)

    return loop.run(advance, x0)


def fista(
    grad: Operator,
    g: Function,
    x0: Tensor,
    step: float | Tensor,
    *,
    eps: float = 1e-6,
    max_iter: int = 1000,
    event_dim: int = 1,
    restart: bool = True,
) -> Result:
    """argmin_x f(x) + g(x), f smooth, by the accelerated proximal gradient.

    Args:
        grad, g, x0, max_iter, event_dim: as in `proximal_gradient`.
        step: at most 1 / L; a number or one an item, [..., 1].
        eps: converged is a gradient step from the extrapolated point that moves by at most
            eps (1 + ||x||).
        restart: an item whose momentum points uphill loses it (O'Donoghue & Candes 2015). Without
            it, the method of the paper.

    Raises:
        TypeError, ValueError: as `proximal_gradient`.

    Source: Beck & Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm, SIIMS 2009.
    """
    _check_prox("fista", g=g)
    loop = _Loop("fista", x0, eps, max_iter, event_dim, step=step)

    def advance(x: Tensor, y: Tensor, speed: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        after = g.prox(y - step * grad(y), step)
        if restart:
            rise = ((y - after) * (after - x)).flatten(loop.lead).sum(-1)
            speed = torch.where(loop.over(rise.detach() > 0, x), 1.0, speed)
        faster = (1 + (1 + 4 * speed * speed).sqrt()) / 2
        ahead = after + (speed - 1) / faster * (after - x)
        return (after, ahead, faster), loop.relative(after - y, after)

    return loop.run(advance, x0, x0, loop.over(x0.new_ones(x0.shape[: loop.lead]), x0))


def admm(
    f: Function,
    g: Function,
    x0: Tensor,
    rho: float | Tensor = 1.0,
    *,
    eps: float = 1e-6,
    max_iter: int = 1000,
    event_dim: int = 1,
    relaxation: float = 1.6,
) -> Result:
    """argmin_x f(x) + g(x), both with a prox, by scaled ADMM on x = z.

    Args:
        f, g: functions with a prox, from `lpgd_native.proximal` or your own.
        x0: [..., *shape], the start of z.
        rho: penalty, > 0: a number or one an item, [..., 1].
        eps: converged are the primal residual ||x - z|| and the dual one rho ||z_new - z|| at
            eps (1 + ||z||).
        max_iter, event_dim: as in `proximal_gradient`.
        relaxation: in (0, 2); 1 is none. Default 1.6, within what section 3.4.3 recommends.

    Returns:
        Result; its x is z, which is in the domain of g.

    Raises:
        TypeError, ValueError: as `proximal_gradient`; relaxation out of range.

    Source: Boyd, Parikh, Chu, Peleato & Eckstein, Distributed Optimization and Statistical Learning
    via the Alternating Direction Method of Multipliers, 2011, (3.5) and section 3.4.3.
    """
    if not 0 < relaxation < 2:
        raise ValueError(f"admm: relaxation must be in (0, 2), got {relaxation!r}")
    _check_prox("admm", f=f, g=g)
    loop = _Loop("admm", x0, eps, max_iter, event_dim, rho=rho)

    def advance(z: Tensor, u: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        x = f.prox(z - u, 1.0 / rho)
        mixed = relaxation * x + (1 - relaxation) * z
        after = g.prox(mixed + u, 1.0 / rho)
        dual_residual = loop.relative(rho * (after - z), after)
        residual = torch.maximum(loop.relative(x - after, after), dual_residual)
        return (after, u + mixed - after), residual

    return loop.run(advance, x0, torch.zeros_like(x0))


def chambolle_pock(
    f: Function,
    g: Function,
    forward: Operator,
    adjoint: Operator,
    x0: Tensor,
    tau: float | Tensor,
    sigma: float | Tensor,
    *,
    eps: float = 1e-6,
    max_iter: int = 1000,
    event_dim: int = 1,
) -> Result:
    """argmin_x f(x) + g(K x), K linear, by the primal-dual hybrid gradient.

    Args:
        f, g: functions with a prox; g convex.
        forward, adjoint: K and its transpose as functions, x [..., *shape] -> [..., *dual shape]
            and back. The dual's items may have another number of dimensions.
        x0: [..., *shape], the start.
        tau, sigma: primal and dual steps, tau sigma ||K||^2 <= 1; numbers or one an item, [..., 1].
        eps: converged are both moves, ||x_new - x|| / tau and ||y_new - y|| / sigma, at
            eps (1 + ||x|| or ||y||).
        max_iter, event_dim: as in `proximal_gradient`; of x.

    Raises:
        TypeError, ValueError: as `proximal_gradient`; a g that is not convex.

    Source: Chambolle & Pock, A First-Order Primal-Dual Algorithm, JMIV 2011, algorithm 1.
    """
    _check_prox("chambolle_pock", f=f, g=g)
    dual = g.conjugate()
    loop = _Loop("chambolle_pock", x0, eps, max_iter, event_dim, tau=tau, sigma=sigma)

    def advance(x: Tensor, ahead: Tensor, y: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        y_new = dual.prox(y + sigma * forward(ahead), sigma)
        x_new = f.prox(x - tau * adjoint(y_new), tau)
        residual = torch.maximum(
            loop.relative((x_new - x) / tau, x_new), loop.relative((y_new - y) / sigma, y_new)
        )
        return (x_new, 2 * x_new - x, y_new), residual

    return loop.run(advance, x0, x0, torch.zeros_like(forward(x0)))
