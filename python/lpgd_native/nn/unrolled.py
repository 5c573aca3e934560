"""Unrolled networks for inverse problems: *learned* proximal gradient descent and learned
primal-dual.

(Not to be confused with *Lagrangian* proximal gradient descent, `lpgd_native.LPGD`, which is a way
to differentiate through a solver.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as checkpointed

from lpgd_native.momentum import Tape
from lpgd_native.nn.blocks import ConvBlock, ProxBlock, make_update
from lpgd_native.nn.momentum import Momentum, NoMomentum
from lpgd_native.operators import Operator
from lpgd_native.proximal import Function

__all__ = ["LearnedPrimalDual", "LearnedProximalGradient"]

Block = ConvBlock | ProxBlock | Function | Callable[[Tensor], Tensor]


class Slot(Protocol):
    """A description of a momentum, see `lpgd_native.nn.momentum`."""

    def build(self, domain: torch.Size) -> Momentum:
        """The module for gradients of shape `domain`."""
        ...


class _Unrolled(nn.Module):
    """What both networks share: T iterations on a tuple of tensors, checkpointed or not."""

    def __init__(
        self,
        operator: Operator,
        iterations: int,
        momentum: Slot,
        differentiable_physics: bool,
        checkpoint: bool | int,
    ) -> None:
        super().__init__()
        if not isinstance(operator, Operator):
            raise TypeError(
                f"{self._name}: operator must be an Operator (TorchOperator makes one of a torch "
                f"function), got {type(operator).__name__}"
            )
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise ValueError(f"{self._name}: iterations must be at least 1, got {iterations!r}")
        if int(checkpoint) < 0:
            raise ValueError(f"{self._name}: checkpoint must not be negative, got {checkpoint}")
        self.operator = operator
        self.iterations = iterations
        self.momentum = momentum.build(operator.domain)
        self.differentiable_physics = differentiable_physics
        self.checkpoint = checkpoint

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _iterate(
        self, t: int, y: Tensor, carry: tuple[Tensor, ...], tape: Tape | None
    ) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _segment(self, first: int, last: int, y: Tensor, *carry: Tensor) -> tuple[Tensor, ...]:
        for t in range(first, last):
            carry = self._iterate(t, y, carry, None)
        return carry

    def _start(self, y: Tensor, x0: Tensor | None, channels: int) -> Tensor:
        """x_0 [B, channels, *domain]."""
        operator = self.operator
        for what, value in (("y", y), ("x0", x0)):
            if value is None and what == "x0":
                continue
            if not isinstance(value, Tensor) or value.layout != torch.strided:
                got = value.layout if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"{self._name}: {what} must be a dense tensor, got {got}")
        if x0 is not None and (x0.dtype != y.dtype or x0.device != y.device):
            raise TypeError(
                f"{self._name}: x0 must be {y.dtype} on {y.device} as y is, got {x0.dtype} on "
                f"{x0.device}"
            )
        lead = y.dim() - len(operator.range)
        if lead != 1 or y.shape[1:] != operator.range:
            sizes = ", ".join(map(str, operator.range))
            raise ValueError(
                f"{self._name}: y must be [B, {sizes}], the range of the operator, "
                f"got {list(y.shape)}"
            )
        operator.check("y", y, operator.range)
        expected = (y.shape[0], *operator.domain)
        if x0 is None:
            x0 = y.new_zeros(expected)
        elif tuple(x0.shape) != expected:
            raise ValueError(
                f"{self._name}: x0 must be {list(expected)} for y {list(y.shape)}, "
                f"got {list(x0.shape)}"
            )
        return x0.unsqueeze(1).repeat(1, channels, *(1,) * len(operator.domain))

    def _run(self, y: Tensor, carry: tuple[Tensor, ...], like: Tensor, iterates: bool) -> Tensor:
        """x_T [B, *domain], or all iterates [T + 1, B, *domain]."""
        shown = [carry[0][:, 0]]
        if self.checkpoint and torch.is_grad_enabled() and not iterates:
            length = math.ceil(math.sqrt(self.iterations))
            if not isinstance(self.checkpoint, bool):
                length = self.checkpoint
            for first in range(0, self.iterations, length):
                last = min(first + length, self.iterations)
                carry = checkpointed(self._segment, first, last, y, *carry, use_reentrant=False)
            return carry[0][:, 0]
        tape = self.momentum.tape(like, self.iterations)
        for t in range(self.iterations):
            carry = self._iterate(t, y, carry, tape)
            if iterates:
                shown.append(carry[0][:, 0])
        return torch.stack(shown) if iterates else carry[0][:, 0]

    def extra_repr(self) -> str:
        return f"iterations={self.iterations}"


class LearnedProximalGradient(_Unrolled):
    """x_t = x_{t-1} + B_t([x_{t-1} || v_t]), g_t = J(x_{t-1})' (F(x_{t-1}) - y), v_t = momentum of
    g.

    Learned proximal gradient descent, and with a momentum slot LPGD-MA (`HeavyBall`) and LPGD-RMA
    (`RecurrentMomentum`) of DuNets-RMA (Zhou, Qian, Tang & Li, Inverse Problems 2024). Defaults are
    theirs.

    Args:
        operator: F
        iterations: T
        momentum: the slot; its weights are the same in all iterations
        block: B_t. A `ConvBlock`; or a prox, learned or fixed (any function [B, *domain] to
            [B, *domain], an object of `lpgd_native.proximal`, or a `ProxBlock` of either): then
            x_t = prox(x_{t-1} - tau v_t).
        channels: of x; the first is the reconstruction
        shared: one B for all iterations, in place of T
        differentiable_physics: let gradients through g_t; by default it is a constant for autograd
        checkpoint: keep only every k-th iteration for the backward pass and compute the others
            again. True: k = ceil(sqrt(T)), memory O(sqrt(T)).

    The call takes y [B, *range] and the start x0 [B, *domain] (default zeros), and returns x_T
    [B, *domain]; with ``iterates=True`` all of x_0, ..., x_T [T + 1, B, *domain].
    """

    def __init__(
        self,
        operator: Operator,
        *,
        iterations: int = 20,
        momentum: Slot = NoMomentum(),  # noqa: B008  frozen
        block: Block = ConvBlock(),  # noqa: B008  frozen
        channels: int = 1,
        shared: bool = False,
        differentiable_physics: bool = False,
        checkpoint: bool | int = False,
    ) -> None:
        super().__init__(operator, iterations, momentum, differentiable_physics, checkpoint)
        self.channels = channels
        dims = len(operator.domain)
        self.blocks = nn.ModuleList(
            make_update(block, channels, dims, self._name)
            for _ in range(1 if shared else iterations)
        )

    def forward(self, y: Tensor, x0: Tensor | None = None, *, iterates: bool = False) -> Tensor:
        """x_T, or all iterates."""
        x = self._start(y, x0, self.channels)
        like = x[:, 0]
        return self._run(y, (x, *self.momentum.begin(like)), like, iterates)

    def _iterate(
        self, t: int, y: Tensor, carry: tuple[Tensor, ...], tape: Tape | None
    ) -> tuple[Tensor, ...]:
        x, *state = carry
        now = x[:, 0]
        g = self.operator.gradient(now, y, differentiable=self.differentiable_physics)
        v, new = self.momentum.step(g, tuple(state), now, tape)
        return (self.blocks[t % len(self.blocks)](x, v), *new)


class LearnedPrimalDual(_Unrolled):
    """Learned primal-dual with a nonlinear operator (Adler & Oktem 2018), with a momentum slot.

    Primal x [B, channels, *domain] and dual h [B, channels, *range]:

        h_t = h_{t-1} + Gamma_t([h_{t-1} || F(x_{t-1}^(2)) || y])
        g_t = J(x_{t-1}^(1))' h_t^(1),  v_t = momentum of g
        x_t = x_{t-1} + Lambda_t([x_{t-1} || v_t])

    LPD, and with a momentum slot LPD-MA (`HeavyBall`) and LPD-RMA (`RecurrentMomentum`) of
    DuNets-RMA (Zhou, Qian, Tang & Li, Inverse Problems 2024). Defaults are theirs.

    Args:
        operator: F
        iterations: T
        momentum: the slot; its weights are the same in all iterations
        block: Lambda_t, as in `LearnedProximalGradient` (a prox needs channels = 1)
        dual_block: Gamma_t
        channels: of x; all start at x0. F is taken at the second, J at the first, which is also the
            reconstruction.
        dual_channels: of h, which starts at zero
        shared: one Gamma and one Lambda for all iterations
        differentiable_physics: let gradients through x in F(x) and J(x); by default they flow
            through h alone there
        checkpoint: as in `LearnedProximalGradient`

    Call and result as in `LearnedProximalGradient`.
    """

    def __init__(
        self,
        operator: Operator,
        *,
        iterations: int = 10,
        momentum: Slot = NoMomentum(),  # noqa: B008  frozen
        block: Block = ConvBlock(),  # noqa: B008  frozen
        dual_block: ConvBlock = ConvBlock(depth=3),  # noqa: B008  frozen
        channels: int = 5,
        dual_channels: int = 5,
        shared: bool = False,
        differentiable_physics: bool = False,
        checkpoint: bool | int = False,
    ) -> None:
        super().__init__(operator, iterations, momentum, differentiable_physics, checkpoint)
        if min(channels, dual_channels) < 1:
            raise ValueError(
                f"{self._name}: channels and dual_channels must be at least 1, "
                f"got {channels} and {dual_channels}"
            )
        self.channels, self.dual_channels = channels, dual_channels
        count = 1 if shared else iterations
        self.blocks = nn.ModuleList(
            make_update(block, channels, len(operator.domain), self._name) for _ in range(count)
        )
        self.dual_blocks = nn.ModuleList(
            dual_block.build(dual_channels + 2, dual_channels, len(operator.range))
            for _ in range(count)
        )

    def forward(self, y: Tensor, x0: Tensor | None = None, *, iterates: bool = False) -> Tensor:
        """x_T, or all iterates."""
        x = self._start(y, x0, self.channels)
        h = y.new_zeros(y.shape[0], self.dual_channels, *self.operator.range)
        like = x[:, 0]
        return self._run(y, (x, h, *self.momentum.begin(like)), like, iterates)

    def _iterate(
        self, t: int, y: Tensor, carry: tuple[Tensor, ...], tape: Tape | None
    ) -> tuple[Tensor, ...]:
        x, h, *state = carry
        first, second = x[:, 0], x[:, min(1, self.channels - 1)]
        if not self.differentiable_physics:
            first, second = first.detach(), second.detach()
        values = self.operator(second)
        index = t % len(self.blocks)
        h = h + self.dual_blocks[index](torch.cat([h, values.unsqueeze(1), y.unsqueeze(1)], dim=1))
        g = self.operator.vjp(first, h[:, 0])
        v, new = self.momentum.step(g, tuple(state), x[:, 0], tape)
        return (self.blocks[index](x, v), h, *new)
