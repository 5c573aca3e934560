"""What one call of solve_qp consists of, and what LPGD's re-solve costs as tau grows.

Usage:
    python bench/parts_qp.py [--threads 2] [--out parts.md]

Problems are those of bench_qp.py. Times are lower quartiles over many calls in one process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpgd_native import LPGD, Implicit, solve_qp
from scaling_qp import arguments, batch_of, checked, show

EPS, MAX_ITER = 1e-9, 100


def lower_quartile_us(call: Callable[[], object], seconds: float) -> float:
    times: list[float] = []
    start = time.perf_counter()
    while (begun := time.perf_counter()) - start < seconds or len(times) < 20:
        call()
        times.append(time.perf_counter() - begun)
    return 1e6 * sorted(times)[len(times) // 4]


class Nothing(torch.autograd.Function):
    """Three outputs of the right shapes and a gradient for each of six inputs, all empty memory."""

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> tuple[Tensor, ...]:
        out = tuple(torch.empty_like(args[i]) for i in (1, 3, 5))
        ctx.save_for_backward(*args, *out)
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(t) for t in ctx.saved_tensors[:6])


def one_call(seconds: float = 1.0) -> Iterator[str]:
    yield "| B = 1, us | n = 10 | n = 50 | n = 100 |"
    yield "| --- | ---: | ---: | ---: |"
    rows: dict[str, list[float]] = {}
    for n in (10, 50, 100):
        data = batch_of(n, 1)
        args, c = arguments(data), data["c"]
        leaves = [t.clone().requires_grad_() for t in args]
        tau, rho = torch.full((1,), 0.1, dtype=c.dtype), torch.zeros(1, dtype=c.dtype)
        point = torch.ops.lpgd.solve_qp.default(*args, None, None, EPS, MAX_ITER)
        given = (*args, None, None, *point[:6], c, None, None, None, None)

        def without_graph(args: list[Tensor] = args) -> object:
            with torch.no_grad():
                return solve_qp(*args)

        def step(
            solver: Callable[..., Any], leaves: list[Tensor] = leaves, c: Tensor = c
        ) -> Callable[[], object]:
            return lambda: torch.autograd.grad((solver(*leaves)[0] * c).sum(), leaves)

        checked(solve_qp(*args))
        calls: dict[str, Callable[[], object]] = {
            "operator `solve_qp`": lambda args=args: torch.ops.lpgd.solve_qp.default(
                *args, None, None, EPS, MAX_ITER
            ),
            "operator `implicit_qp`": lambda given=given: torch.ops.lpgd.implicit_qp.default(
                *given
            ),
            "operator `resolve_qp`, both sides": lambda given=given, tau=tau, rho=rho: (
                torch.ops.lpgd.resolve_qp.default(*given, tau, rho, 3, EPS, MAX_ITER)
            ),
            "`solve_qp` without a graph": without_graph,
            "`solve_qp` with one": lambda leaves=leaves: solve_qp(*leaves),
            "forward and backward, `Implicit`": step(
                lambda *leaves: solve_qp(*leaves, gradient=Implicit())
            ),
            "forward and backward, LPGD average": step(
                lambda *leaves: solve_qp(*leaves, gradient=LPGD(0.1))
            ),
            "the same of a Function that does nothing": step(Nothing.apply),
        }
        for name, call in calls.items():
            rows.setdefault(name, []).append(lower_quartile_us(call, seconds))
    for name, times in rows.items():
        yield f"| {name} | " + " | ".join(f"{t:.0f}" for t in times) + " |"


def resolves(seconds: float = 1.0) -> Iterator[str]:
    """Rows moved: those active at z* and not at z(tau), or the other way round, of one side."""
    yield "| tau | sides that move rows | rows, mean of those | most | `resolve_qp` / `solve_qp` |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    data = batch_of(50, 256)
    args, c = arguments(data), data["c"]
    P, q, *rest = args
    at = solve_qp(*args)
    checked(at)
    point = torch.ops.lpgd.solve_qp.default(*args, None, None, EPS, MAX_ITER)
    given = (*args, None, None, *point[:6], c, None, None, None, None)
    forward = lower_quartile_us(
        lambda: torch.ops.lpgd.solve_qp.default(*args, None, None, EPS, MAX_ITER), seconds
    )
    rho = torch.zeros(256, dtype=q.dtype)
    for tau in (1e-6, 1e-2, 1e-1, 1.0):
        sides = [solve_qp(P, q + sign * tau * c, *rest) for sign in (1, -1)]
        for side in sides:
            checked(side)
        moved = torch.cat([((side.z > 1e-9) != (at.z > 1e-9)).sum(-1) for side in sides])
        some = moved[moved > 0].double()
        each = torch.full((256,), tau, dtype=q.dtype)
        back = lower_quartile_us(
            lambda each=each: torch.ops.lpgd.resolve_qp.default(
                *given, each, rho, 3, EPS, MAX_ITER
            ),
            seconds,
        )
        mean = f"{float(some.mean()):.1f}" if len(some) else "-"
        yield (
            f"| {tau:g} | {100 * len(some) / len(moved):.0f} % | {mean} | {int(moved.max())} | "
            f"{back / forward:.2f} |"
        )


def main(description: str, *sections: tuple[str, Iterator[str]]) -> None:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    show(sections, options.out)


if __name__ == "__main__":
    main(
        __doc__,
        ("One call", one_call()),
        ("LPGD average's re-solve, B = 256, n = 50", resolves()),
    )
