"""How a layer solves and differentiates."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from lpgd_native.gradients import GradientStrategy
from lpgd_native.qp import QPSolution, solve_lp, solve_qp

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The keyword arguments of `solve_qp` that a layer passes on."""

    gradient: GradientStrategy | None = None
    eps: float | None = None
    max_iter: int | None = None
    method: str = "auto"
    elastic: bool = False
    elastic_penalty: float | None = None
    throw: bool = False

    def updated(self, name: str, arguments: dict[str, Any] | None) -> Settings:
        """With some of them replaced, as ``solver_args`` asks."""
        if not arguments:
            return self
        known = [f.name for f in fields(self)]
        unknown = sorted(set(arguments) - set(known))
        if unknown:
            raise ValueError(
                f"{name}: unknown solver argument {unknown[0]!r}, known are {', '.join(known)}"
            )
        return replace(self, **arguments)

    def solve(
        self, blocks: dict[str, Tensor | None], warm_start: QPSolution | None = None
    ) -> QPSolution:
        """Solve the program with these blocks; without P it is an LP."""
        options: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        given: dict[str, Any] = dict(blocks)
        q, P = given.pop("q"), given.pop("P")
        if P is None:
            return solve_lp(q, **given, warm_start=warm_start, **options)
        return solve_qp(P, q, **given, warm_start=warm_start, **options)
