"""How lpgd_native's QPs grow, and what they cost of the machine: figures of docs/performance.md.

Usage:
    python bench/scaling_qp.py [--threads 2] [--repeats 9] [--out scaling.md]

Problems are those of bench_qp.py; times are medians, in milliseconds. Answers are checked by the
solver's own statuses and residuals (bench_qp.py checks them against references).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import problems
from lpgd_native import LPGD, Implicit, Status, solve_qp
from lpgd_native.gradients import GradientStrategy

NAMES = ("P", "q", "G", "h", "A", "b")


def median_ms(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def batch_of(n: int, count: int, distinct: int = 256) -> dict[str, Tensor]:
    """At most `distinct` different problems, repeated to `count`."""
    data = problems.qp_batch(0, n, min(count, distinct))
    copies = -(-count // distinct)
    return {
        name: torch.from_numpy(value).repeat(copies, *(1,) * (value.ndim - 1))[:count]
        for name, value in data.items()
    }


def arguments(data: dict[str, Tensor]) -> list[Tensor]:
    return [data[name] for name in NAMES]


def step(data: dict[str, Tensor], gradient: GradientStrategy) -> Callable[[], None]:
    leaves = [t.clone().requires_grad_() for t in arguments(data)]

    def call() -> None:
        x = solve_qp(*leaves, gradient=gradient).x
        torch.autograd.grad((x * data["c"]).sum(), leaves)

    return call


def checked(solution) -> None:
    assert (solution.status == Status.OK).all(), torch.bincount(solution.status)


def growth(repeats: int) -> Iterator[str]:
    yield "| B (n = 50) | forward, us an item | implicit | LPGD average |"
    yield "| ---: | ---: | ---: | ---: |"
    for count in (64, 256, 1024, 4096):
        data = batch_of(50, count)
        checked(solve_qp(*arguments(data)))
        times = (
            median_ms(lambda data=data: solve_qp(*arguments(data)), repeats),
            median_ms(step(data, Implicit()), repeats),
            median_ms(step(data, LPGD(problems.TAU)), repeats),
        )
        yield f"| {count} | " + " | ".join(f"{1e3 * t / count:.1f}" for t in times) + " |"


def rates(repeats: int) -> Iterator[str]:
    """Flops of the factorisations alone, over the time of the whole call."""
    size = 2000
    a, b = torch.randn(2, size, size, dtype=torch.float64)
    dgemm = 2 * size**3 / median_ms(lambda: a @ b, repeats) / 1e6
    yield f"dgemm of {size} x {size}: {dgemm:.0f} GFLOP/s"
    yield ""
    yield "| n (B = 256) | forward | interior-point and active-set steps | GFLOP/s | of dgemm |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for n in (10, 50, 100, 200):
        data = batch_of(n, 256 if n < 200 else 32)
        solution = solve_qp(*arguments(data))
        checked(solution)
        time_ms = median_ms(lambda data=data: solve_qp(*arguments(data)), repeats)
        count = len(solution.iterations)
        # one more for the starting point, and P's own for its convexity; A'A is made once
        steps = float(solution.iterations.double().mean())
        factor = n**3 / 3 + n * n * n
        flops = count * ((steps + 1) * factor + n**3 / 3 + n * n * (n // 2))
        rate = flops / time_ms / 1e6
        yield f"| {n} | {time_ms:.2f} | {steps:.1f} | {rate:.1f} | {100 * rate / dgemm:.0f} % |"


def sharing(repeats: int) -> Iterator[str]:
    yield "| n (B = 256) | | forward | implicit | LPGD average |"
    yield "| ---: | --- | ---: | ---: | ---: |"
    generator = torch.Generator().manual_seed(0)
    for n in (10, 50, 100):
        data = batch_of(n, 256)
        inside = torch.randn(256, n, dtype=torch.float64, generator=generator)
        one = {name: data[name][0] for name in ("P", "G", "A")}
        room = torch.rand(256, n, dtype=torch.float64, generator=generator)
        shared = data | one
        shared |= {"h": inside @ one["G"].mT + room, "b": inside @ one["A"].mT}
        own = shared | {name: one[name].repeat(256, 1, 1) for name in one}
        rows = {}
        for name, case in (("shared", shared), ("a copy each", own)):
            checked(solve_qp(*arguments(case)))
            rows[name] = (
                median_ms(lambda case=case: solve_qp(*arguments(case)), repeats),
                median_ms(step(case, Implicit()), repeats),
                median_ms(step(case, LPGD(problems.TAU)), repeats),
            )
            yield f"| {n} | P, G, A {name} | " + " | ".join(f"{t:.2f}" for t in rows[name]) + " |"


def warm_starts(repeats: int) -> Iterator[str]:
    yield "| n (B = 64) | cold | from its solution | q moved by 0.1 c | from zeros | from noise |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    generator = torch.Generator().manual_seed(0)
    for n in (10, 50, 100):
        data = batch_of(n, 64)
        args = arguments(data)
        cold = solve_qp(*args)
        moved = solve_qp(args[0], args[1] + 0.1 * data["c"], *args[2:])
        zeros = type(cold)(*(torch.zeros_like(t) for t in cold))
        noise = cold._replace(
            **{
                part: torch.randn(t.shape, dtype=t.dtype, generator=generator)
                for part, t in (("x", cold.x), ("y", cold.y), ("z", cold.z))
            }
        )
        times = [
            median_ms(lambda start=start, args=args: solve_qp(*args, warm_start=start), repeats)
            for start in (None, cold, moved, zeros, noise)
        ]
        yield f"| {n} | " + " | ".join(f"{t:.2f}" for t in times) + " |"


MEMORY = """
import re, sys
from pathlib import Path
import torch
from scaling_qp import arguments, batch_of
from lpgd_native import solve_qp

