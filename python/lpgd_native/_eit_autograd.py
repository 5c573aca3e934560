"""Autograd of the EIT map: first and second derivatives by the adjoint, a third raises.

Everything is a function of the weights of cells [B, C]; ``mesh`` are the seven tensors that follow
the batched arguments of an op.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lpgd_native._batching import vmap_flattened
from lpgd_native._eit_ops import RANKS

__all__ = ["forward", "jvp", "vjp"]

Mesh = tuple[Tensor, ...]
_MESH_SIZE = 7


def forward(weights: Tensor, mesh: Mesh) -> tuple[Tensor, Tensor]:
    """Voltages [B, m] and status [B]."""
    voltages, status = _fitting(_Forward, _ForwardWithJvp).apply(weights, *mesh)
    return voltages, status


def vjp(weights: Tensor, dy: Tensor, mesh: Mesh) -> Tensor:
    """J'dy [B, C]."""
    out: Tensor = _fitting(_Vjp, _VjpWithJvp).apply(weights, dy, *mesh)
    return out


def jvp(weights: Tensor, dw: Tensor, mesh: Mesh) -> Tensor:
    """J dw [B, m]."""
    out: Tensor = _fitting(_Jvp, _JvpWithJvp).apply(weights, dw, *mesh)
    return out


def _fitting(plain: Any, with_jvp: Any) -> Any:
    # torch.compile refuses Functions with a jvp
    return plain if torch.compiler.is_compiling() else with_jvp


def _curvature(weights: Tensor, dy: Tensor, dw: Tensor, mesh: Any) -> Tensor:
    out: Tensor
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        out = torch.ops.lpgd.eit_curvature(weights, dy, dw, *mesh)
    else:
        out = _Curvature.apply(weights, dy, dw, *mesh)  # type: ignore[no-untyped-call]
    return out


def _sum(left: Tensor | None, right: Tensor) -> Tensor:
    return right if left is None else left + right


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(
        weights: Any,
        coefficients: Any,
        plan: Any,
        links: Any,
        factor: Any,
        drives: Any,
        measured: Any,
        pairs: Any,
    ) -> tuple[Tensor, Tensor]:
        # spelled out: torch.compile counts the parameters to tell this form from forward(ctx, ...)
        voltages, status = torch.ops.lpgd.eit_forward(
            weights, coefficients, plan, links, factor, drives, measured, pairs
        )
        return voltages, status

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(_ForwardWithJvp.apply, RANKS["eit_forward"], info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * (1 + _MESH_SIZE)
        weights, *mesh = ctx.saved_tensors
        return (vjp(weights, dy.contiguous(), tuple(mesh)), *(None,) * _MESH_SIZE)


class _ForwardWithJvp(_Forward):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *_: Any) -> tuple[Tensor | None, None]:
        if tangent is None:
            return None, None
        weights, *mesh = ctx.saved_tensors
        return jvp(weights, tangent.contiguous(), tuple(mesh)), None


class _Vjp(torch.autograd.Function):
    @staticmethod
    def forward(
        weights: Any,
        dy: Any,
        coefficients: Any,
        plan: Any,
        links: Any,
        factor: Any,
        drives: Any,
        measured: Any,
        pairs: Any,
    ) -> Tensor:
        out: Tensor = torch.ops.lpgd.eit_vjp(
            weights, dy, coefficients, plan, links, factor, drives, measured, pairs
        )
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(_VjpWithJvp.apply, RANKS["eit_vjp"], info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * (2 + _MESH_SIZE)
        weights, dy, *mesh = ctx.saved_tensors
        grad = grad.contiguous()
        g_weights = g_dy = None
        if ctx.needs_input_grad[0]:
            g_weights = _curvature(weights, dy, grad, mesh)
        if ctx.needs_input_grad[1]:
            g_dy = jvp(weights, grad, (*mesh,))
        return (g_weights, g_dy, *(None,) * _MESH_SIZE)


class _VjpWithJvp(_Vjp):
    @staticmethod
    def jvp(ctx: Any, t_weights: Tensor | None, t_dy: Tensor | None, *_: Any) -> Tensor | None:
        weights, dy, *mesh = ctx.saved_tensors
        out = None
        if t_weights is not None:  # the matrix of second derivatives is symmetric
            out = _curvature(weights, dy, t_weights.contiguous(), mesh)
        if t_dy is not None:
            out = _sum(out, vjp(weights, t_dy.contiguous(), (*mesh,)))
        return out


class _Jvp(torch.autograd.Function):
    @staticmethod
    def forward(
        weights: Any,
        dw: Any,
        coefficients: Any,
        plan: Any,
        links: Any,
        factor: Any,
        drives: Any,
        measured: Any,
        pairs: Any,
    ) -> Tensor:
        out: Tensor = torch.ops.lpgd.eit_jvp(
            weights, dw, coefficients, plan, links, factor, drives, measured, pairs
        )
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(_JvpWithJvp.apply, RANKS["eit_jvp"], info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * (2 + _MESH_SIZE)
        weights, dw, *mesh = ctx.saved_tensors
        grad = grad.contiguous()
        g_weights = g_dw = None
        if ctx.needs_input_grad[0]:
            g_weights = _curvature(weights, grad, dw, mesh)
        if ctx.needs_input_grad[1]:
            g_dw = vjp(weights, grad, (*mesh,))
        return (g_weights, g_dw, *(None,) * _MESH_SIZE)


class _JvpWithJvp(_Jvp):
    @staticmethod
    def jvp(ctx: Any, t_weights: Tensor | None, t_dw: Tensor | None, *_: Any) -> Tensor | None:
        if t_weights is not None:
            raise NotImplementedError("EIT: J dx has no forward-mode derivative in x")
        weights, _, *mesh = ctx.saved_tensors
        return None if t_dw is None else jvp(weights, t_dw.contiguous(), (*mesh,))


class _Curvature(torch.autograd.Function):
    """Second derivatives, in a Function whose own derivative raises: it is not silently zero."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        out: Tensor = torch.ops.lpgd.eit_curvature(*args)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(_Curvature.apply, RANKS["eit_curvature"], info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError("EIT: there is no third derivative")

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError("EIT: there is no third derivative")
