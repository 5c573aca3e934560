"""Arguments of the proximal operators: checked, broadcast, and laid out as [rows, n]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lpgd_native._prox_autograd import rowwise, separable

__all__ = [
    "ANY",
    "NONNEGATIVE",
    "check_dim",
    "check_input",
    "compute_dtype",
    "on_coordinates",
    "on_rows",
    "parameter",
    "result_dtype",
]

_HALVES = (torch.float16, torch.bfloat16)

NONNEGATIVE = "not be negative"
ANY = ""


def check_input(name: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: x must be a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64, *_HALVES):
        raise TypeError(
            f"{name}: x must be float32 or float64 (or half precision, computed in float32), "
            f"got {x.dtype}"
        )
    if x.layout != torch.strided:
        raise TypeError(f"{name}: x must be dense, got layout {x.layout}")
    return x


def check_dim(name: str, x: Tensor, dim: int, least: int = 1) -> int:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"{name}: dim must be an int, got {dim!r}")
    if x.dim() < least:
        raise ValueError(f"{name}: x must have at least {least} dimension(s), got {list(x.shape)}")
    if not -max(x.dim(), 1) <= dim < max(x.dim(), 1):
        raise ValueError(f"{name}: dim = {dim} is out of range for x of shape {list(x.shape)}")
    return dim % max(x.dim(), 1)


def compute_dtype(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype in _HALVES else x.dtype


def result_dtype(x: Tensor) -> torch.dtype:
    """Half precision comes back as it was given; under autocast it stays float32."""
    if x.dtype in _HALVES and not (
        torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)
    ):
        return x.dtype
    return compute_dtype(x)


def parameter(name: str, arg: str, value: Any, x: Tensor, must: str = NONNEGATIVE) -> Tensor:
    """A parameter as a tensor. Numbers are checked; entries of tensors that a formula forbids
    give nan where they are used, since looking at them would wait for the device.
    """
    dtype = compute_dtype(x)
    if isinstance(value, Tensor):
        if not value.dtype.is_floating_point:
            raise TypeError(f"{name}: {arg} must be a floating-point tensor, got {value.dtype}")
        if value.layout != torch.strided:
            raise TypeError(f"{name}: {arg} must be dense, got layout {value.layout}")
        if value.device != x.device and value.dim() > 0:
            raise ValueError(
                f"{name}: {arg} must be on the device of x, {x.device}, got {value.device}"
            )
        return value.to(device=x.device, dtype=dtype)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: {arg} must be a number or a tensor, got {type(value).__name__}")
    # not math.isnan, which torch.compile cannot ask of a number that it keeps dynamic
    if not value >= (0 if must else -math.inf):
        raise ValueError(f"{name}: {arg} must {must or 'not be nan'}, got {value!r}")
    if not -torch.finfo(dtype).max <= value <= torch.finfo(dtype).max:
        value = math.copysign(math.inf, value)  # what it rounds to
    return x.new_full((), value, dtype=dtype)


def _broadcast(
    name: str, x: Tensor, names: Sequence[str], parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The point x and the parameters with the dimensions of their common shape."""
    shape = x.shape
    for arg, value in zip(names, parameters, strict=True):
        if value.dim() == 0:
            continue
        try:
            shape = torch.broadcast_shapes(shape, value.shape)  # type: ignore[no-untyped-call]
        except RuntimeError:
            raise ValueError(
                f"{name}: {arg} must broadcast against x of shape {list(x.shape)}, "
                f"got {list(value.shape)}"
            ) from None
    if shape != x.shape:
        x = x.expand(shape)
    padded = [p.reshape((1,) * (len(shape) - p.dim()) + tuple(p.shape)) for p in parameters]
    return x, padded


def _as_matrix(parameter: Tensor, lead: Sequence[int], rows: int) -> Tensor:
    """[..., 1 | n] to [1 | rows, 1 | n]."""
    columns = parameter.shape[-1]
    if math.prod(parameter.shape[:-1]) != 1 or rows == 1:
        parameter = parameter.expand(*lead, columns)
        return parameter.reshape(rows, columns).contiguous()
    return parameter.reshape(1, columns).contiguous()


def on_coordinates(op: str, name: str, x: Any, dim: int, *given: tuple[str, Any, str]) -> Tensor:
    """The separable operator `op`; `given`: name, value and condition of each parameter."""
    x = check_input(name, x)
    check_dim(name, x, dim, least=0)
    parameters = [parameter(name, arg, value, x, must) for arg, value, must in given]
    names = [arg for arg, _, _ in given]
    work, dtype = x.to(compute_dtype(x)), result_dtype(x)
    work, parameters = _broadcast(name, work, names, parameters)
    shape, count = work.shape, work.numel()
    whole = [p.shape == shape for p in parameters]
    if all(w or p.numel() == 1 for w, p in zip(whole, parameters, strict=True)):
        flat = work.reshape(1, count)
        matrices = [p.reshape(1, p.numel()) for p in parameters]
    else:
        n, lead = shape[-1], shape[:-1]
        rows = math.prod(lead)
        flat = work.reshape(rows, n)
        matrices = [_as_matrix(p, lead, rows) for p in parameters]
    a, b = (*(m.contiguous() for m in matrices), None, None)[:2]
    return separable(flat.contiguous(), a, b, op).reshape(shape).to(dtype)


def on_rows(
    op: str,
    name: str,
    x: Any,
    dim: int,
    *given: tuple[str, Any, str],
    row_only: Sequence[str] = (),
    index: Callable[[int], Tensor] | None = None,
    least: int = 0,
    width: int | None = None,
) -> Tensor:
    """The operator `op` on the vectors of x along `dim`. Parameters in `row_only` are one number
    a row: their size along `dim` is 1.
    """
    x = check_input(name, x)
    dim = check_dim(name, x, dim)
    if width is not None and x.shape[dim] != width:
        raise ValueError(f"{name}: x must have size {width} along dim = {dim}, got {list(x.shape)}")
    if x.shape[dim] < least:
        raise ValueError(
            f"{name}: x must have at least {least} entries along dim, got {list(x.shape)}"
        )
    parameters = [parameter(name, arg, value, x, must) for arg, value, must in given]
    names = [arg for arg, _, _ in given]
    back = x.dim() - dim  # the dimension, counted from the end: parameters may have more
    for arg, value in zip(names, parameters, strict=True):
        if arg in row_only and value.dim() >= back and value.shape[-back] != 1:
            raise ValueError(
                f"{name}: {arg} is one number a row: it must have size 1 along dim = {dim} of x "
                f"{list(x.shape)}, got {list(value.shape)}"
            )
    work, dtype = x.to(compute_dtype(x)), result_dtype(x)
    work, parameters = _broadcast(name, work, names, parameters)
    work = work.movedim(-back, -1)
    parameters = [p.movedim(-back, -1) for p in parameters]
    n, lead = work.shape[-1], work.shape[:-1]
    rows = math.prod(lead)
    matrices = tuple(_as_matrix(p, lead, rows) for p in parameters)
    # a parameter of rows that has n = 1 columns is one a row and one a coordinate: the same
    places = index(n) if index is not None else None
    out = rowwise(work.reshape(rows, n).contiguous(), matrices, op, places)
    return out.reshape(*lead, n).movedim(-1, -back).to(dtype)
