"""Recurrent momentum: lpgd_native beside torch.nn.LSTMCell + Linear, eager and compiled, in one
run.

Each contender does forward + backward over T = 20 steps, the input of each being the output of the
last, and every answer is checked against eager before it is timed. float32.

Usage:
    python bench/bench_momentum.py                 the whole, in less than four minutes
    python bench/bench_momentum.py --quick         a few cells, no torch.compile
    python bench/bench_momentum.py --threads 1 --out momentum.md
    python bench/bench_momentum.py --device cuda --json momentum.json
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import devices
from lpgd_native import lstm_momentum_step, reference
from lpgd_native.convolution import conv_prelu
from lpgd_native.momentum import Tape
from lpgd_native.nn import LearnedPrimalDual, Momentum, RecurrentMomentum
from lpgd_native.operators import VolterraDeconvolution

STEPS = 20
NAMED = [(1, 53, 50, 2), (1, 343, 64, 1), (32, 53, 50, 2), (32, 343, 64, 1)]
GRID = [(b, n, h, 1) for b in (1, 32, 256) for n in (53, 343, 686, 4096) for h in (50, 64, 128)]
CONVOLUTIONS = [(32, 32, 32, 53), (32, 32, 32, 12), (32, 2, 32, 53), (10, 32, 32, 684)]
COORDINATES = [(4096, 8), (4096, 16), (4096, 32), (65536, 20)]
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


def network_runs(batch: int) -> dict[str, Run]:
    """A training step of LPD-RMA without the optimiser: F, J, convolutions, momentum, backward."""
    operator = VolterraDeconvolution.random(1.0)
    ours = LearnedPrimalDual(operator, momentum=RecurrentMomentum())
    twin = LearnedPrimalDual(operator, momentum=_TwinSlot())
    for update in twin.blocks:
        update.network = nn.Sequential(*update.network)  # torch's convolutions
    twin.dual_blocks = nn.ModuleList(nn.Sequential(*block) for block in twin.dual_blocks)
    with torch.no_grad():
        for left, right in zip(twin.parameters(), ours.parameters(), strict=True):
            right.copy_(left)
    x = torch.rand(batch, 53)
    y = operator(x)

    def run(network: nn.Module) -> Run:
        parameters = list(network.parameters())

        def step() -> tuple[Tensor, ...]:
            loss = (network(y) - x).square().mean()
            return (loss.detach(), *torch.autograd.grad(loss, parameters))

        return step

    return {"eager": run(twin), "LearnedPrimalDual": run(ours)}


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


def measure(runs: dict[str, Run], budget: float) -> dict[str, float]:
    """Median milliseconds, contenders in turn, so that a drift of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    deadline = time.perf_counter() + budget
    while len(times["eager"]) < 3 or time.perf_counter() < deadline:
        for name, run in runs.items():
            times[name].append(_seconds(run))
        if len(times["eager"]) >= 60:
            break
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def peak(run: Run) -> float:
    """Largest number of bytes that torch had allocated at once in a run, beyond those before it."""
    if _device() == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return float(torch.cuda.max_memory_allocated() - before)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return float(most)


def gflops() -> float:
    """What the machine does in a product of large matrices."""
    a = torch.randn(1024, 1024)
    best = min(_seconds(lambda: a @ a) for _ in range(8))
    return 2e-9 * 1024**3 / best


def _seconds(call: Callable[[], object]) -> float:
    devices.finish(_device())
    begin = time.perf_counter()
    call()
    devices.finish(_device())
    return time.perf_counter() - begin


def _device() -> str:
    return torch.get_default_device().type


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |"


