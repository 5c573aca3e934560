"""The raw ops ``torch.ops.lpgd.eit_*``: shapes for tracing, vmap, autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lpgd_native import _native as _native
from lpgd_native._batching import vmap_flattened

__all__ = ["RANKS"]

# of coefficients, plan, links, factor, drives, measured, pairs: no part of the batch
_MESH = (None,) * 7
RANKS: dict[str, tuple[int | None, ...]] = {
    "eit_forward": (1, *_MESH),
    "eit_vjp": (1, 1, *_MESH),
    "eit_jvp": (1, 1, *_MESH),
    "eit_curvature": (1, 1, 1, *_MESH),
    "eit_gradient": (1, 1, *_MESH),
    "eit_jacobian": (1, *_MESH),
}


def _batch(weights: Tensor) -> Any:
    return weights.shape[0] if weights.dim() == 2 else 1


def _like_weights(weights: Tensor, *_: Any) -> Tensor:
    return weights.new_empty(_batch(weights), weights.shape[-1])


def _voltages(weights: Tensor, pairs: Tensor) -> Tensor:
    return weights.new_empty(_batch(weights), pairs.shape[0])


def _status(weights: Tensor) -> Tensor:
    return weights.new_empty(_batch(weights), dtype=torch.int32)


def _fake_forward(weights: Tensor, *mesh: Any) -> tuple[Tensor, Tensor]:
    return _voltages(weights, mesh[-1]), _status(weights)


def _fake_jvp(weights: Tensor, dw: Tensor, *mesh: Any) -> Tensor:
    return _voltages(weights, mesh[-1])


def _fake_gradient(weights: Tensor, y: Tensor, *mesh: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like_weights(weights), _voltages(weights, mesh[-1]), _status(weights)


def _fake_jacobian(weights: Tensor, *mesh: Any) -> tuple[Tensor, Tensor, Tensor]:
    sizes = (_batch(weights), mesh[-1].shape[0], weights.shape[-1])
    return weights.new_empty(sizes), _voltages(weights, mesh[-1]), _status(weights)


def _register(name: str, fake: Callable[..., Any]) -> None:
    op, ranks = getattr(torch.ops.lpgd, name), RANKS[name]

    def rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return vmap_flattened(op, ranks, info, in_dims, args)

    torch.library.register_fake(f"lpgd::{name}", fake)
    torch.library.register_vmap(f"lpgd::{name}", rule)
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(f"lpgd::{name}", device, torch.float32)


_register("eit_forward", _fake_forward)
_register("eit_vjp", _like_weights)
_register("eit_jvp", _fake_jvp)
_register("eit_curvature", _like_weights)
_register("eit_gradient", _fake_gradient)
_register("eit_jacobian", _fake_jacobian)
