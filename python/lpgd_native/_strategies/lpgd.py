"""LPGD, the blackbox gradient that is one side of it, and the implicit derivative."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from lpgd_native._strategies.base import (
    Envelope,
    OracleStrategy,
    choice,
    filled,
    norms,
    number,
    per_item,
)
from lpgd_native._strategies.problem import Problem, quotient

if TYPE_CHECKING:
    from lpgd_native.gradients import GradientStrategy

__all__ = [
    "LPGD",
    "AutoTau",
    "Blackbox",
    "Implicit",
    "continuous",
    "item_tau",
    "native",
    "program_strategy",
    "with_batch",
]

_AUTO_START = 0.1
_AUTO_LIMITS = (1e-6, 1e6)


@dataclass
class AutoTau:
    """The state of ``tau="auto"``: tau in units of ||c|| / ||g||, steered after every backward."""

    share: float
    """The share of the items that should move."""
    value: float = _AUTO_START
    """The present tau; 0.1 at first."""

    def update(self, moved: Tensor, live: Tensor) -> None:
        """Multiply by exp(share wanted - share seen); nothing where no item has a gradient."""
        seen = int(live.sum())
        if seen:
            factor = math.exp(self.share - int((moved & live).sum()) / seen)
            low, high = _AUTO_LIMITS
            self.value = min(max(self.value * factor, low), high)


@dataclass(frozen=True)
class Implicit(OracleStrategy):
    """The derivative of the solution: the KKT system of the active set, solved for the gradient.

    It is the true derivative where that exists. At a vertex (an LP) the derivative with respect to
    the costs is zero. Where rows are active with a zero multiplier, the element returned is that of
    the active set ``slack < multiplier``. Where the KKT system is singular (a face of minimisers,
    redundant active rows), it is the least-squares solution of least norm: always finite.

    It needs the constraints, so `OracleLayer` takes it with `QPOracle` and `LPOracle` alone.

    Source: Amos & Kolter, OptNet, ICML 2017.
    """

    def check_oracle(self, name: str, oracle: Any) -> None:
        """Only programs whose constraints are known have a KKT system."""
        if not hasattr(oracle, "solve_differentiably"):
            raise ValueError(
                f"{name}: Implicit() differentiates the optimality conditions, which a black box "
                f"({type(oracle).__name__}) does not show; use QPOracle or LPOracle, or another "
                "strategy, for example LPGD(tau=1.0, relative=True)"
            )
        continuous(name, "Implicit()", oracle)

    def delegate(self, oracle: Any) -> Callable[..., Any] | None:
        """The program's own derivative."""
        return native(oracle, self)


