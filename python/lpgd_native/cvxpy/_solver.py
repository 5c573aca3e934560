"""`solver`: our batched QP solver for ``cvxpylayers.torch.CvxpyLayer``."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpgd_native.cvxpy._canonical import CANON_SOLVER, check_cones, check_linear
from lpgd_native.cvxpy._program import PARTS, Entries, Program, entries_of, expanded
from lpgd_native.cvxpy._require import require
from lpgd_native.cvxpy._settings import Settings
from lpgd_native.gradients import GradientStrategy
from lpgd_native.qp import QPSolution

__all__ = ["solver"]

_Mask = NDArray[np.bool_]
_Array = NDArray[np.float64]


def solver(
    gradient: GradientStrategy | None = None,
    *,
    eps: float | None = None,
    max_iter: int | None = None,
    method: str = "auto",
    elastic: bool = False,
    elastic_penalty: float | None = None,
    throw: bool = False,
) -> Any:
    """A solver object for the argument ``solver=`` of ``CvxpyLayer`` of cvxpylayers (1.2 or newer).

    For problems with linear constraints and a linear or convex quadratic objective, solved for the
    whole batch at once. One object serves one layer. What cvxpylayers does around it (parameters to
    matrices by scipy) is not ours; `lpgd_native.cvxpy.CvxpyLayer` does that in torch, too, is
    faster and hands out the status of each item. Here it is in ``.last`` after a call, a
    QPSolution without gradients.

    Args:
        gradient: ``Implicit()`` or ``LPGD(...)``; None: as in `solve_qp` and `solve_lp`.
        eps, max_iter, method, elastic, elastic_penalty, throw: see `solve_qp`. By name they may
            also be given to a call of the layer, in ``solver_args``.

    Returns:
        An instance of cvxpylayers' SolverInterface; float32 parameters give float32 variables.

    Raises:
        ModuleNotFoundError: without cvxpylayers 1.2.
        ValueError: when a layer is made of it: integer variables, a constraint or an objective
            that needs another cone (it is named), an object that has a layer already.

    Example::

        from cvxpylayers.torch import CvxpyLayer
        layer = CvxpyLayer(problem, parameters=[a], variables=[x],
                           solver=lpgd_native.cvxpy.solver(gradient=LPGD(tau=0.1)))
    """
    settings = Settings(gradient, eps, max_iter, method, elastic, elastic_penalty, throw)
    return _solver_class()(settings)


@functools.cache
def _solver_class() -> Any:
    """The class, made when cvxpylayers is there to be derived from."""
    interfaces = require("cvxpylayers.interfaces.base")

    class NativeSolver(_Native, interfaces.SolverInterface):  # type: ignore[misc, name-defined]
        """Our solver behind cvxpylayers' interface."""

    return NativeSolver


