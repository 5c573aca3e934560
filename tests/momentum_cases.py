"""One table of recurrent momenta: every property is tested on all of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lpgd_native import (
    gru_momentum_sequence,
    gru_momentum_step,
    lstm_momentum_sequence,
    lstm_momentum_step,
    reference,
)

ROWS = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Case:
    """Sizes of a step: gradient [batch, n], states [layers, batch, hidden], v [batch, m]."""

    cell: str
    batch: int
    n: int
    hidden: int
    layers: int
    m: int
    form: str = "step"
    steps: int = 1

    def __str__(self) -> str:
        sizes = f"B{self.batch}-n{self.n}-H{self.hidden}-L{self.layers}"
        return f"{self.cell}-{self.form}-{sizes}" + (f"-S{self.steps}" if self.steps > 1 else "")

    @property
    def states(self) -> int:
        return 2 if self.cell == "lstm" else 1

    def build(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
        """gradient, states..., weights..."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator).mul(0.5).to(dtype)

        coordinate = self.form == "coordinate"
        inputs, outputs = (1, 1) if coordinate else (self.n, self.m)
        rows, hidden = ROWS[self.cell] * self.hidden, self.hidden
        state = (self.layers, self.batch, hidden)
        if coordinate:
            state = (self.layers, hidden, self.batch, self.n)
        gradient = (self.batch, self.n)
        if self.form == "sequence":
            gradient = (self.steps, *gradient)
        weights = []
        for layer in range(self.layers):
            weights += [normal(rows, hidden if layer else inputs), normal(rows, hidden)]
            weights += [normal(rows), normal(rows)]
        weights += [normal(outputs, self.layers * hidden), normal(outputs)]
        return [normal(*gradient), *(normal(*state) for _ in range(self.states)), *weights]

    def split(self, tensors: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...], list[Tensor]]:
        k = 1 + self.states
        return tensors[0], tuple(tensors[1:k]), list(tensors[k:])

    def ours(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """v and the new states."""
        gradient, states, weights = self.split(list(tensors))
        lstm = self.cell == "lstm"
        if self.form == "sequence":
            function = lstm_momentum_sequence if lstm else gru_momentum_sequence
            v, new = function(gradient, states if lstm else states[0], weights)
        else:
            function = lstm_momentum_step if lstm else gru_momentum_step
            v, new = function(
                gradient,
                states if lstm else states[0],
                weights,
                per_coordinate=self.form == "coordinate",
            )
        return (v, *(new if lstm else (new,)))

    def twin(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        gradient, states, weights = self.split(list(tensors))
        cell = reference.lstm_cell if self.cell == "lstm" else reference.gru_cell
        if self.form == "coordinate":
            v, new = reference.momentum_coordinate(cell, gradient, states, weights)
        elif self.form == "sequence":
            v, new = reference.momentum_sequence(cell, gradient, states, weights)
        elif self.cell == "lstm":
            v, *new = reference.lstm_momentum_step(gradient, *states, weights)
        else:
            v, *new = reference.gru_momentum_step(gradient, *states, weights)
        return (v, *new)


def _cases() -> list[Case]:
    cases = []
    for cell in ("lstm", "gru"):
        cases += [
            Case(cell, 1, 7, 5, 1, 7),
            Case(cell, 3, 9, 4, 2, 6),
            Case(cell, 4, 17, 16, 3, 17),  # the largest batch of the small kernels
            Case(cell, 5, 17, 16, 2, 17),  # the first with items in lanes
            # items in one register, in two and in four; n and H across the ends of registers;
            # inputs and outputs in several pieces
            Case(cell, 11, 53, 7, 2, 19),
            Case(cell, 29, 16, 33, 1, 40),
            Case(cell, 75, 131, 9, 1, 270),
            Case(cell, 9, 1, 1, 1, 1),
            Case(cell, 2, 6, 5, 2, 4, "sequence", 3),
            Case(cell, 6, 6, 5, 1, 4, "sequence", 4),
            Case(cell, 2, 37, 5, 2, 37, "coordinate"),
            Case(cell, 1, 64, 8, 1, 64, "coordinate"),
            Case(cell, 3, 1, 3, 1, 1, "coordinate"),
            # columns of the weight gradients in one, two and three registers, whole and half
            Case(cell, 1, 65, 17, 1, 65, "coordinate"),
            Case(cell, 2, 33, 12, 2, 33, "coordinate"),
            Case(cell, 1, 20, 33, 2, 20, "coordinate"),
        ]
    return cases


CASES = _cases()
each_case = pytest.mark.parametrize("case", CASES, ids=str)
#: few enough numbers for finite differences
SMALL = [
    Case(cell, batch, 2, 2, layers, 3, form, steps)
    for cell in ("lstm", "gru")
    for batch, layers, form, steps in (
        (2, 2, "step", 1),
        (5, 1, "step", 1),
        (1, 2, "sequence", 3),
        (2, 2, "coordinate", 1),
    )
]


def loss(outputs: tuple[Tensor, ...]) -> Tensor:
    """Something that every entry counts in, each differently."""
    total = outputs[0].new_zeros(())
    for k, out in enumerate(outputs):
        weights = torch.linspace(0.3, 1.7, out.numel(), dtype=out.dtype, device=out.device)
        weights = weights.reshape(out.shape)
        total = total + (weights * out).sin().sum() * (k + 1)
    return total