@dataclass(frozen=True, eq=False)
class LPGD(OracleStrategy):
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
            batch makes g small: see `relative`. Solver error enters divided by tau. A tensor
            [...] that broadcasts to the batch gives each item its own. ``"auto"``, for LPs and
            oracles, whose solutions move in jumps: tau is measured per item in units of
            ||c|| / ||g||, begins at 0.1, and after every backward pass is multiplied by
            ``exp(share - s)``, where s is the share of the items whose perturbed solution
            moved. The number (`auto_state`) belongs to this object, is pickled with it and kept in
            the ``state_dict`` of an `OracleLayer`; use one object per layer. It is read and
            changed in Python: torch.compile refuses it.
        rho: weight of an added ``rho / 2 ||x - x*||^2`` in the perturbed problem (diffcp's
            convention). It bounds the step where the perturbed problem would be unbounded, and
            biases the limit tau -> 0 to the derivative of the regularised problem. It makes the
            problem quadratic: for `solve_qp`, `solve_lp` and their oracles only.
        envelope: ``"average"`` (default: exact to second order), ``"lower"`` or ``"upper"``.
        relative: measure tau per item in units of the loss gradient: ``tau / ||g||`` is used.
        rho_over_tau: a further weight ``rho_over_tau * tau``, in proportion to the perturbation:
            unbiased as tau -> 0, and for large tau the perturbed point tends to the projection of
            ``x* - g / rho_over_tau`` on the feasible set.
        share: of the items that should move, in (0, 1); with ``tau="auto"`` alone. Default 0.5:
            steady progress without moving every item at every step.

    Raises:
        TypeError: tau, rho, rho_over_tau or share is not a number.
        ValueError: tau not positive, a negative rho, an unknown envelope, share outside (0, 1),
            ``tau="auto"`` with relative=True (it is relative by itself).

    Source: Paulus, Martius & Musil, LPGD: A General Framework for Backpropagation through Embedded
    Optimization Layers, ICML 2024. The adaptive tau is in the spirit of Minervini, Franceschi &
    Niepert, Adaptive Perturbation-Based Gradient Estimation for Discrete Latent Variable Models,
    AAAI 2023, whose step is additive.
    """

    tau: float | Tensor | Literal["auto"] = 0.1
    rho: float = 0.0
    envelope: Envelope = "average"
    relative: bool = False
    rho_over_tau: float = 0.0
    share: float = 0.5
    auto_state: AutoTau | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        _check_tau("LPGD", self.tau, self.relative, self.share)
        number("LPGD", "rho", self.rho, positive=False)
        number("LPGD", "rho_over_tau", self.rho_over_tau, positive=False)
        choice("LPGD", "envelope", self.envelope, ("average", "lower", "upper"))
        if isinstance(self.tau, str):
            object.__setattr__(self, "auto_state", AutoTau(self.share))

    def __eq__(self, other: object) -> bool:
        if type(other) is not LPGD:
            return NotImplemented
        return all(
            _same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self)
        )

    def __hash__(self) -> int:
        tau = tuple(self.tau.shape) if isinstance(self.tau, Tensor) else self.tau
        return hash((tau, self.rho, self.envelope, self.relative, self.rho_over_tau, self.share))

    def check_oracle(self, name: str, oracle: Any) -> None:
        """With rho the perturbed problem is quadratic: no task for a linear oracle."""
        if (self.rho or self.rho_over_tau) and not hasattr(oracle, "solve_differentiably"):
            raise ValueError(
                f"{name}: LPGD with rho or rho_over_tau solves a quadratic problem, which "
                f"{type(oracle).__name__} can't: it minimises <c, x>; set them to 0, or use "
                "QPOracle or LPOracle"
            )

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(x_s - x) / (s tau) at c + s tau g."""
        tau = item_tau(self.tau, self.relative, self.auto_state, c, g, problem.event_dim)
        out = quotient(problem, c, x, g, tau, self.envelope, live)
        if self.auto_state is not None:
            self.auto_state.update(out.moved(x, problem.event_dim), live)
        return out.direction, {}

    def delegate(self, oracle: Any) -> Callable[..., Any] | None:
        """The program's own LPGD, which begins its solves at the solution."""
        return native(oracle, self)

    def state(self) -> dict[str, float]:
        """The adaptive tau."""
        return {} if self.auto_state is None else {"tau": self.auto_state.value}

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from a saved tau."""
        if self.auto_state is not None and "tau" in state:
            self.auto_state.value = float(state["tau"])


@dataclass(frozen=True)
class Blackbox(OracleStrategy):
    """(x*(c + lam g) - x*(c)) / lam: one more solve, at costs moved along the loss gradient.

    The gradient of a piecewise affine interpolation of the loss, whose pieces grow with lam. It is
    ``LPGD(tau=lam, envelope="lower")``, and `solve_qp` and `solve_lp` take it as that.

    Args:
        lam: the lambda of the paper, > 0: large enough for the solution to change. The paper finds
            values from 10 to 20 for costs of order 1, without a mean in the loss.
        relative: use ``lam / ||g||`` per item.

    Raises:
        TypeError, ValueError: lam is no positive number.

    Source: Vlastelica, Paulus, Musil, Martius & Rolinek, Differentiation of Blackbox Combinatorial
    Solvers, ICLR 2020, Algorithm 1.
    """

    lam: float = 10.0
    relative: bool = False

    def __post_init__(self) -> None:
        number("Blackbox", "lam", self.lam, positive=True)

    def delegate(self, oracle: Any) -> Callable[..., Any] | None:
        """The program's own LPGD."""
        return native(oracle, self)

    def as_lpgd(self) -> LPGD:
        """The same gradient by its other name."""
        return LPGD(float(self.lam), envelope="lower", relative=self.relative)

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One solve at c + lam g."""
        return self.as_lpgd().backward(problem, c, x, live, g, kept)


def native(oracle: Any, gradient: OracleStrategy) -> Callable[..., Any] | None:
    """The `solve_differentiably` of an oracle that has one, with this strategy."""
    solve = getattr(oracle, "solve_differentiably", None)
    return None if solve is None else functools.partial(solve, gradient=gradient)


def continuous(name: str, strategy: str, oracle: Any) -> None:
    """Raise a ValueError for programs with whole numbers, whose solutions have no derivative."""
    if getattr(oracle, "integrality", None) is not None:
        raise ValueError(
            f"{name}: an integer program has no derivative, so {strategy} can't serve it; use "
            "LPGD(...), another strategy for oracles or, for learned constraints, CombOpt(...)"
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    return bool(a == b)


def _check_tau(name: str, tau: Any, relative: bool, share: Any) -> None:
    """A number, a tensor of them, or "auto" with what goes with it."""
    if isinstance(tau, Tensor):
        per_item(name, "tau", tau)
    elif isinstance(tau, str):
        if tau != "auto":
            raise TypeError(f'{name}: tau must be a number, a tensor or "auto", got {tau!r}')
        if relative:
            raise ValueError(
                f'{name}: tau="auto" is measured in units of ||c|| / ||g|| already; '
                "leave relative=False"
            )
    else:
        number(name, "tau", tau, positive=True)
    if number(name, "share", share, positive=True) >= 1:
        raise ValueError(f"{name}: share must be below 1, got {share}")


def item_tau(
    tau: float | Tensor | str,
    relative: bool,
    auto: AutoTau | None,
    c: Tensor,
    g: Tensor,
    event_dim: int,
) -> Tensor:
    """[*batch] the tau of each item, for costs and loss gradients [*batch, *shape]."""
    batch = c.shape[: c.dim() - event_dim]
    if auto is not None:
        size, weight = norms(c, event_dim), norms(g, event_dim)
        ratio = torch.where(size > 0, size, 1.0) / torch.where(weight > 0, weight, 1.0)
        return (auto.value * ratio).expand(batch)
    if isinstance(tau, Tensor):
        try:
            out = tau.to(c).expand(batch)
        except RuntimeError:
            raise ValueError(
                f"LPGD: tau must broadcast to the batch {list(batch)}, got {list(tau.shape)}"
            ) from None
    else:
        assert not isinstance(tau, str)
        out = filled(c, batch, tau)
    if relative:
        weight = norms(g, event_dim)
        out = out / torch.where(weight > 0, weight, 1.0)
    return out


def with_batch(name: str, gradient: LPGD, batch: tuple[int, ...], quadratic: bool) -> LPGD:
    """With the tau of each item of a flat batch, where tau is a tensor."""
    if gradient.auto_state is not None and quadratic:
        raise ValueError(
            f'{name}: tau="auto" steers the share of the items whose solution jumps; with P every '
            "solution moves a little at any tau, so give a number"
        )
    if not isinstance(gradient.tau, Tensor):
        return gradient
    try:
        tau = gradient.tau.expand(batch)
    except RuntimeError:
        raise ValueError(
            f"{name}: tau of LPGD must broadcast to the batch {list(batch)}, "
            f"got {list(gradient.tau.shape)}"
        ) from None
    return dataclasses.replace(gradient, tau=tau.reshape(math.prod(batch)))


def program_strategy(name: str, gradient: Any) -> GradientStrategy | None:
    """What `solve_qp` and `solve_lp` can do themselves; `Blackbox` under its other name."""
    if isinstance(gradient, Blackbox):
        return gradient.as_lpgd()
    if gradient is None or isinstance(gradient, (Implicit, LPGD)):
        return gradient
    if isinstance(gradient, OracleStrategy):
        raise ValueError(
            f"{name}: {type(gradient).__name__} is a strategy for oracles: use "
            f"OracleLayer(QPOracle(...) or LPOracle(...), gradient={type(gradient).__name__}(...))"
        )
    raise TypeError(
        f"{name}: gradient must be Implicit(), LPGD(...), Blackbox(...) or Smoothed(...), "
        f"got {gradient!r}"
    )
