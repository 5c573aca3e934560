"""What an unrolled network does with the history of its gradients: the momentum slot.

A slot is a small frozen description; the network builds its module (`Momentum`) from it, once, for
all iterations. In all of them g_t is the gradient at x_{t-1} and v_t what the block is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lpgd_native._momentum_ops import DEVICES
from lpgd_native.momentum import (
    Tape,
    gru_momentum_sequence,
    gru_momentum_step,
    lstm_momentum_sequence,
    lstm_momentum_step,
)
from lpgd_native.nn.blocks import ConvBlock

__all__ = [
    "ConvolutionalMemory",
    "DenseMap",
    "HeavyBall",
    "Momentum",
    "NoMomentum",
    "RecurrentMomentum",
]

State = tuple[Tensor, ...]


class Momentum(nn.Module):
    """The module of a slot. Its state is a tuple of tensors, so that iterations can be
    checkpointed.
    """

    def begin(self, like: Tensor) -> State:
        """The state before the first gradient, for a batch like `like` [B, *domain]."""
        return ()

    def tape(self, like: Tensor, iterations: int) -> Tape | None:
        """A record for the weight gradients of one unrolled pass, where the module can use one."""
        return None

    def step(
        self, gradient: Tensor, state: State, x: Tensor, tape: Tape | None = None
    ) -> tuple[Tensor, State]:
        """v_t and the new state, for g_t [B, *domain] at x [B, *domain]."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoMomentum:
    """v_t = g_t."""

    def build(self, domain: Sequence[int]) -> Momentum:
        """The module for gradients of shape `domain`."""
        return _None()


class _None(Momentum):
    def step(
        self, gradient: Tensor, state: State, x: Tensor, tape: Tape | None = None
    ) -> tuple[Tensor, State]:
        return gradient, state


@dataclass(frozen=True)
class HeavyBall:
    """v_t = gamma v_{t-1} + eta g_t, v_0 = 0 (Polyak 1964).

    The defaults are those of the "-MA" networks of DuNets-RMA. ``learned=True`` makes gamma and eta
    parameters that start there. ``HeavyBall(0, 1)`` is no momentum.
    """

    gamma: float = 0.8
    eta: float = 1e-3
    learned: bool = False

    def build(self, domain: Sequence[int]) -> Momentum:
        """The module for gradients of shape `domain`."""
        return _HeavyBall(self)


class _HeavyBall(Momentum):
    gamma: Tensor
    eta: Tensor

    def __init__(self, slot: HeavyBall) -> None:
        super().__init__()
        for name, value in (("gamma", slot.gamma), ("eta", slot.eta)):
            tensor = torch.tensor(float(value))
            if slot.learned:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    def begin(self, like: Tensor) -> State:
        return (torch.zeros_like(like),)

    def step(
        self, gradient: Tensor, state: State, x: Tensor, tape: Tape | None = None
    ) -> tuple[Tensor, State]:
        v = self.gamma * state[0] + self.eta * gradient
        return v, (v,)


@dataclass(frozen=True)
class RecurrentMomentum:
    """(v_t, s_t) = Xi(g_t, s_{t-1}) with stacked recurrent cells and a linear map of all their
    states.

    DuNets-RMA (Zhou, Qian, Tang & Li, Inverse Problems 2024): cells on the whole gradient as one
    flat vector, one set of weights for all iterations, states that start at zero.

    Args:
        cell: "lstm", "gru", "rnn" (tanh), or "linear" (h' = W g + U h + b: with the right weights,
            heavy ball)
        hidden: H, of every layer
        layers: L
        downsample: k > 1: the gradient is sampled at every k-th entry and the momentum repeated k
            times (the authors' "low" variants, k = 2)
        mode: "step" feeds g_t. "history" feeds (g_1, ..., g_t) at every iteration, from the state
            that iteration t - 1 left, as the authors' code does.
        per_coordinate: the same small cells at every coordinate, as in learned optimisers
        residual: v_t = g_t + Xi(g_t, s_{t-1}). Without it the gradient reaches the block through
            `hidden` numbers alone (an addition of this package).
        blind: the control without a memory of gradients: the cells are fed zeros, and
            v_t = g_t + Xi(0, s_{t-1}), the gradient and a learned bias for each place and iteration
    """

    cell: str = "lstm"
    hidden: int = 50
    layers: int = 2
    downsample: int = 1
    mode: str = "step"
    per_coordinate: bool = False
    residual: bool = False
    blind: bool = False

    def __post_init__(self) -> None:
        if self.cell not in _ROWS:
            raise ValueError(
                f"RecurrentMomentum: cell must be one of {list(_ROWS)}, got {self.cell!r}"
            )
        if self.mode not in ("step", "history"):
            raise ValueError(
                f"RecurrentMomentum: mode must be 'step' or 'history', got {self.mode!r}"
            )
        if min(self.hidden, self.layers, self.downsample) < 1 or self.layers > 8:
            raise ValueError(
                "RecurrentMomentum: hidden and downsample must be at least 1, layers 1 to 8, "
                f"got {self.hidden}, {self.downsample}, {self.layers}"
            )
        fused = self.cell in ("lstm", "gru")
        if self.per_coordinate and (not fused or self.mode != "step"):
            raise ValueError(
                "RecurrentMomentum: per_coordinate goes with cell 'lstm' or 'gru' and mode 'step', "
                f"got {self.cell!r} and {self.mode!r}"
            )

    def build(self, domain: Sequence[int]) -> Momentum:
        """The module for gradients of shape `domain`."""
        return _Recurrent(self, domain)


