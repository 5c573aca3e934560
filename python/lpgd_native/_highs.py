"""HiGHS on a batch of linear programs, as numpy arrays: no torch, no gradients."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpgd_native.status import Status

__all__ = ["Answer", "Program", "check_options", "load", "solve_programs"]

_Array = NDArray[np.float64]

# Items of a chunk start from the basis of the one before. Its size is a constant, so that which
# vertex is found among several does not depend on the number of threads.
_CHUNK = 16
_LEAST_TOLERANCE = 1e-10  # HiGHS takes no smaller one


@dataclass(frozen=True)
class Program:
    """min c'x, rows[0] <= M x <= rows[1], columns[0] <= x <= columns[1]; +-inf is no bound.

    `cost` is [B, n]; the others may lack the leading B, or have one that divides B: item k then
    takes entry k modulo that.
    """

    cost: _Array
    matrix: _Array
    row_lower: _Array
    row_upper: _Array
    col_lower: _Array
    col_upper: _Array
    integral: tuple[int, ...] = ()
    # integer programs whose costs alone differ: the solution of the item before is an incumbent
    incumbent: bool = False
    # of HiGHS, by name, beside those that are set here
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Answer:
    """Per item; multipliers as HiGHS has them: the derivative of the optimal value in the bound."""

    x: _Array
    row_dual: _Array
    col_dual: _Array
    status: NDArray[np.int32]
    iterations: NDArray[np.int32]
    gap: _Array  # of integer programs: objective less proved bound
    basis: NDArray[np.int8]  # [B, n + rows]; -1 where there is none


def load(name: str) -> Any:
    """The module highspy, or an ImportError that says how to get it."""
    try:
        import highspy
    except ImportError as error:
        raise ImportError(
            f"{name}: HiGHS is not there: pip install highspy (or 'lpgd-native[highs]')"
        ) from error
    return highspy


_idle: deque[Any] = deque()  # Highs objects between calls; append and pop are atomic
_pool: tuple[int, ThreadPoolExecutor] | None = None


def _forget() -> None:
    """After a fork there are no threads to serve the pool."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget)


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool
    if _pool is None or _pool[0] != threads:
        _pool = threads, ThreadPoolExecutor(threads, thread_name_prefix="lpgd-highs")
    return _pool[1]


def solve_programs(
    program: Program,
    eps: float,
    max_iter: int,
    threads: int,
    start: NDArray[np.int8] | None = None,
    warm_start: bool = True,
) -> Answer:
    """Solve every item; `start` [B, n + rows] are bases to start from. Never raises for an item.

    Without `warm_start` no item starts from what the one before it left.
    """
    batch, n = program.cost.shape
    rows = program.row_lower.shape[-1]
    answer = Answer(
        np.zeros((batch, n)),
        np.zeros((batch, rows)),
        np.zeros((batch, n)),
        np.zeros(batch, np.int32),
        np.zeros(batch, np.int32),
        np.zeros(batch),
        np.full((batch, n + rows), -1, np.int8),
    )
    answer.status[:] = _before_solving(program)
    chunks = [(k, min(k + _CHUNK, batch)) for k in range(0, batch, _CHUNK)]

    def work(chunk: tuple[int, int]) -> None:
        _solve_chunk(program, answer, chunk, eps, max_iter, start, warm_start)

    if threads > 1 and len(chunks) > 1:
        list(_executor(threads).map(work, chunks))
    else:
        for chunk in chunks:
            work(chunk)
    return answer


