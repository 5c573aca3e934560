"""`CvxpyLayer`: a cvxpy problem as a module, batched and differentiable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lpgd_native.cvxpy._canonical import canonicalise
from lpgd_native.cvxpy._program import PARTS, expanded
from lpgd_native.cvxpy._settings import Settings
from lpgd_native.gradients import GradientStrategy
from lpgd_native.qp import QPSolution

__all__ = ["CvxpyLayer", "CvxpySolution"]


class CvxpySolution(NamedTuple):
    """What `CvxpyLayer.solve` returns."""

    values: tuple[Tensor, ...]
    """the variables asked for, [..., *shape]"""
    program: QPSolution
    """the solution of the canonical program, with status, iterations and residuals [...]"""


class CvxpyLayer(nn.Module):
    """argmin of a cvxpy problem, as a function of its parameters, for a batch.

    The call of ``cvxpylayers.torch.CvxpyLayer``; the whole batch is solved at once by `solve_qp`.
    cvxpy canonicalises the problem once, when the layer is made; then parameters go to matrices,
    and solutions to variables, in torch.

    Args:
        problem: a cvxpy problem that is DPP and, canonicalised, has linear constraints and a
            linear or convex quadratic objective (``quad_form(x, P)`` with a parameter P as well).
        parameters: its parameters, in the order of the call.
        variables: what the call returns: variables, or dual variables of constraints
            (``constraint.dual_variables[0]``; signs are those of cvxpy's values).
        solver: None, or ``lpgd_native.cvxpy.solver(...)``, whose settings are taken.
        gp, verbose, canon_backend: for the signature of cvxpylayers. gp must be False; the others
            have no effect.
        solver_args: settings by name, as the keywords below.
        gradient: ``Implicit()`` or ``LPGD(...)``; None: as in `solve_qp` and `solve_lp`, implicit
            with a quadratic objective, else ``LPGD(tau=1.0, relative=True)``.
        eps, max_iter, method, elastic, elastic_penalty, throw: see `solve_qp`.

    Raises:
        ModuleNotFoundError: without cvxpy.
        ValueError: a problem that is not DPP; integer or complex variables; a constraint or an
            objective that needs a second-order, exponential or semidefinite cone (it is named);
            parameters or variables that are not the problem's.

    Example::

        x, a = cp.Variable(3), cp.Parameter(3)
        problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= 0])
        layer = CvxpyLayer(problem, parameters=[a], variables=[x])
        (relu,) = layer(torch.randn(128, 3, requires_grad=True))     # [128, 3]

    Source: Agrawal et al., Differentiable Convex Optimization Layers, NeurIPS 2019.
    """

    def __init__(
        self,
        problem: Any,
        parameters: Sequence[Any],
        variables: Sequence[Any],
        solver: Any = None,
        gp: bool = False,
        verbose: bool = False,
        canon_backend: str | None = None,
        solver_args: dict[str, Any] | None = None,
        *,
        gradient: GradientStrategy | None = None,
        eps: float | None = None,
        max_iter: int | None = None,
        method: str = "auto",
        elastic: bool = False,
        elastic_penalty: float | None = None,
        throw: bool = False,
    ) -> None:
        super().__init__()
        if gp:
            raise ValueError("CvxpyLayer: gp=True needs exponential cones, which are not solved")
        settings = Settings(gradient, eps, max_iter, method, elastic, elastic_penalty, throw)
        if solver is not None:
            found = getattr(solver, "settings", None)
            if not isinstance(found, Settings):
                raise ValueError(
                    "CvxpyLayer: solver must be None or lpgd_native.cvxpy.solver(...), "
                    f"got {solver!r}; other solvers are cvxpylayers.torch.CvxpyLayer's"
                )
            if settings != Settings():
                raise ValueError(
                    "CvxpyLayer: give settings to the solver or to the layer, not both"
                )
            settings = found
        self.settings = settings.updated("CvxpyLayer", solver_args)
        form = canonicalise("CvxpyLayer", problem, parameters, variables)
        self._program = form.program
        self._shapes = form.parameter_shapes
        self._sizes = tuple(math.prod(shape) for shape in self._shapes)
        self._names = tuple(p.name() for p in parameters)
        self._recoveries = form.recoveries
        self._owners = {name: self._owners_of(name) for name in PARTS}
        self._cache: QPSolution | None = None

    def forward(
        self,
        *params: Tensor,
        solver_args: dict[str, Any] | None = None,
        warm_start: bool = False,
    ) -> tuple[Tensor, ...]:
        """Solve for parameters [..., *shape], batched or shared; variables [..., *shape].

        Args:
            *params: one tensor a parameter, in the order of the constructor, float32 or float64;
                leading dimensions broadcast. The gradient of a shared one is the sum over the
                batch.
            solver_args: settings by name for this call, as ``{"eps": 1e-6}``.
            warm_start: start from the solution of the last call of `forward` with warm_start=True,
                where the batch is the same.

        Raises:
            TypeError: tensors that are not float32 or float64, or not all of one dtype.
            ValueError: a number of tensors or shapes that don't fit.
            SolverError: an item failed, with throw=True. Otherwise see `solve`.
        """
        start = self._cache if warm_start else None
        values, found = self.solve(*params, solver_args=solver_args, warm_start=start)
        if warm_start:
            self._cache = QPSolution(*(part.detach() for part in found))
        return values

    def solve(
        self,
        *params: Tensor,
        solver_args: dict[str, Any] | None = None,
        warm_start: QPSolution | None = None,
    ) -> CvxpySolution:
        """As `forward`, with the status of each item and a start given by hand."""
        settings = self.settings.updated("CvxpyLayer", solver_args)
        leads = self._checked(params)
        batch = np.broadcast_shapes(*leads)
        parts = self._parts(params, leads, batch)
        if warm_start is not None and warm_start.status.shape != batch:
            warm_start = None
        found = settings.solve(self._program.assemble(parts), warm_start)
        found = expanded(found, batch)
        return CvxpySolution(self._values(found, parts), found)

    def extra_repr(self) -> str:
        shapes = ", ".join(
            f"{name}={list(shape)}" for name, shape in zip(self._names, self._shapes, strict=True)
        )
        return f"{shapes}, gradient={self.settings.gradient}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": None}

    def _owners_of(self, name: str) -> tuple[int, ...]:
        """The parameters a block depends on."""
        block = self._program.parts[name]
        if block is None:
            return ()
        ends = np.cumsum(self._sizes)
        owners = np.searchsorted(ends, np.unique(block.column), side="right")
        return tuple(int(owner) for owner in np.unique(owners))

    def _checked(self, params: Sequence[Any]) -> list[torch.Size]:
        """Leading dimensions of the parameters."""
        if len(params) != len(self._shapes):
            raise ValueError(
                f"CvxpyLayer: a tensor for each parameter is needed ({', '.join(self._names)}), "
                f"got {len(params)}"
            )
        leads = []
        for name, shape, value in zip(self._names, self._shapes, params, strict=True):
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"CvxpyLayer: {name} must be a torch.Tensor, got {type(value).__name__}"
                )
            if value.dtype not in (torch.float32, torch.float64) or value.dtype != params[0].dtype:
                raise TypeError(
                    f"CvxpyLayer: parameters must all be float32 or all float64, "
                    f"got {name} in {value.dtype}"
                    + (f" beside {params[0].dtype}" if value.dtype != params[0].dtype else "")
                )
            lead = value.shape[: value.dim() - len(shape)]
            if value.dim() < len(shape) or tuple(value.shape[len(lead) :]) != shape:
                raise ValueError(
                    f"CvxpyLayer: {name} must be {['...', *shape]}, got {list(value.shape)}"
                )
            leads.append(lead)
        try:
            np.broadcast_shapes(*leads)
        except ValueError:
            listed = ", ".join(f"{n} {list(s)}" for n, s in zip(self._names, leads, strict=True))
            raise ValueError(f"CvxpyLayer: batch dimensions don't broadcast: {listed}") from None
        return leads

    def _parts(
        self, params: Sequence[Tensor], leads: list[torch.Size], batch: tuple[int, ...]
    ) -> dict[str, Tensor | None]:
        """The parts of the program; what depends on shared parameters alone has no batch."""
        like = params[0] if params else torch.zeros((), dtype=torch.float64)
        vectors: dict[bool, Tensor] = {}

        def vector(batched: bool) -> Tensor:
            found = vectors.get(batched)
            if found is None:
                lead = batch if batched else ()
                # a block of shared parameters doesn't look at the others
                parts = [
                    p.reshape(*p.shape[: len(own)], -1).expand(*lead, -1)
                    if batched or not own
                    else like.new_zeros(size)
                    for p, own, size in zip(params, leads, self._sizes, strict=True)
                ]
                found = (
                    torch.cat(parts, -1) if len(parts) > 1 else (parts or [like.new_zeros(0)])[0]
                )
                vectors[batched] = found
            return found

        made: dict[str, Tensor | None] = {}
        for name, block in self._program.parts.items():
            if block is None:
                made[name] = None
            else:
                made[name] = block(vector(any(leads[i] for i in self._owners[name])))
        return made

    def _values(self, found: QPSolution, parts: dict[str, Tensor | None]) -> tuple[Tensor, ...]:
        """The variables asked for; what none of them needs is not computed."""
        sources: dict[bool, Tensor] = {}
        out = []
        for recovery in self._recoveries:
            if recovery.dual not in sources:
                make = self._program.duals if recovery.dual else self._program.primal
                sources[recovery.dual] = make(found, parts)
            out.append(recovery.take(sources[recovery.dual]))
        return tuple(out)
