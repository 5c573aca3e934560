"""The raw ops ``torch.ops.lpgd.oracle_*``: shapes for tracing, vmap, autocast, and the way to them
from costs [..., *shape].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lpgd_native._native import _C
from lpgd_native._prox_checks import compute_dtype, result_dtype
from lpgd_native.oracles.protocol import OracleSolution
from lpgd_native.status import raise_on_failure

__all__ = ["answer", "check_costs", "kernel_device", "no_instance", "solve"]

_DEVICES = {"cpu", "meta", *(("cuda",) if _C.build_info()["cuda_compiler"] else ())}

_Rule = Callable[..., tuple[Any, Any]]


def _vmap_rule(op: Any, batched: Sequence[int]) -> _Rule:
    """The mapped dimension joins the batch, for arguments at the places `batched`; the first gives
    the size of the batch, others have the same or one.
    """

    def rule(info: Any, in_dims: Sequence[int | None], *args: Any) -> tuple[Any, Any]:
        size = info.batch_size
        moved = [
            arg if dim is None else arg.movedim(dim, 0)
            for arg, dim in zip(args, in_dims, strict=True)
        ]
        items = moved[0].shape[0 if in_dims[0] is None else 1]
        for place, dim in enumerate(in_dims):
            if place not in batched:
                if dim is not None:
                    raise ValueError("lpgd: edges and values cannot be mapped by vmap")
                continue
            arg = moved[place]
            if dim is None:
                if place > 0 and arg.shape[0] == 1:
                    continue
                arg = arg.unsqueeze(0)
            core = arg.shape[2:]
            moved[place] = arg.expand(size, items, *core).reshape(size * items, *core).contiguous()
        out = op(*moved)
        return tuple(o.reshape(size, items, *o.shape[1:]) for o in out), (0,) * len(out)

    return rule


def _fake(costs: Tensor, *_: Any) -> tuple[Tensor, ...]:
    batch = costs.shape[0]
    status = costs.new_empty(batch, dtype=torch.int32)
    return torch.empty_like(costs), costs.new_empty(batch), status


def _fake_assignment(costs: Tensor, mask: bool) -> tuple[Tensor, ...]:
    batch, rows, cols = costs.shape
    x = torch.empty_like(costs) if mask else costs.new_empty(batch, 0, 0)
    columns = costs.new_empty(batch, min(rows, cols), dtype=torch.int64)
    duals = costs.new_empty(batch, rows), costs.new_empty(batch, cols)
    status = costs.new_empty(batch, dtype=torch.int32)
    return x, columns, *duals, costs.new_empty(batch), status


def _register(name: str, fake: Callable[..., Any] = _fake, batched: Sequence[int] = (0,)) -> None:
    op = getattr(torch.ops.lpgd, name)
    torch.library.register_fake(f"lpgd::{name}", fake)
    torch.library.register_vmap(f"lpgd::{name}", _vmap_rule(op, batched))
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(f"lpgd::{name}", device, torch.float32)


_register("oracle_assignment", _fake_assignment)
for _name in ("grid_path", "dag_path", "top_k", "ranking", "spanning_tree", "alignment"):
    _register(f"oracle_{_name}")
_register("oracle_knapsack", batched=(0, 1, 2))


def check_costs(name: str, costs: Any, event_dim: int) -> Tensor:
    """The costs, without a gradient."""
    if not isinstance(costs, Tensor):
        raise TypeError(f"{name}: costs must be a torch.Tensor, got {type(costs).__name__}")
    if costs.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise TypeError(
            f"{name}: costs must be float32 or float64 (or half precision, computed in float32), "
            f"got {costs.dtype}"
        )
    if costs.layout != torch.strided:
        raise TypeError(f"{name}: costs must be dense, got layout {costs.layout}")
    if costs.dim() < event_dim:
        shape = "[..., n]" if event_dim == 1 else "[..., n, m]"
        raise ValueError(f"{name}: costs must be {shape}, got {list(costs.shape)}")
    return costs.detach()


def no_instance(name: str, instance: dict[str, Any]) -> None:
    """Refuse data of an instance where an oracle has none."""
    if instance:
        raise TypeError(f"{name}.solve takes costs alone, got {', '.join(sorted(instance))}")


def kernel_device(costs: Tensor) -> torch.device:
    """Where the kernels run: the device of the costs, or the CPU where this build has none for it.

    Costs are then copied to the CPU, and results back.
    """
    return costs.device if costs.device.type in _DEVICES else torch.device("cpu")


def solve(
    name: str,
    op: Callable[..., tuple[Tensor, Tensor, Tensor]],
    costs: Tensor,
    event_dim: int,
    *args: Any,
    throw: bool = False,
) -> OracleSolution:
    """`op` on costs [..., *shape] that `check_costs` has seen, with arguments that are where
    `kernel_device` says.
    """
    lead, core = costs.shape[: costs.dim() - event_dim], costs.shape[costs.dim() - event_dim :]
    work = costs.to(kernel_device(costs), compute_dtype(costs))
    if len(lead) != 1:
        work = work.reshape(math.prod(lead), *core)
    return answer(name, costs, lead, op(work.contiguous(), *args), throw)


def answer(
    name: str, costs: Tensor, lead: Sequence[int], out: Sequence[Tensor], throw: bool
) -> OracleSolution:
    """Outputs x, objective, status of an op in the shapes, dtype and device of the costs."""
    x, objective, status = out
    if len(lead) != 1:
        x = x.reshape(*lead, *x.shape[1:])
        objective, status = objective.reshape(lead), status.reshape(lead)
    if throw:
        raise_on_failure(name, status)
    dtype, device = result_dtype(costs), costs.device
    if x.dtype != dtype or x.device != device:
        x, objective, status = x.to(device, dtype), objective.to(device, dtype), status.to(device)
    return OracleSolution(x, objective, status)
