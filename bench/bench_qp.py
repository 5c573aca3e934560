"""Batched QPs and LPs with gradients: lpgd_native and its peers, in one run.

Usage:
    python bench/bench_qp.py                       the whole grid
    python bench/bench_qp.py --quick               three small cells, short budgets
    python bench/bench_qp.py --cells 64x50,lp --methods ours-implicit,moreau
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# before numpy loads: the references are many small solves, which OpenBLAS's threads only slow down;
# workers get their own setting
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import problems
import tables
from accuracy import Cell, Limits, Row
from harness import Plan, Session, as_json, machine, measure
from methods import METHODS
from problems import Arrays, Reference

GRID = [f"{batch}x{n}" for n in (10, 50, 100) for batch in (1, 64, 256)]
QUICK = ["1x10", "64x10", "64x50", "lp"]


def qp_cells(
    shapes: list[tuple[int, int]], seed: int, tau: float, say: Callable[[str], None]
) -> Iterator[Cell]:
    """Cells of equal n share one set of problems: a batch is the head of the largest."""
    references: dict[int, tuple[Arrays, Reference, dict[str, Arrays]]] = {}
    for batch, n in shapes:
        if n not in references:
            largest = max(b for b, other in shapes if other == n)
            say(f"n={n}: problems and their solutions")
            data = problems.qp_batch(seed, n, largest + 1)
            head = {name: value[:largest] for name, value in data.items()}
            solution = problems.solve_reference(head)
            gradients = problems.lpgd_gradients(head, solution, tau)
            gradients["implicit"] = problems.implicit_gradients(head, solution)
            references[n] = (data, solution, gradients)
        data, solution, gradients = references[n]
        yield Cell(
            f"B={batch} n={n}",
            "qp",
            {name: value[: batch + 1] for name, value in data.items()},
            solution.x[:batch],
            {k: {a: g[:batch] for a, g in v.items()} for k, v in gradients.items()},
            {
                "inequality rows": float(n),
                "equality rows": float(n // 2),
                "active rows (mean)": round(float(solution.active[:batch].sum(axis=1).mean()), 1),
                "smallest max(z, slack)": float(solution.margin[:batch].min()),
                "reference residual": solution.residual,
            },
        )


def lp_cell(seed: int, tau: float, batch: int = 64, size: int = 10) -> Cell:
    """Assignment relaxations: cost gradients, against the difference of exact vertices."""
    data = problems.assignment_batch(seed, size, batch + 1)
    head = {"q": data["q"][:batch], "c": data["c"][:batch]}
    return Cell(
        f"LP: {batch} assignments {size}x{size}",
        "lp",
        data,
        problems.assignment_solution(head["q"]),
        {"average": {"q": problems.assignment_gradient(head, tau)}},
        {"variables": float(size * size), "equality rows": float(2 * size - 1)},
    )


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cells", default=",".join([*GRID, "lp"]), help="BxN,..., and lp")
    parser.add_argument("--methods", default="all", help=f"of: {', '.join(METHODS)}")
    parser.add_argument("--repeats", type=int, default=Plan.repeats, help="rounds over all methods")
    parser.add_argument(
        "--budget", type=float, default=Plan.budget, help="seconds a method may use in a cell"
    )
    parser.add_argument(
        "--timeout", type=float, default=Plan.timeout, help="seconds for one request"
    )
    parser.add_argument("--quick", action="store_true", help=f"cells {','.join(QUICK)}, budget 3")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tau", type=float, default=problems.TAU, help="of every LPGD row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, action="append", default=[], help="file.json or file.md"
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.cells, args.budget, args.repeats = ",".join(QUICK), 3.0, 3
    args.methods = list(METHODS) if args.methods == "all" else args.methods.split(",")
    unknown = [name for name in args.methods if name not in METHODS]
    if unknown:
        parser.error(f"unknown methods: {', '.join(unknown)}")
    if args.device == "cuda":  # the others copy to the CPU, or cannot
        args.methods = [m for m in args.methods if METHODS[m].module in ("ours", "qpth")]
    return args


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    names = args.cells.split(",")
    shapes = [(int(b), int(n)) for b, n in (name.split("x") for name in names if name != "lp")]
    plan = Plan(repeats=args.repeats, budget=args.budget, timeout=args.timeout)
    results: list[tuple[Cell, list[Row]]] = []
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {text}", file=sys.stderr, flush=True)

    def cells() -> Iterator[Cell]:
        yield from qp_cells(shapes, args.seed, args.tau, say)
        if "lp" in names:
            yield lp_cell(args.seed, args.tau)

    facts = machine(
        {k: vars(args)[k] for k in ("device", "threads", "tau", "seed", "repeats", "budget")},
        [Path(sys.executable).name, *sys.argv],
    )
    parts = [tables.head(facts)]
    print(parts[0], flush=True)
    with tempfile.TemporaryDirectory(prefix="lpgd-bench-") as folder:
        session = Session(args.threads, args.device, args.tau, Path(folder))
        try:
            for cell in cells():
                chosen = [m for m in args.methods if cell.kind in METHODS[m].kinds]
                rows = measure(session, cell, chosen, plan, Limits(), say)
                results.append((cell, rows))
                parts.append(tables.cell_table(cell, rows))
                print(parts[-1], flush=True)
        finally:
            session.close()
    parts.append(tables.summary(results, session.abouts))
    print(parts[-1])
    for path in args.out:
        if path.suffix == ".json":
            text = json.dumps(as_json(results, facts, session.abouts), indent=1)
        else:
            text = "\n".join(parts)
        path.write_text(text + "\n")
    failed = [r for _, rows in results for r in rows if r.method.startswith("ours") and not r.timed]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
