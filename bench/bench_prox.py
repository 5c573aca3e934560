"""Proximal operators beside fastprox, the plain torch twin, torch.compile of it, and torch.clone.

    python bench/bench_prox.py                 prints a Markdown table, less than 4 minutes
    python bench/bench_prox.py --quick         the middle size alone
    python bench/bench_prox.py --device cuda   there, without fastprox; --json FILE: the numbers
    python bench/bench_prox.py --out FILE.md   puts the table between the marks in the file, too
    FASTPROX_PYTHON=/path/to/python ...        a Python >= 3.12 with fastprox==1.0.1

Every answer and vector-Jacobian product is compared with fastprox's (or the twin's) before it is
timed; contenders take turns on the same arrays, medians are shown. Milliseconds; ratios above 1:
ours is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import devices
import lpgd_native
from lpgd_native.reference import prox as twins
from marks import between

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Op:
    name: str
    parameters: Callable[[int], tuple] = lambda n: ()
    #: a twin by sorts or elementwise formulas, worth timing
    twin: bool = True
    compiled: bool = False
    #: tolerance of the comparison in float64
    tolerance: float = 1e-9


def _falling(n: int) -> tuple:
    return (np.linspace(1.0, 0.01, n).tolist(),)


SEPARABLE = (
    Op("prox_l1", lambda n: (0.5,), compiled=True),
    Op("prox_huber", lambda n: (0.5, 0.5), compiled=True),
    Op("prox_elastic_net", lambda n: (0.5, 0.5), compiled=True),
    Op("prox_mcp", lambda n: (0.5, 3.0), compiled=True),
    Op("prox_log_barrier", lambda n: (0.5,), compiled=True),
    Op("prox_logistic", lambda n: (0.5,), twin=False),
    Op("prox_negative_entropy", lambda n: (0.5,), twin=False),
    Op("prox_l_half", lambda n: (0.5,), compiled=True),
)
ROWS = (
    Op("project_simplex", lambda n: (1.0,)),
    Op("project_l1_ball", lambda n: (10.0,)),
    Op("prox_linf", lambda n: (5.0,)),
    Op("project_l2_ball", lambda n: (1.0,)),
    Op("prox_total_variation", lambda n: (1.0,), twin=False, tolerance=1e-8),
    Op("project_isotonic", twin=False),
    Op("prox_sorted_l1", _falling, twin=False),
    Op("project_second_order_cone"),
)
MARKS = ("<!-- bench_prox -->", "<!-- end of bench_prox -->")
NO_PEER = {"prox_logistic", "prox_negative_entropy", "prox_l_half"}


class Peer:
    """fastprox in its own process."""

    def __init__(self, python: Path, threads: int, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [str(python), str(HERE / "prox_worker.py"), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._read()

    def _read(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the fastprox process ended")
        return json.loads(line)

    def ask(self, **request) -> dict:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = self._read()
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def load(self, op: Op, x: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        files = {k: str(self.folder / f"{k}.npy") for k in ("x", "g", "z", "pulled")}
        np.save(files["x"], x)
        np.save(files["g"], g)
        parameters = op.parameters(x.shape[-1])
        self.ask(op="load", name=op.name, parameters=parameters, **files)
        return np.load(files["z"]), np.load(files["pulled"])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def time_of(call: Callable[[], object], calls: int = 1, device: str = "cpu") -> list[float]:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        devices.finish(device)
        times.append(time.perf_counter() - start)
    return times


@dataclass
class Row:
    op: str
    shape: str
    dtype: str
    times: dict[str, float] = field(default_factory=dict)
    note: str = ""


def measure(
    op: Op,
    rows: int,
    n: int,
    dtype: torch.dtype,
    peer: Peer | None,
    rounds: int,
    compile_: bool,
    device: str,
) -> Row:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, n, dtype=dtype, generator=generator).to(device)
    g = torch.randn(rows, n, dtype=dtype, generator=generator).to(device)
    row = Row(op.name, f"{rows}x{n}", str(dtype).removeprefix("torch.float"))
    given = [
        torch.tensor(p, dtype=dtype, device=device) if isinstance(p, list) else p
        for p in op.parameters(n)
    ]
    function = getattr(lpgd_native, op.name)
    leaf = x.clone().requires_grad_()
    out = function(leaf, *given)
    calls: dict[str, Callable[[], object]] = {
        "clone": x.clone,
        "forward": lambda: function(x, *given),
        "vjp": lambda: torch.autograd.grad(out, leaf, g, retain_graph=True),
    }
    tolerance = op.tolerance if dtype == torch.float64 else 2e-4
    small = rows * n <= 5_000_000
    twin = getattr(twins, op.name)
    if op.twin and small:
        torch.testing.assert_close(out, twin(x, *given), rtol=tolerance, atol=tolerance)
        calls["twin"] = lambda: twin(x, *given)
    if compile_ and op.compiled and small:
        compiled = torch.compile(twin, fullgraph=True)
        compiled(x, *given)
        calls["compiled"] = lambda: compiled(x, *given)
    if peer is not None and op.name not in NO_PEER:
        try:
            z, pulled = peer.load(op, x.numpy(), g.numpy())
            (ours,) = torch.autograd.grad(out, leaf, g, retain_graph=True)
            for left, right in ((out.detach(), z), (ours, pulled)):
                # a float32 coordinate at a threshold may fall on either side of it
                off = ((left.numpy() - right).__abs__() > tolerance * (1 + abs(right))).mean()
                if off > (0 if dtype == torch.float64 else 1e-4):
                    raise RuntimeError(f"{off:.1%} of the numbers differ from fastprox's")
        except RuntimeError as error:
            row.note = str(error)
        else:
            calls["fastprox"] = calls["fastprox vjp"] = lambda: None
    samples: dict[str, list[float]] = {name: [] for name in calls}
    burst = 5 if rows * n <= 100_000 else 1
    for turn in range(rounds + 1):
        for name, call in calls.items():
            if name == "fastprox":
                times = peer.ask(op="forward", calls=burst)["times"]  # type: ignore[union-attr]
            elif name == "fastprox vjp":
                times = peer.ask(op="vjp", calls=burst)["times"]  # type: ignore[union-attr]
            else:
                times = time_of(call, burst, device)
            if turn > 0:
                samples[name] += times
    row.times = {name: 1e3 * statistics.median(times) for name, times in samples.items()}
    return row


HEAD = (
    "| operator | shape | bits | clone | ours | / clone | fastprox | ratio | vjp | "
    "fastprox vjp | ratio | twin | ratio | compiled | ratio |\n"
    "| --- | --- |" + " ---: |" * 13
)


def line_of(row: Row) -> str:
    t = row.times
    forward, vjp = t["forward"], t["vjp"]

    def show(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    def over(name: str, base: float) -> float | None:
        return t[name] / base if name in t else None

    numbers = [
        t["clone"],
        forward,
        forward / t["clone"],
        t.get("fastprox"),
        over("fastprox", forward),
        vjp,
        t.get("fastprox vjp"),
        over("fastprox vjp", vjp),
        t.get("twin"),
        over("twin", forward),
        t.get("compiled"),
        over("compiled", forward),
    ]
    cells = [row.op, row.shape, row.dtype, *map(show, numbers)]
    return "| " + " | ".join(cells) + " |" + (f" {row.note}" if row.note else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4096x1000 alone, no torch.compile")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="operators whose name contains this")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    devices.add_option(parser)
    parser.add_argument("--out", type=Path, help=f"a file with the lines {' and '.join(MARKS)}")
    args = parser.parse_args()
    if args.out is not None:
        between(args.out.read_text(), "", MARKS)  # before the measurements, not after
    torch.set_num_threads(args.threads)
    python = Path(os.environ.get("FASTPROX_PYTHON", HERE / ".venvs/fastprox/bin/python"))
    lines: list[str] = []
    measured: list[Row] = []

    def show(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    def cell(*what) -> None:
        measured.append(measure(*what, args.device))
        show(line_of(measured[-1]))

    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if args.device != "cpu":
            show(f"On {devices.about(args.device)['device']}\n")
        elif python.exists():
            peer = Peer(python, args.threads, Path(folder))
        else:
            show(f"fastprox is left out: no {python} (bench/setup_peers.sh fastprox)\n")
        options = [f"--{name}" for name in ("quick",) if getattr(args, name)]
        options += [f"--only {args.only}"] if args.only else []
        show(
            f"`{' '.join(['bench/bench_prox.py', *options])}`: "
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
            f"{args.threads} threads, torch {torch.__version__}, isa "
            f"{lpgd_native.build_info()['isa']}, load {os.getloadavg()[0]:.1f}; medians of "
            f"{args.rounds} rounds, milliseconds; ratios above 1: ours is faster\n"
        )
        show(HEAD)
        cells = [(4096, 1000, torch.float64), (4096, 1000, torch.float32)]
        if not args.quick:
            cells = [(64, 1000, torch.float64), *cells, (4096, 4096, torch.float32)]
        for op in SEPARABLE + ROWS:
            if args.only and args.only not in op.name:
                continue
            for m, n, dtype in cells:
                rounds = max(args.rounds // 2, 2) if m * n > 5_000_000 else args.rounds
                compile_ = not args.quick and (m, n) == (4096, 1000)
                cell(op, m, n, dtype, peer, rounds, compile_)
        if not args.quick and not args.only:
            cell(SEPARABLE[0], 1, 100_000_000, torch.float32, None, 3, False)
        if peer is not None:
            peer.close()
    devices.write(args.json, args.device, [vars(row) for row in measured])
    if args.out is not None:
        args.out.write_text(between(args.out.read_text(), "\n".join(lines), MARKS))


if __name__ == "__main__":
    main()
