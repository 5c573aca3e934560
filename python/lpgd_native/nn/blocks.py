"""What an unrolled network does in an iteration: small CNNs, or a prox."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lpgd_native.convolution import Layer, conv_chain
from lpgd_native.proximal import Function

__all__ = ["ConvBlock", "ProxBlock"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}


@dataclass(frozen=True)
class ConvBlock:
    """A CNN of `depth` convolutions with an activation between them, added to what it corrects.

    Defaults of DuNets-RMA: kernel 3, zero padding, 32 channels, PReLU with one slope a layer,
    torch's initial values; primal blocks have 4 convolutions, dual blocks 3.

    Args:
        width: channels between the convolutions
        depth: number of convolutions
        kernel: their size, odd, in each of the one or two dimensions of a signal
        activation: "prelu", "relu", "tanh", "silu" or "leaky_relu"

    Raises:
        ValueError: another activation, sizes below 1, an even kernel.
    """

    width: int = 32
    depth: int = 4
    kernel: int = 3
    activation: str = "prelu"

    def __post_init__(self) -> None:
        if self.activation not in _ACTIVATIONS:
            raise ValueError(
                f"ConvBlock: activation must be one of {list(_ACTIVATIONS)}, "
                f"got {self.activation!r}"
            )
        if self.depth < 1 or self.width < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(
                "ConvBlock: depth and width must be at least 1, kernel odd, "
                f"got {self.depth}, {self.width}, {self.kernel}"
            )

    def build(self, inputs: int, outputs: int, dims: int) -> nn.Module:
        """The network, from `inputs` to `outputs` channels, on signals with 1 or 2 dimensions."""
        if dims not in (1, 2):
            raise ValueError(f"ConvBlock: signals must have 1 or 2 dimensions, got {dims}")
        convolution = nn.Conv1d if dims == 1 else nn.Conv2d
        sizes = [inputs, *[self.width] * (self.depth - 1), outputs]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(itertools.pairwise(sizes)):
            if index:
                layers.append(_ACTIVATIONS[self.activation]())
            layers.append(convolution(before, after, self.kernel, padding=self.kernel // 2))
        if dims == 1 and self.activation == "prelu":
            return _Signals(*layers)
        return nn.Sequential(*layers)


class _Signals(nn.Sequential):
    """Convolutions with PReLUs between them, all in one call."""

    def forward(self, x: Tensor) -> Tensor:
        slope = None
        layers: list[Layer] = []
        for layer in self:
            if isinstance(layer, nn.PReLU):
                slope = layer.weight
            elif isinstance(layer, nn.Conv1d) and layer.bias is not None:
                layers.append((slope, layer.weight, layer.bias))
        return conv_chain(x, layers)


@dataclass(frozen=True)
class ProxBlock:
    """x_t = prox(x_{t-1} - tau v_t): the proximal gradient step, with a fixed or learned prox.

    Args:
        prox: [B, *domain] to [B, *domain]: any function, or an ``nn.Module``, whose parameters are
            learned (and shared by the iterations). Or an object f of `lpgd_native.proximal`, which
            stands for its prox at the step size, x_t = argmin_x 1/2 ||x - (x_{t-1} - tau v_t)||^2
            + tau f(x).
        tau: the step size
        learned: make tau a parameter of each iteration that starts there

    Raises:
        TypeError: prox can't be called.
    """

    prox: Callable[[Tensor], Tensor] | Function
    tau: float = 1.0
    learned: bool = False

    def __post_init__(self) -> None:
        if not callable(self.prox):
            raise TypeError(
                "ProxBlock: prox must be a function, a module or an object of "
                f"lpgd_native.proximal, got {type(self.prox).__name__}"
            )


class Correction(nn.Module):
    """x + CNN([x || v]) for x [B, C, *domain] and the new channel v [B, *domain]."""

    def __init__(self, block: ConvBlock, channels: int, dims: int) -> None:
        super().__init__()
        self.network = block.build(channels + 1, channels, dims)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        out: Tensor = x + self.network(torch.cat([x, v.unsqueeze(1)], dim=1))
        return out


class ProxStep(nn.Module):
    """The module of a ProxBlock, for x [B, 1, *domain]."""

    tau: Tensor

    def __init__(self, block: ProxBlock) -> None:
        super().__init__()
        self.prox = block.prox
        tau = torch.tensor(float(block.tau))
        if block.learned:
            self.register_parameter("tau", nn.Parameter(tau))
        else:
            self.register_buffer("tau", tau)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        point = x[:, 0] - self.tau * v
        if isinstance(self.prox, Function):
            return self.prox.prox(point, self.tau).unsqueeze(1)
        return self.prox(point).unsqueeze(1)


def make_update(
    block: ConvBlock | ProxBlock | Function | Callable[[Tensor], Tensor],
    channels: int,
    dims: int,
    name: str,
) -> nn.Module:
    """The module (x, v) -> x of one iteration; a bare function is a prox with tau = 1."""
    if isinstance(block, ConvBlock):
        return Correction(block, channels, dims)
    if not callable(block) and not isinstance(block, ProxBlock):
        raise TypeError(
            f"{name}: block must be a ConvBlock, a ProxBlock or a prox, got {type(block).__name__}"
        )
    if channels != 1:
        raise ValueError(f"{name}: a prox acts on one channel, got channels = {channels}")
    return ProxStep(block if isinstance(block, ProxBlock) else ProxBlock(block))
