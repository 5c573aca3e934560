"""From a cvxpy problem to the blocks of a QP, with cvxpy's own parametrised canonicalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpgd_native.cvxpy._program import Entries, Program, entries_of
from lpgd_native.cvxpy._require import require

__all__ = ["CANON_SOLVER", "Canonical", "Recovery", "canonicalise", "check_cones", "check_linear"]

# a solver of cvxpy's that takes a quadratic objective and keeps every bound as a row: what it
# canonicalises for is what our solver takes
CANON_SOLVER = "CLARABEL"
_CONES = {
    "soc": "a second-order cone",
    "exp": "an exponential cone",
    "psd": "a semidefinite cone",
    "p3d": "a power cone",
    "pnd": "a power cone",
}


@dataclass(frozen=True)
class Recovery:
    """How a variable is taken from the primal vector, or from the multipliers of the rows.

    Entry k of the variable, row by row, is entry ``index[k]``; -1 is a zero of its pattern.
    """

    dual: bool
    index: NDArray[np.int64]
    shape: tuple[int, ...]
    padded: bool = False  # there is a -1

    def take(self, source: Tensor) -> Tensor:
        """The variable [..., *shape] from the vector [..., entries] it is in."""
        index = torch.from_numpy(self.index).to(source.device)
        out = source.index_select(-1, index.clamp(min=0))
        if self.padded:
            out = torch.where(index >= 0, out, 0)
        return out.reshape((*source.shape[:-1], *self.shape))


@dataclass(frozen=True)
class Canonical:
    """A problem as a program, with where its parameters go and its variables come from."""

    program: Program
    parameter_shapes: tuple[tuple[int, ...], ...]
    recoveries: tuple[Recovery, ...]


def canonicalise(
    name: str, problem: Any, parameters: Sequence[Any], variables: Sequence[Any]
) -> Canonical:
    """Canonicalise once, for all values of the parameters.

    Raises:
        ValueError: a problem that is not DPP, whole numbers, complex numbers, a constraint or an
            objective that needs a cone (it is named), parameters or variables that are not those
            of the problem.
    """
    settings = require("cvxpy").settings
    scopes = require("cvxpy.utilities.scopes")
    check_linear(name, problem)
    _check_leaves(name, problem, parameters, variables)
    with scopes.quad_form_dpp_scope():
        if not problem.is_dpp(quad_form_dpp="qp"):
            raise ValueError(
                f"{name}: the problem must follow the rules of disciplined parametrised "
                "programming (problem.is_dpp()); a product of two parameters, for example, is to "
                "be a parameter of its own"
            )
        data, chain, _ = problem.get_problem_data(solver=CANON_SOLVER)
    form = data[settings.PARAM_PROB]
    check_cones(name, problem, data["dims"])
    sizes = [int(np.prod(p.shape)) for p in parameters]
    to_user = _parameter_columns(chain, form, parameters, sizes)
    total = sum(sizes)
    n, zero, nonneg = int(form.x.size), int(data["dims"].zero), int(data["dims"].nonneg)
    P = entries_of(form.reduced_P, total, (n, n))
    rows = entries_of(form.reduced_A, total, (zero + nonneg, n + 1))
    terms = form.q.tocoo()
    keep = (terms.data != 0) & (terms.row < n)  # the last row is the objective's constant
    q = Entries(
        np.arange(n),
        np.zeros(n, np.int64),
        terms.row[keep].astype(np.int64),
        terms.col[keep].astype(np.int64),
        terms.data[keep].astype(np.float64),
        (n, 1),
        total,
    )
    P, q, rows = (
        Entries(e.row, e.column, e.entry, to_user[e.parameter], e.coef, e.shape, total)
        for e in (P, q, rows)
    )
    return Canonical(
        Program.of(P, q, rows, n, zero, nonneg),
        tuple(tuple(p.shape) for p in parameters),
        tuple(_recovery(v, problem, chain, form) for v in variables),
    )


def check_linear(name: str, problem: Any) -> None:
    """No whole numbers, no complex ones."""
    for variable in problem.variables():
        if variable.attributes["integer"] or variable.attributes["boolean"]:
            kind = "boolean" if variable.attributes["boolean"] else "integer"
            raise ValueError(
                f"{name}: {variable.name()} is {kind}; layers of cvxpy problems are continuous. "
                "For a linear program with whole numbers see lpgd_native.solve_lp(integrality=...)"
            )
    for leaf in (*problem.variables(), *problem.parameters()):
        if leaf.is_complex():
            raise ValueError(f"{name}: {leaf.name()} is complex")


def check_cones(name: str, problem: Any, dims: Any) -> None:
    """Nothing but zero and nonnegative cones; what needs another one is named."""
    if not _others(dims):
        return
    cp = require("cvxpy")
    scopes = require("cvxpy.utilities.scopes")
    parts = [(str(c), cp.Problem(cp.Minimize(0), [c])) for c in problem.constraints]
    parts.append((f"the objective {problem.objective}", cp.Problem(problem.objective)))
    found = []
    for label, part in parts:
        with scopes.quad_form_dpp_scope():
            cones = _others(part.get_problem_data(solver=CANON_SOLVER)[0]["dims"])
        if cones:
            found.append(f"{label} (needs {' and '.join(_CONES[kind] for kind in cones)})")
    raise ValueError(
        f"{name}: only linear constraints and linear or convex quadratic objectives can be solved, "
        f"but this problem has {'; '.join(found) or 'cones'}"
    )


def _others(dims: Any) -> list[str]:
    return [kind for kind in _CONES if getattr(dims, kind, None)]


def _check_leaves(
    name: str, problem: Any, parameters: Sequence[Any], variables: Sequence[Any]
) -> None:
    wanted, given = {p.id: p for p in problem.parameters()}, {p.id for p in parameters}
    if set(wanted) != given or len(given) != len(parameters):
        listed = ", ".join(p.name() for p in wanted.values()) or "none"
        raise ValueError(
            f"{name}: parameters must be those of the problem, each once: {listed}; "
            f"got {', '.join(p.name() for p in parameters) or 'none'}"
        )
    known = {v.id for v in problem.variables()}
    known |= {v.id for c in problem.constraints for v in c.dual_variables}
    for variable in variables:
        if variable.id not in known:
            raise ValueError(
                f"{name}: variables must be variables of the problem or dual variables of its "
                f"constraints, got {variable.name()}"
            )


def _lowered(leaf: Any) -> NDArray[np.int64]:
    """The entries of a leaf, counted row by row from 0, in the order cvxpy keeps them."""
    lower_value = require("cvxpy.reductions.cvx_attr2constr").lower_value
    size = int(np.prod(leaf.shape))
    counted = np.arange(size).reshape(leaf.shape)
    return np.asarray(lower_value(leaf, counted), np.int64).flatten(order="F")


def _parameter_columns(
    chain: Any, form: Any, parameters: Sequence[Any], sizes: Sequence[int]
) -> NDArray[np.int64]:
    """For each column of cvxpy's maps, the entry in our vector: parameters one after another."""
    renamed = {k: v[0] for k, v in chain.compose_param_id_map().items()}
    out = np.full(form.q.shape[1], -1, np.int64)
    offsets = np.cumsum([0, *sizes])
    for parameter, offset in zip(parameters, offsets, strict=False):
        start = form.param_id_to_col[renamed.get(parameter.id, parameter.id)]
        entries = _lowered(parameter)
        out[start : start + entries.size] = offset + entries
    out[-1] = offsets[-1]  # the constant
    return out