def _before_solving(program: Program) -> NDArray[np.int32]:
    """Status of the items whose data is not finite, or whose bounds no number meets."""
    p = program
    bounds = (p.row_lower, p.row_upper, p.col_lower, p.col_upper)
    nan = [~np.isfinite(p.cost).all(-1), ~np.isfinite(p.matrix).all((-1, -2))]
    nan += [np.isnan(bound).any(-1) for bound in bounds]
    wrong = [(p.row_lower > p.row_upper).any(-1), (p.col_lower > p.col_upper).any(-1)]
    wrong += [(bound == np.inf).any(-1) for bound in (p.row_lower, p.col_lower)]
    wrong += [(bound == -np.inf).any(-1) for bound in (p.row_upper, p.col_upper)]
    batch = len(p.cost)

    def any_of(flags: list[Any]) -> NDArray[np.bool_]:
        # a leading size that divides the batch is repeated, as items are numbered modulo it
        out: NDArray[np.bool_] = np.logical_or.reduce([np.resize(flag, batch) for flag in flags])
        return out

    status = np.where(any_of(wrong), int(Status.PRIMAL_INFEASIBLE), int(Status.OK))
    return np.where(any_of(nan), int(Status.NUMERICAL_ERROR), status).astype(np.int32)


def _silent(highspy: Any) -> Any:
    """A solver that prints nothing. The class Highs registers callbacks as it is made, which prints
    a banner before anyone can forbid it (seen in 1.16); its base is the same solver without them.
    """
    plain = highspy.Highs.__base__
    solver = plain() if hasattr(plain, "passModel") else highspy.Highs()
    solver.setOptionValue("output_flag", False)
    return solver


def _solver(highspy: Any, eps: float, max_iter: int, integral: bool) -> Any:
    try:
        solver = _idle.pop()
    except IndexError:
        solver = _silent(highspy)
        solver.setOptionValue("threads", 1)
        solver.setOptionValue("parallel", "off")
        solver.setOptionValue("solver", "simplex")
    # presolve leaves "infeasible or unbounded" open, and is no help to a warm start
    solver.setOptionValue("presolve", "choose" if integral else "off")
    tolerance = max(min(eps, 1e-7), _LEAST_TOLERANCE)
    solver.setOptionValue("primal_feasibility_tolerance", tolerance)
    solver.setOptionValue("dual_feasibility_tolerance", tolerance)
    solver.setOptionValue("simplex_iteration_limit", max_iter)
    solver.setOptionValue("mip_feasibility_tolerance", max(tolerance, 1e-9))
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", tolerance)
    return solver


