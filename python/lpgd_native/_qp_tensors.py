"""Checks of the QP's arguments as tensors; the shapes are the business of `_qp_checks`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lpgd_native._qp_checks import DATA_RANKS, check_shapes
from lpgd_native.gradients import LPGD

__all__ = [
    "bound_of",
    "check_mask",
    "check_tensors",
    "checked",
    "integral_of",
    "is_number",
    "known",
    "under_autocast",
]

_Data = tuple[Tensor | None, ...]
_MATRICES = (0, 2, 4)  # P, G, A among the eight arguments


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def bound_of(bound: Tensor | float | None, q: Any) -> Tensor | None:
    """A bound given as one number, for all variables of the costs q [..., n]."""
    if (
        not is_number(bound)
        or not isinstance(q, Tensor)
        or q.dim() == 0
        or not q.is_floating_point()
    ):
        return bound  # type: ignore[return-value]  # what is no tensor is refused by the checks
    dtype = torch.promote_types(q.dtype, torch.float32)  # half precision is computed in float32
    return torch.full((q.shape[-1],), float(bound), dtype=dtype, device=q.device)  # type: ignore[arg-type]


def under_autocast(data: _Data) -> _Data:
    """Half precision up to float32, as autocast does for ops that need it."""
    if not any(isinstance(t, Tensor) and t.dtype in (torch.float16, torch.bfloat16) for t in data):
        return data
    device = next(t.device.type for t in data if isinstance(t, Tensor))
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return data
    return tuple(
        t.float() if isinstance(t, Tensor) and t.dtype in (torch.float16, torch.bfloat16) else t
        for t in data
    )


def check_tensors(name: str, names: Sequence[str], data: _Data, *, sparse: bool = False) -> None:
    """Types, layouts (`sparse`: matrices may be CSR), one dtype and one device."""
    q = data[1]
    for index, (arg, tensor) in enumerate(zip(names, data, strict=True)):
        if tensor is None and index != 1:
            continue
        if not isinstance(tensor, Tensor):
            hint = " (solve_qp_numpy takes numpy arrays)" if isinstance(tensor, np.ndarray) else ""
            raise TypeError(
                f"{name}: {arg} must be a torch.Tensor, got {type(tensor).__name__}{hint}"
            )
        if tensor.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name}: {arg} must be float32 or float64, got {tensor.dtype}")
        csr = sparse and index in _MATRICES
        if not (tensor.layout == torch.strided or (csr and tensor.layout == torch.sparse_csr)):
            wanted = "dense or torch.sparse_csr" if csr else "dense"
            if not csr and index in _MATRICES and tensor.layout != torch.strided:
                wanted += ' (sparse matrices: .to_sparse_csr() and method="auto")'
            raise TypeError(f"{name}: {arg} must be {wanted}, got layout {tensor.layout}")
    assert q is not None
    for arg, tensor in zip(names, data, strict=True):
        if tensor is None:
            continue
        if tensor.dtype != q.dtype:
            raise TypeError(
                f"{name}: {arg} must have the dtype of {names[1]}, {q.dtype}, got {tensor.dtype}"
            )
        if tensor.device != q.device:
            raise ValueError(
                f"{name}: {arg} must be on the device of {names[1]}, {q.device}, "
                f"got {tensor.device}"
            )


def check_mask(name: str, mask: Any, n: int) -> None:
    """The integrality mask of n variables."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{name}: integrality must be a bool tensor, got {kind}")
    if mask.shape != (n,):
        raise ValueError(
            f"{name}: integrality must be [n] with n = {n}, shared by the batch, "
            f"got {list(mask.shape)}"
        )


def integral_of(
    name: str, data: _Data, mask: Tensor, method: str, gradient: Any
) -> tuple[int, ...]:
    """Numbers of the variables that are whole; raises what does not go with them."""
    check_mask(name, mask, data[1].shape[-1])  # type: ignore[union-attr]
    if method not in ("auto", "highs"):
        raise ValueError(f'{name}: integrality needs method="highs", got method={method!r}')
    integral = tuple(mask.nonzero().flatten().tolist())
    if not integral:
        return ()
    moving = any(t is not None and t.requires_grad for t in data)
    if moving and not isinstance(gradient, LPGD):
        raise ValueError(
            f"{name}: an integer program has no derivative; with integrality, gradient must be "
            f"LPGD(...), got {gradient!r}"
        )
    for arg, tensor in zip(("G", "h", "A", "b", "lb", "ub"), data[2:], strict=True):
        if tensor is not None and tensor.requires_grad:
            raise ValueError(
                f"{name}: with integrality only the costs have a gradient (there are no "
                f"multipliers), but {arg} requires one; detach it"
            )
    return integral


class Known(NamedTuple):
    """What the checks found out about arguments that passed them."""

    batch: tuple[int, ...]
    flat: bool  # leading dimensions are what the ops take: none, or one as long as the batch


# by all that the checks look at: a training loop brings the same shapes again and again
_SEEN: dict[tuple[object, ...], Known] = {}
_MOST_SEEN = 256


def _key_of(name: str, given: _Data) -> tuple[object, ...] | None:
    """All that the checks look at; None where that can't be kept."""
    if torch.compiler.is_compiling():
        return None
    try:
        return (name, *[t if t is None else (t.shape, t.dtype, t.device, t.layout) for t in given])
    except AttributeError:  # no tensors
        return None


def known(name: str, given: _Data) -> Known | None:
    """What is known of such arguments from a call before: dense, float32 or float64, fitting."""
    key = _key_of(name, given)
    try:
        return None if key is None else _SEEN.get(key)
    except TypeError:  # sizes that are symbols
        return None


def checked(
    name: str, names: tuple[str, ...], given: _Data
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The arguments with empty blocks made None, and the batch shape."""
    check_tensors(name, names, given)
    data, batch = check_shapes(name, names, given)
    key = _key_of(name, given)
    if key is not None and all(a is b for a, b in zip(data, given, strict=True)):
        if len(_SEEN) >= _MOST_SEEN:
            _SEEN.clear()
        flat = len(batch) == 1 and all(
            t is None or t.shape[: t.dim() - rank] in ((), batch)
            for t, rank in zip(data, DATA_RANKS, strict=True)
        )
        with contextlib.suppress(TypeError):  # sizes that are symbols
            _SEEN[key] = Known(batch, flat)
    return data, batch
