"""The raw ops ``torch.ops.lpgd.{solve_qp, solve_qp_from, resolve_qp, implicit_qp, outer_sum}``:
what torch has to know of them beside their kernels (shapes for tracing, vmap, autocast).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lpgd_native import _native as _native
from lpgd_native._batching import vmap_flattened
from lpgd_native._qp_checks import DATA_RANKS

# core dimensions of the arguments, in schema order
POINT_RANKS = (1,) * 5  # x y z z_lb z_ub, and the gradients with respect to them
SOLVE_RANKS = (*DATA_RANKS, None, None)
SOLVE_FROM_RANKS = (*DATA_RANKS, *POINT_RANKS, None, None)
IMPLICIT_RANKS = (*DATA_RANKS, *POINT_RANKS, 0, *POINT_RANKS)  # 0: status
RESOLVE_RANKS = (*IMPLICIT_RANKS, 0, 0, None, None, None)
OUTER_RANKS = (1, 1, 1, 1)


def _sizes(args: tuple[Any, ...]) -> list[int]:
    """Sizes of x, y, z, z_lb, z_ub."""
    _, q, G, _, A, _, lb, ub = args[:8]
    n = q.shape[-1]
    return [
        n,
        A.shape[-2] if A is not None else 0,
        G.shape[-2] if G is not None else 0,
        n if lb is not None else 0,
        n if ub is not None else 0,
    ]


def batch_of(args: Sequence[Any]) -> int:
    """Size of the batch of flattened data: 1 where all of it is shared."""
    for tensor, rank in zip(args[:8], DATA_RANKS, strict=True):
        if tensor is not None and tensor.dim() == rank + 1:
            return tensor.shape[0]  # type: ignore[no-any-return]
    return 1


def _point(args: tuple[Any, ...], batch: int) -> tuple[Tensor, ...]:
    return tuple(args[1].new_empty(batch, size) for size in _sizes(args))


def _fake_solve_qp(*args: Any) -> tuple[Tensor, ...]:
    batch, q = batch_of(args), args[1]
    status = [q.new_empty(batch, dtype=torch.int32) for _ in range(2)]
    return (*_point(args, batch), *status, q.new_empty(batch, 3))


def _fake_resolve_qp(*args: Any) -> tuple[Tensor, ...]:
    q, batch = args[1], args[8].shape[0]
    return (*_point(args, batch), *_point(args, batch), q.new_empty(batch, dtype=torch.int32))


def _fake_implicit_qp(*args: Any) -> tuple[Tensor, ...]:
    q, batch = args[1], args[8].shape[0]
    return (*_point(args, batch), q.new_empty(batch, dtype=torch.int32))


def _fake_outer_sum(a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
    return a1.new_empty(a1.shape[0], a1.shape[1], b1.shape[1])


def _register(name: str, fake: Callable[..., Any], ranks: tuple[int | None, ...]) -> None:
    op = getattr(torch.ops.lpgd, name)

    def rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(op, ranks, info, in_dims, args)

    torch.library.register_fake(f"lpgd::{name}", fake)
    torch.library.register_vmap(f"lpgd::{name}", rule)
    # half precision can't hold a solver's residuals
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(f"lpgd::{name}", device, torch.float32)


_register("solve_qp", _fake_solve_qp, SOLVE_RANKS)
_register("solve_qp_from", _fake_solve_qp, SOLVE_FROM_RANKS)
_register("resolve_qp", _fake_resolve_qp, RESOLVE_RANKS)
_register("implicit_qp", _fake_implicit_qp, IMPLICIT_RANKS)
_register("outer_sum", _fake_outer_sum, OUTER_RANKS)
