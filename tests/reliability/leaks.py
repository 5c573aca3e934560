"""Resident memory over thousands of calls of every operator, forward and backward: flat."""

from __future__ import annotations

import gc
import sys
import warnings
from pathlib import Path

from reliability.operations import Operation, operations

LIMIT = 2.0  # MiB that resident memory may grow by
CHOSEN = (
    "solve_qp ipm Implicit()",
    "solve_qp ipm LPGD",
    "solve_lp highs",
    "solve_qp pdhg",
    "lstm momentum step",
    "lstm momentum coordinate",
    "conv_prelu",
    "prox_l1",
    "prox_total_variation",
    "prox_sorted_l1",
)


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def chosen() -> list[Operation]:
    """The first operation of each kind: other proxes run the same code around their kernels."""
    every = operations()
    return [next(op for op in every if op.name.startswith(name)) for name in CHOSEN]


def growth(operation: Operation, calls: int, warm: int) -> float:
    """MiB gained over `calls` calls after `warm` of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        leaves = operation.leaves(4)
        for _ in range(warm):
            operation.gradients(leaves)
        gc.collect()
        before = resident()
        for _ in range(calls):
            operation.gradients(leaves)
        gc.collect()
        return resident() - before


def main(calls: int) -> None:
    """Print the growth of each."""
    found = {op.name: growth(op, calls, calls // 10) for op in chosen()}
    name, most = max(found.items(), key=lambda item: item[1])
    print(
        f"leaks: {calls} forward and backward calls of each of {len(found)} operators, "
        f"most growth {most:+.2f} MiB ({name}), limit {LIMIT} MiB"
    )
    if most > LIMIT:
        sys.exit(f"leaks: {found}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
