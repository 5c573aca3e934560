"""Autograd of the proximal operators: one Function for separable ones, one for those on rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lpgd_native._prox_ops import ROWWISE, SEPARABLE, SORTING, vmap_rows
from lpgd_native._prox_tangents import TANGENTS, WEIGHTED

__all__ = ["rowwise", "separable"]


def separable(x: Tensor, a: Tensor | None, b: Tensor | None, name: str) -> Tensor:
    """The operator `name` on x [rows, n]; parameters are [1 | rows, 1 | n]."""
    function = _fitting(_Separable, _SeparableWithJvp, _SeparableEager)
    out: Tensor = function.apply(x, a, b, name)
    return out


def _fitting(plain: Any, with_jvp: Any, eager: Any) -> Any:
    """The form of a Function that what surrounds the call takes."""
    if torch.compiler.is_compiling():
        return plain  # torch.compile refuses Functions with a jvp
    return with_jvp if torch._C._are_functorch_transforms_active() else eager


def rowwise(x: Tensor, parameters: tuple[Tensor, ...], name: str, index: Any = None) -> Tensor:
    """The operator `name` on the rows of x [rows, n]."""
    presorted = None
    if ROWWISE[name] in SORTING and x.device.type != "cpu":
        key = x.detach().abs() if name == "sorted_l1" else x.detach()
        presorted = key.argsort(-1, descending=True).to(torch.int32)
    a, b, c, d = (*parameters, None, None, None, None)[:4]
    function = _fitting(_Rows, _RowsWithJvp, _RowsEager)
    out: tuple[Tensor, Tensor] = function.apply(x, a, b, c, d, index, presorted, name)
    return out[0]


def _reduced(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient [rows, 1 | n] of a parameter that all rows may share."""
    # not where there is one row: 0 + -0 is 0, and a row of a batch would keep its -0
    shared = parameter.shape[0] == 1 and gradient.shape[0] != 1
    return gradient.sum(0, keepdim=True) if shared else gradient


def _wanted(needed: tuple[bool, ...], parameters: tuple[Tensor | None, ...]) -> int:
    pairs = enumerate(zip(needed, parameters, strict=True))
    return sum(1 << k for k, (need, parameter) in pairs if need and parameter is not None)


