"""Autograd of the QP: a Function for the solution and one for its vector-Jacobian product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lpgd_native._batching import vmap_flattened
from lpgd_native._interrupt import interruptible
from lpgd_native._qp_checks import DATA_RANKS
from lpgd_native._qp_forward import implicit_tangents, lpgd_tangents, tau_of
from lpgd_native._qp_methods import METHODS, NO_POINT, Options
from lpgd_native._qp_ops import IMPLICIT_RANKS, POINT_RANKS
from lpgd_native._warning import warn
from lpgd_native.gradients import LPGD, AutoTau
from lpgd_native.status import fallbacks_in

__all__ = ["Options", "solve"]

# an overload by name costs less than a packet, which looks for the one that fits
_raw_implicit = interruptible(torch.ops.lpgd.implicit_qp.default)
_raw_outer_sum = torch.ops.lpgd.outer_sum.default

_SIDES = {"lower": 1, "upper": 2, "average": 3}
_OPTIONS = len(IMPLICIT_RANKS)  # place of the options among the arguments of _vector_jacobian


def solve(
    data: tuple[Tensor | None, ...],
    options: Options,
    start: tuple[Tensor | None, ...] = NO_POINT,
) -> tuple[Tensor, ...]:
    """The eight outputs of lpgd::solve_qp, differentiable in the eight tensors of `data`.

    `start`: x, y, z, z_lb, z_ub to start from; no gradient flows there.
    """
    function: type[torch.autograd.Function]
    if torch.compiler.is_compiling():
        function = _Solve  # torch.compile refuses Functions with a jvp
    elif torch._C._are_functorch_transforms_active():
        function = _SolveWithJvp
    elif _differentiable(data):
        function = _SolveEager
    else:  # nothing to record: a Function would still cost as much as a solve of 10 variables
        return METHODS[options.method].solve(data, start, options)[:8]
    out: tuple[Tensor, ...] = function.apply(*data, *start, options)  # type: ignore[no-untyped-call]
    return out[:8]


def _differentiable(data: tuple[Tensor | None, ...]) -> bool:
    """Whether a derivative of the solution can be asked for, backward or forward."""
    if torch.is_grad_enabled():
        for tensor in data:
            if tensor is not None and tensor.requires_grad:
                return True
    return forward_ad._current_level >= 0


_RANKS = (*DATA_RANKS, *POINT_RANKS, None)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(
        P: Any,
        q: Any,
        G: Any,
        h: Any,
        A: Any,
        b: Any,
        lb: Any,
        ub: Any,
        x: Any,
        y: Any,
        z: Any,
        z_lb: Any,
        z_ub: Any,
        options: Any,
    ) -> tuple[Tensor, ...]:
        # spelled out: torch.compile counts the parameters to tell this form from forward(ctx, ...)
        data = (P, q, G, h, A, b, lb, ub)
        start = NO_POINT if x is None else (x, y, z, z_lb, z_ub)
        return METHODS[options.method].solve(data, start, options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        data, options = inputs[:8], inputs[-1]
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[5:])
        ctx.save_for_backward(*data, *output[:6], *output[8:])
        ctx.save_for_forward(*data, *output[:6], *output[8:])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(_SolveWithJvp.apply, _RANKS, info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        data, point, state = _saved(ctx)
        if all(g is None for g in upstream[:5]):
            return (None,) * 14
        grads = [None if g is None else g.contiguous() for g in upstream[:5]]
        direction, midpoint = _directions(data, point, grads, ctx.options, state)
        return (
            *_parameter_gradients(data, direction, midpoint, ctx.needs_input_grad),
            *(None,) * 6,
        )


def _saved(ctx: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Data, point with its status, and what else the method keeps for its re-solve."""
    saved = ctx.saved_tensors
    return saved[:8], saved[8:14], saved[14:]


class _SolveWithJvp(_Solve):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        options = ctx.options
        data, point, state = _saved(ctx)
        if all(t is None for t in tangents[:8]):
            out = tuple(torch.zeros_like(p) for p in point[:5])
        elif isinstance(options.gradient, LPGD):
            out = lpgd_tangents(data, point, tangents[:8], options.gradient, options)
        else:
            out = implicit_tangents(data, point, tangents[:8])
        return (*out, *(None,) * (3 + len(state)))