def status(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(int(sys.argv[3]))
n, count = int(sys.argv[1]), int(sys.argv[2])
solve_qp(*arguments(batch_of(n, 8)))
args = arguments(batch_of(n, count))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = status("VmRSS")
out = solve_qp(*args)
size = sum(t.numel() * t.element_size() for t in args)
result = sum(t.numel() * t.element_size() for t in out)
print(size, result, status("VmHWM") - before)
"""


def memory(threads: int) -> Iterator[str]:
    """Peak of a process of its own; relative: inputs and it over inputs and outputs."""
    yield "| n, B | inputs, MB | outputs, MB | peak beyond the inputs, MB | relative |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for n, count in ((10, 4096), (50, 1024), (100, 256), (200, 64)):
        command = [sys.executable, "-c", MEMORY, str(n), str(count), str(threads)]
        here = Path(__file__).parent
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
        size, result, peak = map(int, done.stdout.split())
        share = (size + peak) / (size + result)
        numbers = " | ".join(f"{v / 1e6:.1f}" for v in (size, result, peak))
        yield f"| {n}, {count} | {numbers} | {share:.2f} |"


def show(sections: Iterable[tuple[str, Iterable[str]]], out: Path | None) -> None:
    """Titles and lines, as they are made and, all together, into a file."""
    lines: list[str] = []
    for title, rows in sections:
        for line in ("", title, "", *rows):
            print(line, flush=True)
            lines.append(line)
    if out:
        out.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data, start = batch_of(50, 256), time.perf_counter()
    while time.perf_counter() - start < 5.0:  # until clocks and threads have settled
        solve_qp(*arguments(data))
    sections = (
        ("Growth in B", growth(options.repeats)),
        ("Share of dgemm", rates(options.repeats)),
        ("Shared matrices", sharing(options.repeats)),
        ("Warm starts", warm_starts(options.repeats)),
        ("Memory", memory(options.threads)),
    )
    show(sections, options.out)


if __name__ == "__main__":
    main()
