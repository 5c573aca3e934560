"""A layer around an oracle: the solution forward, a strategy's gradient backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lpgd_native._strategies.base import OracleStrategy, largest_entries, within_range
from lpgd_native._strategies.lpgd import LPGD
from lpgd_native._strategies.problem import Problem
from lpgd_native._warning import warn
from lpgd_native.oracles.adapter import FunctionOracle
from lpgd_native.oracles.protocol import Oracle, OracleSolution
from lpgd_native.status import SolverError, fallbacks_in, raise_on_failure

__all__ = ["OracleLayer", "as_oracle", "checked_costs", "solve_oracle"]


def as_oracle(name: str, oracle: Any) -> Any:
    """An oracle, or a function made one."""
    if isinstance(oracle, Oracle):
        return oracle
    if callable(oracle):
        return FunctionOracle(oracle)
    raise TypeError(
        f"{name}: the oracle must have solve(c, **instance) and event_dim, or be a function "
        f"c -> x, got {type(oracle).__name__}"
    )


class OracleLayer(nn.Module):
    """argmin_x <c, x> over x in X by any solver, with the gradient of a strategy, as a module.

    ``layer(c, **instance)`` returns an `OracleSolution`; x alone carries a gradient, with respect
    to the costs. With `QPOracle` and `LPOracle` and the strategies that `solve_qp` knows, all
    blocks of the program have theirs; with `CombOpt`, G and h.

    Both sides of an average and all samples of a noise go to the oracle as one batch
    [k, *batch, *shape]. Where the loss gradient of all items is zero nothing is solved; where that
    of some is, only the others are (if the oracle's ``instance_dims`` tell how to pick items). An
    item that failed has a zero gradient; a perturbed problem without solution falls back to the
    other side, to a smaller tau, to zero, with a warning and in `gradient_status`.

    Args:
        oracle: an object of the protocol `Oracle`, or a function ``c [*shape] -> x`` of one item
            (see `FunctionOracle` for batched ones, threads and processes).
        gradient: a strategy of `lpgd_native.gradients`. Default ``LPGD(tau=1.0, relative=True)``,
            as for `solve_lp`.
        throw: raise a SolverError that lists the items that failed, from the oracle's first
            exception if there was one (synchronises a GPU).

    Raises:
        TypeError: neither an oracle nor a function, a gradient that is no strategy; in the call,
            costs that are not float32 or float64.
        ValueError: the strategy can't serve the oracle; in the call, costs with too few dimensions,
            shapes that don't broadcast, an argument of the instance that requires a gradient which
            the strategy doesn't have.

    Forward derivatives (jvp) and second ones raise. torch.func.grad and vmap over the costs work
    (not over the instance). torch.compile breaks the graph here. Adaptive and random strategies
    keep their state in ``state_dict``.

    Example::

        def shortest(c):                             # numpy in, numpy out
            ...
        layer = OracleLayer(shortest, gradient=Blackbox(10.0))
        x = layer(network(images)).x                 # [batch, edges]
    """

    def __init__(
        self,
        oracle: Oracle | Callable[..., Any],
        gradient: OracleStrategy | None = None,
        *,
        throw: bool = False,
    ) -> None:
        super().__init__()
        self.oracle = as_oracle("OracleLayer", oracle)
        self.gradient = LPGD(tau=1.0, relative=True) if gradient is None else gradient
        if not isinstance(self.gradient, OracleStrategy):
            raise TypeError(
                "OracleLayer: gradient must be a strategy of lpgd_native.gradients, "
                f"got {gradient!r}"
            )
        self.gradient.check_oracle("OracleLayer", self.oracle)
        self.throw = throw
        self._report = _Report()

    @property
    def gradient_status(self) -> Tensor | None:
        """[*batch] int32, values of `GradientStatus`, of the last backward pass with a solve."""
        return self._report.status

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The solutions for costs c [..., *shape]; tensors of the instance broadcast with them."""
        out = solve_oracle("OracleLayer", self.oracle, self.gradient, c, instance, self._report)
        if self.throw:
            try:
                raise_on_failure("OracleLayer", out.status)
            except SolverError as error:
                raise error from getattr(self.oracle, "first_error", None)
        return out

    def get_extra_state(self) -> dict[str, float]:
        """What the strategy adapts: part of ``state_dict``."""
        return self.gradient.state()

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self.gradient.load_state(state)

    def extra_repr(self) -> str:
        """Oracle and strategy."""
        oracle = "" if isinstance(self.oracle, nn.Module) else f"{self.oracle!r}, "
        return f"{oracle}gradient={self.gradient}"


@dataclass
class _Report:
    """What became of the last backward pass."""

    status: Tensor | None = None


@dataclass(frozen=True)
class _Spec:
    """What a solve needs beside its tensors."""

    name: str
    oracle: Any
    strategy: OracleStrategy
    tensors: tuple[str, ...]  # names of the tensors of the instance, in their order
    others: dict[str, Any]
    report: _Report = field(default_factory=_Report)

    def problem(self, tensors: tuple[Tensor, ...]) -> Problem:
        given = {**dict(zip(self.tensors, tensors, strict=True)), **self.others}
        extras = {key: given.pop(key) for key in self.strategy.call_arguments if key in given}
        return Problem(self.oracle, given, extras)


def checked_costs(name: str, oracle: Any, c: Any, instance: dict[str, Any]) -> Tensor:
    """The costs [*batch, *shape] with the batch that they and the instance have."""
    if not isinstance(c, Tensor):
        raise TypeError(f"{name}: c must be a torch.Tensor, got {type(c).__name__}")
    if c.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(c.device.type):
        c = c.float()
    if c.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name}: c must be float32 or float64, got {c.dtype}")
    if c.layout != torch.strided:
        raise TypeError(f"{name}: c must be dense, got layout {c.layout}")
    size = oracle.event_dim
    if c.dim() < size:
        raise ValueError(
            f"{name}: c must have the {size} dimension(s) of a cost (the oracle's event_dim), "
            f"got {list(c.shape)}"
        )
    ranks: dict[str, int] = getattr(oracle, "instance_dims", {})
    batch = c.shape[: c.dim() - size]
    for key, rank in ranks.items():
        value = instance.get(key)
        if not isinstance(value, Tensor):
            continue
        lead = value.shape[: value.dim() - rank]
        try:
            batch = torch.broadcast_shapes(batch, lead)  # type: ignore[no-untyped-call]
        except RuntimeError:
            raise ValueError(
                f"{name}: batch dimensions don't broadcast: c {list(batch)}, {key} {list(lead)}"
            ) from None
    out: Tensor = c.expand(*batch, *c.shape[c.dim() - size :])
    return out