class _SolveEager(torch.autograd.Function):
    """The same without setup_context, whose every call binds a signature: 50 us of it."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        out = _Solve.forward(*args)
        _Solve.setup_context(ctx, args, out)
        return out

    backward = staticmethod(_Solve.backward)
    jvp = staticmethod(_SolveWithJvp.jvp)


def _vector_jacobian(*args: Any) -> tuple[Tensor, ...]:
    """Outputs of implicit_qp or resolve_qp: five directions (LPGD: and midpoints), a status."""
    tensors, options, state = args[:_OPTIONS], args[_OPTIONS], args[_OPTIONS + 1 :]
    strategy = options.gradient
    result: tuple[Tensor, ...]
    if isinstance(strategy, LPGD):
        x, grads = tensors[8], tensors[14:]
        tau = tau_of(strategy, tensors[1], x.shape[0], grads, (1,) * 5)
        if isinstance(strategy.tau, float) and not strategy.relative:
            rho = torch.full_like(tau, strategy.rho + strategy.rho_over_tau * strategy.tau)
        else:
            rho = strategy.rho + strategy.rho_over_tau * tau
        sides = _SIDES[strategy.envelope]
        result = METHODS[options.method].resolve(tensors, tau, rho, sides, state, options)
        if strategy.auto_state is not None:
            _adapt(strategy.auto_state, x, tensors[13], result[0] * tau[:, None], grads)
    else:
        result = _raw_implicit(*tensors)
    return result


def _adapt(
    auto: AutoTau, x: Tensor, status: Tensor, step: Tensor, grads: Sequence[Tensor | None]
) -> None:
    """Tell the adaptive tau which items moved, of those solved that have a loss gradient."""
    given = [g for g in grads if g is not None and g.shape[-1]]
    live = torch.stack([(g != 0).any(-1) for g in given]).any(0) & (status == 0)
    auto.update(step.abs().amax(-1) > 1e-6 * (1 + x.abs().amax(-1)), live)


class _VectorJacobian(torch.autograd.Function):
    """A Function, so that a second derivative says what it is (not there) and is not silently 0."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _vector_jacobian(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.name = inputs[_OPTIONS].name
        ctx.mark_non_differentiable(output[-1])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        ranks = (*IMPLICIT_RANKS, None, *(1,) * (len(args) - _OPTIONS - 1))
        return vmap_flattened(_VectorJacobian.apply, ranks, info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            f"{ctx.name}: the gradient can't be differentiated again (no double backward); "
            "detach it, or use torch.func.jvp for forward derivatives of the solution"
        )

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(f"{ctx.name}: the gradient has no forward-mode derivative")


def _directions(
    data: tuple[Tensor | None, ...],
    point: tuple[Tensor, ...],
    grads: list[Tensor | None],
    options: Options,
    state: tuple[Tensor, ...],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    args = (*data, *point, *grads, options, *state)
    # torch.compile has no second derivative and says so itself; nested Functions it can't trace.
    # Without create_graph nothing can be differentiated again.
    direct = torch.compiler.is_compiling() or not torch.is_grad_enabled()
    function = _vector_jacobian if direct else _VectorJacobian.apply
    out = function(*args)
    if not isinstance(options.gradient, LPGD):
        return out[:5], point[:5]
    if not torch.compiler.is_compiling():
        _warn_of_fallbacks(out[10], options)
        if not options.gradient.relative:
            _warn_of_small_tau(data[1], grads, options)
    return out[:5], out[5:10]


def _inspectable(tensor: Tensor) -> bool:
    """Reading it costs no synchronisation, and no transform is looking on."""
    return tensor.device.type == "cpu" and not torch._C._functorch.is_functorch_wrapped_tensor(
        tensor
    )


def _warn_of_fallbacks(status: Tensor, options: Options) -> None:
    if _inspectable(status) and (told := fallbacks_in(status)):
        warn(
            f"{options.name}: perturbed problems had no solution: {told}. A smaller tau, or "
            "rho > 0, keeps the perturbed problem bounded."
        )


def _warn_of_small_tau(q: Tensor | None, grads: list[Tensor | None], options: Options) -> None:
    g, strategy = grads[0], options.gradient
    if g is None or q is None or not isinstance(strategy, LPGD) or g.numel() == 0:
        return
    if not (_inspectable(g) and _inspectable(q)):
        return
    if isinstance(strategy.tau, str):
        return  # grows until the solution moves
    tau = float(strategy.tau.max()) if isinstance(strategy.tau, Tensor) else strategy.tau
    shift = tau * float(torch.linalg.vector_norm(g.detach(), math.inf))
    size = float(torch.linalg.vector_norm(q.detach(), math.inf))
    if 0.0 < shift < options.eps * size:
        warn(
            f"{options.name}: LPGD shifts q by at most {shift:.1e}, below what the tolerance "
            f"eps = {options.eps:.0e} resolves (a mean over the batch makes gradients small). "
            "Use a larger tau, or relative=True."
        )


def _outer(a: Tensor, b: Tensor, c: Tensor, d: Tensor, shared: bool) -> Tensor:
    """A b' + c d', summed over the batch for data that all items share."""
    if shared and len(a) != 1:  # one item: as in a batch, to the sign of a zero
        return a.mT @ b + c.mT @ d
    out: Tensor = _raw_outer_sum(a.contiguous(), b, c, d.contiguous())
    return out[0] if shared else out


def _parameter_gradients(
    data: tuple[Tensor | None, ...],
    direction: tuple[Tensor, ...],
    midpoint: tuple[Tensor, ...],
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """dL/dw along (d_x, d_y, ...) at (m_x, m_y, ...) for every parameter w that needs it."""
    d_x, d_y, d_z, d_lb, d_ub = direction
    m_x, m_y, m_z, _, _ = midpoint
    grads: list[Tensor | None] = [None] * 8
    for index, (tensor, rank) in enumerate(zip(data, DATA_RANKS, strict=True)):
        if tensor is None or not needed[index]:
            continue
        shared = tensor.dim() == rank
        if index == 0:
            half = 0.5 * d_x
            grads[0] = _outer(half, m_x, m_x, half, shared)
        elif index == 2:
            grads[2] = _outer(d_z, m_x, m_z, d_x, shared)
        elif index == 4:
            grads[4] = _outer(d_y, m_x, m_y, d_x, shared)
        else:
            value = {1: d_x, 3: d_z, 5: d_y, 6: d_lb, 7: d_ub}[index]
            if index not in (1, 6):
                value = -value
            if shared:
                value = value[0] if len(value) == 1 else value.sum(0)
            grads[index] = value
    return tuple(grads)
