"""A strongly convex term in the problem itself, then the true derivative."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lpgd_native._strategies.base import OracleStrategy, choice, number
from lpgd_native._strategies.lpgd import Implicit, continuous, native

__all__ = ["Smoothed", "smoothed_program"]


@dataclass(frozen=True)
class Smoothed(OracleStrategy):
    """argmin_x <c, x> + mu/2 ||x||^2 (or + mu sum_i x_i log x_i), differentiated implicitly.

    Unlike the other strategies it changes the solution that the layer returns: it lies inside the
    feasible set and moves smoothly with c, and the derivative is the true one. As mu -> 0 it tends
    to the solution (the one of least norm, or of largest entropy), and its derivative to zero.

    Args:
        mu: weight of the added term, > 0, in units of costs per x.
        kind: ``"quadratic"``: for `QPOracle` and `LPOracle`, and as ``gradient=`` of `solve_qp`
            and `solve_lp`, which solve the quadratic program. ``"entropic"``: for oracles with a
            method ``solve_entropic(c, mu, **instance)``. `LPOracle` has one for A x = b, x >= 0
            (no G, no upper bounds): on the simplex it is softmax(-c / mu) in closed form, else
            the dual problem by Newton's method (on the doubly stochastic matrices, what Sinkhorn's
            iterations tend to).

    Raises:
        TypeError, ValueError: mu not a positive number, an unknown kind, an oracle that can't.

    Source: Wilder, Dilkina & Tambe, Melding the Data-Decisions Pipeline, AAAI 2019 (quadratic);
    Mandi & Guns, Interior Point Solving for LP-based Prediction+Optimisation, NeurIPS 2020 (a log
    barrier); Cuturi, Sinkhorn Distances, NeurIPS 2013 (entropic).
    """

    mu: float = 1.0
    kind: Literal["quadratic", "entropic"] = "quadratic"

    def __post_init__(self) -> None:
        number("Smoothed", "mu", self.mu, positive=True)
        choice("Smoothed", "kind", self.kind, ("quadratic", "entropic"))

    def check_oracle(self, name: str, oracle: Any) -> None:
        """The oracle must be able to solve the problem with the term added."""
        method = "solve_differentiably" if self.kind == "quadratic" else "solve_entropic"
        if not hasattr(oracle, method):
            raise ValueError(
                f"{name}: Smoothed(kind={self.kind!r}) adds a term to the problem, and "
                f"{type(oracle).__name__} has no {method}; use QPOracle or LPOracle, or smooth "
                "with noise: Perturbed(...)"
            )
        continuous(name, "Smoothed(...)", oracle)

    def delegate(self, oracle: Any) -> Callable[..., Any] | None:
        """The oracle's solution of the smoothed problem, differentiable by itself."""
        if self.kind == "entropic":
            return functools.partial(oracle.solve_entropic, mu=float(self.mu))
        return native(oracle, self)


def smoothed_program(
    name: str, P: Tensor | None, q: Tensor, strategy: Smoothed, integrality: Tensor | None
) -> tuple[Tensor, Implicit]:
    """The P and the strategy of the program with mu/2 ||x||^2 added."""
    if strategy.kind == "entropic":
        raise ValueError(
            f'{name}: Smoothed(kind="entropic") is not a quadratic program: use '
            "OracleLayer(LPOracle(A=A, b=b, lb=torch.zeros(n)), gradient=...)"
        )
    if integrality is not None:
        raise ValueError(f"{name}: an integer program can't be smoothed; use LPGD(...)")
    if not isinstance(q, Tensor) or q.dim() < 1:
        return P, Implicit()  # type: ignore[return-value]  # refused by the checks that follow
    if P is not None and P.layout != torch.strided:
        raise ValueError(
            f"{name}: Smoothed(...) needs a dense P; add mu on the diagonal of the sparse one"
        )
    weight = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device) * strategy.mu
    return (weight if P is None else P + weight), Implicit()
