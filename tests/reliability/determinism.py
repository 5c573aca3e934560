"""Same input, same bits: on any number of threads, in any split of the batch, time after time."""

from __future__ import annotations

import sys
import warnings

import torch
from torch import Tensor

from reliability.operations import Operation, operations

BATCH = 24
THREADS = (1, 2, 3, 7)
SPLITS = (1, 5, 7)


def _same(left: Tensor, right: Tensor) -> bool:
    return torch.equal(left, right) or bool(
        ((left == right) | (left.isnan() & right.isnan())).all()
    )


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
    """Largest relative difference of results and of gradients of batched leaves over splits."""
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
                *zip((g[part] for g in grads[: len(split)]), some_grads, strict=False),
            ]
            for a, b in pairs:
                if not _same(a, b):
                    most = max(most, float((a - b).abs().max() / (1 + a.abs().max())))
    return most


def main() -> None:
    """Print how many operators keep their bits."""
    faults, exact, rounding = [], 0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for operation in operations():
            threads = thread_differences(operation)
            if threads:
                faults.append(f"{operation.name}: other bits on {threads} threads")
            gap = split_difference(operation)
            exact += gap == 0.0
            rounding = max(rounding, gap)
            if gap > (0.0 if operation.exact else 1e-12):
                faults.append(f"{operation.name}: {gap:.1e} between splits of the batch")
    print(
        f"determinism: {len(operations())} operators and strategies on {THREADS} threads and splits "  # noqa: E501
        f"of {SPLITS} out of {BATCH}: {exact} the same bits throughout, others to {rounding:.1e}"
    )
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
