"""Same input, same bits: on any number of threads, in any split of the batch, time after time.

python -m reliability.determinism [--table]     the table: by raw operator of the schema
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reliability.operations import Operation, operations

BATCH = 24
THREADS = (1, 2, 3, 7)
SPLITS = (1, 5, 7)


def _same(left: Tensor | None, right: Tensor | None) -> bool:
    """Equal bits, the sign of a zero included; all nan are one."""
    if left is None or right is None:  # no gradient
        return left is right
    whole = {torch.float64: torch.int64, torch.float32: torch.int32}.get(left.dtype)
    if whole is None:
        return torch.equal(left, right)
    a, b = (torch.where(t.isnan(), torch.nan, t).contiguous().view(whole) for t in (left, right))
    return torch.equal(a, b)


def thread_differences(operation: Operation, batch: int = BATCH) -> list[int]:
    """The numbers of threads that give other bits than one thread does; results and gradients."""
    before, found = torch.get_num_threads(), []
    leaves = operation.leaves(batch)
    try:
        torch.set_num_threads(1)
        first = operation.gradients(leaves)
        for threads in (*THREADS, 1):
            torch.set_num_threads(threads)
            out, grads = operation.gradients(leaves)
            parts = zip((*out, *grads), (*first[0], *first[1]), strict=True)
            if not all(_same(a, b) for a, b in parts):
                found.append(threads)
    finally:
        torch.set_num_threads(before)
    return found


def split_difference(operation: Operation, batch: int = BATCH) -> float:
    """Largest relative difference of results and of gradients of batched leaves over splits;
    the least number there is, where zeros have other signs.
    """
    split, _ = operation.arguments(batch)
    leaves = operation.leaves(batch)
    out, grads = operation.gradients(leaves)
    most = 0.0
    for size in SPLITS:
        for begin in range(0, batch, size):
            part = slice(begin, begin + size)
            own = [
                (t.detach()[part] if k < len(split) else t.detach()).clone().requires_grad_()
                for k, t in enumerate(leaves)
            ]
            some, some_grads = operation.gradients(own)
            pairs = [
                *zip((t[part] for t in out), some, strict=True),
                *zip(
                    (g if g is None else g[part] for g in grads[: len(split)]),
                    some_grads,
                    strict=False,
                ),
            ]
            for a, b in pairs:
                if a is not None and b is not None and not _same(a, b):
                    gap = float((a - b).abs().max() / (1 + a.abs().max()))
                    most = max(most, gap, sys.float_info.min)
    return most


def limit(operation: Operation) -> float:
    """What splits of the batch may differ by."""
    if "Implicit" in operation.name or "warm start" in operation.name:
        return sys.float_info.min  # the derivative of one QP alone may have another zero
    return 0.0 if operation.exact else 1e-12


class _Called(TorchDispatchMode):
    """Notes which raw operators of the package are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "lpgd":
            self.names.add(func._schema.name.removeprefix("lpgd::"))
        return func(*args, **(kwargs or {}))


class Row(NamedTuple):
    """Of one raw operator: which differentiable ones call it, and how they fared."""

    calls: int
    threads: int
    exact: int
    gap: float


def schema() -> set[str]:
    """The package's raw operators that have a CPU kernel."""
    names = torch._C._dispatch_get_all_op_names()
    own = {n.removeprefix("lpgd::").partition(".")[0] for n in names if n.startswith("lpgd::")}
    return {n for n in own if torch._C._dispatch_has_kernel_for_dispatch_key(f"lpgd::{n}", "CPU")}


def table() -> tuple[dict[str, Row], list[str]]:
    """By raw operator; and what is wrong."""
    rows = {name: Row(0, 0, 0, 0.0) for name in sorted(schema())}
    faults = []
    for operation in operations():
        with _Called() as called:
            operation.gradients(operation.leaves(6))
        threads = thread_differences(operation)
        gap = split_difference(operation)
        if threads:
            faults.append(f"{operation.name}: other bits on {threads} threads")
        if gap > limit(operation):
            faults.append(f"{operation.name}: {gap:.1e} between splits of the batch")
        for name in called.names & set(rows):
            row = rows[name]
            rows[name] = Row(
                row.calls + 1,
                row.threads + (not threads),
                row.exact + (gap == 0.0),
                max(row.gap, gap),
            )
    faults += [f"{name}: called by no check" for name, row in rows.items() if not row.calls]
    return rows, faults


def main(show: bool) -> None:
    """Print how many operators keep their bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        rows, faults = table()
    if show:
        print("| raw operator | called by | same bits on any threads | in any split | others to |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, row in rows.items():
            gap = f"{row.gap:.1e}" if row.gap else "-"
            print(f"| `{name}` | {row.calls} | {row.threads} | {row.exact} | {gap} |")
    exact = sum(row.exact == row.calls for row in rows.values())
    print(
        f"determinism: {len(operations())} operators and strategies, {len(rows)} raw operators: "
        f"the same bits on {THREADS} threads; in splits of {SPLITS} out of {BATCH} the same bits "
        f"of {exact} raw operators, others to {max(row.gap for row in rows.values()):.1e}"
    )
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main("--table" in sys.argv[1:])
