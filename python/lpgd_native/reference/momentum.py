"""The recurrent momentum in plain torch: stacked cells on the gradient, then one linear map.

Weights are a flat sequence: w_ih, w_hh, b_ih, b_hh of each layer, then w_out, b_out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

__all__ = [
    "gru_cell",
    "gru_momentum_step",
    "lstm_cell",
    "lstm_momentum_step",
    "momentum_coordinate",
    "momentum_sequence",
]

States = tuple[Tensor, ...]
Cell = Callable[..., States]


def lstm_cell(x: Tensor, state: States, w_ih: Tensor, w_hh: Tensor, *b: Tensor) -> States:
    """(o tanh(c'), c') with c' = f c + i g (Hochreiter & Schmidhuber 1997, with forget gates)."""
    h, c = state
    i, f, g, o = (linear(x, w_ih, b[0]) + linear(h, w_hh, b[1])).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_cell(x: Tensor, state: States, w_ih: Tensor, w_hh: Tensor, *b: Tensor) -> States:
    """(1 - z) n + z h, n = tanh(W_n x + r (U_n h + b)) (Cho et al. 2014, torch's form)."""
    (h,) = state
    x_r, x_z, x_n = linear(x, w_ih, b[0]).chunk(3, dim=-1)
    h_r, h_z, h_n = linear(h, w_hh, b[1]).chunk(3, dim=-1)
    z = (x_z + h_z).sigmoid()
    return ((1 - z) * (x_n + (x_r + h_r).sigmoid() * h_n).tanh() + z * h,)


def _cells(cell: Cell, x: Tensor, states: States, weights: Sequence[Tensor]) -> States:
    """New states, each [L, ..., H]; the layers' outputs are the first of them."""
    layers = []
    for layer in range(states[0].shape[0]):
        state = cell(x, tuple(s[layer] for s in states), *weights[4 * layer : 4 * layer + 4])
        layers.append(state)
        x = state[0]
    return tuple(torch.stack(parts) for parts in zip(*layers, strict=True))


def _output(h: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return linear(torch.cat(h.unbind(0), dim=-1), weights[-2], weights[-1])


def lstm_momentum_step(
    gradient: Tensor, h: Tensor, c: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """v, h', c' for a gradient [..., n] and states [L, ..., H]."""
    h, c = _cells(lstm_cell, gradient, (h, c), weights)
    return _output(h, weights), h, c


def gru_momentum_step(
    gradient: Tensor, h: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """v, h' for a gradient [..., n] and a state [L, ..., H]."""
    (h,) = _cells(gru_cell, gradient, (h,), weights)
    return _output(h, weights), h


def momentum_sequence(
    cell: Cell, gradients: Tensor, states: States, weights: Sequence[Tensor]
) -> tuple[Tensor, States]:
    """(v, states): v and the new states after all of the gradients [S, ..., n]."""
    for gradient in gradients:
        states = _cells(cell, gradient, states, weights)
    return _output(states[0], weights), states


def momentum_coordinate(
    cell: Cell, gradient: Tensor, states: States, weights: Sequence[Tensor]
) -> tuple[Tensor, States]:
    """The same cells at each entry of the gradient [...]; states are [L, H, ...]."""
    states = _cells(cell, gradient.unsqueeze(-1), tuple(s.movedim(1, -1) for s in states), weights)
    return _output(states[0], weights).squeeze(-1), tuple(s.movedim(-1, 1) for s in states)
