"""The raw ops ``torch.ops.lpgd.prox_*``: what torch has to know of them beside their
kernels (shapes for tracing, vmap, autocast). x is [rows, n], a parameter [1 | rows, 1 | n].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lpgd_native._native import _C

__all__ = ["ROWWISE", "SEPARABLE", "SORTING", "vmap_rows"]

SEPARABLE: dict[str, int] = _C.prox_separable_kinds
ROWWISE: dict[str, int] = _C.prox_rows_kinds
SORTING = frozenset(ROWWISE[name] for name in ("sorted_l1", "permutahedron"))
"""Operators that return, for their backward, the order of the coordinates."""


def vmap_rows(
    apply: Callable[..., Any],
    whole: Sequence[int],
    info: Any,
    in_dims: Sequence[int | None],
    args: Sequence[Any],
) -> tuple[Any, Any]:
    """A vmap rule: the mapped dimension joins the rows. Arguments at places `whole` have as many
    rows as x, which is the first; other matrices are parameters, with as many or one.
    """
    size = info.batch_size
    shape = list(args[0].shape)
    if in_dims[0] is not None:
        del shape[in_dims[0]]
    rows = shape[0]
    joined: list[Any] = []
    for place, (arg, dim) in enumerate(zip(args, in_dims, strict=True)):
        if not isinstance(arg, Tensor):
            joined.append(arg)
            continue
        if dim is None:
            shared = arg.dim() != 2 or (place not in whole and arg.shape[0] == 1)
            if shared:
                joined.append(arg)
                continue
            arg = arg.unsqueeze(0)
        else:
            arg = arg.movedim(dim, 0)
        if arg.dim() != 3:
            raise ValueError("lpgd: index cannot be mapped by vmap")
        columns = arg.shape[-1]
        joined.append(arg.expand(size, rows, columns).reshape(size * rows, columns).contiguous())
    out = apply(*joined)
    if isinstance(out, Tensor):
        return out.reshape(size, rows, out.shape[1]), 0
    return tuple(o.reshape(size, rows, o.shape[1]) for o in out), (0,) * len(out)


def _gradients(x: Tensor, parameters: Sequence[Tensor | None], needs: int) -> list[Tensor]:
    out = []
    for k, parameter in enumerate(parameters):
        wanted = parameter is not None and needs >> k & 1
        columns = parameter.shape[1] if wanted and parameter is not None else 0
        out.append(x.new_empty(x.shape[0], columns))
    return out


def _fake_separable(x: Tensor, a: Any, b: Any, kind: int) -> Tensor:
    return torch.empty_like(x)


def _fake_separable_backward(
    x: Tensor, a: Any, b: Any, grad: Tensor, kind: int, needs: int
) -> tuple[Tensor, ...]:
    return (torch.empty_like(x), *_gradients(x, (a, b), needs))


def _fake_rows(
    x: Tensor, a: Any, b: Any, c: Any, d: Any, index: Any, presorted: Any, kind: int
) -> tuple[Tensor, Tensor]:
    columns = x.shape[1] if kind in SORTING else 0
    return torch.empty_like(x), x.new_empty(x.shape[0], columns, dtype=torch.int32)


def _fake_rows_backward(
    x: Tensor,
    a: Any,
    b: Any,
    c: Any,
    d: Any,
    index: Any,
    out: Tensor,
    order: Tensor,
    grad: Tensor,
    kind: int,
    needs: int,
) -> tuple[Tensor, ...]:
    return (torch.empty_like(x), *_gradients(x, (a, b, c, d), needs))


def _register(name: str, fake: Callable[..., Any], whole: tuple[int, ...]) -> None:
    op = getattr(torch.ops.lpgd, name)

    def rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_rows(op, whole, info, in_dims, args)

    torch.library.register_fake(f"lpgd::{name}", fake)
    torch.library.register_vmap(f"lpgd::{name}", rule)
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(f"lpgd::{name}", device, torch.float32)


_register("prox_separable", _fake_separable, (0,))
_register("prox_separable_backward", _fake_separable_backward, (0, 3))
_register("prox_rows", _fake_rows, (0, 6))
_register("prox_rows_backward", _fake_rows_backward, (0, 6, 7, 8))
