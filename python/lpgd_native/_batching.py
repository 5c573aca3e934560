"""Leading dimensions: any number outside, one (or none, for shared data) at the native ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

__all__ = ["flatten_batch", "vmap_flattened"]


def flatten_batch(tensor: Tensor, rank: int, batch: Sequence[int]) -> Tensor:
    """Bring [*some, core...] with `rank` core dimensions to [prod(batch), core...], or to [core...]
    where all leading sizes are 1: shared data is not copied per item.
    """
    lead, core = tensor.shape[: tensor.dim() - rank], tensor.shape[tensor.dim() - rank :]
    if not lead or (len(lead) == 1 and lead == batch):
        return tensor.contiguous()  # as it is: a view would cost a node of the graph
    if math.prod(lead) == 1:
        return tensor.reshape(core).contiguous()
    if tuple(lead) != tuple(batch):
        tensor = tensor.expand(*batch, *core)
    return tensor.reshape(math.prod(batch), *core).contiguous()


def vmap_flattened(
    apply: Callable[..., Any],
    ranks: Sequence[int | None],
    info: Any,
    in_dims: Sequence[int | None],
    args: Sequence[Any],
) -> tuple[Any, Any]:
    """A vmap rule for functions of flattened arguments: the mapped dimension joins the batch.

    `ranks` gives the core dimensions of each argument, None for those that are not tensors. Outputs
    are tensors [batch, ...] or a tuple of them.
    """
    size = info.batch_size
    items = 1
    for arg, rank, dim in zip(args, ranks, in_dims, strict=True):
        if isinstance(arg, Tensor) and rank is not None:
            logical = arg.dim() - (dim is not None)
            if logical == rank + 1:
                shape = list(arg.shape)
                if dim is not None:
                    del shape[dim]
                items = shape[0]
    joined: list[Any] = []
    for arg, rank, dim in zip(args, ranks, in_dims, strict=True):
        if not isinstance(arg, Tensor) or rank is None:
            joined.append(arg)
            continue
        batched = arg.dim() - (dim is not None) == rank + 1
        if dim is None and not batched:
            joined.append(arg)
            continue
        arg = arg.movedim(dim, 0) if dim is not None else arg.unsqueeze(0)
        if not batched:
            arg = arg.unsqueeze(1)
        core = arg.shape[2:]
        joined.append(arg.expand(size, items, *core).reshape(size * items, *core).contiguous())
    out = apply(*joined)
    if isinstance(out, Tensor):
        return out.reshape(size, items, *out.shape[1:]), 0
    return tuple(o.reshape(size, items, *o.shape[1:]) for o in out), (0,) * len(out)
