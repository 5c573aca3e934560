"""Autograd of the QP: a Function for the solution and one for its vector-Jacobian product."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lpgd_native._batching import vmap_flattened
from lpgd_native._qp_checks import DATA_RANKS
from lpgd_native._qp_ops import IMPLICIT_RANKS
from lpgd_native.gradients import LPGD, GradientStrategy
from lpgd_native.status import GradientStatus

__all__ = ["Options", "solve"]

_SIDES = {"lower": 1, "upper": 2, "average": 3}


@dataclass(frozen=True)
class Options:
    """What a solve needs beside its tensors."""

    name: str  # of the public function, for messages
    gradient: GradientStrategy
    eps: float
    max_iter: int


def solve(data: tuple[Tensor | None, ...], options: Options) -> tuple[Tensor, ...]:
    """The eight outputs of lpgd::solve_qp, differentiable in the eight tensors of `data`."""
    # torch.compile refuses Functions with a jvp
    function = _Solve if torch.compiler.is_compiling() else _SolveWithJvp
    out: tuple[Tensor, ...] = function.apply(*data, options)  # type: ignore[no-untyped-call]
    return out


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        *data, options = args
        out: tuple[Tensor, ...] = torch.ops.lpgd.solve_qp(*data, options.eps, options.max_iter)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *data, options = inputs
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[5:])
        ctx.save_for_backward(*data, *output[:5])
        ctx.save_for_forward(*data, *output[:5])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(_SolveWithJvp.apply, (*DATA_RANKS, None), info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        data, point = saved[:8], saved[8:]
        if all(g is None for g in upstream[:5]):
            return (None,) * 9
        grads = [None if g is None else g.contiguous() for g in upstream[:5]]
        direction, midpoint = _directions(data, point, grads, ctx.options)
        return (*_parameter_gradients(data, direction, midpoint, ctx.needs_input_grad), None)


class _SolveWithJvp(_Solve):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        out = _tangents(saved[:8], saved[8:], tangents[:8], ctx.options)
        return (*out, None, None, None)


def _vector_jacobian(*args: Any) -> tuple[Tensor, ...]:
    """Direction and midpoint of the gradient, five tensors each, and a status."""
    *tensors, options = args
    data, point, grads = tensors[:8], tensors[8:13], tensors[13:]
    strategy = options.gradient
    if not isinstance(strategy, LPGD):
        out = torch.ops.lpgd.implicit_qp(*data, *point, *grads)
        # views would alias the inputs
        return (*out[:5], *(p.clone() for p in point), out[5])
    x = point[0]
    tau = x.new_full((x.shape[0],), strategy.tau)
    if strategy.relative:
        square = x.new_zeros(x.shape[0])
        for g in grads:
            if g is not None:
                square = square + g.square().sum(-1)
        # without a gradient there is nothing to scale, and nothing is solved
        tau = torch.where(square > 0, tau / square.sqrt(), tau)
    rho = strategy.rho + strategy.rho_over_tau * tau
    result: tuple[Tensor, ...] = torch.ops.lpgd.resolve_qp(
        *data,
        *point,
        *grads,
        tau,
        rho,
        _SIDES[strategy.envelope],
        options.eps,
        options.max_iter,
    )
    return result


class _VectorJacobian(torch.autograd.Function):
    """A Function, so that a second derivative says what it is (not there) and is not silently 0."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _vector_jacobian(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.name = inputs[-1].name
        ctx.mark_non_differentiable(output[10])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        ranks = (*IMPLICIT_RANKS, None)
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
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    args = (*data, *point, *grads, options)
    # torch.compile has no second derivative and says so itself; nested Functions it can't trace
    function = _vector_jacobian if torch.compiler.is_compiling() else _VectorJacobian.apply
    out = function(*args)
    if isinstance(options.gradient, LPGD) and not torch.compiler.is_compiling():
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
    if not _inspectable(status) or not bool(status.any()):
        return
    counts = torch.bincount(status, minlength=4).tolist()
    parts = [
        f"{counts[code]} {text}"
        for code, text in (
            (GradientStatus.OTHER_SIDE, "used the other side alone"),
            (GradientStatus.SHRUNK, "used a smaller tau"),
            (GradientStatus.ZERO, "got a zero gradient"),
        )
        if counts[code]
    ]
    warnings.warn(
        f"{options.name}: perturbed problems had no solution: of {status.numel()} items "
        f"{', '.join(parts)}. A smaller tau, or rho > 0, keeps the perturbed problem bounded.",
        RuntimeWarning,
        stacklevel=2,
    )


