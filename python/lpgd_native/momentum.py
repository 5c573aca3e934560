"""Recurrent momentum: a learned function of the history of gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lpgd_native import _momentum_autograd, reference
from lpgd_native._momentum_autograd import Tape
from lpgd_native._momentum_ops import DEVICES

__all__ = [
    "Tape",
    "gru_momentum_sequence",
    "gru_momentum_step",
    "lstm_momentum_sequence",
    "lstm_momentum_step",
]

_HALF = (torch.float16, torch.bfloat16)
_ROWS = {"lstm": 4, "gru": 3}
_MOST_LAYERS = 8


def lstm_momentum_step(
    gradient: Tensor,
    state: tuple[Tensor, Tensor] | None,
    weights: Sequence[Tensor],
    *,
    per_coordinate: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(v, (h', c')) = Xi(g, (h, c)): stacked LSTM cells on the gradient, v = W_o [h'_1; ...] + b_o.

    The momentum of DuNets-RMA (Zhou, Qian, Tang & Li, Inverse Problems 2024): one step of an
    unrolled network, whose next gradient depends on this v. All in one call: gates, states and the
    output map; gates as in ``torch.nn.LSTMCell`` (i, f, g, o).

    Args:
        gradient: [..., n]
        state: h and c, each [L, ..., H]; None: zeros.
        weights: w_ih [4H, n] (layers after the first: [4H, H]), w_hh [4H, H], b_ih [4H], b_hh [4H]
            of each of the L <= 8 layers, then w_out [m, L H] and b_out [m]; m is mostly n.
        per_coordinate: the same cells at every entry of the gradient instead, as learned optimisers
            have them: w_ih of the first layer is [4H, 1], w_out [1, L H], and states are
            [L, H, ...], so that neighbouring coordinates are neighbours in memory.

    Returns:
        v [..., m] and the new states.

    Raises:
        TypeError: what is not a tensor; dtypes other than float32 and float64; mixed dtypes. Under
            autocast half precision is computed in float32 and states stay float32.
        ValueError: shapes that don't fit, mixed devices.

    A gradient that is not finite spoils its own item alone. Derivatives with respect to all
    tensors, vmap and torch.compile work; forward mode and second derivatives raise
    NotImplementedError. There are kernels for the CPU and for CUDA (its products are cuBLAS's);
    other devices run `lpgd_native.reference.lstm_momentum_step`.
    """
    v, states = _step("lstm", gradient, state, weights, per_coordinate)
    return v, (states[0], states[1])


def gru_momentum_step(
    gradient: Tensor,
    state: Tensor | None,
    weights: Sequence[Tensor],
    *,
    per_coordinate: bool = False,
) -> tuple[Tensor, Tensor]:
    """(v, h') = Xi(g, h): stacked GRU cells on the gradient, v = W_o [h'_1; ...] + b_o.

    Gates as in ``torch.nn.GRUCell`` (r, z, n).

    Args:
        gradient: [..., n]
        state: h [L, ..., H]; None: zeros.
        weights: as in `lstm_momentum_step`, with 3H rows in place of 4H.
        per_coordinate: as in `lstm_momentum_step`; the state is then [L, H, ...].

    Returns:
        v [..., m] and the new state.

    Raises:
        TypeError, ValueError: as `lstm_momentum_step`, which has what else is to say.
    """
    v, states = _step("gru", gradient, None if state is None else (state,), weights, per_coordinate)
    return v, states[0]


