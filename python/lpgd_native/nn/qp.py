"""QP and LP layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lpgd_native._qp_tensors import is_number
from lpgd_native.gradients import GradientStrategy
from lpgd_native.qp import QPSolution, solve_lp, solve_qp

__all__ = ["LPLayer", "QPLayer"]


class _ProgramLayer(nn.Module):
    """Holds what is fixed or learned of a program; the rest comes with each call."""

    gradient: GradientStrategy | None
    eps: float | None
    max_iter: int | None
    throw: bool
    method: str
    elastic: bool
    elastic_penalty: float | None

    def __init__(
        self,
        blocks: dict[str, Any],
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        for name, value in blocks.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            elif name in ("lb", "ub") and is_number(value):
                setattr(self, name, value)
            else:
                self.register_buffer(name, value)
        self._blocks = tuple(blocks)
        self._names = tuple(settings)
        for name, value in settings.items():
            setattr(self, name, value)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}

    def _block(self, name: str, given: Any) -> Any:
        return getattr(self, name) if given is None else given

    def _linear(self, name: str, given: Tensor | None, first: Tensor | None) -> Tensor:
        linear: Tensor | None = self._block(name, given)
        if linear is None:
            hint = "" if first is None else f" as {name}=...; what comes first in a call is P"
            raise ValueError(
                f"{type(self).__name__}: {name} is needed, from the constructor or from the "
                f"call{hint}"
            )
        return linear

    def extra_repr(self) -> str:
        held = {name: getattr(self, name) for name in self._blocks}
        parts = [
            f"{name}={list(value.shape) if isinstance(value, Tensor) else value}"
            for name, value in held.items()
            if value is not None
        ]
        return ", ".join([*parts, f"gradient={self.gradient}"])


class QPLayer(_ProgramLayer):
    """argmin_x 1/2 x'Px + q'x  subject to  G x <= h,  A x = b,  lb <= x <= ub, as a module.

    Blocks given here are kept: an ``nn.Parameter`` is learned, another tensor is a buffer. Blocks
    given to the call take their place. The call returns a `QPSolution`; it takes the blocks in the
    order of `solve_qp`, so q by name: ``layer(q=q)``.

    Args:
        P, q, G, h, A, b, lb, ub: as in `solve_qp`; those that are left out here come with the call,
            or are absent.
        gradient, eps, max_iter, throw, method, elastic, elastic_penalty: as in `solve_qp`.

    Raises:
        TypeError, ValueError: in the call, as `solve_qp`; also if q is given nowhere.

    Example::

        layer = QPLayer(P=torch.eye(3), lb=0.0, gradient=LPGD(tau=0.1))
        x = layer(q=network(features)).x                 # [batch, 3]
    """

    def __init__(
        self,
        P: Tensor | None = None,
        q: Tensor | None = None,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
        lb: Tensor | float | None = None,
        ub: Tensor | float | None = None,
        *,
        gradient: GradientStrategy | None = None,
        eps: float | None = None,
        max_iter: int | None = None,
        throw: bool = False,
        method: str = "auto",
        elastic: bool = False,
        elastic_penalty: float | None = None,
    ) -> None:
        blocks = {"P": P, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub}
        settings = {
            "gradient": gradient,
            "eps": eps,
            "max_iter": max_iter,
            "throw": throw,
            "method": method,
            "elastic": elastic,
            "elastic_penalty": elastic_penalty,
        }
        super().__init__(blocks, settings)

    def forward(
        self,
        P: Tensor | None = None,
        q: Tensor | None = None,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
        lb: Tensor | float | None = None,
        ub: Tensor | float | None = None,
        *,
        warm_start: QPSolution | None = None,
    ) -> QPSolution:
        """Solve with the blocks given here in place of those held."""
        return solve_qp(
            self._block("P", P),
            self._linear("q", q, P),
            self._block("G", G),
            self._block("h", h),
            self._block("A", A),
            self._block("b", b),
            self._block("lb", lb),
            self._block("ub", ub),
            warm_start=warm_start,
            **self._settings(),
        )


class LPLayer(_ProgramLayer):
    """argmin_x c'x  subject to  G x <= h,  A x = b,  lb <= x <= ub, as a module.

    As `QPLayer`, over `solve_lp`: the default gradient is ``LPGD(tau=1.0, relative=True)``. The
    costs come first in the call: ``layer(c)``.

    Args:
        c, G, h, A, b, lb, ub: as in `solve_lp`, kept or given with the call.
        gradient, eps, max_iter, throw, method, elastic, elastic_penalty: as in `solve_lp`.
        integrality: [n] bool, the x_i that are whole numbers; fixed.

    Raises:
        TypeError, ValueError: in the call, as `solve_lp`; also if c is given nowhere.

    Example::

        choose = LPLayer(A=torch.ones(1, 4), b=torch.ones(1), lb=0.0)  # one of four
        x = choose(network(features)).x                                # [batch, 4]
    """

    def __init__(
        self,
        c: Tensor | None = None,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
        lb: Tensor | float | None = None,
        ub: Tensor | float | None = None,
        *,
        gradient: GradientStrategy | None = None,
        eps: float | None = None,
        max_iter: int | None = None,
        throw: bool = False,
        method: str = "auto",
        elastic: bool = False,
        elastic_penalty: float | None = None,
        integrality: Tensor | None = None,
    ) -> None:
        blocks = {"c": c, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub}
        settings = {
            "gradient": gradient,
            "eps": eps,
            "max_iter": max_iter,
            "throw": throw,
            "method": method,
            "elastic": elastic,
            "elastic_penalty": elastic_penalty,
        }
        super().__init__(blocks, settings)
        self.register_buffer("integrality", integrality)

    def forward(
        self,
        c: Tensor | None = None,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
        lb: Tensor | float | None = None,
        ub: Tensor | float | None = None,
        *,
        warm_start: QPSolution | None = None,
    ) -> QPSolution:
        """Solve with the blocks given here in place of those held."""
        return solve_lp(
            self._linear("c", c, None),
            self._block("G", G),
            self._block("h", h),
            self._block("A", A),
            self._block("b", b),
            self._block("lb", lb),
            self._block("ub", ub),
            warm_start=warm_start,
            integrality=self._block("integrality", None),
            **self._settings(),
        )
