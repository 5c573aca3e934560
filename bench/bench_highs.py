"""Assignment relaxations, forward and LPGD average: method="highs" beside method="ipm".

Usage:
    python bench/bench_highs.py                    64 assignments 10x10
    python bench/bench_highs.py --batch 256 --size 6 --threads 1,2 --repeats 9

The two take turns, so a drift of the machine hits both; medians, and the median of the ratios of a
turn. Both are checked against the exact vertices (Hungarian method) before timing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import problems
from lpgd_native import LPGD, QPSolution, solve_lp

METHODS = ("ipm", "highs")


def calls(
    data: dict[str, Tensor], tau: float, gradients: dict[str, Tensor]
) -> dict[str, Callable[[str], QPSolution]]:
    lb = torch.zeros_like(data["q"][0])

    def forward(method: str) -> QPSolution:
        return solve_lp(data["q"], A=data["A"], b=data["b"], lb=lb, method=method)

    def both(method: str) -> QPSolution:
        costs = data["q"].detach().requires_grad_()
        gradient = LPGD(tau)
        s = solve_lp(costs, A=data["A"], b=data["b"], lb=lb, method=method, gradient=gradient)
        (gradients[method],) = torch.autograd.grad(s.x, costs, data["c"])
        return s

    return {"forward": forward, "forward + LPGD average": both}


def seconds(call: Callable[[str], QPSolution], method: str) -> float:
    start = time.perf_counter()
    call(method)
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=10)
    parser.add_argument("--threads", default="1,2", help="counts, in one run")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tau", type=float, default=problems.TAU)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    arrays = problems.assignment_batch(args.seed, args.size, args.batch)
    data = {name: torch.from_numpy(value) for name, value in arrays.items()}
    exact = torch.from_numpy(problems.assignment_solution(arrays["q"]))
    gradient = torch.from_numpy(problems.assignment_gradient(arrays, args.tau))
    print(f"{args.batch} assignments {args.size}x{args.size}, tau {args.tau}, float64")
    print("| threads | | ipm ms | highs ms | highs / ipm |\n| --- | --- | --- | --- | --- |")
    for threads in (int(count) for count in args.threads.split(",")):
        torch.set_num_threads(threads)
        gradients: dict[str, Tensor] = {}
        for name, call in calls(data, args.tau, gradients).items():
            for method in METHODS:  # and warms up
                error = float((call(method).x.detach() - exact).abs().max())
                assert error < 1e-6, f"{method}: x is off by {error}"
                if method in gradients:
                    error = float((gradients[method] - gradient).abs().max())
                    assert error < 1e-6 / args.tau, f"{method}: the gradient is off by {error}"
            turns = [[seconds(call, method) for method in METHODS] for _ in range(args.repeats)]
            ipm, highs = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
            ratio = statistics.median(right / left for left, right in turns)
            print(f"| {threads} | {name} | {ipm:.1f} | {highs:.1f} | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
