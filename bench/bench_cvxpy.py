"""Layers of cvxpy problems, forward + backward: ours beside cvxpylayers with diffcp and moreau.

Usage:
    python bench/bench_cvxpy.py                      a batch of 128, all problems
    python bench/bench_cvxpy.py --batch 32 --only relu,mpc --threads 1

Values and gradients of all layers are compared before any is timed; layers take turns, medians.
moreau takes part where it is installed (pip install moreau), in the problems where its answer is
right: cvxpylayers 1.2.0 hands it no plain bounds such as x >= 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from cvxpylayers.torch import CvxpyLayer as TheirLayer
from torch import Tensor

import lpgd_native.cvxpy as ours
from lpgd_native import Implicit

Made = tuple[Any, list[Any], list[Any], list[Tensor]]
TOLERANCE = 1e-3  # of x, relative to the largest entry
# Clarabel's own tolerances; with diffcp's looser ones x of the MPC problem is off by 0.3
CLARABEL = {"solve_method": "Clarabel", "tol_gap_abs": 1e-8, "tol_gap_rel": 1e-8, "tol_feas": 1e-8}


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relu(batch: int) -> Made:
    x, a = cp.Variable(50), cp.Parameter(50)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - a)), [x >= 0])
    return problem, [a], [x], [rand(batch, 50, seed=0)]


def tutorial(batch: int) -> Made:
    """The README of cvxpylayers with a square in place of the l1 norm, 20 variables."""
    x, A, b = cp.Variable(20), cp.Parameter((30, 20)), cp.Parameter(30)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(A @ x - b)), [x >= 0])
    return problem, [A, b], [x], [rand(batch, 30, 20, seed=1), rand(batch, 30, seed=2)]


def sudoku(batch: int) -> Made:
    """OptNet's 4 x 4 puzzles: 64 variables, 40 learned equalities shared by the batch."""
    z, A, b, p = cp.Variable(64), cp.Parameter((40, 64)), cp.Parameter(40), cp.Parameter(64)
    objective = cp.Minimize(0.05 * cp.sum_squares(z) + p @ z)
    matrix = rand(40, 64, seed=3)
    inside = torch.rand(64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    values = [matrix, matrix @ inside, rand(batch, 64, seed=5)]
    return cp.Problem(objective, [A @ z == b, z >= 0]), [A, b, p], [z], values


def markowitz(batch: int) -> Made:
    """A trading policy of 20 assets: mean, a factor of the risk, holdings."""
    w, trade, mu, before = (cp.Variable(20), cp.Variable(20), cp.Parameter(20), cp.Parameter(20))
    factor = cp.Parameter((20, 20))
    cost = cp.sum_squares(factor @ w) + 0.05 * cp.norm1(trade) - mu @ w
    constraints = [cp.sum(w) == 1, w >= 0, w <= 0.3, trade == w - before]
    values = [rand(batch, 20, seed=6), rand(20, 20, seed=7) / 4 + torch.eye(20)]
    values.append(rand(batch, 20, seed=8).softmax(-1))
    return cp.Problem(cp.Minimize(cost), constraints), [mu, factor, before], [w], values


def mpc(batch: int) -> Made:
    """Ten steps of a double integrator with bounded controls and a learned gain."""
    steps = 10
    x, u = cp.Variable((steps + 1, 2)), cp.Variable((steps, 1))
    start, gain = cp.Parameter(2), cp.Parameter((1, 2))
    A, B = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([[0.1], [0.5]])
    constraints = [x[0] == start, cp.abs(u) <= 1]
    constraints += [x[t + 1] == A @ x[t] + B @ u[t] for t in range(steps)]
    cost = cp.sum_squares(x) + cp.sum_squares(x[:steps] @ gain.T + u) + 0.5 * cp.sum_squares(u)
    values = [3 * rand(batch, 2, seed=9), rand(1, 2, seed=10)]
    return cp.Problem(cp.Minimize(cost), constraints), [start, gain], [u], values


PROBLEMS: dict[str, Callable[[int], Made]] = {
    f.__name__: f for f in (relu, tutorial, sudoku, markowitz, mpc)
}


def layers(made: Made) -> dict[str, Any]:
    problem, parameters, variables, _ = made
    out = {
        "lpgd_native": ours.CvxpyLayer(problem, parameters, variables, gradient=Implicit()),
        "cvxpylayers + lpgd_native": TheirLayer(
            problem, parameters, variables, solver=ours.solver(Implicit())
        ),
        "cvxpylayers + diffcp": TheirLayer(problem, parameters, variables, solver_args=CLARABEL),
    }
    if importlib.util.find_spec("moreau") is not None:
        out["cvxpylayers + moreau"] = TheirLayer(problem, parameters, variables, solver="MOREAU")
    return out


def run(layer: Any, values: list[Tensor]) -> tuple[Tensor, ...]:
    """The first variable, and the gradients of its weighted sum."""
    moved = [v.clone().requires_grad_() for v in values]
    (x,) = layer(*moved)
    weights = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).view_as(x[0])
    return (x.detach(), *torch.autograd.grad((x * weights).sum(), moved))


def off(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> list[float]:
    """Largest differences of the value and of the gradients, relative to the largest entries."""
    return [
        float((a - b).abs().max() / b.abs().max().clamp(min=1))
        for a, b in zip(left, right, strict=True)
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--only", default=",".join(PROBLEMS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    print(f"batch {args.batch}, {args.threads} threads, float64, torch {torch.__version__}")
    print("| problem | layer | forward + backward ms | times ours | x off | gradients off |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in args.only.split(","):
        made = PROBLEMS[name](args.batch)
        kinds, values = layers(made), made[3]
        answers = {kind: run(layer, values) for kind, layer in kinds.items()}  # and warms up
        errors = {kind: off(found, answers["lpgd_native"]) for kind, found in answers.items()}
        for kind in list(kinds):
            if not errors[kind][0] <= TOLERANCE:
                assert "lpgd_native" not in kind, f"{name}: {kind} is off by {errors[kind][0]}"
                print(f"| {name} | {kind} | wrong: x off by {errors[kind][0]:.0e} | | | |")
                del kinds[kind]
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(args.repeats):
            for kind, layer in kinds.items():
                started = time.perf_counter()
                run(layer, values)
                times[kind].append(time.perf_counter() - started)
        first = statistics.median(times["lpgd_native"])
        for kind, seconds in times.items():
            median = statistics.median(seconds)
            shown = f"{1e3 * median:.3g} | {median / first:.1f}"
            error = f"{errors[kind][0]:.0e} | {max(errors[kind][1:]):.0e}"
            print(f"| {name} | {kind} | {shown} | {error} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
