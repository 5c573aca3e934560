"""The convolution of short signals in plain torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import conv1d

__all__ = ["conv_prelu"]


def conv_prelu(x: Tensor, slope: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """[B, O, n] bias + weight * prelu(x), for x [B, C, n] and weight [O, C, k], k odd."""
    if slope is not None:
        x = x.where(x > 0, slope * x)
    return conv1d(x, weight, bias, padding=weight.shape[-1] // 2)
