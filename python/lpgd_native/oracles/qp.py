"""The feasible sets of `solve_qp` and `solve_lp` as oracles."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lpgd_native._qp_checks import check_shapes
from lpgd_native._qp_tensors import bound_of, check_mask, check_tensors, is_number
from lpgd_native.oracles._entropic import entropic_program
from lpgd_native.oracles.protocol import OracleSolution
from lpgd_native.qp import QPSolution, solve_lp, solve_qp
from lpgd_native.status import Status

__all__ = ["LPOracle", "QPOracle"]


class _ProgramOracle(nn.Module):
    """Holds the blocks of a program; costs, and blocks in place of those held, come per call."""

    event_dim: int = 1
    instance_dims: ClassVar[dict[str, int]] = {"G": 2, "h": 1, "A": 2, "b": 1, "lb": 1, "ub": 1}

    def __init__(self, blocks: dict[str, Any], settings: dict[str, Any]) -> None:
        super().__init__()
        for name, value in blocks.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            elif value is None or isinstance(value, Tensor):
                self.register_buffer(name, value)
            elif name in ("lb", "ub") and is_number(value):
                setattr(self, name, value)
            else:
                raise TypeError(
                    f"{type(self).__name__}: {name} must be a torch.Tensor, "
                    f"got {type(value).__name__}"
                )
        self._settings = settings

    def instance_of(self, **given: Any) -> dict[str, Any]:
        """All blocks, those of the call before those held."""
        unknown = set(given) - set(self.instance_dims)
        if unknown:
            raise TypeError(
                f"{type(self).__name__}: unknown block {sorted(unknown)[0]!r}; "
                f"known are {', '.join(self.instance_dims)}"
            )
        held = {name: getattr(self, name) for name in self.instance_dims}
        merged = {**held, **{name: v for name, v in given.items() if v is not None}}
        return {name: value for name, value in merged.items() if value is not None}

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The minimisers for costs c [..., n], without gradient."""
        blocks = {
            name: t.detach() if isinstance(t, Tensor) else t
            for name, t in self.instance_of(**instance).items()
        }
        with torch.no_grad():
            return self._program(c.detach(), blocks, None)

    def solve_differentiably(self, c: Tensor, *, gradient: Any, **instance: Any) -> OracleSolution:
        """The same with the gradient of `solve_qp`: of the costs and of all blocks."""
        return self._program(c, self.instance_of(**instance), gradient)

    def forward(self, c: Tensor, **instance: Any) -> OracleSolution:
        """As `solve`."""
        return self.solve(c, **instance)

    def _program(self, c: Tensor, blocks: dict[str, Any], gradient: Any) -> OracleSolution:
        solution = self._solve(c, blocks, gradient)
        ok = solution.status == Status.OK
        x = torch.where(ok.unsqueeze(-1), solution.x, 0.0)
        value = self._value(c.detach(), blocks, x.detach())
        return OracleSolution(x, torch.where(ok, value, torch.nan), solution.status)

    def _solve(self, c: Tensor, blocks: dict[str, Any], gradient: Any) -> QPSolution:
        raise NotImplementedError

    def _value(self, c: Tensor, blocks: dict[str, Any], x: Tensor) -> Tensor:
        return (c * x).sum(-1)


