"""Gradients without a linearised perturbation: identity, and the exact loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lpgd_native._strategies.base import Envelope, OracleStrategy, choice, filled, norms, number
from lpgd_native._strategies.problem import Problem, quotient
from lpgd_native._strategies.smoothed import Smoothed
from lpgd_native.status import Status

__all__ = ["DirectLoss", "Identity"]


@dataclass(frozen=True)
class Identity(OracleStrategy):
    """-g: the solver is treated as x = -c. No solve at all in the backward pass.

    Costs that go up push their x down, which is all it knows. A step along directions that do not
    change the solution is useless, and a projection takes it out.

    Args:
        projection: None; ``"plane"`` where all solutions have the same sum (top-k, assignment,
            ranking): g without its mean; ``"sphere"``, since the scale of c does not matter: g
            without its part along c; ``"both"``: what is orthogonal to 1 and to c - mean(c). It
            is the orthogonal projection of g: differentiating c / ||c|| would divide by ||c||, too.

    Raises:
        ValueError: another projection.

    Source: Sahoo, Paulus, Vlastelica, Musil, Kuleshov & Martius, Backpropagation through
    Combinatorial Algorithms: Identity with Projection Works, ICLR 2023.
    """

    projection: Literal["plane", "sphere", "both"] | None = None

    def __post_init__(self) -> None:
        if self.projection is not None:
            choice("Identity", "projection", self.projection, ("plane", "sphere", "both"))

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """-Proj(g)."""
        dims = tuple(range(-problem.event_dim, 0))
        if self.projection in ("plane", "both"):
            g = g - g.mean(dims, keepdim=True)
        if self.projection in ("sphere", "both"):
            along = c - c.mean(dims, keepdim=True) if self.projection == "both" else c
            size = problem.over(norms(along, problem.event_dim))
            along = torch.where(size > 0, along / torch.where(size > 0, size, 1.0), 0.0)
            g = g - problem.over(problem.inner(along, g)) * along
        return -g, {}


@dataclass(frozen=True)
class DirectLoss(OracleStrategy):
    """Direct loss minimisation: the exact loss in the perturbed problem, not its linearisation.

    For a loss l(x, t) with a target t::

        lower:   (x_+ - x*) / tau,   x_+ = argmin_x <c, x> + tau l(x, t)      towards better
        upper:   (x* - x_-) / tau,   x_- = argmin_x <c, x> - tau l(x, t)      away from worse

    In an `OracleLayer` the target comes with the call, ``layer(c, target=t)``, and the size of the
    gradient that arrives at x is kept: it is measured along dl/dx, and where it is zero the
    gradient is zero. As a loss of its own, without that limit: `lpgd_native.losses.DirectLoss`.

    Args:
        tau: strength, > 0, in units of costs per loss.
        envelope: ``"lower"`` (default), ``"upper"`` or ``"average"``.
        loss: ``"hamming"``: sum |x - t| over x and t in {0, 1}, which is linear in x, so that any
            oracle serves. ``"squared"``: 1/2 ||x - t||^2, for `QPOracle` and `LPOracle` and the
            lower side (the upper one is not convex). Or a function ``(c, weight, target,
            **instance) -> OracleSolution`` that solves argmin_x <c, x> + weight * l(x, target) for
            costs [k, *batch, *shape] and weights [k, 1, ...] of either sign; the gradient then has
            the size of that loss, whatever arrives at x.

    Raises:
        TypeError, ValueError: tau not a positive number, an unknown envelope or loss, ``"squared"``
            with another side than the lower one or an oracle that can't solve it.

    Source: McAllester, Hazan & Keshet, Direct Loss Minimization for Structured Prediction, NeurIPS
    2010; Song, Schwing, Zemel & Urtasun, ICML 2016.
    """

    call_arguments: ClassVar[tuple[str, ...]] = ("target",)

    tau: float = 1.0
    envelope: Envelope = "lower"
    loss: Literal["hamming", "squared"] | Callable[..., Any] = "hamming"

    def __post_init__(self) -> None:
        number("DirectLoss", "tau", self.tau, positive=True)
        choice("DirectLoss", "envelope", self.envelope, ("average", "lower", "upper"))
        if not callable(self.loss):
            choice("DirectLoss", "loss", self.loss, ("hamming", "squared"))
        if self.loss == "squared" and self.envelope != "lower":
            raise ValueError(
                'DirectLoss: loss="squared" needs envelope="lower": the problem of the upper side, '
                f"<c, x> - tau/2 ||x - t||^2, is not convex; got envelope={self.envelope!r}"
            )

    def check_oracle(self, name: str, oracle: Any) -> None:
        """The squared loss makes the problem quadratic."""
        if self.loss == "squared" and not hasattr(oracle, "solve_differentiably"):
            raise ValueError(
                f'{name}: DirectLoss(loss="squared") solves a quadratic problem, which '
                f'{type(oracle).__name__} can\'t: it minimises <c, x>; use loss="hamming", a '
                "function of your own, or QPOracle or LPOracle"
            )

    def slope(self, x: Tensor, target: Tensor) -> Tensor:
        """dl/dx, for the two losses that have a name."""
        return 1 - 2 * target if self.loss == "hamming" else x - target

    def value(self, x: Tensor, target: Tensor, event_dim: int) -> Tensor:
        """[*batch] l(x, t), for the two losses that have a name."""
        apart = (x - target).flatten(-event_dim)
        return apart.abs().sum(-1) if self.loss == "hamming" else 0.5 * apart.square().sum(-1)

    def direction(
        self, problem: Problem, c: Tensor, x: Tensor, live: Tensor, target: Tensor
    ) -> Tensor:
        """The gradient for a loss l(x, t) that counts once."""
        tau = filled(c, live.shape, self.tau)
        if self.loss == "hamming":
            return quotient(problem, c, x, 1 - 2 * target, tau, self.envelope, live).direction
        if self.loss == "squared":
            solve, smooth = problem.oracle.solve_differentiably, Smoothed(float(self.tau))

            def call(costs: Tensor, **instance: Any) -> Any:
                return solve(costs, gradient=smooth, **instance)

            return quotient(problem, c, x, -target, tau, "lower", live, call).direction
        assert callable(self.loss)
        sides = {"lower": (1.0,), "upper": (-1.0,), "average": (1.0, -1.0)}[self.envelope]
        weight = torch.stack([filled(c, (1,) * c.dim(), sign * self.tau) for sign in sides])
        costs = c.expand(len(sides), *c.shape)
        solution = self.loss(costs, weight, target, **problem.instance)
        ok = (solution.status == Status.OK) & live
        apart = (solution.x - x) / weight
        total = torch.where(ok.reshape(*ok.shape, *(1,) * problem.event_dim), apart, 0.0).sum(0)
        return total / problem.over(ok.sum(0).clamp(min=1))

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The direction, as large as the gradient that arrived is along dl/dx."""
        target = problem.extras.get("target")
        if target is None:
            raise ValueError("OracleLayer: DirectLoss needs the target: layer(c, target=t)")
        out = self.direction(problem, c, x, live, target)
        if callable(self.loss):
            return out, {}
        slope = self.slope(x, target).expand_as(g)
        size = problem.inner(slope, slope)
        scale = problem.inner(slope, g) / torch.where(size > 0, size, 1.0)
        return problem.over(scale) * out, {}
