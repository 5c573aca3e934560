"""Losses for predicted costs whose gradient is a difference of solutions.

Each compares the solution of predicted costs with a target, through an oracle, and differentiates
by a formula of its own, not through the solution. Functions give one number per item [...]; the
modules hold an oracle and reduce. `regret` is what is measured in the end, and has no gradient.
torch.func.grad works, vmap does not (batches are leading
dimensions), torch.compile breaks the graph, a second derivative raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lpgd_native._strategies.base import choice
from lpgd_native._strategies.noise import Perturbed
from lpgd_native._strategies.problem import Problem
from lpgd_native._strategies.shifted import DirectLoss as _DirectLossStrategy
from lpgd_native._strategies.smoothed import Smoothed
from lpgd_native.oracles.layer import as_oracle, checked_costs
from lpgd_native.oracles.protocol import Oracle
from lpgd_native.status import Status

__all__ = [
    "DirectLoss",
    "FenchelYoung",
    "SPOPlus",
    "direct_loss",
    "fenchel_young",
    "regret",
    "spo_plus",
]

Reduction = Literal["mean", "sum", "none"]


class _WithGradient(torch.autograd.Function):
    """A value [*batch] and its gradient with respect to the costs, computed together."""

    @staticmethod
    def forward(compute: Callable[[Tensor], tuple[Tensor, Tensor]], c: Tensor) -> Any:
        return compute(c.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[1], output[1])

    @staticmethod
    def vmap(*_: Any) -> Any:
        raise NotImplementedError(
            "losses of oracles don't work under vmap; give the costs leading dimensions instead"
        )

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Any) -> tuple[None, Tensor]:
        c, grad = ctx.saved_tensors
        out = g.reshape(*g.shape, *(1,) * (grad.dim() - g.dim())) * grad
        if torch.is_grad_enabled():
            out = _Once.apply(out, c)  # type: ignore[no-untyped-call]
        return None, out


class _Once(torch.autograd.Function):
    """So that a second derivative says that it is not there, and is not silently 0."""

    @staticmethod
    def forward(grad: Tensor, c: Tensor) -> Tensor:
        return grad.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            "the gradient of this loss can't be differentiated again (no double backward)"
        )


def _prepared(
    name: str, oracle: Any, c: Tensor, instance: dict[str, Any], others: dict[str, Tensor | None]
) -> tuple[Tensor, Problem, dict[str, Tensor]]:
    """Costs with their batch, the problem, and targets or true costs in the shape of the costs."""
    merge = getattr(oracle, "instance_of", None)
    instance = instance if merge is None else merge(**instance)
    c = checked_costs(name, oracle, c, instance)
    out = {}
    for key, value in others.items():
        if value is None and key == "x_true":
            continue
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: {key} must be a torch.Tensor, got {type(value).__name__}")
        try:
            out[key] = value.detach().to(c).expand(c.shape)
        except RuntimeError:
            raise ValueError(
                f"{name}: {key} must have the shape of the costs, {list(c.shape)}, "
                f"got {list(value.shape)}"
            ) from None
    detached = {k: v.detach() if isinstance(v, Tensor) else v for k, v in instance.items()}
    return c, Problem(oracle, detached), out


def _loss(
    c: Tensor,
    problem: Problem,
    formula: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
) -> Tensor:
    """The loss by a formula c -> (which items are solved, value, gradient)."""

    def compute(at: Tensor) -> tuple[Tensor, Tensor]:
        ok, value, grad = formula(at)
        return torch.where(ok, value, 0.0), torch.where(problem.over(ok), grad, 0.0)

    out: tuple[Tensor, Tensor] = _WithGradient.apply(compute, c)  # type: ignore[no-untyped-call]
    return out[0]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def spo_plus(
    c: Tensor,
    c_true: Tensor,
    oracle: Oracle | Callable[..., Any],
    *,
    x_true: Tensor | None = None,
    **instance: Any,
) -> Tensor:
    """max_x <c_t - 2c, x> + 2 <c, x_t> - <c_t, x_t>: a convex upper bound of the regret.

    With x_t = x*(c_t). The regret <c_t, x*(c) - x_t> of predicted costs c has no useful gradient;
    this bound has ``2 (x_t - x*(2c - c_t))``: LPGD's upper side at tau = 1/2 for the loss <c_t, x>,
    counted from x_t. Zero at c = c_t.

    Args:
        c: predicted costs [..., *shape].
        c_true: true costs, of the same shape; no gradient flows there.
        oracle: minimises <c, x>.
        x_true: the solution for the true costs, if it is known already: saves one of two solves.
        instance: further arguments of the oracle.

    Returns:
        [...], >= 0; zero with a zero gradient where the oracle has no solution.

    Raises:
        TypeError, ValueError: tensors or shapes that don't fit.

    Source: Elmachtoub & Grigas, Smart "Predict, then Optimize", Management Science 2022, (9).
    """
    oracle = as_oracle("spo_plus", oracle)
    c, problem, given = _prepared(
        "spo_plus", oracle, c, instance, {"c_true": c_true, "x_true": x_true}
    )
    true = given["c_true"]

    def formula(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spoilt = 2 * at - true
        if "x_true" in given:
            best = given["x_true"]
            points, status = problem.solve(spoilt.unsqueeze(0))
        else:
            points, status = problem.solve(torch.stack([spoilt, true]))
            best = points[1]
        apart = best - points[0]
        return (status == Status.OK).all(0), problem.inner(spoilt, apart), 2 * apart

    return _loss(c, problem, formula)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def fenchel_young(
    c: Tensor,
    target: Tensor,
    oracle: Oracle | Callable[..., Any],
    gradient: Perturbed | Smoothed | None = None,
    **instance: Any,
) -> Tensor:
    """<c, t> + Omega(t) - min_x (<c, x> + Omega(x)): how far t is from the smoothed solution.

    Convex in c, >= 0, with gradient ``t - x_Omega(c)``, which is zero where the smoothed solution
    is the target. No solver is differentiated.

    Args:
        c: costs [..., *shape].
        target: t [..., *shape], a solution to be learned (or a mean of solutions).
        oracle: minimises <c, x>.
        gradient: the smoothing. ``Perturbed(...)`` (default: its defaults): x_Omega is the mean
            over noisy costs, for any oracle; the value is the mean of ``<c + sigma Z, t - x_Z>``,
            which leaves out Omega(t), a constant, and is >= 0 for every sample if t is feasible.
            ``Smoothed(mu)``: Omega = mu/2 ||x||^2, for `QPOracle` and `LPOracle`; the value is
            zero at a perfect fit.
        instance: further arguments of the oracle.

    Returns:
        [...]; zero with a zero gradient where the oracle has no solution.

    Raises:
        TypeError, ValueError: tensors or shapes that don't fit, another strategy, an oracle that
            can't be smoothed so.

    Source: Blondel, Martins & Niculae, Learning with Fenchel-Young Losses, JMLR 2020; Berthet et
    al., NeurIPS 2020, section 4 (perturbed). Signs are those of a minimisation.
    """
    oracle = as_oracle("fenchel_young", oracle)
    strategy = Perturbed() if gradient is None else gradient
    if not isinstance(strategy, (Perturbed, Smoothed)):
        raise TypeError(
            f"fenchel_young: gradient must be Perturbed(...) or Smoothed(...), got {strategy!r}"
        )
    if isinstance(strategy, Smoothed) and strategy.kind == "entropic":
        raise ValueError('fenchel_young: Smoothed needs kind="quadratic"')
    strategy.check_oracle("fenchel_young", oracle)
    c, problem, given = _prepared("fenchel_young", oracle, c, instance, {"target": target})
    t = given["target"]

    def perturbed(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert isinstance(strategy, Perturbed)
        costs = at + strategy.sigma * strategy.draw(at)[0]
        points, status = problem.solve(costs)
        solved = status == Status.OK
        count = solved.sum(0)
        weight = solved.to(at.dtype) / count.clamp(min=1)
        mean = (problem.over(weight) * torch.where(problem.over(solved), points, 0.0)).sum(0)
        value = torch.where(solved, problem.inner(costs, t - points), 0.0)
        return count > 0, (weight * value).sum(0), t - mean

    def smoothed(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = problem.oracle.solve_differentiably(at, gradient=strategy, **problem.instance)
        x, P = out.x, problem.instance.get("P")

        def value(point: Tensor) -> Tensor:
            norm = 0.5 * strategy.mu * point.square().sum(-1)  # type: ignore[union-attr]
            return (at * point).sum(-1) + norm + (0.0 if P is None else 0.5 * _form(P, point))

        return out.status == Status.OK, value(t) - value(x), t - x

    return _loss(c, problem, perturbed if isinstance(strategy, Perturbed) else smoothed)


def _form(P: Tensor, x: Tensor) -> Tensor:
    return (x * (P @ x.unsqueeze(-1)).squeeze(-1)).sum(-1)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def direct_loss(
    c: Tensor,
    target: Tensor,
    oracle: Oracle | Callable[..., Any],
    gradient: _DirectLossStrategy | None = None,
    **instance: Any,
) -> Tensor:
    """l(x*(c), t), the loss of the solution itself, with the gradient of direct loss minimisation.

    Args:
        c: costs [..., *shape].
        target: t [..., *shape].
        oracle: minimises <c, x>.
        gradient: ``lpgd_native.DirectLoss(tau, envelope, loss)`` with a loss that has a name
            (``"hamming"``, the default, or ``"squared"``); its docstring has the formulas.
        instance: further arguments of the oracle.

    Returns:
        [...]; zero with a zero gradient where the oracle has no solution.

    Raises:
        TypeError, ValueError: tensors or shapes that don't fit, a loss without a name.

    Source: McAllester, Hazan & Keshet, NeurIPS 2010.
    """
    oracle = as_oracle("direct_loss", oracle)
    strategy = _DirectLossStrategy() if gradient is None else gradient
    if not isinstance(strategy, _DirectLossStrategy):
        raise TypeError(f"direct_loss: gradient must be DirectLoss(...), got {strategy!r}")
    if callable(strategy.loss):
        raise ValueError('direct_loss: loss must be "hamming" or "squared"')
    strategy.check_oracle("direct_loss", oracle)
    c, problem, given = _prepared("direct_loss", oracle, c, instance, {"target": target})
    t = given["target"]

    def formula(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points, status = problem.solve(at.unsqueeze(0))
        x, ok = points[0], status[0] == Status.OK
        value = strategy.value(x, t, problem.event_dim)
        return ok, value, strategy.direction(problem, at, x, ok, t)

    return _loss(c, problem, formula)


@torch.compiler.disable  # type: ignore[untyped-decorator]
@torch.no_grad()
def regret(
    c: Tensor,
    c_true: Tensor,
    oracle: Oracle | Callable[..., Any],
    *,
    x_true: Tensor | None = None,
    **instance: Any,
) -> Tensor:
    """<c_t, x*(c)> - <c_t, x_t>: what deciding by predicted costs costs beyond the best decision.

    A measure without a gradient; to train, take `spo_plus`, which bounds it, or an `OracleLayer`.
    With `QPOracle` both objectives have the quadratic term. PyEPO's normalised regret of a data set
    is ``regret(c, c_true, oracle).sum() / oracle.solve(c_true).objective.abs().sum()``.

    Args:
        c: predicted costs [..., *shape].
        c_true: true costs, of the same shape.
        oracle: minimises <c, x>.
        x_true: the solution for the true costs, if it is known already: saves one of two solves.
        instance: further arguments of the oracle.

    Returns:
        [...], >= 0 for an exact oracle; NaN where it has no solution.

    Raises:
        TypeError, ValueError: tensors or shapes that don't fit.

    Source: Elmachtoub & Grigas, Smart "Predict, then Optimize", Management Science 2022, (3).
    """
    oracle = as_oracle("regret", oracle)
    c, problem, given = _prepared(
        "regret", oracle, c, instance, {"c_true": c_true, "x_true": x_true}
    )
    true = given["c_true"]
    if "x_true" in given:
        points, status = problem.solve(c.unsqueeze(0))
        best = given["x_true"]
    else:
        points, status = problem.solve(torch.stack([c, true]))
        best = points[1]
    value = problem.inner(true, points[0] - best)
    P = problem.instance.get("P")
    if P is not None:
        value = value + 0.5 * (_form(P, points[0]) - _form(P, best))
    return torch.where((status == Status.OK).all(0), value, torch.nan)


class _OracleLoss(nn.Module):
    def __init__(self, oracle: Oracle | Callable[..., Any], reduction: Reduction) -> None:
        super().__init__()
        choice(type(self).__name__, "reduction", reduction, ("mean", "sum", "none"))
        self.oracle = as_oracle(type(self).__name__, oracle)
        self.reduction = reduction

    def _reduced(self, value: Tensor) -> Tensor:
        if self.reduction == "mean":
            return value.mean()
        return value.sum() if self.reduction == "sum" else value


class SPOPlus(_OracleLoss):
    """`spo_plus` as a module: a convex upper bound of the regret of predicted costs.

    Args:
        oracle: minimises <c, x>; an `Oracle` or a function (see `FunctionOracle`).
        reduction: ``"mean"`` (default), ``"sum"`` or ``"none"``.
    """

    def __init__(self, oracle: Oracle | Callable[..., Any], reduction: Reduction = "mean") -> None:
        super().__init__(oracle, reduction)

    def forward(
        self, c: Tensor, c_true: Tensor, *, x_true: Tensor | None = None, **instance: Any
    ) -> Tensor:
        """The loss of predicted costs c for true costs."""
        return self._reduced(spo_plus(c, c_true, self.oracle, x_true=x_true, **instance))


class FenchelYoung(_OracleLoss):
    """`fenchel_young` as a module: how far a target is from solving the smoothed problem.

    Args:
        oracle: minimises <c, x>; an `Oracle` or a function (see `FunctionOracle`).
        gradient: ``Perturbed(...)`` (default) or ``Smoothed(mu)``.
        reduction: ``"mean"`` (default), ``"sum"`` or ``"none"``.
    """

    def __init__(
        self,
        oracle: Oracle | Callable[..., Any],
        gradient: Perturbed | Smoothed | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(oracle, reduction)
        self.gradient = Perturbed() if gradient is None else gradient
        if not isinstance(self.gradient, (Perturbed, Smoothed)):
            raise TypeError(
                f"FenchelYoung: gradient must be Perturbed(...) or Smoothed(...), got {gradient!r}"
            )
        self.gradient.check_oracle("FenchelYoung", self.oracle)

    def forward(self, c: Tensor, target: Tensor, **instance: Any) -> Tensor:
        """The loss of costs c for a target."""
        return self._reduced(fenchel_young(c, target, self.oracle, self.gradient, **instance))

    def get_extra_state(self) -> dict[str, float]:
        """How far the noise has come: part of ``state_dict``."""
        return self.gradient.state()

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self.gradient.load_state(state)


class DirectLoss(_OracleLoss):
    """`direct_loss` as a module: the loss of the solution, by direct loss minimisation.

    Args:
        oracle: minimises <c, x>; an `Oracle` or a function (see `FunctionOracle`).
        gradient: ``lpgd_native.DirectLoss(tau, envelope, loss)``. Default: its defaults.
        reduction: ``"mean"`` (default), ``"sum"`` or ``"none"``.
    """

    def __init__(
        self,
        oracle: Oracle | Callable[..., Any],
        gradient: _DirectLossStrategy | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(oracle, reduction)
        self.gradient = _DirectLossStrategy() if gradient is None else gradient

    def forward(self, c: Tensor, target: Tensor, **instance: Any) -> Tensor:
        """The loss of the solution for costs c."""
        return self._reduced(direct_loss(c, target, self.oracle, self.gradient, **instance))