class LPOracle(_ProgramOracle):
    """argmin_x <c, x>  subject to  G x <= h,  A x = b,  lb <= x <= ub, for a batch, as an oracle.

    With `integrality` an integer program (HiGHS, the extra ``highs``). Blocks are shared [m, n] or
    batched [..., m, n], held here (an ``nn.Parameter`` is learned, another tensor a buffer) or
    given with the call, ``solve(c, G=G, h=h)``, in place of those held. Every strategy serves it;
    with `Implicit`, `LPGD`, `Blackbox` and `Smoothed` an `OracleLayer` hands over to `solve_lp`, so
    the blocks have gradients as well; with `CombOpt`, G and h.

    Args:
        G, h, A, b, lb, ub: as in `solve_lp`; lb and ub may be numbers.
        integrality: [n] bool, the x_i that are whole numbers.
        method, eps, max_iter, elastic, elastic_penalty: as in `solve_lp`. ``"highs"`` gives
            vertices, ``"ipm"`` where a minimiser is not unique a point inside their set.

    Raises:
        TypeError, ValueError: here or in the call, as `solve_lp` does.
    """

    integrality: Tensor | None

    def __init__(
        self,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
        lb: Tensor | float | None = None,
        ub: Tensor | float | None = None,
        *,
        integrality: Tensor | None = None,
        method: str = "auto",
        eps: float | None = None,
        max_iter: int | None = None,
        elastic: bool = False,
        elastic_penalty: float | None = None,
    ) -> None:
        settings = {
            "method": method,
            "eps": eps,
            "max_iter": max_iter,
            "elastic": elastic,
            "elastic_penalty": elastic_penalty,
        }
        super().__init__({"G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub}, settings)
        if integrality is not None:
            n = integrality.shape[0] if isinstance(integrality, Tensor) and integrality.dim() else 0
            check_mask("LPOracle", integrality, n)
        self.register_buffer("integrality", integrality)

    def solve_entropic(self, c: Tensor, *, mu: float, **instance: Any) -> OracleSolution:
        """argmin_x <c, x> + mu sum_i x_i log x_i over A x = b, x >= 0, differentiable in c and b.

        The objective returned is <c, x>.
        """
        blocks = self.instance_of(**instance)
        A, b = blocks.get("A"), blocks.get("b")
        lb, ub = (bound_of(blocks.get(name), c) for name in ("lb", "ub"))
        plain = "G" not in blocks and (ub is None or bool(torch.isinf(ub).all()))
        if A is None or b is None or lb is None or not plain or bool((lb != 0).any()):
            raise ValueError(
                'LPOracle: Smoothed(kind="entropic") needs a program A x = b with lb = 0, no G and '
                f"no finite ub, got {', '.join(blocks) or 'none'}"
            )
        if A.requires_grad:
            raise ValueError('LPOracle: Smoothed(kind="entropic") has no gradient for A; detach it')
        check_tensors("LPOracle", ("P", "c", "G", "h", "A", "b"), (None, c, None, None, A, b))
        check_shapes(
            "LPOracle",
            ("P", "c", "G", "h", "A", "b", "lb", "ub"),
            (None, c, None, None, A, b, lb, None),
        )
        x, ok = entropic_program(c, A, b, mu)
        status = torch.where(ok, int(Status.OK), int(Status.MAX_ITERATIONS)).to(torch.int32)
        value = torch.where(ok, (c * x).detach().sum(-1), torch.nan)
        return OracleSolution(x, value, status)

    def _solve(self, c: Tensor, blocks: dict[str, Any], gradient: Any) -> QPSolution:
        given: dict[str, Any] = {**blocks, **self._settings}
        return solve_lp(c, gradient=gradient, integrality=self.integrality, **given)


class QPOracle(_ProgramOracle):
    """argmin_x 1/2 x'Px + <c, x>  subject to  G x <= h,  A x = b,  lb <= x <= ub, as an oracle.

    The objective returned has the quadratic term. All formulas of the strategies hold for it, as
    the term does not depend on c; else as `LPOracle`, over `solve_qp`.

    Args:
        P: [..., n, n] positive semidefinite.
        G, h, A, b, lb, ub, method, eps, max_iter, elastic, elastic_penalty: as in `solve_qp`.

    Raises:
        TypeError, ValueError: here or in the call, as `solve_qp` does.
    """

    instance_dims: ClassVar[dict[str, int]] = {"P": 2, **_ProgramOracle.instance_dims}

    def __init__(
        self,
        P: Tensor | None = None,
        G: Tensor | None = None,
        h: Tensor | None = None,
        A: Tensor | None = None,
        b: Tensor | None = None,
        lb: Tensor | float | None = None,
        ub: Tensor | float | None = None,
        *,
        method: str = "auto",
        eps: float | None = None,
        max_iter: int | None = None,
        elastic: bool = False,
        elastic_penalty: float | None = None,
    ) -> None:
        settings = {
            "method": method,
            "eps": eps,
            "max_iter": max_iter,
            "elastic": elastic,
            "elastic_penalty": elastic_penalty,
        }
        blocks = {"P": P, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub}
        super().__init__(blocks, settings)

    def _solve(self, c: Tensor, blocks: dict[str, Any], gradient: Any) -> QPSolution:
        given: dict[str, Any] = {**blocks, **self._settings}
        return solve_qp(given.pop("P", None), c, gradient=gradient, **given)

    def _value(self, c: Tensor, blocks: dict[str, Any], x: Tensor) -> Tensor:
        value = (c * x).sum(-1)
        if "P" not in blocks:
            return value
        P: Tensor = blocks["P"].detach()
        quadratic = (x.unsqueeze(-2) @ P @ x.unsqueeze(-1)).flatten(-2)
        return value + 0.5 * quadratic.squeeze(-1)
