"""What arguments hypothesis makes of good ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
from torch import Tensor

#: names that a refusal may mention, function, arguments, options
Call = tuple[list[str], Callable[..., Any], tuple[Any, ...], dict[str, Any]]

SPECIAL = (
    math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-310, 1e-45, 1e30, -1e30, 1e300, -1e300, 1.0, -1.0,
)  # fmt: skip
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool,
    torch.complex64,
)  # fmt: skip


@st.composite
def hostile(draw: st.DrawFn, like: Tensor, meta: bool = True) -> Any:
    """`like`, mostly as it is: or another shape, dtype, memory layout; numbers of all kinds.

    meta: or on the device of that name, which has no numbers.
    """
    kind = draw(st.integers(0, 15))
    if kind == 0:
        return draw(st.sampled_from([None, 1.0, 1, "x", [1.0, 2.0], (), object(), True]))
    t = like.clone()
    if kind == 1:
        t = t.to(draw(st.sampled_from(DTYPES)))
    elif kind == 2:
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        t = torch.ones(shape, dtype=t.dtype)
    elif kind == 3 and t.dim():
        t = t.unsqueeze(0).expand(draw(st.integers(1, 3)), *t.shape)  # stride 0: aliased
    elif kind == 4 and t.dim() >= 2:
        t = t.mT.contiguous().mT  # columns first
    elif kind == 5 and t.dim():
        t = torch.stack([t, t], -1)[..., 0]  # every other number
    elif kind == 6 and t.dim():
        t = t.select(0, 0) if len(t) else t
    elif kind == 7:
        t = torch.from_numpy(t.numpy().copy())
    elif kind == 8 and t.dim():
        t = t.flip(0)[..., :]
    elif kind == 9:
        t = t.to_sparse() if t.dim() else t
    elif kind == 10 and meta:
        t = t.to("meta")
    if kind >= 11 and t.numel() and t.is_floating_point():
        flat = t.reshape(-1)
        for _ in range(draw(st.integers(1, 3))):
            value = draw(st.sampled_from(SPECIAL))
            flat[draw(st.integers(0, flat.numel() - 1))] = value
        t = flat.reshape(t.shape)
    if isinstance(t, Tensor) and t.is_floating_point() and draw(st.booleans()):
        t = t.detach().requires_grad_()
    return t


@st.composite
def some_hostile(
    draw: st.DrawFn, tensors: list[Tensor], most: int = 2, meta: bool = True
) -> list[Any]:
    """Tensors of which up to `most` are hostile, and at times one is another one."""
    wild = draw(st.sets(st.integers(0, len(tensors) - 1), max_size=most))
    out: list[Any] = [draw(hostile(t, meta)) if k in wild else t for k, t in enumerate(tensors)]
    if len(out) > 1 and draw(st.integers(0, 9)) == 0:
        out[draw(st.integers(0, len(out) - 1))] = out[draw(st.integers(0, len(out) - 1))]
    return out


@st.composite
def options(draw: st.DrawFn, table: dict[str, list[Any]]) -> dict[str, Any]:
    """Of each option one of its values, mostly none."""
    given = {name: draw(st.sampled_from(values)) for name, values in table.items()}
    return {name: value for name, value in given.items() if draw(st.integers(0, 2)) == 0}


@st.composite
def hostile_array(draw: st.DrawFn, like: np.ndarray[Any, Any]) -> Any:
    """`like` in numpy's own ways: read-only, strided, backwards, in the other byte order."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from([None, 1.0, "x", [1.0, 2.0], object()]))
    a = like.copy()
    if kind == 1:
        a = a.astype(draw(st.sampled_from([np.float32, np.int64, np.complex128, object, ">f8"])))
    elif kind == 2:
        a = np.ones(draw(st.lists(st.integers(0, 4), max_size=4)))
    elif kind == 3:
        a = np.broadcast_to(a, (draw(st.integers(1, 3)), *a.shape))
    elif kind == 4:
        a = np.asfortranarray(a)
    elif kind == 5:
        a = a[::-1]
    elif kind == 6:
        a = np.stack([a, a], -1)[..., 0]
    else:
        for _ in range(draw(st.integers(1, 3))):
            a.flat[draw(st.integers(0, a.size - 1))] = draw(st.sampled_from(SPECIAL))
        a.setflags(write=False)
    return a