def lstm_momentum_sequence(
    gradients: Tensor, state: tuple[Tensor, Tensor] | None, weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(v, (h', c')) after a whole history of gradients: `lstm_momentum_step` for one after another.

    Args:
        gradients: [S, ..., n], S >= 1, the oldest first.
        state: before the first of them, h and c, each [L, ..., H]; None: zeros.
        weights: as in `lstm_momentum_step`.

    Returns:
        v [..., m] after the last one (the output map is taken there alone) and the states then.

    Raises:
        TypeError, ValueError: as `lstm_momentum_step`.
    """
    v, states = _sequence("lstm", gradients, state, weights)
    return v, (states[0], states[1])


def gru_momentum_sequence(
    gradients: Tensor, state: Tensor | None, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """(v, h') after a whole history of gradients: `gru_momentum_step` for one after another.

    Args:
        gradients: [S, ..., n], S >= 1, the oldest first.
        state: before the first of them, h [L, ..., H]; None: zeros.
        weights: as in `gru_momentum_step`.

    Returns:
        v [..., m] after the last one (the output map is taken there alone) and the state then.

    Raises:
        TypeError, ValueError: as `lstm_momentum_step`.
    """
    v, states = _sequence("gru", gradients, None if state is None else (state,), weights)
    return v, states[0]


_States = tuple[Tensor, ...]


def _step(
    cell: str,
    gradient: Tensor,
    state: _States | None,
    weights: Sequence[Tensor],
    per_coordinate: bool,
) -> tuple[Tensor, _States]:
    name = f"{cell}_momentum_step"
    gradient, given, held = _under_autocast(gradient, state, weights)
    _check_tensors(name, gradient, given, held)
    if not per_coordinate and gradient.dim() < 1:
        raise ValueError(f"{name}: gradient must be [..., n], got {list(gradient.shape)}")
    hidden = _check_weights(name, cell, held, 1 if per_coordinate else gradient.shape[-1])
    held = tuple(w.contiguous() for w in held)
    layers = (len(held) - 2) // 4
    if per_coordinate:
        if held[-1].shape[0] != 1:
            raise ValueError(
                f"{name}: per_coordinate needs w_out [1, L H], got {list(held[-2].shape)}"
            )
        lead = gradient.shape
        shape: tuple[int, ...] = (layers, hidden, *lead)
    else:
        lead = gradient.shape[:-1]
        shape = (layers, *lead, hidden)
    states = _states(name, cell, gradient, given, shape)
    if gradient.device.type not in DEVICES:
        return _twin(cell, gradient, states, held, per_coordinate)
    h, c = states[0], states[1] if cell == "lstm" else None
    if per_coordinate:
        flat = gradient.reshape(math.prod(lead[:-1]), lead[-1]) if lead else gradient.reshape(1, 1)
        inner = (layers, hidden, *flat.shape)
        v, *new = _momentum_autograd.coordinate(
            cell, flat.contiguous(), _flat(h, inner), None if c is None else _flat(c, inner), held
        )
        v = v.reshape(lead)
    else:
        batch = math.prod(lead)
        flat = gradient if gradient.dim() == 2 else gradient.reshape(batch, gradient.shape[-1])
        inner = (layers, batch, hidden)
        v, *new = _momentum_autograd.dense(
            cell,
            "step",
            flat.contiguous(),
            _flat(h, inner),
            None if c is None else _flat(c, inner),
            held,
        )
        if gradient.dim() != 2:
            v = v.reshape(*lead, v.shape[-1])
    return v, tuple(s if s.shape == shape else s.reshape(shape) for s in new[: len(states)])


def _sequence(
    cell: str, gradients: Tensor, state: _States | None, weights: Sequence[Tensor]
) -> tuple[Tensor, _States]:
    name = f"{cell}_momentum_sequence"
    gradients, given, held = _under_autocast(gradients, state, weights)
    _check_tensors(name, gradients, given, held)
    if gradients.dim() < 2 or gradients.shape[0] < 1:
        raise ValueError(
            f"{name}: gradient must be [S, ..., n], S >= 1, got {list(gradients.shape)}"
        )
    hidden = _check_weights(name, cell, held, gradients.shape[-1])
    held = tuple(w.contiguous() for w in held)
    layers, lead = (len(held) - 2) // 4, gradients.shape[1:-1]
    shape = (layers, *lead, hidden)
    states = _states(name, cell, gradients, given, shape)
    if gradients.device.type not in DEVICES:
        function = reference.lstm_cell if cell == "lstm" else reference.gru_cell
        return reference.momentum_sequence(function, gradients, states, held)
    batch = math.prod(lead)
    inner = (layers, batch, hidden)
    v, hs, cs = _momentum_autograd.dense(
        cell,
        "sequence",
        gradients.reshape(gradients.shape[0], batch, gradients.shape[-1]).contiguous(),
        _flat(states[0], inner),
        _flat(states[1], inner) if cell == "lstm" else None,
        held,
    )
    new = (hs, cs)[: len(states)]
    return v.reshape(*lead, v.shape[-1]), tuple(s[:, -1].reshape(shape) for s in new)


def _twin(
    cell: str, gradient: Tensor, states: _States, weights: _States, per_coordinate: bool
) -> tuple[Tensor, _States]:
    """Plain torch, for devices without a kernel."""
    function = reference.lstm_cell if cell == "lstm" else reference.gru_cell
    if per_coordinate:
        return reference.momentum_coordinate(function, gradient, states, weights)
    return reference.momentum_sequence(function, gradient.unsqueeze(0), states, weights)


def _flat(state: Tensor, shape: tuple[int, ...]) -> Tensor:
    return (state if state.shape == shape else state.reshape(shape)).contiguous()


def _under_autocast(
    gradient: Tensor, state: _States | None, weights: Sequence[Tensor]
) -> tuple[Tensor, _States | None, _States]:
    """Half precision up to float32 where autocast is on."""
    held = tuple(weights)
    if not isinstance(gradient, Tensor) or not _autocast_is_on(gradient.device.type):
        return gradient, None if state is None else tuple(state), held

    def up(t: Tensor) -> Tensor:
        return t.float() if isinstance(t, Tensor) and t.dtype in _HALF else t

    return up(gradient), None if state is None else tuple(map(up, state)), tuple(map(up, held))


def _autocast_is_on(device: str) -> bool:
    # others, as meta, have no autocast and torch raises if asked
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _check_tensors(name: str, gradient: Tensor, state: _States | None, weights: _States) -> None:
    if not isinstance(gradient, Tensor):
        raise TypeError(f"{name}: gradient must be a torch.Tensor, got {type(gradient).__name__}")
    if gradient.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name}: gradient must be float32 or float64, got {gradient.dtype}")
    if gradient.layout != torch.strided:
        raise TypeError(f"{name}: gradient must be dense, got layout {gradient.layout}")
    for what, tensors in (("state", state or ()), ("weights", weights)):
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name}: {what} must be tensors, got {type(tensor).__name__}")
            if tensor.layout != torch.strided:
                raise TypeError(f"{name}: {what} must be dense, got layout {tensor.layout}")
            if tensor.dtype != gradient.dtype:
                raise TypeError(
                    f"{name}: {what} must have the dtype of gradient, {gradient.dtype}, "
                    f"got {tensor.dtype}"
                )
            if tensor.device != gradient.device:
                raise ValueError(
                    f"{name}: {what} must be on the device of gradient, {gradient.device}, "
                    f"got {tensor.device}"
                )


def _check_weights(name: str, cell: str, weights: _States, inputs: int) -> int:
    """H."""
    layers, rest = divmod(len(weights) - 2, 4)
    if rest or not 1 <= layers <= _MOST_LAYERS:
        raise ValueError(
            f"{name}: weights must be w_ih, w_hh, b_ih, b_hh for each of 1 to {_MOST_LAYERS} "
            f"layers, then w_out, b_out, got {len(weights)} tensors"
        )
    hidden = weights[1].shape[-1] if weights[1].dim() == 2 else 0
    rows = _ROWS[cell] * hidden
    expected: list[tuple[str, tuple[int, ...]]] = []
    for layer in range(layers):
        expected += [
            (f"w_ih of layer {layer}", (rows, hidden if layer else inputs)),
            (f"w_hh of layer {layer}", (rows, hidden)),
            (f"b_ih of layer {layer}", (rows,)),
            (f"b_hh of layer {layer}", (rows,)),
        ]
    outputs = weights[-1].shape[0] if weights[-1].dim() == 1 else 0
    expected += [("w_out", (outputs, layers * hidden)), ("b_out", (outputs,))]
    for (what, shape), tensor in zip(expected, weights, strict=True):
        if tuple(tensor.shape) != shape or 0 in shape:
            raise ValueError(
                f"{name}: {what} must be {list(shape)} for a gradient with n = {inputs} and "
                f"H = {hidden}, got {list(tensor.shape)}"
            )
    return hidden


def _states(
    name: str, cell: str, gradient: Tensor, given: _States | None, shape: tuple[int, ...]
) -> _States:
    count = 2 if cell == "lstm" else 1
    if given is None:
        return (gradient.new_zeros(shape),) * count
    if len(given) != count:
        raise ValueError(f"{name}: state must be {count} tensors, got {len(given)}")
    for state in given:
        if tuple(state.shape) != shape:
            raise ValueError(
                f"{name}: state must be {list(shape)} for a gradient {list(gradient.shape)}, "
                f"got {list(state.shape)}"
            )
    return given
