"""Recurrent momentum: lpgd_native beside torch.nn.LSTMCell + Linear, eager and compiled, in one
run.

Each contender does forward + backward over T = 20 steps, the input of each being the output of the
last, and every answer is checked against eager before it is timed. float32.

Usage:
    python bench/bench_momentum.py                 the whole, in less than four minutes
    python bench/bench_momentum.py --quick         a few cells, no torch.compile
    python bench/bench_momentum.py --out FILE.md   puts the tables between the marks of it, too
    python bench/bench_momentum.py --device cuda --json momentum.json
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import torch

import devices
from marks import between
from momentum_runs import (
    NETWORKS,
    STEPS,
    Run,
    check,
    convolution_runs,
    coordinate_runs,
    momentum_runs,
    network_runs,
    steps_of,
)

MARKS = ("<!-- bench_momentum -->", "<!-- end of bench_momentum -->")
NAMED = [(1, 53, 50, 2), (1, 343, 64, 1), (32, 53, 50, 2), (32, 343, 64, 1)]
GRID = [(b, n, h, 1) for b in (1, 32, 256) for n in (53, 343, 686, 4096) for h in (50, 64, 128)]
CONVOLUTIONS = [(32, 32, 32, 53), (32, 32, 32, 12), (32, 2, 32, 53), (10, 32, 32, 684)]
COORDINATES = [(4096, 8), (4096, 16), (4096, 32), (65536, 20)]
NAN = float("nan")


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
    """A row of a table; what was not measured is a dash."""
    texts = (f"{c:.3g}".replace("nan", "-") if isinstance(c, float) else str(c) for c in cells)
    return "| " + " | ".join(texts) + " |"


def table(*heads: str) -> list[str]:
    return [row(*heads), "|" + " ---: |" * len(heads)]


class Bench:
    """The tables, line by line, and what they were made from."""

    def __init__(self, quick: bool, compiled: bool, budget: float) -> None:
        self.quick, self.compiled, self.budget = quick, compiled and not quick, budget
        self.measured: list[dict[str, object]] = []
        self.refused: list[str] = []

    def accepted(self, title: str, runs: dict[str, Run], limit: float = 2e-3) -> bool:
        """Whether there is something to compare with; contenders with wrong answers are dropped."""
        for name, error in check(runs).items():
            if not error < limit:
                self.refused.append(f"{title}: {name} is off by {error:.1e}")
                del runs[name]
        return "eager" in runs

    def some(self, cells: list) -> list:
        """All cells, or the first."""
        return cells[:1] if self.quick else cells

    def steps(self) -> Iterator[str]:
        yield from table(
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
        named = NAMED[:2] if self.quick else NAMED
        grid = [] if self.quick else [g for g in GRID if g not in NAMED]
        for shape in [*named, *grid]:
            large = steps_of(*shape[:2]) < STEPS
            runs = momentum_runs(*shape, compiled=self.compiled and shape in named)
            if not self.accepted(f"{shape}", runs):
                continue
            ms = measure(runs, 0.0 if large else self.budget)
            self.measured.append({"shape": shape, "ms": ms})
            eager, compiled = ms["eager"], ms.get("compiled", NAN)
            function, ours = ms.get("function", NAN), ms.get("in a network", NAN)
            memory = peak(runs["in a network"]) / peak(runs["eager"]) if ours == ours else NAN
            yield row(
                *shape,
                *(eager, compiled, function, ours),
                *(eager / function, eager / ours, compiled / ours, memory),
            )

    def coordinates(self) -> Iterator[str]:
        full = gflops()
        yield (
            f"**Per coordinate**, 5 steps; the machine does {full:.0f} GF/s in a product of "
            "1024 x 1024 matrices. Useful flops: those of the cells' matrices, forward once and "
            "backward twice. At most: eager's time over that of these flops at the machine's rate."
        )
        yield ""
        yield from table(
            "rows",
            "H",
            "eager",
            "per coordinate",
            "eager / ours",
            "at most",
            "GF/s",
            "of the machine's",
        )
        for rows, hidden in self.some(COORDINATES):
            runs = coordinate_runs(rows, hidden, 5)
            if not self.accepted(f"per coordinate {rows} {hidden}", runs):
                continue
            ms = measure(runs, self.budget)
            self.measured.append({"per coordinate": (rows, hidden), "ms": ms})
            eager, ours = ms["eager"], ms.get("per coordinate", NAN)
            work = 1e-6 * 3 * 5 * rows * 2 * (4 * hidden * (hidden + 1) + hidden)
            rate = work / ours
            of_all = f"{100 * rate / full:.0f} %"
            yield row(rows, hidden, eager, ours, eager / ours, eager * full / work, rate, of_all)

    def convolutions(self) -> Iterator[str]:
        yield "**Convolutions**: prelu and conv1d with a kernel of three, beside conv_prelu:"
        yield ""
        yield from table("B", "channels in", "out", "n", "plain torch", "conv_prelu", "ratio")
        for shape in self.some(CONVOLUTIONS):
            runs = convolution_runs(*shape)
            if self.accepted(f"convolution {shape}", runs):
                ms = measure(runs, self.budget)
                self.measured.append({"convolution": shape, "ms": ms})
                ours = ms.get("conv_prelu", NAN)
                yield row(*shape, ms["eager"], ours, ms["eager"] / ours)

    def networks(self) -> Iterator[str]:
        yield "**A training step of LPD-RMA** (T = 10, without the optimiser):"
        yield ""
        yield from table("batch", "plain torch", "LearnedPrimalDual", "ratio")
        for batch in [32] if self.quick else [1, 32]:
            runs = network_runs(batch)
            if self.accepted(f"network {batch}", runs):
                ms = measure(runs, 3 * self.budget)
                self.measured.append({"network": batch, "ms": ms})
                ours = ms.get("LearnedPrimalDual", NAN)
                yield row(batch, ms["eager"], ours, ms["eager"] / ours)

    def memory(self) -> Iterator[str]:
        yield f"**Peak memory of a training step**, T = {STEPS}, over that of plain torch:"
        yield ""
        yield from table("network", "batch", "plain torch, MB", "ours", "checkpoint=True")
        for name in self.some(list(NETWORKS)):
            for batch in [32] if self.quick else [1, 32, 256]:
                runs = network_runs(batch, name, STEPS, checkpoint=True)
                if self.accepted(f"memory of {name} {batch}", runs):
                    most = {title: peak(run) for title, run in runs.items()}
                    self.measured.append({"memory": (name, batch), "bytes": most})
                    ours = [most.get(t, NAN) for t in (NETWORKS[name].__name__, "checkpoint")]
                    eager = most["eager"]
                    yield row(name, batch, 1e-6 * eager, *(some / eager for some in ours))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of timing for each row")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help=f"a file with the lines {' and '.join(MARKS)}")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    devices.add_option(parser)
    args = parser.parse_args(argv)
    if args.out is not None:
        between(args.out.read_text(), "", MARKS)  # before the measurements, not after
    torch.set_num_threads(args.threads)
    if args.device != "cpu":  # a mode, which every call of torch from Python then goes through
        torch.set_default_device(args.device)
    bench = Bench(args.quick, not args.no_compile, args.budget)
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}, {args.threads} threads, float32, T = {STEPS} "
        "(4 where B n > 200,000), forward + backward, median milliseconds:"
    ]
    print(lines[0], flush=True)
    parts = (bench.steps, bench.coordinates, bench.convolutions, bench.networks, bench.memory)
    for part in parts:
        for line in chain([""], part()):
            print(line, flush=True)
            lines.append(line)
    if bench.refused:
        lines += ["", "Refused: " + "; ".join(bench.refused)]
        print(lines[-1])
    if args.out is not None:
        args.out.write_text(between(args.out.read_text(), "\n".join(lines), MARKS))
    devices.write(args.json, args.device, bench.measured)
    return 1 if bench.refused else 0


if __name__ == "__main__":
    sys.exit(main())