class _Native:
    """The methods that cvxpylayers calls."""

    canon_solver = CANON_SOLVER
    supports_quad_obj = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.last: QPSolution | None = None
        self._context: Any = None
        self._program: Program | None = None
        self._owners: dict[str, tuple[int, ...]] = {}
        self._dtype = torch.float64

    def __reduce__(self) -> Any:
        # the class has no name to be found by
        return _restored, (self.__dict__ | {"last": None},)

    def setup(self, ctx: Any) -> None:
        """Called once by the layer, with the canonical problem."""
        if self._context is not None:
            raise ValueError(
                "lpgd_native.cvxpy.solver: this object has a layer already; make one for each layer"
            )
        name = "lpgd_native.cvxpy.solver"
        check_linear(name, ctx.problem)
        check_cones(name, ctx.problem, ctx.cone_dims)
        n = ctx.q.shape[0] - 1
        zero, nonneg = int(ctx.cone_dims.zero), int(ctx.cone_dims.nonneg)
        # here the program is a function of the values of P, q and the rows, one after another
        sizes = [_count(ctx.reduced_P), n, _count(ctx.reduced_A)]
        total = sum(sizes)
        starts = np.cumsum([0, *sizes])
        shapes = ((n, n), (zero + nonneg, n + 1))
        P, rows = (
            _values(entries_of(reduced, total, shape), start, size)
            for reduced, shape, start, size in zip(
                (ctx.reduced_P, ctx.reduced_A), shapes, (starts[0], starts[2]),
                (sizes[0], sizes[2]), strict=True,
            )
        )  # fmt: skip
        index = np.arange(n)
        q = Entries(index, 0 * index, index, starts[1] + index, np.ones(n), (n, 1), total)
        maps = (ctx.reduced_P.reduced_mat, ctx.q[:-1], ctx.reduced_A.reduced_mat)
        fixed, fixed_sizes = _constants(maps, sizes)
        P, q, rows = (_with_constants(e, fixed, fixed_sizes) for e in (P, q, rows))
        self._program = Program.of(P, q, rows, n, zero, nonneg)
        self._owners = _owners(self._program, maps, starts, ctx)
        self._context = ctx

    def set_params(self, params: list[Any]) -> None:
        """Called before each solve, with the parameters as numpy arrays."""
        single = params and all(p.dtype == np.float32 for p in params)
        self._dtype = torch.float32 if single else torch.float64

    def solve_torch_batch(
        self,
        P: Tensor | None,
        q: Tensor,
        A: Tensor,
        dims: Any,
        solver_args: dict[str, Any],
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor, Any]:
        """Primal [B, n] and dual [B, rows] of a batch; the state is the graph of the solve."""
        assert self._program is not None
        settings = self.settings.updated("lpgd_native.cvxpy.solver", solver_args)
        leaves = [None if t is None else t.detach().requires_grad_(needs_grad) for t in (P, q, A)]
        with torch.set_grad_enabled(needs_grad):
            linear = None if leaves[1] is None else leaves[1][:, :-1]  # without the constant
            parts = [t for t in (leaves[0], linear, leaves[2]) if t is not None]
            values = torch.cat([t.to(q.dtype) for t in parts], -1)
            batched = [size > 0 for size in self._context.batch_sizes]
            made: dict[str, Tensor | None] = {}
            for name, part in self._program.parts.items():
                own = any(batched[i] for i in self._owners[name])
                made[name] = None if part is None else part(values if own else values[0])
            found = expanded(settings.solve(self._program.assemble(made)), (len(q),))
            x, rows = self._program.primal(found, made), self._program.duals(found, made)
        self.last = QPSolution(*(part.detach() for part in found))
        state = (leaves, x, rows) if needs_grad else None
        return x.detach().to(self._dtype), rows.detach().to(self._dtype), state

    def derivative_torch_batch(
        self, dprimal: Tensor, ddual: Tensor, saved_state: Any
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """The gradients of the values of P, q and the rows."""
        leaves, x, rows = saved_state
        wanted = [leaf for leaf in leaves if leaf is not None]
        gradients = list(
            torch.autograd.grad(
                (x, rows),
                wanted,
                (dprimal.to(x.dtype), ddual.to(x.dtype)),
                retain_graph=True,
                allow_unused=True,
            )
        )
        whole = [
            torch.zeros_like(leaf) if g is None else g
            for leaf, g in zip(wanted, gradients, strict=True)
        ]
        return (None, *whole) if leaves[0] is None else tuple(whole)  # type: ignore[return-value]


def _restored(state: dict[str, Any]) -> Any:
    made = object.__new__(_solver_class())
    made.__dict__.update(state)
    return made


def _count(reduced: Any) -> int:
    return 0 if reduced.reduced_mat is None else int(reduced.reduced_mat.shape[0])


def _values(entries: Entries, start: int, size: int) -> Entries:
    """The same positions, each of whose values is a parameter of its own."""
    index = np.arange(size)
    return replace(entries, entry=index, parameter=start + index, coef=np.ones(size))


def _constants(maps: tuple[Any, ...], sizes: list[int]) -> tuple[_Mask, _Array]:
    """Which values no parameter moves, and their sizes, for all maps one after another."""
    fixed, sizes_of = [np.zeros(0, bool)], [np.zeros(0)]
    for matrix, size in zip(maps, sizes, strict=True):
        if size:
            terms = matrix.tocoo()
            last = terms.col == matrix.shape[1] - 1
            moved = np.bincount(terms.row[~last], terms.data[~last] != 0, minlength=size) > 0
            fixed.append(~moved)
            values = np.zeros(size)
            np.add.at(values, terms.row[last], terms.data[last])
            sizes_of.append(values)
    return np.concatenate(fixed), np.concatenate(sizes_of)


def _with_constants(entries: Entries, fixed: _Mask, sizes: _Array) -> Entries:
    """Values that don't move as constants of the program, so that a batch shares them."""
    still = fixed[entries.parameter]
    return replace(
        entries,
        coef=np.where(still, entries.coef * sizes[entries.parameter], entries.coef),
        parameter=np.where(still, entries.parameters, entries.parameter),
    )


def _owners(
    program: Program, maps: tuple[Any, ...], starts: NDArray[np.int64], ctx: Any
) -> dict[str, tuple[int, ...]]:
    """The user's parameters that each block depends on."""
    order = np.argsort(ctx.user_order_to_col_order)  # of cvxpy's order: the user's number
    triangles = ctx.param_triu_indices or (None,) * len(ctx.parameters)
    lengths = [
        len(triangles[i][0]) if triangles[i] is not None else int(np.prod(ctx.parameters[i].shape))
        for i in order
    ]
    ends = np.cumsum(lengths)
    out: dict[str, tuple[int, ...]] = {}
    for name in PARTS:
        block = program.parts[name]
        users: set[int] = set()
        for part, matrix in enumerate(maps):
            if block is None or matrix is None:
                continue
            stop = starts[part + 1] if part + 1 < len(starts) else np.inf
            inside = block.column[(block.column >= starts[part]) & (block.column < stop)]
            columns = np.unique(matrix.tocsr()[inside - starts[part]][:, :-1].tocoo().col)
            slots = np.searchsorted(ends, columns, side="right")
            users |= {int(order[slot]) for slot in np.unique(slots)}
        out[name] = tuple(sorted(users))
    return out
