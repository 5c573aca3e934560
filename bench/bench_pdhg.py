"""Sparse LPs: method="pdhg" beside HiGHS' simplex, interior point and PDLP.

    python bench/bench_pdhg.py                 prints a Markdown table, less than ten minutes
    python bench/bench_pdhg.py --quick         small problems, seconds
    python bench/bench_pdhg.py --device cuda   ours there, HiGHS on the CPU

One LP of 1e5 nonzeros, and 64 of 1e4 that share their pattern. Every answer is checked before its
time counts: objective within ten times its tolerance of the optimum (known by construction, or the
dual simplex's), constraints met as far. Seconds of one solve; HiGHS solves a batch item by item and
stops at --limit seconds (shown as "> limit"; a batch is then timed on its first items and scaled).
Items that ours reports as not solved within its steps are in the time, and counted beside it. The
steps of a backward pass are those of its two re-solves, from the solution.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import scipy.sparse as sp
import torch

import devices
import lpgd_native
from lpgd_native import LPGD, Status, solve_lp

warnings.filterwarnings("ignore", "Sparse ")

TAU = 0.1  # of LPGD: how far the costs are moved, in the Euclidean norm


@dataclass(frozen=True)
class Batch:
    """min c'x, G x <= h or A x = b, 0 <= x <= top; costs [B, n], values [B, nnz] or [nnz]."""

    name: str
    c: np.ndarray
    matrix: sp.csr_matrix  # the pattern, and the values of the first item
    values: np.ndarray
    rhs: np.ndarray  # [B, rows] or [rows]
    equality: bool
    optimum: np.ndarray | None  # [B], where it is known
    top: float = math.inf  # in no minimiser reached

    def item(self, k: int) -> tuple[np.ndarray, sp.csr_matrix, np.ndarray]:
        values = self.values if self.values.ndim == 1 else self.values[k]
        m = self.matrix
        matrix = sp.csr_matrix((values, m.indices, m.indptr), shape=m.shape)
        return self.c[k], matrix, self.rhs if self.rhs.ndim == 1 else self.rhs[k]


def transport(size: int, count: int) -> Batch:
    """Optimal transport between `size` points of the square and as many others."""
    r = np.random.default_rng(size)
    one, eye = np.ones((1, size)), sp.eye(size)
    A = sp.vstack([sp.kron(eye, one), sp.kron(one, eye)]).tocsr()
    A.sort_indices()
    left, right = r.random((2, count, size, 2))
    c = np.linalg.norm(left[:, :, None] - right[:, None], axis=-1).reshape(count, -1)
    a, b = r.random((2, size))
    rhs = np.r_[a / a.sum(), b / b.sum()]
    return Batch(f"transport {size} x {size}", c, A, A.data, rhs, True, None)


