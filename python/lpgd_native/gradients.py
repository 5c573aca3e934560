"""Gradient strategies: how to differentiate through a solver. Passed as ``gradient=``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["LPGD", "Envelope", "GradientStrategy", "Implicit"]

Envelope = Literal["average", "lower", "upper"]


def _checked(name: str, field: str, value: float, *, positive: bool) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name}: {field} must be a number, got {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        wanted = "positive" if positive else "nonnegative"
        raise ValueError(f"{name}: {field} must be finite and {wanted}, got {value}")
    return float(value)


@dataclass(frozen=True)
class Implicit:
    """The derivative of the solution: the KKT system of the active set, solved for the gradient.

    It is the true derivative where that exists. At a vertex (an LP) the derivative with respect to
    the costs is zero. Where rows are active with a zero multiplier, the element returned is that of
    the active set ``slack < multiplier``. Where the KKT system is singular (a face of minimisers,
    redundant active rows), it is the least-squares solution of least norm: always finite.

    Source: Amos & Kolter, OptNet, ICML 2017.
    """


@dataclass(frozen=True)
class LPGD:
    """Lagrangian proximal gradient descent: solve again at a perturbed input, take the difference.

    The loss is linearised at the solution, ``g = dl/dx``; with the Lagrangian divergence D, the
    gradient is that of the envelope (exact at any tau)::

        lower:   min_x  <g, x - x*> + D(x) / tau        one solve at q + tau g
        upper:   max_x  <g, x - x*> - D(x) / tau        one solve at q - tau g
        average: their mean                             both

    As tau -> 0 it tends to the derivative (`Implicit`). While the active set stays, the average is
    exact, and so is one side for q, h, b, lb, ub; for P, G, A it has an error O(tau). A larger tau
    sees past kinks and vertices, which is what an LP needs. ``LPGD(tau, envelope="lower")`` is the
    blackbox gradient of Vlastelica et al. (2020).

    Args:
        tau: strength of the perturbation, > 0. Only ``tau * ||g||`` matters, and a mean over the
            batch makes g small: see `relative`. Solver error enters divided by tau.
        rho: weight of an added ``rho / 2 ||x - x*||^2`` in the perturbed problem (diffcp's
            convention). It bounds the step where the perturbed problem would be unbounded, and
            biases the limit tau -> 0 to the derivative of the regularised problem.
        envelope: ``"average"`` (default: exact to second order), ``"lower"`` or ``"upper"``.
        relative: measure tau per item in units of the loss gradient: ``tau / ||g||`` is used.
        rho_over_tau: a further weight ``rho_over_tau * tau``, in proportion to the perturbation:
            unbiased as tau -> 0, and for large tau the perturbed point tends to the projection of
            ``x* - g / rho_over_tau`` on the feasible set.

    Raises:
        TypeError: tau, rho or rho_over_tau is not a number.
        ValueError: tau not positive, a negative rho, an unknown envelope.

    Source: Paulus, Martius & Musil, LPGD: A General Framework for Backpropagation through Embedded
    Optimization Layers, ICML 2024.
    """

    tau: float = 0.1
    rho: float = 0.0
    envelope: Envelope = "average"
    relative: bool = False
    rho_over_tau: float = 0.0

    def __post_init__(self) -> None:
        _checked("LPGD", "tau", self.tau, positive=True)
        _checked("LPGD", "rho", self.rho, positive=False)
        _checked("LPGD", "rho_over_tau", self.rho_over_tau, positive=False)
        if self.envelope not in ("average", "lower", "upper"):
            raise ValueError(
                f'LPGD: envelope must be "average", "lower" or "upper", got {self.envelope!r}'
            )


GradientStrategy = Implicit | LPGD
