"""What an answer must be, and how far off a method's is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from methods import Method
from problems import Array, Arrays


@dataclass
class Row:
    """What one method did in one cell; times in milliseconds."""

    method: str
    forward: float = float("nan")
    both: float = float("nan")
    #: half the distance between the quartiles of `both`, in percent of its median
    spread: float = float("nan")
    calls: int = 0
    x_error: float = float("nan")
    feasibility: float = float("nan")
    #: median and maximum over the batch, by argument
    gradient: dict[str, tuple[float, float]] = field(default_factory=dict)
    note: str = ""

    @property
    def timed(self) -> bool:
        return self.calls > 0


@dataclass(frozen=True)
class Limits:
    """A method whose answer is worse than this is not timed.

    Loose enough for an interior point stopped at 1e-6, whose x is off by 1e-3 where strict
    complementarity is small; tight enough for a wrong sign, a missing block, an unsolved item.
    """

    x: float = 1e-2
    feasibility: float = 1e-3
    gradient_median: float = 2e-2


@dataclass(frozen=True)
class Cell:
    """A batch with one item more than it has (see worker.py) and what its answer must be."""

    name: str
    kind: str
    data: Arrays
    x: Array
    #: by kind of gradient, then by argument
    gradients: Mapping[str, Arrays]
    facts: dict[str, float]

    @property
    def batch(self) -> int:
        return len(self.x)


def check(cell: Cell, method: Method, answer: Mapping[str, Any], row: Row, limits: Limits) -> str:
    """Fill in the accuracy of `row`; the reason why it may not be timed, or ''."""
    x = answer["x"]
    if x.shape != cell.x.shape or not np.isfinite(x).all():
        return f"refused: x has shape {x.shape} or is not finite"
    row.x_error = float(abs(x - cell.x).max())
    row.feasibility = _violation(cell, x)
    exact = cell.gradients.get(method.gradient) or {}
    for name in cell.gradients["average"]:
        grad = answer.get(f"grad_{name}")
        if grad is None or not np.isfinite(grad).all():
            return f"refused: no finite gradient for {name}"
        if name in exact:
            row.gradient[name] = relative_error(grad, exact[name], cell.data["c"][: cell.batch])
    if row.x_error > limits.x or row.feasibility > limits.feasibility:
        return f"refused: x off by {row.x_error:.0e}, infeasible by {row.feasibility:.0e}"
    for name, (median, _) in list(row.gradient.items()):
        if median <= limits.gradient_median:
            continue
        row.note = f"gradient for {name} off by {median:.0e} (median)"
        if name not in method.faults:
            return f"refused: {row.note}"
        del row.gradient[name]
    if "q" not in exact:
        size = np.linalg.norm(answer["grad_q"]) / np.linalg.norm(cell.gradients["average"]["q"])
        row.note = f"another gradient, of size {size:.0e} of LPGD's"
    return ""


def _violation(cell: Cell, x: Array) -> float:
    data = cell.data
    if cell.kind == "lp":
        return max(float(abs(x @ data["A"].T - data["b"]).max()), -float(x.min()))
    part = {name: value[: cell.batch] for name, value in data.items()}
    equality = np.einsum("bij,bj->bi", part["A"], x) - part["b"]
    inequality = np.einsum("bij,bj->bi", part["G"], x) - part["h"]
    return max(float(abs(equality).max()), float(inequality.max()), 0.0)


def relative_error(grad: Array, exact: Array, upstream: Array) -> tuple[float, float]:
    """Median and maximum over the batch of |grad - exact| / max(|exact|, 1e-3 |c|).

    The floor is for items solved at a vertex, whose gradient is zero.
    """
    count = len(exact)
    norms = [np.linalg.norm(a.reshape(count, -1), axis=1) for a in (grad - exact, exact, upstream)]
    errors = norms[0] / np.maximum(norms[1], 1e-3 * norms[2])
    return float(np.median(errors)), float(errors.max())