def random_lp(n: int, m: int, nnz: int, count: int) -> Batch:
    """Made around strictly complementary solutions; each item has values of its own."""
    r = np.random.default_rng(nnz)
    G = sp.random(m, n, nnz / (m * n), random_state=r, format="csr")
    values = r.standard_normal((count, G.nnz))
    # few positive entries, and an upper bound: minimisers exist when the costs move, too
    x, z = np.zeros((count, n)), np.zeros((count, m))
    for k in range(count):
        x[k, r.choice(n, 2 * m // 5, replace=False)] = r.random(2 * m // 5)
        z[k, r.choice(m, m // 2, replace=False)] = r.random(m // 2)
    c, h = np.empty((count, n)), np.empty((count, m))
    for k in range(count):
        M = sp.csr_matrix((values[k], G.indices, G.indptr), shape=G.shape)
        h[k] = M @ x[k] + np.where(z[k] > 0, 0, r.random(m))
        c[k] = -(M.T @ z[k]) + np.where(x[k] > 0, 0, 0.1 + r.random(n))
    if count == 1:
        values = values[0]
    optimum = np.einsum("bn,bn->b", c, x)
    return Batch(f"random {m} x {n}", c, G, values, h, False, optimum, 10.0)


def ours(
    batch: Batch, eps: float, device: str, backward: bool = False, counting: bool = False
) -> Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A call that returns x [B, n], whether it is said to be a solution [B], and the steps [B]; of
    the backward pass the steps are those of its re-solves, both sides together.
    """
    crow, col = (
        torch.as_tensor(v, dtype=torch.int64) for v in (batch.matrix.indptr, batch.matrix.indices)
    )
    values = torch.as_tensor(batch.values)
    shape: tuple[int, ...] = batch.matrix.shape
    if values.dim() == 2:
        count = len(values)
        crow, col, shape = crow.repeat(count, 1), col.repeat(count, 1), (count, *shape)
    matrix = torch.sparse_csr_tensor(crow, col, values, shape).to(device)
    c, rhs = (torch.as_tensor(v).to(device) for v in (batch.c, batch.rhs))
    if backward:
        c.requires_grad_()
    rows = {"A": matrix, "b": rhs} if batch.equality else {"G": matrix, "h": rhs}
    lb = torch.zeros(c.shape[-1], dtype=torch.float64, device=device)
    ub = lb + batch.top if math.isfinite(batch.top) else None
    weights = torch.linspace(-1, 1, c.shape[-1], dtype=torch.float64, device=device)

    def solved(costs: torch.Tensor, **options: Any) -> lpgd_native.QPSolution:
        return solve_lp(costs, **rows, lb=lb, ub=ub, eps=eps, **options)

    def run() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        solution = solved(c, gradient=LPGD(TAU, relative=True))
        if backward:
            torch.autograd.grad((solution.x * weights).sum(), c)
        devices.finish(device)
        steps = solution.iterations
        if backward and counting:  # what the backward pass does, for its steps
            move = TAU * weights / weights.norm()
            with torch.no_grad():
                sides = [solved(c + sign * move, warm_start=solution) for sign in (-1, 1)]
            steps = sides[0].iterations + sides[1].iterations
        ok = solution.status == Status.OK
        return tuple(part.detach().cpu().numpy() for part in (solution.x, ok, steps))

    return run


def highs(
    batch: Batch, solver: str, eps: float, threads: int, limit: float
) -> tuple[np.ndarray, float]:
    """Solutions of the items done within the limit, and the seconds they took."""
    solutions, spent = [], 0.0
    for k in range(len(batch.c)):
        c, matrix, rhs = batch.item(k)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(c), len(rhs)
        lp.col_cost_, lp.col_lower_ = c, np.zeros(len(c))
        lp.col_upper_ = np.full(len(c), min(batch.top, highspy.kHighsInf))
        lp.row_upper_ = rhs
        lp.row_lower_ = rhs if batch.equality else np.full(len(rhs), -highspy.kHighsInf)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
        lp.a_matrix_.value_ = matrix.data
        model = highspy.Highs()
        model.setOptionValue("output_flag", False)
        model.setOptionValue("solver", solver)
        model.setOptionValue("threads", threads)
        model.setOptionValue("time_limit", limit)
        if solver == "pdlp":
            model.setOptionValue("pdlp_optimality_tolerance", eps)
        if solver != "simplex":
            model.setOptionValue("run_crossover", "off")
        model.passModel(lp)
        begin = time.perf_counter()
        model.run()
        spent += time.perf_counter() - begin
        if model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            break
        solutions.append(np.array(model.getSolution().col_value))
        if spent > limit:
            break
    return np.array(solutions), spent


def errors(
    batch: Batch, x: np.ndarray, optimum: np.ndarray, solved: np.ndarray | None = None
) -> tuple[float, float]:
    """Largest relative error of the objective, and violation of a constraint, of those solved."""
    objective = violation = 0.0
    for k, point in enumerate(x):
        if solved is not None and not solved[k]:
            continue
        c, matrix, rhs = batch.item(k)
        value = float(c @ point)
        objective = max(objective, abs(value - optimum[k]) / (1 + abs(optimum[k])))
        slack = rhs - matrix @ point
        off = np.abs(slack) if batch.equality else np.maximum(-slack, 0)
        violation = max(violation, float(off.max()), float((-point).max()))
    return objective, violation


def bench(
    batch: Batch, limit: float, threads: int, device: str, log: Callable[[str], None]
) -> None:
    count = len(batch.c)
    label = f"{count} x {batch.name}, {batch.matrix.nnz} nonzeros"
    optimum = batch.optimum
    cells = []
    for solver in ("simplex", "ipm", "pdlp"):
        for eps in (1e-4, 1e-6) if solver == "pdlp" else (1e-7,):
            name = f"HiGHS {solver}" + (f" {eps:g}" if solver == "pdlp" else "")
            x, spent = highs(batch, solver, eps, threads, limit)
            if optimum is None and len(x) == count:
                optimum = np.einsum("bn,bn->b", batch.c, x)
            if len(x) == 0:
                cells.append((name, f"> {limit:g}", "", "", ""))
                continue
            whole = spent * count / len(x)
            shown = f"{whole:.3g}" + ("" if len(x) == count else f" ({len(x)} of {count} timed)")
            if optimum is None:
                optimum = np.full(count, math.nan)
                optimum[: len(x)] = np.einsum("bn,bn->b", batch.c[: len(x)], x)
            off, violation = errors(batch, x, optimum)
            cells.append((name, shown, "", f"{off:.1e}", f"{violation:.1e}"))
    for eps in (1e-4, 1e-6):
        run = ours(batch, eps, device)
        begin = time.perf_counter()
        x, solved, steps = run()
        spent = time.perf_counter() - begin
        known = int(np.isfinite(optimum).sum()) if optimum is not None else 0
        off, violation = errors(batch, x[:known], optimum if known else np.zeros(count), solved)
        if not (off <= 10 * eps and violation <= 10 * eps):
            raise AssertionError(f"{label}: eps {eps:g} has errors {off:.1e}, {violation:.1e}")
        both = ours(batch, eps, device, backward=True)
        begin = time.perf_counter()
        both()
        with_gradient = time.perf_counter() - begin
        resolves = ours(batch, eps, device, backward=True, counting=True)()[2]
        shown = f"{spent:.3g}"
        if not solved.all():
            shown += f" ({int(solved.sum())} of {count} solved)"
        name = f'method="pdhg" {eps:g}'
        cells.append((name, shown, f"{steps.mean():.0f}", f"{off:.1e}", f"{violation:.1e}"))
        cells.append(
            (f"{name}, and backward", f"{with_gradient:.3g}", f"+ {resolves.mean():.0f}", "", "")
        )
    for cell in cells:
        log("| " + " | ".join((label, *cell)) + " |")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--limit", type=float, default=20.0, help="seconds of HiGHS per solve, and per batch"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    devices.add_option(parser)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    print(
        f"lpgd_native {lpgd_native.build_info()['version']}, highspy {highspy.Highs().version()}, "
        f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}\n"
    )
    print("| problem | solver | seconds | steps, mean | error of c'x | violation |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    if options.quick:
        batches = [
            transport(8, 1),
            transport(6, 5),
            random_lp(40, 30, 200, 1),
            random_lp(30, 20, 120, 5),
        ]
    else:
        batches = [
            transport(224, 1),
            random_lp(10_000, 7_000, 100_000, 1),
            transport(71, 64),
            random_lp(1_000, 700, 10_000, 64),
        ]
    ours(
        transport(4, 3), 1e-4, options.device, backward=True
    )()  # threads and torch's own first calls
    rows: list[dict[str, object]] = []

    def log(text: str) -> None:
        print(text, flush=True)
        names = ("problem", "solver", "seconds", "steps", "error", "violation")
        rows.append(dict(zip(names, text.strip("| ").split(" | "), strict=False)))

    for batch in batches:
        bench(batch, options.limit, options.threads, options.device, log)
    devices.write(options.json, options.device, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