def _recovery(variable: Any, problem: Any, chain: Any, form: Any) -> Recovery:
    shape = tuple(variable.shape)
    size = int(np.prod(shape))
    if variable.id in {v.id for v in problem.variables()}:
        renamed = {k: v[0] for k, v in chain.compose_var_id_map().items()}
        start = form.var_id_to_col[renamed.get(variable.id, variable.id)]
        entries = _lowered(variable)
        index = np.full(size, -1, np.int64)
        index[entries] = start + np.arange(entries.size)
        if any(variable.attributes[a] for a in ("symmetric", "PSD", "NSD", "hermitian")):
            square = index.reshape(shape)
            index = np.where(square >= 0, square, np.swapaxes(square, -1, -2)).flatten()
        return Recovery(False, index, shape, bool((index < 0).any()))
    constraint = next(c for c in problem.constraints if variable.id in
                      {v.id for v in c.dual_variables})  # fmt: skip
    start = _row_of(chain, form, constraint)
    order = np.arange(size).reshape(shape, order="F").flatten()  # rows are column by column
    return Recovery(True, start + order, shape)


def _row_of(chain: Any, form: Any, constraint: Any) -> int:
    """The first row of a constraint: equalities come first, in the order of cvxpy's map."""
    constraints = require("cvxpy.constraints")
    wanted = chain.compose_constr_id_map().get(constraint.id, constraint.id)
    row = 0
    for kind in (constraints.Zero, constraints.NonNeg):
        for candidate in form.constr_map.get(kind, []):
            if candidate.id == wanted:
                return row
            row += int(candidate.size)
    raise ValueError(f"the constraint {constraint} has no rows of its own in the canonical problem")