def table(*heads: str) -> list[str]:
    return [row(*heads), "|" + " ---: |" * len(heads)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of timing for each row")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="write the tables to a file too")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    devices.add_option(parser)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.device != "cpu":  # a mode, which every call of torch from Python then goes through
        torch.set_default_device(args.device)
    measured: list[dict[str, object]] = []
    refused = []
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}, {args.threads} threads, float32, T = {STEPS} "
        "(4 where B n > 200,000), forward + backward, median milliseconds",
        "",
    ]

    def show(*new: str) -> None:
        lines.extend(new)
        print("\n".join(new), flush=True)

    def accepted(title: str, runs: dict[str, Run], limit: float = 2e-3) -> bool:
        for name, error in check(runs).items():
            if not error < limit:
                refused.append(f"{title}: {name} is off by {error:.1e}")
                del runs[name]
        return "eager" in runs

    print("\n".join(lines), flush=True)
    show(
        *table(
            "B",
            "n",
            "H",
            "L",
            "eager",
            "compiled",
            "function",
            "in a network",
            "eager / function",
            "eager / network",
            "compiled / network",
            "peak memory, network / eager",
        )
    )
    named = NAMED[:2] if args.quick else NAMED
    grid = [] if args.quick else [g for g in GRID if g not in NAMED]
    for shape in [*named, *grid]:
        large = steps_of(*shape[:2]) < STEPS
        runs = momentum_runs(
            *shape, compiled=shape in named and not (args.no_compile or args.quick)
        )
        if not accepted(f"{shape}", runs):
            continue
        ms = measure(runs, 0.0 if large else args.budget)
        measured.append({"shape": shape, "ms": ms})
        nan = float("nan")
        eager, ours = ms["eager"], ms.get("in a network", nan)
        compiled = ms.get("compiled")
        memory = peak(runs["in a network"]) / peak(runs["eager"]) if "in a network" in runs else nan
        show(
            row(
                *shape,
                eager,
                compiled or "-",
                ms.get("function", nan),
                ours,
                eager / ms.get("function", nan),
                eager / ours,
                compiled / ours if compiled else "-",
                memory,
            )
        )
    full = gflops()
    show(
        "",
        f"Per coordinate, 5 steps; the machine does {full:.0f} GF/s in a product of 1024 x 1024 "
        "matrices. Useful flops: those of the cells' matrices, forward once and backward twice.",
        "",
    )
    show(*table("rows", "H", "eager", "per coordinate", "eager / ours", "GF/s", "of the machine's"))
    for rows, hidden in COORDINATES[:1] if args.quick else COORDINATES:
        runs = coordinate_runs(rows, hidden, 5)
        if not accepted(f"per coordinate {rows} {hidden}", runs):
            continue
        ms = measure(runs, args.budget)
        measured.append({"per coordinate": (rows, hidden), "ms": ms})
        ours = ms.get("per coordinate", float("nan"))
        rate = 1e-6 * 3 * 5 * rows * 2 * (4 * hidden * (hidden + 1) + hidden) / ours
        show(
            row(
                rows,
                hidden,
                ms["eager"],
                ours,
                ms["eager"] / ours,
                rate,
                f"{100 * rate / full:.0f} %",
            )
        )
    show("", "prelu and conv1d with a kernel of three, beside conv_prelu:", "")
    show(*table("B", "channels in", "out", "n", "plain torch", "conv_prelu", "ratio"))
    for shape in CONVOLUTIONS[:1] if args.quick else CONVOLUTIONS:
        runs = convolution_runs(*shape)
        if accepted(f"convolution {shape}", runs):
            ms = measure(runs, args.budget)
            measured.append({"convolution": shape, "ms": ms})
            ours = ms.get("conv_prelu", float("nan"))
            show(row(*shape, ms["eager"], ours, ms["eager"] / ours))
    show("", "A training step of LPD-RMA (T = 10, without the optimiser):", "")
    show(*table("batch", "plain torch", "LearnedPrimalDual", "ratio"))
    for batch in [32] if args.quick else [1, 32]:
        runs = network_runs(batch)
        if accepted(f"network {batch}", runs):
            ms = measure(runs, 3 * args.budget)
            measured.append({"network": batch, "ms": ms})
            ours = ms.get("LearnedPrimalDual", float("nan"))
            show(row(batch, ms["eager"], ours, ms["eager"] / ours))
    if refused:
        show("", "Refused: " + "; ".join(refused))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")
    devices.write(args.json, args.device, measured)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