def _once(op: str, whole: tuple[int, ...], name: str, *args: Any) -> Any:
    """A backward op, in a Function whose own derivative raises: it is not silently zero."""
    # torch.compile has no second derivative and says so itself; without create_graph there is none
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return getattr(torch.ops.lpgd, op)(*args)
    return _Once.apply(op, whole, name, *args)  # type: ignore[no-untyped-call]


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(op: str, whole: tuple[int, ...], name: str, *args: Any) -> Any:
        return getattr(torch.ops.lpgd, op)(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.name = inputs[2]

    @staticmethod
    def vmap(info: Any, in_dims: Any, op: str, whole: Any, name: str, *args: Any) -> Any:
        def apply(*joined: Any) -> Any:
            return _Once.apply(op, whole, name, *joined)  # type: ignore[no-untyped-call]

        return vmap_rows(apply, whole, info, in_dims[3:], args)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            f"proximal operator {ctx.name}: the gradient can't be differentiated again (no double "
            "backward); detach it"
        )

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            f"proximal operator {ctx.name}: the gradient has no forward-mode derivative"
        )


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(x: Any, a: Any, b: Any, name: Any) -> Tensor:
        out: Tensor = torch.ops.lpgd.prox_separable(x, a, b, SEPARABLE[name])
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, a, b, ctx.name = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, a, b)
        ctx.save_for_forward(x, a, b)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_rows(_SeparableWithJvp.apply, (0,), info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 4
        x, a, b = ctx.saved_tensors
        needs = _wanted(ctx.needs_input_grad[1:3], (a, b))
        args = (x, a, b, grad.contiguous(), SEPARABLE[ctx.name], needs)
        g_x, *g = _once("prox_separable_backward", (0, 3), ctx.name, *args)
        parts = (
            _reduced(g[k], p) if p is not None and needs >> k & 1 else None
            for k, p in enumerate((a, b))
        )
        return (g_x, *parts, None)


class _SeparableWithJvp(_Separable):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, a, b = ctx.saved_tensors
        kind = SEPARABLE[ctx.name]
        backward = torch.ops.lpgd.prox_separable_backward
        out = torch.zeros_like(x)
        if tangents[0] is not None:
            out = out + backward(x, a, b, tangents[0].contiguous(), kind, 0)[0]
        ones = torch.ones_like(x)
        for k in (0, 1):
            if tangents[k + 1] is None:
                continue
            full = [p if p is None else p.expand_as(x).contiguous() for p in (a, b)]
            slope = backward(x, *full, ones, kind, 1 << k)[k + 1]
            out = out + slope * tangents[k + 1]
        return out


class _SeparableEager(torch.autograd.Function):
    """The same without setup_context, whose every call binds a signature: 50 us of it."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        out = _Separable.forward(*args)
        _Separable.setup_context(ctx, args, out)
        return out

    backward = staticmethod(_Separable.backward)
    jvp = staticmethod(_SeparableWithJvp.jvp)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        x: Any, a: Any, b: Any, c: Any, d: Any, index: Any, presorted: Any, name: Any
    ) -> tuple[Tensor, Tensor]:
        # spelled out: torch.compile counts the parameters to tell this form from forward(ctx, ...)
        kind = ROWWISE[name]
        out, order = torch.ops.lpgd.prox_rows(x, a, b, c, d, index, presorted, kind)
        return out, order

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, a, b, c, d, index, _, ctx.name = inputs
        out, order = output
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(order)
        ctx.save_for_backward(x, a, b, c, d, index, out, order)
        ctx.save_for_forward(x, a, b, c, d, index, out, order)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_rows(_RowsWithJvp.apply, (0, 6), info, in_dims, args)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 8
        x, a, b, c, d, index, out, order = ctx.saved_tensors
        parameters = (a, b, c, d)
        needs = _wanted(ctx.needs_input_grad[1:5], parameters)
        args = (x, *parameters, index, out, order, grad.contiguous(), ROWWISE[ctx.name], needs)
        g_x, *g = _once("prox_rows_backward", (0, 6, 7, 8), ctx.name, *args)
        parts = (
            _reduced(g[k], p) if p is not None and needs >> k & 1 else None
            for k, p in enumerate(parameters)
        )
        return (g_x, *parts, None, None, None)


class _RowsWithJvp(_Rows):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None]:
        x, a, b, c, d, index, out, order = ctx.saved_tensors
        parameters = (a, b, c, d)
        total = torch.zeros_like(x)
        weighted = ctx.name in WEIGHTED
        if tangents[0] is not None and not weighted:
            # the derivative of a prox or a projection is symmetric: the vector-Jacobian product
            args = (x, *parameters, index, out, order, tangents[0].contiguous())
            total = total + torch.ops.lpgd.prox_rows_backward(*args, ROWWISE[ctx.name], 0)[0]
        if weighted or any(t is not None for t in tangents[1:5]):
            moved = [
                None if p is None else torch.zeros_like(p) if t is None else t
                for p, t in zip(parameters, tangents[1:5], strict=True)
            ]
            given = [p for p in parameters if p is not None]
            changes = [m for m in moved if m is not None]
            if weighted:
                changes.insert(0, torch.zeros_like(x) if tangents[0] is None else tangents[0])
            total = total + TANGENTS[ctx.name](x, given, changes, out, order, index)
        return total, None


class _RowsEager(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        out = _Rows.forward(*args)
        _Rows.setup_context(ctx, args, out)
        return out

    backward = staticmethod(_Rows.backward)
    jvp = staticmethod(_RowsWithJvp.jvp)
