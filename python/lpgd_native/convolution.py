"""The convolutions of unrolled networks on short signals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lpgd_native import _native as _native

__all__ = ["conv_prelu"]


def conv_prelu(x: Tensor, slope: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """The signal bias + weight * prelu(x): a "same" convolution (correlation, as torch's).

    What ``conv1d(prelu(x, slope), weight, bias, padding=k // 2)`` is. A signal of a few dozen
    entries is too short for a general library: its time goes into reordering and calls. Here an
    item stays in L1 from the activation on (on CUDA: it is one kernel), and x is all that is kept
    for the backward pass.

    Args:
        x: [B, C, n], n >= 1
        slope: [1], of PReLU, or [C]; None: no activation
        weight: [O, C, k], k odd
        bias: [O]

    Raises:
        TypeError: an argument that is no dense floating-point tensor, or, without autocast, of
            another dtype than x.
        ValueError: shapes or devices that don't fit.

    Derivative of PReLU at zero: the slope, as torch has it. Where there is no kernel (devices but
    the CPU and CUDA, other dtypes, autocast, torch.func, torch.compile, a second derivative), and
    on CUDA for more than 10,240 weights, which are a matter for cuDNN, torch's own functions run.
    """
    if _fits(x, slope, weight, bias):
        y: Tensor = _ConvPrelu.apply(x, slope, weight, bias)  # type: ignore[no-untyped-call]
        return y
    _check(x, slope, weight, bias)
    return _plain(x, slope, weight, bias)


def _check(x: Any, slope: Any, weight: Any, bias: Any) -> None:
    name = "conv_prelu"
    given = {"x": x, "weight": weight, "bias": bias}
    if slope is not None:
        given["slope"] = slope
    for arg, value in given.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            got = value.layout if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name}: {arg} must be a dense torch.Tensor, got {got}")
        if not value.dtype.is_floating_point:
            raise TypeError(f"{name}: {arg} must be a floating-point tensor, got {value.dtype}")
    fits = x.dim() == weight.dim() == 3 and bias.dim() == 1
    fits = fits and weight.shape[1] == x.shape[1] and weight.shape[0] == bias.shape[0]
    if not fits or min(x.shape[1], x.shape[2], *weight.shape) < 1 or weight.shape[2] % 2 == 0:
        raise ValueError(
            f"{name}: x must be [B, C, n], weight [O, C, k] with k odd, bias [O], "
            f"got {list(x.shape)}, {list(weight.shape)}, {list(bias.shape)}"
        )
    if slope is not None and (slope.dim() > 1 or slope.numel() not in (1, x.shape[1])):
        raise ValueError(f"{name}: slope must be [1] or [{x.shape[1]}], got {list(slope.shape)}")
    mixed = torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(
        x.device.type
    )
    for arg, value in given.items():
        if value.device != x.device:
            raise ValueError(f"{name}: {arg} must be on {x.device} as x is, got {value.device}")
        if value.dtype != x.dtype and not mixed:
            raise TypeError(f"{name}: {arg} must be {x.dtype} as x is, got {value.dtype}")


def _plain(x: Tensor, slope: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    x = x if slope is None else functional.prelu(x, slope)
    return functional.conv1d(x, weight, bias, padding=weight.shape[-1] // 2)


def _fits(x: Any, slope: Any, weight: Any, bias: Any) -> bool:
    return (
        not torch.compiler.is_compiling()
        and isinstance(x, Tensor)
        and isinstance(weight, Tensor)
        and isinstance(bias, Tensor)
        and (slope is None or isinstance(slope, Tensor))
        and x.device.type in _DEVICES
        and x.device == weight.device == bias.device
        and x.layout == weight.layout == bias.layout == torch.strided
        and x.dtype in (torch.float32, torch.float64)
        and x.dtype == weight.dtype == bias.dtype
        and (
            slope is None
            or (
                slope.dtype == x.dtype
                and slope.numel() == 1
                and slope.device == x.device
                and slope.layout == torch.strided
            )
        )
        and x.dim() == weight.dim() == 3
        and x.shape[1] == weight.shape[1]
        and weight.shape[2] % 2 == 1
        and bias.shape == weight.shape[:1]
        and min(x.shape[1], x.shape[2], weight.shape[0]) > 0
        and (x.is_cpu or weight.numel() <= _MOST_WEIGHTS)
        and not torch.is_autocast_enabled(x.device.type)
        and not torch._C._are_functorch_transforms_active()
        and not torch.autograd.forward_ad._current_level >= 0
    )


class _ConvPrelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
        ctx.save_for_backward(x, slope, weight, bias)
        y: Tensor = _FORWARD(x, slope, weight, bias)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, slope, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a second derivative may follow
            inputs = [
                t for t, wanted in zip((x, slope, weight, bias), needed, strict=True) if wanted
            ]
            y = _plain(x, slope, weight, bias)
            found = iter(torch.autograd.grad(y, inputs, d_y, create_graph=True))
            return tuple(next(found) if wanted else None for wanted in needed)
        wants_x = needed[0] or needed[1]
        d_x, d_slope, d_weight, d_bias = _BACKWARD(d_y.contiguous(), x, slope, weight, wants_x)
        return (
            d_x if needed[0] else None,
            d_slope.sum().reshape(slope.shape) if needed[1] else None,
            d_weight,
            d_bias,
        )


_MOST_WEIGHTS = 10_240  # what shared memory holds of them, in float32
_DEVICES = frozenset(
    device
    for device, key in (("cpu", "CPU"), ("cuda", "CUDA"))
    if torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::conv_prelu", key)
)
_FORWARD = torch.ops.lpgd.conv_prelu.default
_BACKWARD = torch.ops.lpgd.conv_prelu_backward.default


def _fake_forward(x: Tensor, slope: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], x.shape[2])


def _fake_backward(
    d_y: Tensor, x: Tensor, slope: Tensor | None, weight: Tensor, wants_x: bool
) -> tuple[Tensor, ...]:
    items = x.shape[0] if wants_x else 0
    return (
        x.new_empty(items, *x.shape[1:]),
        x.new_empty(items if slope is not None else 0),
        x.new_empty(weight.shape),
        x.new_empty(weight.shape[0]),
    )


torch.library.register_fake("lpgd::conv_prelu", _fake_forward)
torch.library.register_fake("lpgd::conv_prelu_backward", _fake_backward)