def _solve_chunk(
    program: Program,
    answer: Answer,
    chunk: tuple[int, int],
    eps: float,
    max_iter: int,
    start: NDArray[np.int8] | None,
    warm_start: bool,
) -> None:
    highspy = load("solve_lp")
    solver = _solver(highspy, eps, max_iter, bool(program.integral))
    kept = [(name, solver.getOptionValue(name)[1]) for name, _ in program.options]
    for name, value in program.options:
        solver.setOptionValue(name, value)
    loaded = False
    for k in range(*chunk):
        if answer.status[k] != Status.OK:
            continue
        try:
            loaded = _solve_item(highspy, solver, program, answer, k, loaded, start) and warm_start
        except Exception:  # of this item alone: its status stays a numerical error
            answer.status[k] = Status.NUMERICAL_ERROR
            loaded = False
    for name, value in kept:
        solver.setOptionValue(name, value)
    solver.clearModel()
    _idle.append(solver)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what HiGHS does not know or take."""
    highspy = load(name)
    solver = _silent(highspy)
    for option, value in options.items():
        if solver.setOptionValue(option, value) != highspy.HighsStatus.kOk:
            raise ValueError(f"{name}: HiGHS has no option {option!r} of value {value!r}")


def _of(array: _Array, rank: int, k: int) -> _Array:
    return array if array.ndim == rank else array[k % array.shape[0]]


def _solve_item(
    highspy: Any,
    solver: Any,
    program: Program,
    answer: Answer,
    k: int,
    loaded: bool,
    start: NDArray[np.int8] | None,
) -> bool:
    """Solve item k; whether the next one may start from what the solver holds."""
    cost, matrix = program.cost[k], _of(program.matrix, 2, k)
    row_lower, row_upper = _of(program.row_lower, 1, k), _of(program.row_upper, 1, k)
    col_lower, col_upper = _of(program.col_lower, 1, k), _of(program.col_upper, 1, k)
    n, rows = len(cost), len(row_lower)
    if loaded:
        columns = np.arange(n, dtype=np.int32)
        solver.changeColsCost(n, columns, cost)
        if program.col_lower.ndim == 2 or program.col_upper.ndim == 2:
            solver.changeColsBounds(n, columns, col_lower, col_upper)
        if rows and (program.row_lower.ndim == 2 or program.row_upper.ndim == 2):
            solver.changeRowsBounds(rows, np.arange(rows, dtype=np.int32), row_lower, row_upper)
        if program.integral:
            before = k - 1
            while answer.status[before] != Status.OK:  # not solved, for want of usable data
                before -= 1
            known = highspy.HighsSolution()
            known.col_value = answer.x[before].tolist()
            solver.setSolution(known)
    else:
        mask = matrix != 0.0
        starts = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.int32)
        integrality = np.zeros(n, np.int32)
        integrality[list(program.integral)] = 1
        passed = solver.passModel(
            n, rows, int(starts[-1]), 2, 1, 0.0, cost, col_lower, col_upper, row_lower, row_upper,
            starts, np.nonzero(mask)[1].astype(np.int32), matrix[mask], integrality,
        )  # fmt: skip
        if passed == highspy.HighsStatus.kError:
            raise ValueError("HiGHS refuses the model")  # caught by the loop over the chunk
    if start is not None and start[k % len(start)][0] >= 0:
        names = _basis_names(highspy)
        codes = [names[code] for code in start[k % len(start)].tolist()]
        basis = highspy.HighsBasis()
        basis.col_status, basis.row_status, basis.valid = codes[:n], codes[n:], True
        solver.setBasis(basis)
    solver.run()
    return _read(highspy, solver, program, answer, k)


def _basis_names(highspy: Any) -> list[Any]:
    kinds = highspy.HighsBasisStatus
    return [kinds.kLower, kinds.kBasic, kinds.kUpper, kinds.kZero, kinds.kNonbasic]


def _read(highspy: Any, solver: Any, program: Program, answer: Answer, k: int) -> bool:
    kinds, code = highspy.HighsModelStatus, solver.getModelStatus()
    if code == kinds.kUnboundedOrInfeasible:
        # presolve could not tell which: without it, the answer is one of the two
        solver.setOptionValue("presolve", "off")
        solver.clearSolver()
        solver.run()
        code = solver.getModelStatus()
        solver.setOptionValue("presolve", "choose")
    n = program.cost.shape[1]
    status = {
        kinds.kOptimal: Status.OK,
        kinds.kModelEmpty: Status.OK,
        kinds.kInfeasible: Status.PRIMAL_INFEASIBLE,
        kinds.kUnbounded: Status.DUAL_INFEASIBLE,
        kinds.kIterationLimit: Status.MAX_ITERATIONS,
    }.get(code, Status.NUMERICAL_ERROR)
    info = solver.getInfo()
    answer.status[k] = status
    answer.iterations[k] = max(info.simplex_iteration_count, 0)
    solution = solver.getSolution() if status in (Status.OK, Status.MAX_ITERATIONS) else None
    if solution is not None and len(solution.col_value) == n:
        answer.x[k] = solution.col_value
        if program.integral:
            whole = list(program.integral)
            answer.x[k, whole] = np.round(answer.x[k, whole])  # off by less than the tolerance
            answer.gap[k] = abs(info.objective_function_value - info.mip_dual_bound)
        elif len(solution.col_dual) == n:
            answer.row_dual[k], answer.col_dual[k] = solution.row_dual, solution.col_dual
    if program.integral or status != Status.OK:
        solver.clearSolver()  # the neighbour must not see it
    elif program.matrix.size:
        basis = solver.getBasis()
        answer.basis[k] = [int(s) for s in (*basis.col_status, *basis.row_status)]
    if program.integral:
        bounds = (program.row_lower, program.row_upper, program.col_lower, program.col_upper)
        shared = program.matrix.ndim == 2 and all(bound.ndim == 1 for bound in bounds)
        return program.incumbent and shared and status == Status.OK
    return program.matrix.ndim == 2
