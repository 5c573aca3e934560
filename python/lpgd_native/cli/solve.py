"""``lpgd-native solve``."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from lpgd_native.cli.console import Device, Json, Threads, console, device_of, output_option
from lpgd_native.cli.problems import Problem, read_problem
from lpgd_native.qp import QPSolution, solve_lp, solve_qp
from lpgd_native.status import Status

__all__ = ["command"]

# beyond these, dense matrices cost more time, and then more memory, than a machine has to spare
MOST_VARIABLES_IPM = 1_000
MOST_ENTRIES_IPM = 4_000_000
MOST_ENTRIES_DENSE = 50_000_000
METHODS = ("auto", "ipm", "highs", "pdhg")


def command(
    problem: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="PROBLEM",
            help=".npz, .mps, .qps or .lp (also .gz)",
        ),
    ],
    method: Annotated[
        str, typer.Option("--method", help="auto, ipm, highs (LPs, integers) or pdhg (sparse).")
    ] = "auto",
    eps: Annotated[float | None, typer.Option("--eps", help="Tolerance, see solve_qp.")] = None,
    max_iter: Annotated[
        int | None, typer.Option("--max-iter", min=1, help="Iterations, see solve_qp.")
    ] = None,
    elastic: Annotated[
        bool, typer.Option("--elastic", help="Let constraints that can't be met give way.")
    ] = False,
    solution: Annotated[
        bool, typer.Option("--solution", help="Print the point, too (one problem).")
    ] = False,
    output: Annotated[
        Path | None, output_option("Write the solution: a .npz file of all fields.")
    ] = None,
    device: Device = None,
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """Solve a QP, an LP, or an LP with whole numbers, from a file.

    A .npz file holds arrays named as the arguments of solve_qp: P, q (or c), G, h, A, b, lb, ub,
    integrality; leading dimensions are a batch. Exit status 1 where an item has no solution.

    Examples:
        lpgd-native solve portfolio.qps
        lpgd-native solve batch.npz --output solved.npz
        lpgd-native solve plan.mps --method highs --json
    """
    if method not in METHODS:
        raise typer.BadParameter(
            f"must be one of {', '.join(METHODS)}, got {method!r}", param_hint="--method"
        )
    if output is not None and output.suffix != ".npz":
        raise typer.BadParameter(f"must end in .npz, got {output}", param_hint="--output")
    if threads:
        torch.set_num_threads(threads)
    place = device_of(device) or torch.device("cpu")
    read = read_problem(problem)
    chosen = _pick(read) if method == "auto" else method
    started = time.perf_counter()
    blocks, found = _solve(read, chosen, place, eps, max_iter, elastic)
    seconds = time.perf_counter() - started
    objective = _objective(read, blocks, found.x)
    facts = _facts(read, found, objective, chosen, seconds)
    if output is not None:
        fields = {name: getattr(found, name).detach().cpu().numpy() for name in found._fields}
        np.savez(output, objective=objective.cpu().numpy(), **fields)
    single = found.status.dim() == 0
    if solution and not single:
        raise typer.BadParameter(
            "is for one problem, this file holds a batch", param_hint="--solution"
        )
    names = read.names or [f"x[{i}]" for i in range(found.x.shape[-1])]
    if as_json:
        if solution:
            facts["x"] = dict(zip(names, found.x.tolist(), strict=True))
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print(facts, output)
        if solution:
            for name, value in zip(names, found.x.tolist(), strict=True):
                typer.echo(f"{name} {value:.12g}")
    return int(bool((found.status != Status.OK).any()))


def _pick(read: Problem) -> str:
    """The solver for a problem of this size and kind."""
    if read.integral is not None:
        return "highs"
    n = read.blocks["q"].shape[-1]  # type: ignore[union-attr]
    if n <= MOST_VARIABLES_IPM and read.entries <= MOST_ENTRIES_IPM:
        return "ipm"
    if any(isinstance(block, np.ndarray) and block.ndim > 2 for block in read.blocks.values()):
        return "ipm"  # a batch is dense as it comes
    if read.blocks["P"] is None and read.entries <= MOST_ENTRIES_DENSE:
        return "highs"
    return "pdhg"


def _solve(
    read: Problem,
    method: str,
    device: torch.device,
    eps: float | None,
    max_iter: int | None,
    elastic: bool,
) -> tuple[dict[str, Any], QPSolution]:
    single = all(b is None or getattr(b, "dtype", None) == np.float32 for b in read.blocks.values())
    dtype = torch.float32 if single else torch.float64
    blocks = read.tensors(dtype, device, sparse=method == "pdhg")
    settings: dict[str, Any] = {
        "eps": eps,
        "max_iter": max_iter,
        "method": method,
        "elastic": elastic,
    }
    with torch.no_grad():
        if read.integral is not None:
            if blocks["P"] is not None:
                raise ValueError("whole numbers go with a linear objective alone, this has a P")
            integrality = torch.from_numpy(read.integral).to(device)
            costs = (blocks[name] for name in ("q", "G", "h", "A", "b", "lb", "ub"))
            return blocks, solve_lp(*costs, integrality=integrality, **settings)
        if method == "highs":
            costs = (blocks[name] for name in ("q", "G", "h", "A", "b", "lb", "ub"))
            if blocks["P"] is not None:
                raise ValueError("--method highs is for linear objectives, this has a P")
            return blocks, solve_lp(*costs, **settings)
        return blocks, solve_qp(**blocks, **settings)


def _objective(read: Problem, blocks: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    """As the file states it: with its constant, maximised where it asks for that."""
    value: torch.Tensor = (blocks["q"] * x).sum(-1)
    P: torch.Tensor | None = blocks["P"]
    if P is not None:
        if P.layout == torch.strided:
            product = (P @ x.unsqueeze(-1)).squeeze(-1)
        else:
            product = (P @ x.reshape(-1, x.shape[-1]).mT).mT.reshape(x.shape)
        value = value + 0.5 * (x * product).sum(-1)
    return (-value if read.maximised else value) + read.offset


def _facts(
    read: Problem, found: QPSolution, objective: torch.Tensor, method: str, seconds: float
) -> dict[str, Any]:
    rows = {name: read.blocks[name] for name in ("h", "b")}
    sizes = {
        "variables": found.x.shape[-1],
        "inequalities": 0 if rows["h"] is None else rows["h"].shape[-1],
        "equalities": 0 if rows["b"] is None else rows["b"].shape[-1],
    }

    # JSON has no infinity: no point, no number
    def number(value: float) -> float | None:
        return value + 0.0 if math.isfinite(value) else None  # 0.0 for -0.0

    residuals = {
        name: number(float(getattr(found, name).max())) if found.status.numel() else None
        for name in ("primal_residual", "dual_residual", "gap")
    }
    facts: dict[str, Any] = {**sizes, "method": method, "seconds": round(seconds, 6)}
    if found.status.dim() == 0:
        code = Status(int(found.status))
        has_point = code in (Status.OK, Status.MAX_ITERATIONS)
        return facts | {
            "status": code.name.lower(),
            "objective": float(objective) if has_point else None,
            "iterations": int(found.iterations),
            **residuals,
        }
    counts = Counter(Status(code).name.lower() for code in found.status.flatten().tolist())
    return facts | {
        "items": found.status.numel(),
        "status": dict(counts),
        "objective": [
            value if code in (Status.OK, Status.MAX_ITERATIONS) else None
            for value, code in zip(
                objective.flatten().tolist(), found.status.flatten().tolist(), strict=True
            )
        ],
        "iterations": int(found.iterations.max()) if found.status.numel() else 0,
        **residuals,
    }


def _print(facts: dict[str, Any], output: Path | None) -> None:
    lines = dict(facts)
    if "items" in facts:
        solved = [value for value in facts["objective"] if value is not None]
        lines["objective"] = f"{min(solved):.10g} to {max(solved):.10g}" if solved else "none"
        lines["status"] = ", ".join(f"{count} {name}" for name, count in facts["status"].items())
    if output is not None:
        lines["written"] = str(output)
    width = max(map(len, lines))
    where = console()
    for name, value in lines.items():
        shown = f"{value:.10g}" if isinstance(value, float) else "none" if value is None else value
        where.print(f"{name:<{width}}  {shown}", markup=False, highlight=False, soft_wrap=True)