def solve_oracle(
    name: str,
    oracle: Any,
    strategy: OracleStrategy,
    c: Tensor,
    instance: dict[str, Any],
    report: _Report | None = None,
) -> OracleSolution:
    """The oracle's solution with the gradient of the strategy."""
    delegate = strategy.delegate(oracle)
    if delegate is not None:
        out: OracleSolution = delegate(c, **instance)
        return out
    merge = getattr(oracle, "instance_of", None)
    if merge is not None:
        extras = {key: instance[key] for key in strategy.call_arguments if key in instance}
        program = {key: value for key, value in instance.items() if key not in extras}
        instance = {**merge(**program), **extras}
    c = checked_costs(name, oracle, c, instance)
    within_range(name, strategy, c.dtype)
    tensors = {key: value for key, value in instance.items() if isinstance(value, Tensor)}
    for key, value in tensors.items():
        if value.requires_grad and torch.is_grad_enabled() and not strategy.serves(key):
            raise ValueError(
                f"{name}: {type(strategy).__name__} has a gradient for the costs, but {key} "
                "requires one; detach it (learned constraints: CombOpt, or LPGD with QPOracle "
                "or LPOracle)"
            )
    others = {key: value for key, value in instance.items() if key not in tensors}
    spec = _Spec(name, oracle, strategy, tuple(tensors), others, report or _Report())
    solved = _Solve.apply(spec, c, *tensors.values())  # type: ignore[no-untyped-call]
    return OracleSolution(*solved[:3])


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(spec: _Spec, c: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        problem = spec.problem(tensors)
        x, status, kept = spec.strategy.forward(problem, c)
        objective = problem.objective
        if objective is None:
            objective = torch.where(status == 0, problem.inner(c, x), torch.nan)
        return (x, objective, status, *kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        spec, c, *tensors = inputs
        ctx.spec = spec
        ctx.kept = len(output) - 3
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(c, output[0], *output[2:], *tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, spec: _Spec, c: Tensor, *tensors: Tensor) -> tuple[Any, Any]:
        allowed = spec.strategy.call_arguments
        for key, dim in zip(spec.tensors, in_dims[2:], strict=True):
            if dim is not None and key not in allowed:
                raise NotImplementedError(
                    f"{spec.name}: vmap over {key}, a tensor of the instance, is not supported; "
                    "give it leading dimensions instead"
                )
        dim = in_dims[1]
        c = c.expand(info.batch_size, *c.shape) if dim is None else c.movedim(dim, 0)
        moved = [
            t if d is None else t.movedim(d, 0) for t, d in zip(tensors, in_dims[2:], strict=True)
        ]
        out = _Solve.apply(spec, c, *moved)  # type: ignore[no-untyped-call]
        return out, (0,) * len(out)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        c, x, status, *rest = ctx.saved_tensors
        nothing = (None,) * (2 + len(ctx.spec.tensors))
        if g is None:
            return nothing
        needed = tuple(ctx.needs_input_grad[1:])
        # without create_graph nothing can be differentiated again
        function: Any = _Backward.apply if torch.is_grad_enabled() else _vector_jacobian
        grads = function(ctx.spec, needed, ctx.kept, c, x, status, g, *rest)
        given = iter(grads)
        return (None, *(next(given) if need else None for need in needed))


def _vector_jacobian(
    spec: _Spec,
    needed: tuple[bool, ...],
    kept: int,
    c: Tensor,
    x: Tensor,
    status: Tensor,
    g: Tensor,
    *rest: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of the inputs that need one, in their order."""
    problem = spec.problem(rest[kept:])
    size = largest_entries(g, problem.event_dim)
    finite = size < torch.inf
    usable = spec.strategy.usable(status)
    live = finite & (size != 0) & usable
    inputs = (c, *rest[kept:])
    if not bool(live.any()):
        grads = [torch.zeros_like(t) for t in inputs]
        others: dict[str, Tensor] = {}
        spec.report.status = torch.zeros_like(status)
    else:
        every = bool(live.all())
        g = g if every else torch.where(problem.over(live), g, 0.0)
        grad, others = spec.strategy.backward(problem, c, x, live, g, rest[:kept])
        grads = [grad if every else torch.where(problem.over(live), grad, 0.0)]
        for key, tensor in zip(spec.tensors, rest[kept:], strict=True):
            grads.append(_summed(spec, key, others.get(key), live, tensor))
        if problem.gradient_status is not None:
            spec.report.status = problem.gradient_status
            _warn_of_fallbacks(spec.name, problem.gradient_status)
        if every:
            return tuple(grad for grad, need in zip(grads, needed, strict=True) if need)
    # an upstream gradient that is not finite is handed on, not hidden
    grads[0] = problem.only(~usable | finite, grads[0], torch.nan)
    return tuple(grad for grad, need in zip(grads, needed, strict=True) if need)


def _summed(spec: _Spec, key: str, grad: Tensor | None, live: Tensor, tensor: Tensor) -> Tensor:
    """The gradient [*batch, core] of a tensor of the instance, in that tensor's shape."""
    if grad is None:
        return torch.zeros_like(tensor)
    mask = live.reshape(*live.shape, *(1,) * (grad.dim() - live.dim()))
    return torch.where(mask, grad, 0.0).sum_to_size(tensor.shape)


class _Backward(torch.autograd.Function):
    """A Function, so that a second derivative says that it is not there, and is not silently 0."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _vector_jacobian(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.name = inputs[0].name

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, spec: _Spec, needed: Any, kept: int, *args: Tensor
    ) -> tuple[Any, Any]:
        # all but the instance has the batch in front
        whole = 4 + kept
        moved = [
            t.movedim(d, 0) if d is not None else (t.expand(info.batch_size, *t.shape))
            for t, d in zip(args[:whole], in_dims[3 : 3 + whole], strict=True)
        ]
        tensors = [
            t if d is None else t.movedim(d, 0)
            for t, d in zip(args[whole:], in_dims[3 + whole :], strict=True)
        ]
        if any(needed[1:]):
            raise NotImplementedError(
                f"{spec.name}: under vmap only the costs have a gradient; detach the instance"
            )
        out = _Backward.apply(spec, needed, kept, *moved, *tensors)  # type: ignore[no-untyped-call]
        return out, (0,) * len(out)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            f"{ctx.name}: the gradient can't be differentiated again (no double backward); "
            "detach it"
        )


def _warn_of_fallbacks(name: str, status: Tensor) -> None:
    if status.device.type == "cpu" and (told := fallbacks_in(status)):
        warn(f"{name}: the oracle had no solution for perturbed costs: {told}.")
