"""The convolutions of unrolled networks on short signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lpgd_native import _native as _native

__all__ = ["conv_chain", "conv_prelu"]


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


Layer = tuple[Tensor | None, Tensor, Tensor]
"""slope, weight and bias as `conv_prelu` takes them"""


def conv_chain(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Several `conv_prelu` in a row, as one operator with one backward pass.

    What ``for layer in layers: x = conv_prelu(x, *layer)`` is, and the same numbers. Blocks of
    three or four small convolutions spend as much time in calls as in products: this is one call.

    Args:
        x: [B, C, n], n >= 1
        layers: slope, weight and bias of each convolution, see `conv_prelu`; at least one

    Raises:
        TypeError, ValueError: as `conv_prelu`; no layers.

    Where `conv_prelu` is torch's own functions, or the first convolution has an activation before
    it, the layers are called one by one.
    """
    if not layers:
        raise ValueError("conv_chain: layers must not be empty")
    if layers[0][0] is not None or not _chain_fits(x, layers):
        for slope, weight, bias in layers:
            x = conv_prelu(x, slope, weight, bias)
        return x
    flat = [t for layer in layers for t in layer if t is not None]
    y: Tensor = _ConvChain.apply(x, *flat)  # type: ignore[no-untyped-call]
    return y


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


def _usable(x: Any) -> bool:
    return (
        not torch.compiler.is_compiling()
        and isinstance(x, Tensor)
        and x.device.type in _DEVICES
        and x.layout == torch.strided
        and x.dtype in (torch.float32, torch.float64)
        and x.dim() == 3
        and x.shape[2] > 0
        and not torch.is_autocast_enabled(x.device.type)
        and not torch._C._are_functorch_transforms_active()
        and not torch.autograd.forward_ad._current_level >= 0
    )


def _layer_fits(x: Tensor, channels: int, slope: Any, weight: Any, bias: Any) -> bool:
    """For a signal like x of so many channels."""
    device, dtype = x.device, x.dtype
    return (
        isinstance(weight, Tensor)
        and isinstance(bias, Tensor)
        and weight.device == bias.device == device
        and weight.layout == bias.layout == torch.strided
        and weight.dtype == bias.dtype == dtype
        and (
            slope is None
            or (
                isinstance(slope, Tensor)
                and slope.dtype == dtype
                and slope.numel() == 1
                and slope.device == device
                and slope.layout == torch.strided
            )
        )
        and weight.dim() == 3
        and weight.shape[1] == channels > 0
        and weight.shape[2] % 2 == 1
        and weight.shape[0] > 0
        and bias.shape == weight.shape[:1]
        and (x.is_cpu or weight.numel() <= _MOST_WEIGHTS)
    )


def _fits(x: Any, slope: Any, weight: Any, bias: Any) -> bool:
    return _usable(x) and _layer_fits(x, x.shape[1], slope, weight, bias)


def _chain_fits(x: Any, layers: Sequence[Layer]) -> bool:
    if not _usable(x):
        return False
    channels = x.shape[1]
    for index, layer in enumerate(layers):
        if (layer[0] is None and index > 0) or not _layer_fits(x, channels, *layer):
            return False
        channels = layer[1].shape[0]
    return True


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


class _ConvChain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *flat: Tensor) -> Tensor:
        x, layers = x.contiguous(), [t.contiguous() for t in flat]
        y: Tensor
        y, kept = _CHAIN(x, layers)
        ctx.save_for_backward(x, kept, *layers)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, *layers = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a second derivative may follow
            inputs = [t for t, wanted in zip((x, *layers), needed, strict=True) if wanted]
            y = _plain(x, None, *layers[:2])
            for at in range(2, len(layers), 3):
                y = _plain(y, *layers[at : at + 3])
            found = iter(torch.autograd.grad(y, inputs, d_y, create_graph=True))
            return tuple(next(found) if wanted else None for wanted in needed)
        d_x, d_slopes, d_weights = _CHAIN_BACKWARD(d_y.contiguous(), x, kept, layers, needed[0])
        of_slopes = iter(d_slopes.sum(1).split(1))
        sizes = [t.numel() for at, t in enumerate(layers) if not _is_slope(at)]
        of_weights = iter(d_weights.split(sizes))
        grads = (
            next(of_slopes if _is_slope(at) else of_weights).view(t.shape)
            for at, t in enumerate(layers)
        )
        return (d_x if needed[0] else None, *grads)


def _is_slope(at: int) -> bool:
    return at % 3 == 2


_MOST_WEIGHTS = 10_240  # what shared memory holds of them, in float32
_DEVICES = frozenset(
    device
    for device, key in (("cpu", "CPU"), ("cuda", "CUDA"))
    if torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::conv_prelu", key)
)
_FORWARD = torch.ops.lpgd.conv_prelu.default
_BACKWARD = torch.ops.lpgd.conv_prelu_backward.default
_CHAIN = torch.ops.lpgd.conv_chain.default
_CHAIN_BACKWARD = torch.ops.lpgd.conv_chain_backward.default


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


def _fake_chain(x: Tensor, layers: list[Tensor]) -> tuple[Tensor, Tensor]:
    weights = [t for at, t in enumerate(layers) if not _is_slope(at)][::2]
    kept = sum(x.shape[0] * weight.shape[0] * x.shape[2] for weight in weights[:-1])
    return x.new_empty(x.shape[0], weights[-1].shape[0], x.shape[2]), x.new_empty(kept)


def _fake_chain_backward(
    d_y: Tensor, x: Tensor, kept: Tensor, layers: list[Tensor], wants_x: bool
) -> tuple[Tensor, ...]:
    weights = sum(t.numel() for at, t in enumerate(layers) if not _is_slope(at))
    return (
        x.new_empty(x.shape[0] if wants_x else 0, *x.shape[1:]),
        x.new_empty(len(layers) // 3, x.shape[0]),
        x.new_empty(weights),
    )


torch.library.register_fake("lpgd::conv_prelu", _fake_forward)
torch.library.register_fake("lpgd::conv_prelu_backward", _fake_backward)
torch.library.register_fake("lpgd::conv_chain", _fake_chain)
torch.library.register_fake("lpgd::conv_chain_backward", _fake_chain_backward)