_ROWS = {"lstm": 4, "gru": 3, "rnn": 1, "linear": 1}


class _Recurrent(Momentum):
    def __init__(self, slot: RecurrentMomentum, domain: Sequence[int]) -> None:
        super().__init__()
        self.slot = slot
        self.size = math.prod(domain)
        size = 1 if slot.per_coordinate else -(-self.size // slot.downsample)
        hidden, rows = slot.hidden, _ROWS[slot.cell] * slot.hidden
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(slot.layers):
            shapes[f"w_ih_{layer}"] = (rows, hidden if layer else size)
            shapes[f"w_hh_{layer}"] = (rows, hidden)
            shapes[f"b_ih_{layer}"] = (rows,)
            shapes[f"b_hh_{layer}"] = (rows,)
        shapes["w_out"] = (size, slot.layers * hidden)
        shapes["b_out"] = (size,)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self.names = tuple(shapes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Torch's defaults, U(-k, k) with k = H^-1/2 (output map: (L H)^-1/2); an LSTM's forget
        gate starts open, with 1 in both of its biases.
        """
        hidden, layers = self.slot.hidden, self.slot.layers
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                bound = (layers * hidden if "out" in name else hidden) ** -0.5
                parameter.uniform_(-bound, bound)
                if self.slot.cell == "lstm" and name.startswith("b_") and "out" not in name:
                    parameter[hidden : 2 * hidden] = 1.0

    @property
    def weights(self) -> State:
        """w_ih, w_hh, b_ih, b_hh of each layer, then w_out, b_out."""
        return tuple(self._parameters[name] for name in self.names)  # type: ignore[misc]

    def begin(self, like: Tensor) -> State:
        slot = self.slot
        count = 2 if slot.cell == "lstm" else 1
        dtype = self.weights[0].dtype
        if slot.per_coordinate:
            shape: tuple[int, ...] = (slot.layers, slot.hidden, like.shape[0], self._entries())
        else:
            shape = (slot.layers, like.shape[0], slot.hidden)
        return tuple(like.new_zeros(shape, dtype=dtype) for _ in range(count))

    def _entries(self) -> int:
        return -(-self.size // self.slot.downsample)

    def tape(self, like: Tensor, iterations: int) -> Tape | None:
        slot = self.slot
        if (
            slot.cell not in ("lstm", "gru")
            or slot.mode != "step"
            or slot.per_coordinate
            or like.device.type not in DEVICES
            or self.weights[0].dtype not in (torch.float32, torch.float64)
            or not torch.is_grad_enabled()
            or not any(w.requires_grad for w in self.weights)
            or torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()
        ):
            return None
        return Tape(slot.cell, self.weights, like.shape[0], iterations)

    def step(
        self, gradient: Tensor, state: State, x: Tensor, tape: Tape | None = None
    ) -> tuple[Tensor, State]:
        slot = self.slot
        g = gradient.flatten(1)
        if slot.downsample > 1:
            g = g[:, :: slot.downsample]
        if slot.blind:
            g = torch.zeros_like(g)
        weights = self.weights
        if g.dtype != weights[0].dtype:
            g = g.to(weights[0].dtype)
        if tape is not None:
            h, c = state[0], state[1] if slot.cell == "lstm" else None
            v, *new = tape.step(g.contiguous(), h, c)
            state = tuple(new[: len(state)])
        elif slot.cell in ("rnn", "linear"):
            v, state = self._plain(g, state)
        elif slot.mode == "history":
            v, state = self._history(g, state)
        elif slot.cell == "lstm":
            v, state = lstm_momentum_step(
                g, (state[0], state[1]), weights, per_coordinate=slot.per_coordinate
            )
        else:
            v, h = gru_momentum_step(g, state[0], weights, per_coordinate=slot.per_coordinate)
            state = (h,)
        if slot.downsample > 1:
            v = v.repeat_interleave(slot.downsample, dim=-1)[:, : self.size]
        v = v.reshape(gradient.shape)
        return (gradient + v if slot.blind or slot.residual else v), state

    def _history(self, g: Tensor, state: State) -> tuple[Tensor, State]:
        count = 2 if self.slot.cell == "lstm" else 1
        gradients = (*state[count:], g)
        sequence = torch.stack(gradients)
        if self.slot.cell == "lstm":
            v, new = lstm_momentum_sequence(sequence, (state[0], state[1]), self.weights)
            return v, (*new, *gradients)
        v, h = gru_momentum_sequence(sequence, state[0], self.weights)
        return v, (h, *gradients)

    def _plain(self, g: Tensor, state: State) -> tuple[Tensor, State]:
        """The state h' = tanh(W g + U h + b), or without the tanh."""
        sequence = (*state[1:], g) if self.slot.mode == "history" else (g,)
        weights, states = self.weights, list(state[0].unbind(0))
        for x in sequence:
            for layer in range(self.slot.layers):
                w_ih, w_hh, b_ih, b_hh = weights[4 * layer : 4 * layer + 4]
                x = nn.functional.linear(x, w_ih, b_ih)
                x = x + nn.functional.linear(states[layer], w_hh, b_hh)
                x = x if self.slot.cell == "linear" else x.tanh()
                states[layer] = x
        v = nn.functional.linear(torch.cat(states, dim=-1), weights[-2], weights[-1])
        kept = sequence if self.slot.mode == "history" else ()
        return v, (torch.stack(states), *kept)

    def extra_repr(self) -> str:
        return f"{self.slot}, size={self.size}"


@dataclass(frozen=True)
class DenseMap:
    """v_t = W_2 tanh(W_1 g_t + b_1) + b_2: dense mixing of all coordinates without a memory.

    The control that tells memory from mixing: an LSTM's momentum is of the same form. `hidden` is
    the number of rows of W_1.
    """

    hidden: int = 50

    def build(self, domain: Sequence[int]) -> Momentum:
        """The module for gradients of shape `domain`."""
        return _DenseMap(self.hidden, math.prod(domain))


class _DenseMap(Momentum):
    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(size, hidden), nn.Linear(hidden, size)

    def step(
        self, gradient: Tensor, state: State, x: Tensor, tape: Tape | None = None
    ) -> tuple[Tensor, State]:
        v: Tensor = self.outer(self.inner(gradient.flatten(1)).tanh())
        return v.reshape(gradient.shape), state


@dataclass(frozen=True)
class ConvolutionalMemory:
    """(v_t, s_t) = CNN([x || g_t || s_{t-1}]), s_t through a ReLU, s_0 = 0.

    The memory of the learned gradient method (Adler & Oktem, arXiv 1704.04058), with `channels`
    channels, by the network that `block` describes; the same weights at every iteration.
    """

    channels: int = 5
    block: ConvBlock = field(default_factory=lambda: ConvBlock(depth=3, activation="relu"))

    def build(self, domain: Sequence[int]) -> Momentum:
        """The module for gradients of shape `domain`."""
        return _ConvolutionalMemory(self, domain)


class _ConvolutionalMemory(Momentum):
    def __init__(self, slot: ConvolutionalMemory, domain: Sequence[int]) -> None:
        super().__init__()
        self.channels = slot.channels
        self.network = slot.block.build(slot.channels + 2, slot.channels + 1, len(domain))

    def begin(self, like: Tensor) -> State:
        return (like.new_zeros(like.shape[0], self.channels, *like.shape[1:]),)

    def step(
        self, gradient: Tensor, state: State, x: Tensor, tape: Tape | None = None
    ) -> tuple[Tensor, State]:
        out = self.network(torch.cat([x.unsqueeze(1), gradient.unsqueeze(1), state[0]], dim=1))
        return out[:, 0], (out[:, 1:].relu(),)
