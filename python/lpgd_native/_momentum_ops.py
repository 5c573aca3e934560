"""The raw ops ``torch.ops.lpgd.{lstm, gru}_momentum_{step, sequence, coordinate}[_backward]``: what
torch has to know of them beside their kernels (shapes for tracing, vmap, autocast).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lpgd_native import _native as _native

FORMS = ("step", "sequence", "coordinate")

# where the batch is in each argument: gradient, h, c (weights have none)
STATE_BATCH = {"step": 1, "sequence": 1, "coordinate": 2}
GRADIENT_BATCH = {"step": 0, "sequence": 1, "coordinate": 0}
SAVED_BATCH = {"step": 1, "sequence": 2, "coordinate": 2}


def op(cell: str, form: str, backward: bool = False) -> Any:
    """The overload of a raw op; looked up once, since attribute access costs microseconds."""
    return _OPS[cell, form, backward]


def join(tensor: Any, dim: int | None, batch: int, size: int) -> Any:
    """Make a mapped dimension (or, where there is none, `size` copies) part of the batch."""
    if not isinstance(tensor, Tensor):
        return tensor
    if dim is None:
        tensor = tensor.unsqueeze(batch)
        tensor = tensor.expand(*tensor.shape[:batch], size, *tensor.shape[batch + 1 :])
    else:
        tensor = tensor.movedim(dim, batch)
    return tensor.flatten(batch, batch + 1).contiguous()


def split(tensor: Tensor, batch: int, size: int) -> Tensor:
    """Undo `join`, the mapped dimension first."""
    shape = (*tensor.shape[:batch], size, tensor.shape[batch] // size, *tensor.shape[batch + 1 :])
    return tensor.reshape(shape).movedim(batch, 0)


def _item(value: Any, dim: Any, index: int) -> Any:
    if isinstance(value, (list, tuple)):
        return [_item(v, d, index) for v, d in zip(value, dim, strict=True)]
    if dim is None or not isinstance(value, Tensor):
        return value
    return value.select(dim, index).contiguous()


def map_joined(
    call: Callable[..., tuple[Tensor, ...]],
    info: Any,
    in_dims: Sequence[Any],
    args: Sequence[Any],
    where: Sequence[int | None],
    out_where: Sequence[int | None],
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """A vmap rule: join the mapped dimension with the batch, or loop where the weights have it.

    `where` says which dimension of each argument is the batch (None: it has none), `out_where` the
    same of the results; a result without one (weight gradients, summed over the batch) needs the
    loop.
    """
    size = info.batch_size
    mapped = [
        any(d is not None for d in dim) if isinstance(dim, (list, tuple)) else dim is not None
        for dim in in_dims
    ]
    alone = any(m for m, batch in zip(mapped, where, strict=True) if batch is None)
    if alone or any(batch is None for batch in out_where):
        items = [
            call(*(_item(a, d, i) for a, d in zip(args, in_dims, strict=True))) for i in range(size)
        ]
        out = tuple(torch.stack(part) for part in zip(*items, strict=True))
        return out, (0,) * len(out)
    joined = [
        a if batch is None else join(a, d, batch, size)
        for a, d, batch in zip(args, in_dims, where, strict=True)
    ]
    results = call(*joined)
    parts = tuple(
        split(r, b, size) for r, b in zip(results, out_where, strict=True) if b is not None
    )
    return parts, (0,) * len(parts)


def _fake_forward(form: str, cell: str) -> Callable[..., Any]:
    def fake(gradient: Tensor, h: Tensor, c: Tensor | None, weights: list[Tensor]) -> Any:
        outputs = weights[-1].shape[0]
        with_c = h.shape[0] if cell == "lstm" else 0
        if form == "coordinate":
            return (
                gradient.new_empty(gradient.shape),
                h.new_empty(h.shape),
                h.new_empty(with_c, *h.shape[1:]),
            )
        layers, batch, hidden = h.shape
        middle = (batch,) if form == "step" else (gradient.shape[0], batch)
        return (
            gradient.new_empty(batch, outputs),
            h.new_empty(layers, *middle, hidden),
            h.new_empty(with_c, *middle, hidden),
            h.new_empty(layers, *middle, 4 * hidden),
        )

    return fake


def _fake_backward(form: str, cell: str) -> Callable[..., Any]:
    def dense(
        d_v: Tensor | None,
        d_h: Tensor | None,
        d_c: Tensor | None,
        h: Tensor,
        c: Tensor | None,
        h_out: Tensor,
        c_out: Tensor,
        gates: Tensor,
        weights: list[Tensor],
        wants_gradient: bool,
    ) -> Any:
        inputs = weights[0].shape[1] if wants_gradient else 0
        return (
            h.new_empty(*h_out.shape[1:-1], inputs),
            h.new_empty(h.shape),
            h.new_empty(h.shape[0] if cell == "lstm" else 0, *h.shape[1:]),
            h.new_empty(gates.shape),
        )

    def coordinate(
        d_v: Tensor | None,
        d_h: Tensor | None,
        d_c: Tensor | None,
        gradient: Tensor,
        h: Tensor,
        c: Tensor | None,
        weights: list[Tensor],
    ) -> Any:
        return (
            gradient.new_empty(gradient.shape),
            h.new_empty(h.shape),
            h.new_empty(h.shape[0] if cell == "lstm" else 0, *h.shape[1:]),
            gradient.new_empty(sum(w.numel() for w in weights)),
        )

    return coordinate if form == "coordinate" else dense


def _register(cell: str, form: str, backward: bool) -> Any:
    name = f"{cell}_momentum_{form}" + ("_backward" if backward else "")
    overload = getattr(torch.ops.lpgd, name).default
    torch.library.register_fake(
        f"lpgd::{name}", (_fake_backward if backward else _fake_forward)(form, cell)
    )
    g, s, saved = GRADIENT_BATCH[form], STATE_BATCH[form], SAVED_BATCH[form]
    where: tuple[int | None, ...]
    out: tuple[int | None, ...]
    if not backward:
        where, out = (g, s, s, None), (0, *(saved,) * (2 if form == "coordinate" else 3))
    elif form == "coordinate":
        where, out = (0, s, s, g, s, s, None), (0, s, s, None)
    else:
        where, out = (0, s, s, s, s, saved, saved, saved, None, None), (g, s, s, saved)

    def rule(info: Any, in_dims: Any, *args: Any) -> Any:
        return map_joined(overload, info, in_dims, args, where, out)

    torch.library.register_vmap(f"lpgd::{name}", rule)
    # states that are carried through an unrolled network lose too much in half precision
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(f"lpgd::{name}", device, torch.float32)
    return overload


_OPS = {
    (cell, form, backward): _register(cell, form, backward)
    for cell in ("lstm", "gru")
    for form in FORMS
    for backward in (False, True)
}


def _register_weight_gradients(cell: str) -> Any:
    """Weight gradients of some steps together, on the CPU alone; backward passes take it in eager
    mode alone.
    """
    name = f"{cell}_momentum_weight_gradients"

    def fake(*_: Any) -> None:
        return None

    torch.library.register_fake(f"lpgd::{name}", fake)
    return getattr(torch.ops.lpgd, name).default


WEIGHT_GRADIENTS = {cell: _register_weight_gradients(cell) for cell in ("lstm", "gru")}

#: devices that these ops have kernels for; elsewhere plain torch runs
DEVICES = frozenset(
    device
    for device, key in (("cpu", "CPU"), ("cuda", "CUDA"))
    if torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::lstm_momentum_step", key)
)
