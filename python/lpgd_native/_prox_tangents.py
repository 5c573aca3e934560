"""How an operator on rows moves with its parameters: the forward-mode derivative, in plain torch.

Each function takes x, the parameters, their tangents, the result, the order and the index of the
op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["TANGENTS", "WEIGHTED"]

WEIGHTED = frozenset({"weighted_isotonic"})
"""Operators symmetric in the norm of their parameter alone: their tangent takes that of x first."""

_Args = list[Tensor]


def _mean_sign(signs: Tensor) -> Tensor:
    """D tau of a threshold that is shared by the coordinates with a sign."""
    return signs / signs.square().sum(-1, keepdim=True).clamp(min=1)


def _simplex(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    return _mean_sign((out > 0).to(x.dtype)) * t[0]


def _l1_ball(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    outside = x.abs().sum(-1, keepdim=True) > p[0]
    return torch.where(outside, _mean_sign(out.sign()) * t[0], 0)


def _linf(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    outside = x.abs().sum(-1, keepdim=True) > p[0]
    return torch.where(outside, -_mean_sign(torch.where(x != out, x.sign(), 0)) * t[0], 0)


def _max(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    return -_mean_sign((x != out).to(x.dtype)) * t[0]


def _weighted_l1_ball(
    x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any
) -> Tensor:
    w, radius = p[0].expand_as(x), p[1]
    outside = (w * x.abs()).sum(-1, keepdim=True) > radius
    on = (out != 0).to(x.dtype)
    squares = (on * w * w).sum(-1, keepdim=True)
    tau = (on * w * (x.abs() - out.abs())).sum(-1, keepdim=True) / squares
    d_w = t[0].expand_as(x)
    d_tau = ((on * d_w * (x.abs() - 2 * tau * w)).sum(-1, keepdim=True) - t[1]) / squares
    moved = -on * x.sign() * (tau * d_w + w * d_tau)
    return torch.where(outside, moved, 0)


def _l2(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > p[0], -x / length * t[0], 0)


def _l2_ball(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > p[0], x / length * t[0], 0)


def _group_l2(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    n = x.shape[-1]
    members, starts = index[:n].long(), index[n:].long()
    # the size is told: the device is not asked for it
    group = torch.repeat_interleave(starts.diff(), output_size=n)
    first = members[starts[:-1].clamp(max=max(n - 1, 0))]
    squares = x.new_zeros(x.shape[0], starts.numel() - 1).index_add(
        1, group, x[:, members].square()
    )
    length = torch.empty_like(x)
    moved = torch.empty_like(x)
    length[:, members] = squares.sqrt()[:, group]
    moved[:, members] = t[0].expand_as(x)[:, first][:, group]
    return torch.where(out != 0, -x / length * moved, 0)


def _on_plane(
    x: Tensor, a: Tensor, d_a: Tensor, d_b: Tensor, out: Tensor, free: Tensor, held: Tensor
) -> Tensor:
    """`held`: how the coordinates at a bound move with it."""
    squares = (free * a * a).sum(-1, keepdim=True)
    none = squares == 0
    squares = torch.where(none, 1, squares)
    tau = (free * a * (x - out)).sum(-1, keepdim=True) / squares
    right = d_a * out - tau * free * a * d_a + a * held
    d_tau = torch.where(none, 0, (right.sum(-1, keepdim=True) - d_b) / squares)
    return held - free * (tau * d_a + a * d_tau)


def _hyperplane(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    free = torch.ones_like(x)
    return _on_plane(x, p[0], t[0].expand_as(x), t[1], out, free, torch.zeros_like(x))


def _halfspace(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    over = (p[0] * x).sum(-1, keepdim=True) > p[1]
    return torch.where(over, _hyperplane(x, p, t, out, order, index), 0)


def _box_hyperplane(
    x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any
) -> Tensor:
    low, high = out <= p[0], out >= p[1]
    free = (~low & ~high).to(x.dtype)
    held = torch.where(low, t[0], torch.where(high, t[1], 0))
    return _on_plane(x, p[2], t[2].expand_as(x), t[3], out, free, held)


def _segments(starts: Tensor) -> Tensor:
    """Numbers of the segments of each row, from where they start; no two rows share one."""
    starts = starts.clone()
    starts[:, 0] = True
    return starts.flatten().cumsum(0).reshape(starts.shape) - 1


def _segment_mean(values: Tensor, segment: Tensor) -> Tensor:
    flat = segment.flatten()
    count = values.new_zeros(flat.numel()).index_add(0, flat, torch.ones_like(values).flatten())
    total = values.new_zeros(flat.numel()).index_add(0, flat, values.flatten())
    return (total / count.clamp(min=1))[flat].reshape(values.shape)


def _total_variation(
    x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any
) -> Tensor:
    jump = torch.nn.functional.pad(out.diff(dim=-1), (1, 0))
    force = jump.sign() * torch.nn.functional.pad(t[0].expand_as(x)[:, :-1], (1, 0))
    # a jump's weight pulls the segment before it up the jump, the one after it back
    net = torch.nn.functional.pad(force[:, 1:], (0, 1)) - force
    return _segment_mean(net, _segments(jump != 0))


def _weighted_isotonic(
    x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any
) -> Tensor:
    segment = _segments(torch.nn.functional.pad(out.diff(dim=-1) != 0, (1, 0)))
    w, d_x, d_w = p[0].expand_as(x), t[0], t[1].expand_as(x)
    moved = _segment_mean(w * d_x + d_w * (x - out), segment)
    return moved / _segment_mean(w, segment)


def _pools(order: Tensor, values: Tensor) -> Tensor:
    """Means of `values` (in sorted places) over the pools, brought to the coordinates."""
    starts = order < 0
    places = torch.where(starts, ~order, order).long()
    means = _segment_mean(values, _segments(starts))
    return torch.zeros_like(values).scatter(-1, places, means)


def _sorted_l1(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    return -torch.where(out != 0, x.sign(), 0) * _pools(order, t[0].expand_as(x))


def _permutahedron(x: Tensor, p: _Args, t: _Args, out: Tensor, order: Tensor, index: Any) -> Tensor:
    return _pools(order, t[0].expand_as(x))


TANGENTS: dict[str, Callable[..., Tensor]] = {
    "simplex": _simplex,
    "l1_ball": _l1_ball,
    "linf": _linf,
    "max": _max,
    "weighted_l1_ball": _weighted_l1_ball,
    "l2": _l2,
    "l2_ball": _l2_ball,
    "group_l2": _group_l2,
    "hyperplane": _hyperplane,
    "halfspace": _halfspace,
    "box_hyperplane": _box_hyperplane,
    "total_variation": _total_variation,
    "weighted_isotonic": _weighted_isotonic,
    "sorted_l1": _sorted_l1,
    "permutahedron": _permutahedron,
}
