"""``lpgd-native bench``: how fast this machine solves and differentiates."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from lpgd_native.cli.console import (
    Device,
    Json,
    Seed,
    Threads,
    console,
    device_of,
    numbers,
    output_option,
    progress,
)
from lpgd_native.gradients import LPGD, GradientStrategy, Implicit
from lpgd_native.qp import solve_qp

__all__ = ["command"]

GRADIENTS: dict[str, GradientStrategy] = {
    "implicit": Implicit(),
    "lpgd": LPGD(tau=0.1),
    "lpgd-lower": LPGD(tau=0.1, envelope="lower"),
}
# the residuals that a solution to the default tolerance may have, of data of size one
LIMITS = {"float64": 1e-6, "float32": 1e-2}


@dataclass(frozen=True)
class Row:
    """One size: medians over the repeats, in milliseconds."""

    n: int
    batch: int
    forward_ms: float
    both_ms: float
    problems_per_second: float
    iterations: float
    residual: float


def command(
    sizes: Annotated[str, typer.Option("--sizes", help="Variables n.")] = "10,50,100",
    batches: Annotated[
        str, typer.Option("--batches", help="Problems solved at once.")
    ] = "1,64,256",
    linear: Annotated[bool, typer.Option("--lp", help="LPs instead of QPs.")] = False,
    gradient: Annotated[str, typer.Option("--gradient", help=", ".join(GRADIENTS))] = "implicit",
    dtype: Annotated[str, typer.Option("--dtype", help="float64 or float32.")] = "float64",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed calls a size.")] = 5,
    seed: Seed = 0,
    device: Device = None,
    threads: Threads = None,
    output: Annotated[Path | None, output_option("Write the result as JSON.")] = None,
    as_json: Json = False,
) -> int:
    """Time random programs of several sizes, forward and backward (gradients of all data).

    n inequality and n/2 equality rows, every item with matrices of its own. The answers are
    checked before anything is timed: exit status 1 where one is wrong.

    Examples:
        lpgd-native bench
        lpgd-native bench --sizes 20 --batches 1,1024 --gradient lpgd --json
    """
    if gradient not in GRADIENTS:
        raise typer.BadParameter(
            f"must be one of {', '.join(GRADIENTS)}, got {gradient!r}", param_hint="--gradient"
        )
    if dtype not in LIMITS:
        raise typer.BadParameter(f"must be float64 or float32, got {dtype!r}", param_hint="--dtype")
    grid = [
        (int(n), int(batch))
        for n in numbers(sizes, "--sizes", 2)
        for batch in numbers(batches, "--batches", 1)
    ]
    if threads:
        torch.set_num_threads(threads)
    place = device_of(device) or torch.device("cpu")
    where = console(as_json)
    rows = []
    with progress(where) as bars:
        task = bars.add_task("sizes", total=len(grid))
        for n, batch in grid:
            problem = _random(n, batch, linear, seed, getattr(torch, dtype), place)
            rows.append(_measure(problem, n, batch, GRADIENTS[gradient], repeats, LIMITS[dtype]))
            bars.advance(task)
    document = {
        "problem": "LP" if linear else "QP",
        "gradient": gradient,
        "dtype": dtype,
        "device": str(place),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "rows": [asdict(row) for row in rows],
    }
    if output is not None:
        output.write_text(json.dumps(document, indent=2) + "\n")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        where.print(_table(document, rows))
    return 0


def _random(
    n: int, batch: int, linear: bool, seed: int, dtype: torch.dtype, device: torch.device
) -> list[Tensor | None]:
    """P, q, G, h, A, b of feasible, bounded programs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

    factor, G, A = normal(n, n) / n**0.5, normal(n, n) / n**0.5, normal(n // 2, n) / n**0.5
    inside = normal(n)
    h = (G @ inside[..., None])[..., 0] + torch.rand(
        batch, n, generator=generator, dtype=torch.float64
    )
    b = (A @ inside[..., None])[..., 0]
    P = factor @ factor.mT + 0.01 * torch.eye(n, dtype=torch.float64)
    q = normal(n)
    if linear:  # costs that the rows can balance keep it bounded
        weights = torch.rand(batch, n, generator=generator, dtype=torch.float64)
        q = -(G.mT @ weights[..., None])[..., 0]
    data = [None if linear else P, q, G, h, A, b]
    return [None if t is None else t.to(device, dtype).requires_grad_() for t in data]


def _measure(
    problem: list[Tensor | None],
    n: int,
    batch: int,
    gradient: GradientStrategy,
    repeats: int,
    limit: float,
) -> Row:
    def forward() -> Any:
        with torch.no_grad():
            return solve_qp(*problem, gradient=gradient)  # type: ignore[arg-type]

    weights = torch.ones_like(problem[1])  # type: ignore[arg-type]

    def both() -> Any:
        found = solve_qp(*problem, gradient=gradient)  # type: ignore[arg-type]
        return torch.autograd.grad(found.x, [t for t in problem if t is not None], weights)

    found = forward()
    worst = max(
        float(part.max()) for part in (found.primal_residual, found.dual_residual, found.gap)
    )
    failed = int((found.status != 0).sum())
    if failed or not worst <= limit:
        raise RuntimeError(
            f"n={n}, batch={batch}: {failed} items failed, largest residual {worst:.1e}"
        )
    both()  # what the first call sets up is not timed
    times = [_median(call, repeats, problem[1]) for call in (forward, both)]  # type: ignore[arg-type]
    return Row(
        n,
        batch,
        forward_ms=round(1e3 * times[0], 4),
        both_ms=round(1e3 * times[1], 4),
        problems_per_second=round(batch / times[1], 1),
        iterations=float(found.iterations.double().mean()),
        residual=worst,
    )


def _median(call: Callable[[], Any], repeats: int, tensor: Tensor) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        if tensor.is_cuda:
            torch.cuda.synchronize(tensor.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _table(document: dict[str, Any], rows: list[Row]) -> Any:
    from rich.table import Table

    title = ", ".join(
        str(document[k]) for k in ("problem", "gradient", "dtype", "device", "machine")
    )
    table = Table(title=title)
    for name in ("n", "batch", "forward ms", "both ms", "problems/s", "iterations", "residual"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            str(row.n),
            str(row.batch),
            f"{row.forward_ms:.3g}",
            f"{row.both_ms:.3g}",
            f"{row.problems_per_second:.0f}",
            f"{row.iterations:.1f}",
            f"{row.residual:.0e}",
        )
    return table
