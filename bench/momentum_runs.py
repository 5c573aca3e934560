"""What bench_momentum.py times, and whether the answers agree: each contender is a function without
arguments that does forward and backward and returns the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lpgd_native import lstm_momentum_step, reference
from lpgd_native.convolution import conv_prelu
from lpgd_native.momentum import Tape
from lpgd_native.nn import (
    LearnedPrimalDual,
    LearnedProximalGradient,
    Momentum,
    RecurrentMomentum,
)
from lpgd_native.operators import VolterraDeconvolution

STEPS = 20
NETWORKS = {"LPD-RMA": LearnedPrimalDual, "LPGD-RMA": LearnedProximalGradient}
Run = Callable[[], tuple[Tensor, ...]]


def steps_of(batch: int, n: int) -> int:
    """Fewer where a step takes long enough by itself."""
    return STEPS if batch * n <= 200_000 else 4


class Cells(nn.Module):
    """What one would write: stacked LSTMCells and a Linear on all their states."""

    def __init__(self, n: int, hidden: int, layers: int, m: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.LSTMCell(hidden if k else n, hidden) for k in range(layers))
        self.out = nn.Linear(layers * hidden, m)

    def weights(self) -> tuple[Tensor, ...]:
        parts = [w for c in self.cells for w in (c.weight_ih, c.weight_hh, c.bias_ih, c.bias_hh)]
        return (*parts, self.out.weight, self.out.bias)

    def forward(
        self, x: Tensor, state: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        new, above = [], x
        for cell, part in zip(self.cells, state, strict=True):
            new.append(cell(above, part))
            above = new[-1][0]
        states = [h for h, _ in new]
        return self.out(states[0] if len(states) == 1 else torch.cat(states, -1)), new

    def begin(self, rows: int) -> list[tuple[Tensor, Tensor]]:
        zero = torch.zeros(rows, self.cells[0].hidden_size)
        return [(zero, zero) for _ in self.cells]


def finish(x: Tensor, start: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    grads = torch.autograd.grad(x.square().sum(), [start, *weights])
    return (x.detach(), *grads)


def momentum_runs(batch: int, n: int, hidden: int, layers: int, compiled: bool) -> dict[str, Run]:
    steps = steps_of(batch, n)
    torch.manual_seed(0)
    cells = Cells(n, hidden, layers, n)
    weights = cells.weights()
    start = torch.randn(batch, n, requires_grad=True)

    def with_cells(step: Callable[..., tuple[Tensor, list[tuple[Tensor, Tensor]]]]) -> Run:
        def run() -> tuple[Tensor, ...]:
            x, state = start, cells.begin(batch)
            for _ in range(steps):
                x, state = step(x, state)
            return finish(x, start, weights)

        return run

    def function() -> tuple[Tensor, ...]:
        x, state = start, None
        for _ in range(steps):
            x, state = lstm_momentum_step(x, state, weights)
        return finish(x, start, weights)

    def unrolled() -> tuple[Tensor, ...]:
        tape = Tape("lstm", weights, batch, steps)
        x, h = start, torch.zeros(layers, batch, hidden)
        c = h
        for _ in range(steps):
            x, h, c = tape.step(x, h, c)
        return finish(x, start, weights)

    runs = {"eager": with_cells(cells), "function": function, "in a network": unrolled}
    if compiled:
        runs["compiled"] = with_cells(torch.compile(cells, dynamic=False))
    return runs


def coordinate_runs(rows: int, hidden: int, steps: int) -> dict[str, Run]:
    torch.manual_seed(0)
    cells = Cells(1, hidden, 1, 1)
    weights = cells.weights()
    start = torch.randn(1, rows, requires_grad=True)

    def eager() -> tuple[Tensor, ...]:
        x, state = start.reshape(-1, 1), cells.begin(rows)
        for _ in range(steps):
            x, state = cells(x, state)
        return finish(x.reshape(1, -1), start, weights)

    def ours() -> tuple[Tensor, ...]:
        x, state = start, None
        for _ in range(steps):
            x, state = lstm_momentum_step(x, state, weights, per_coordinate=True)
        return finish(x, start, weights)

    return {"eager": eager, "per coordinate": ours}


def convolution_runs(batch: int, inputs: int, outputs: int, n: int) -> dict[str, Run]:
    """Kernels of three, PReLU before them."""
    torch.manual_seed(0)
    leaves = [
        t.requires_grad_()
        for t in (
            torch.randn(batch, inputs, n),
            torch.tensor([0.25]),
            torch.randn(outputs, inputs, 3),
            torch.randn(outputs),
        )
    ]
    given = torch.randn(batch, outputs, n)

    def run(function: Callable[..., Tensor]) -> Run:
        def call() -> tuple[Tensor, ...]:
            y = function(*leaves)
            return (y.detach(), *torch.autograd.grad(y, leaves, given))

        return call

    return {"eager": run(reference.conv_prelu), "conv_prelu": run(conv_prelu)}


class _Twin(Momentum):
    """RecurrentMomentum() as one would write it in torch."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.cells = Cells(n, 50, 2, n)

    def begin(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(t for pair in self.cells.begin(len(like)) for t in pair)

    def step(self, gradient, state, x, tape=None):
        v, new = self.cells(gradient, [(state[0], state[1]), (state[2], state[3])])
        return v, tuple(t for pair in new for t in pair)


@dataclass
class _TwinSlot:
    def build(self, domain):
        return _Twin(domain.numel())


def network_runs(
    batch: int, name: str = "LPD-RMA", iterations: int = 10, checkpoint: bool = False
) -> dict[str, Run]:
    """A training step of a network without the optimiser: F, J, convolutions, momentum, backward;
    with `checkpoint` also that of one that keeps some iterations and computes the others again.
    """
    operator, kind = VolterraDeconvolution.random(1.0), NETWORKS[name]
    twin = kind(operator, iterations=iterations, momentum=_TwinSlot())
    for update in twin.blocks:
        update.network = nn.Sequential(*update.network)  # torch's convolutions
    if isinstance(twin, LearnedPrimalDual):
        twin.dual_blocks = nn.ModuleList(nn.Sequential(*block) for block in twin.dual_blocks)
    networks: dict[str, nn.Module] = {"eager": twin}
    for title, keep_some in {kind.__name__: False, "checkpoint": True}.items():
        if checkpoint or not keep_some:
            networks[title] = kind(
                operator, iterations=iterations, momentum=RecurrentMomentum(), checkpoint=keep_some
            )
    with torch.no_grad():
        for network in networks.values():
            for left, right in zip(twin.parameters(), network.parameters(), strict=True):
                right.copy_(left)
    x = torch.rand(batch, 53)
    y = operator(x)

    def run(network: nn.Module) -> Run:
        parameters = list(network.parameters())

        def step() -> tuple[Tensor, ...]:
            loss = (network(y) - x).square().mean()
            return (loss.detach(), *torch.autograd.grad(loss, parameters))

        return step

    return {title: run(network) for title, network in networks.items()}


def check(runs: dict[str, Run]) -> dict[str, float]:
    """Largest error of each contender against eager, relative to the size of the tensor."""
    expected = runs["eager"]()
    errors = {}
    for name, run in runs.items():
        answer = run()
        errors[name] = max(
            float((a - b).abs().max() / (1e-6 + b.abs().max()))
            for a, b in zip(answer, expected, strict=True)
        )
    return errors