def _warn_of_small_tau(q: Tensor | None, grads: list[Tensor | None], options: Options) -> None:
    g, strategy = grads[0], options.gradient
    if g is None or q is None or not isinstance(strategy, LPGD) or g.numel() == 0:
        return
    if not (_inspectable(g) and _inspectable(q)):
        return
    shift = strategy.tau * float(g.detach().abs().max())
    size = 1.0 + float(q.detach().abs().max())
    if 0.0 < shift < options.eps * size:
        warnings.warn(
            f"{options.name}: LPGD shifts q by at most {shift:.1e}, below what the tolerance "
            f"eps = {options.eps:.0e} resolves (a mean over the batch makes gradients small). "
            "Use a larger tau, or relative=True.",
            RuntimeWarning,
            stacklevel=2,
        )


def _outer(a: Tensor, b: Tensor, c: Tensor, d: Tensor, shared: bool) -> Tensor:
    """A b' + c d', summed over the batch for data that all items share."""
    if shared:
        return a.mT @ b + c.mT @ d
    out: Tensor = torch.ops.lpgd.outer_sum(a.contiguous(), b, c, d.contiguous())
    return out


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
            grads[0] = _outer(0.5 * d_x, m_x, 0.5 * m_x, d_x, shared)
        elif index == 2:
            grads[2] = _outer(d_z, m_x, m_z, d_x, shared)
        elif index == 4:
            grads[4] = _outer(d_y, m_x, m_y, d_x, shared)
        else:
            value = {1: d_x, 3: -d_z, 5: -d_y, 6: d_lb, 7: -d_ub}[index]
            grads[index] = value.sum(0) if shared else value
    return tuple(grads)


def _tangents(
    data: tuple[Tensor | None, ...],
    point: tuple[Tensor, ...],
    tangents: tuple[Tensor | None, ...],
    options: Options,
) -> tuple[Tensor, ...]:
    """Forward mode: implicit, or LPGD's finite difference of solutions along the tangent."""
    strategy = options.gradient
    if all(t is None for t in tangents):
        return tuple(torch.zeros_like(p) for p in point)
    if isinstance(strategy, LPGD):
        batch = point[0].shape[0]
        tau = point[0].new_full((batch,), strategy.tau)
        if strategy.relative:
            square = point[0].new_zeros(batch)
            for t, rank in zip(tangents, DATA_RANKS, strict=True):
                if t is not None:
                    square = square + t.square().sum(tuple(range(-rank, 0)))
            tau = torch.where(square > 0, tau / square.sqrt(), tau)

        def at(sign: float) -> tuple[Tensor, ...]:
            moved = [
                w if t is None or w is None else w + sign * tau.reshape(-1, *(1,) * rank) * t
                for w, t, rank in zip(data, tangents, DATA_RANKS, strict=True)
            ]
            out: tuple[Tensor, ...] = torch.ops.lpgd.solve_qp(*moved, options.eps, options.max_iter)
            return out[:5]

        plus = at(1.0) if strategy.envelope != "upper" else point
        minus = at(-1.0) if strategy.envelope != "lower" else point
        width = tau[:, None] * (2.0 if strategy.envelope == "average" else 1.0)
        return tuple((a - b) / width for a, b in zip(plus, minus, strict=True))

    x, y, z, _, _ = point
    dP, dq, dG, dh, dA, db, dlb, dub = tangents

    def times(matrix: Tensor, vector: Tensor) -> Tensor:
        return (matrix @ vector.unsqueeze(-1)).squeeze(-1)

    def zeros(like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    g_x, g_y, g_z = zeros(x), zeros(y), zeros(z)
    if dP is not None:
        g_x = g_x + times(0.5 * (dP + dP.mT), x)
    if dq is not None:
        g_x = g_x + dq
    if dG is not None:
        g_x, g_z = g_x + times(dG.mT, z), g_z + times(dG, x)
    if dh is not None:
        g_z = g_z - dh
    if dA is not None:
        g_x, g_y = g_x + times(dA.mT, y), g_y + times(dA, x)
    if db is not None:
        g_y = g_y - db
    g_lb = zeros(point[3]) if dlb is None else zeros(point[3]) + dlb
    g_ub = zeros(point[4]) if dub is None else zeros(point[4]) - dub
    out = torch.ops.lpgd.implicit_qp(*data, *point, g_x, g_y, g_z, g_lb, g_ub)
    result: tuple[Tensor, ...] = out[:5]
    return result
