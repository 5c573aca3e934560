"""Batched differentiable quadratic and linear programs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpgd_native import _qp_highs as _qp_highs  # adds itself to METHODS
from lpgd_native._batching import flatten_batch
from lpgd_native._pdhg import SparseSolution, is_sparse, solve_pdhg
from lpgd_native._qp_autograd import solve
from lpgd_native._qp_checks import DATA_RANKS, check_settings, check_shapes
from lpgd_native._qp_elastic import Enlarged, checked_penalty
from lpgd_native._qp_methods import METHODS, NO_POINT, Options
from lpgd_native._qp_tensors import (
    bound_of,
    check_tensors,
    checked,
    integral_of,
    known,
    under_autocast,
)
from lpgd_native._qp_warm_start import start_of
from lpgd_native._strategies.base import within_range
from lpgd_native._strategies.lpgd import program_strategy, with_batch
from lpgd_native._strategies.smoothed import smoothed_program
from lpgd_native.gradients import LPGD, GradientStrategy, Implicit, Smoothed
from lpgd_native.status import PROGRAM_ADVICE, raise_on_failure

__all__ = ["DEFAULT_EPS", "DEFAULT_MAX_ITER", "QPSolution", "solve_lp", "solve_qp"]

# what each number type can reach on well-scaled problems, with a margin
DEFAULT_EPS = {torch.float64: 1e-9, torch.float32: 1e-4}
DEFAULT_MAX_ITER = METHODS["ipm"].default_max_iter
_LP_GRADIENT = LPGD(tau=1.0, relative=True)


class QPSolution(NamedTuple):
    """Primal-dual solution of a batch. Only x, y, z, z_lb and z_ub carry gradients."""

    x: Tensor
    """[..., n] minimiser"""
    y: Tensor
    """[..., p] multipliers of A x = b"""
    z: Tensor
    """[..., m] multipliers of G x <= h, >= 0"""
    z_lb: Tensor
    """[..., n] multipliers of lb <= x, >= 0 (zero where there are no bounds)"""
    z_ub: Tensor
    """[..., n] multipliers of x <= ub, >= 0"""
    status: Tensor
    """[...] int32, see Status"""
    iterations: Tensor
    """[...] int32, of the method: interior-point, simplex (HiGHS) or first-order (PDHG) steps"""
    primal_residual: Tensor
    """[...] largest violation of a constraint (of a point that was not polished: an upper bound);
    infinite, as the next two, where there is no point"""
    dual_residual: Tensor
    """[...] largest entry of P x + q + A'y + G'z - z_lb + z_ub"""
    gap: Tensor
    """[...] |primal objective - dual objective|"""


def solve_qp(
    P: Tensor | None,
    q: Tensor,
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
    warm_start: QPSolution | None = None,
    throw: bool = False,
    method: str = "auto",
    elastic: bool = False,
    elastic_penalty: float | None = None,
) -> QPSolution:
    """argmin_x 1/2 x'Px + q'x  subject to  G x <= h,  A x = b,  lb <= x <= ub, for a batch.

    Every argument is batched or shared: leading dimensions broadcast, and shared data is not copied
    per item (its gradient is the sum over the batch). Any block may be None.

    Args:
        P: [..., n, n] positive semidefinite; only its symmetric part (P + P') / 2 is used.
            None: an LP.
        q: [..., n]
        G: [..., m, n]
        h: [..., m]; an infinite entry switches its row of G off.
        A: [..., p, n]; redundant rows are fine.
        b: [..., p]
        lb, ub: [..., n], or one number for all variables; infinite entries are no bounds, lb = ub
            fixes a variable. Sizes from 1e20 on (float32: 1e9) count as infinite, in h too.
        gradient: how to differentiate, ``Implicit()`` or ``LPGD(...)``. None: ``Implicit()`` with
            P; without, where the derivative is zero, ``LPGD(tau=1.0, relative=True)``. Also
            ``Blackbox(lam)``, which is ``LPGD(lam, envelope="lower")``, and ``Smoothed(mu)``,
            which adds ``mu / 2 ||x||^2`` to the problem solved. Other strategies: `OracleLayer`.
        eps: tolerance on the KKT residuals and the gap, relative to the size of their terms (plus
            1). Default 1e-9 in float64, 1e-4 in float32. Where the active set is clear, a final
            solve on it makes the solution exact to rounding.
        max_iter: interior-point iterations, default 100 (5 to 20 are usual; only what does not come
            to its end takes more).
        warm_start: a QPSolution of a problem close by (the last step of a sequence, the same
            instance one epoch ago), [...] or shared. Where its active set is, or is nearly, the one
            sought, a solve costs one or two factorisations; else the item is solved as without it.
            The answer is the same to the tolerance. No gradient flows into it. HiGHS takes no
            notice of it.
        method: the solver. ``"ipm"``: the interior point below. ``"highs"``: for LPs alone, see
            `solve_lp`. ``"pdhg"``: a first-order method for sparse P, G, A
            (torch.sparse_csr: [m, n], or [..., m, n] with one pattern). Its defaults are eps 1e-6
            (float32: 1e-4), max_iter 100 000 and ``LPGD(tau=1.0, relative=True)``; gradients are
            LPGD's alone, of P, G, A on the pattern. ``"auto"``: ``"pdhg"`` where a matrix is
            sparse, ``"highs"`` where integrality is given, else ``"ipm"``.
        throw: raise a SolverError that lists the items whose status is not OK (synchronises a GPU).
        elastic: solve the closest feasible problem instead, so that training goes on where data
            cannot be met: ``G x <= h + s``, ``A x = b + s+ - s-`` with slacks >= 0 that cost
            ``elastic_penalty`` each (an exact l1 penalty). Bounds stay hard: an item with lb > ub
            is still infeasible, and one unbounded on the relaxed constraints is dual infeasible.
            Where the constraints can be met and the penalty is above every |y| and z, the solution
            is the original one; multipliers never exceed the penalty. ``primal_residual`` is
            measured on the original constraints, so it tells by how much an item gave way;
            ``status`` is OK all the same. Derivatives are those of the problem with slacks (the
            penalty held fixed).
        elastic_penalty: default ``1e3 * max(1, |q|_inf)`` per item: multipliers grow with q, and
            a larger penalty costs digits. Only with elastic=True.

    Returns:
        QPSolution. A failed item has its reason in ``status`` and never touches its neighbours;
        its x is the best point found, or zero where there is none. Its gradient is zero, save with
        ``max_iterations``, where it is that of the point returned. What can't be solved comes with
        its proof: with ``primal_infeasible`` the multipliers are one, A'y + G'z - z_lb + z_ub = 0
        with b'y + h'z - lb'z_lb + ub'z_ub = -1 (zero where an infinite number is the reason), with
        ``dual_infeasible`` x is a ray, P x = 0, G x <= 0, A x = 0 and q'x = -1.

    Raises:
        TypeError: an argument that is not a tensor, a dtype other than float32 and float64, mixed
            dtypes (under autocast, half precision is computed in float32).
        ValueError: shapes that don't fit, mixed devices, eps or max_iter out of range.

    Derivatives: with respect to all eight arguments, for losses of x and of the multipliers; the
    gradient of P is symmetric. Conventions at kinks are those of the strategy. Forward mode and
    vmap work; a second derivative raises.

    Method: an interior-point predictor-corrector, bounds as diagonals, static regularisation with
    iterative refinement, then active-set iterations from its result.

    Source: Mehrotra, SIAM J. Optim. 1992; Hintermueller, Ito & Kunisch, SIAM J. Optim. 2002 (active
    set); Paulus, Martius & Musil, ICML 2024 (LPGD); Amos & Kolter, ICML 2017 (implicit).
    """
    if isinstance(gradient, Smoothed):
        P, gradient = smoothed_program("solve_qp", P, q, gradient, None)
    lb, ub = bound_of(lb, q), bound_of(ub, q)
    settings = (gradient, eps, max_iter, warm_start, throw, method)
    if elastic or elastic_penalty is not None:
        return _solve_elastic(
            "solve_qp", (P, q, G, h, A, b, lb, ub), settings, None, elastic, elastic_penalty
        )
    return _solve("solve_qp", P, q, G, h, A, b, lb, ub, *settings)


def solve_lp(
    c: Tensor,
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
    warm_start: QPSolution | None = None,
    throw: bool = False,
    method: str = "auto",
    integrality: Tensor | None = None,
    elastic: bool = False,
    elastic_penalty: float | None = None,
) -> QPSolution:
    """argmin_x c'x  subject to  G x <= h,  A x = b,  lb <= x <= ub, for a batch.

    The derivative of an LP's solution with respect to c is zero wherever it exists, so the default
    gradient is ``LPGD(tau=1.0, relative=True)``: the costs of each item are moved by a unit step
    along the loss gradient, both ways. Where the minimiser is not unique, the point returned is one
    of them, inside their set rather than at a vertex. All else as in `solve_qp`, and:

    Args:
        method: ``"highs"``: the simplex method of HiGHS (the extra ``highs``), an exact oracle. It
            gives a vertex and its multipliers; of several, which one may depend on the items
            before it. LPGD solves again from the basis of the solution, by the simplex method;
            with rho or rho_over_tau the perturbed problem is quadratic and the interior point
            solves it. Implicit() is that of the vertex. Computed in float64 on the CPU, on
            ``torch.get_num_threads()`` threads; max_iter counts simplex iterations, default no
            limit; eps below 1e-7 tightens HiGHS's own tolerances, down to 1e-10. torch.compile
            and vmap work.
        integrality: [n] bool, shared by the batch: these x_i are whole numbers (``"highs"``, branch
            and bound to optimality). There are no multipliers (zeros, no gradient), ``gap`` is what
            the bound left open, ``dual_residual`` is zero. LPGD moves whole solutions; only c has a
            gradient.

    Raises:
        ImportError: method="highs" without highspy.
        TypeError, ValueError: integrality that is not [n] bool, with another method, with
            Implicit() or with an argument beside c that requires a gradient.
    """
    P = None
    if isinstance(gradient, Smoothed):
        P, gradient = smoothed_program("solve_lp", P, c, gradient, integrality)
    lb, ub = bound_of(lb, c), bound_of(ub, c)
    settings = (gradient, eps, max_iter, warm_start, throw, method)
    if elastic or elastic_penalty is not None:
        return _solve_elastic(
            "solve_lp", (P, c, G, h, A, b, lb, ub), settings, integrality, elastic,
            elastic_penalty,
        )  # fmt: skip
    return _solve("solve_lp", P, c, G, h, A, b, lb, ub, *settings, integrality)


def _solve(
    name: str,
    P: Tensor | None,
    q: Tensor,
    G: Tensor | None,
    h: Tensor | None,
    A: Tensor | None,
    b: Tensor | None,
    lb: Tensor | None,
    ub: Tensor | None,
    gradient: GradientStrategy | None,
    eps: float | None,
    max_iter: int | None,
    warm_start: QPSolution | None,
    throw: bool,
    method: str,
    integrality: Tensor | None = None,
) -> QPSolution:
    names = ("P", "c" if name == "solve_lp" else "q", "G", "h", "A", "b", "lb", "ub")
    given: tuple[Tensor | None, ...] = (P, q, G, h, A, b, lb, ub)
    seen = known(name, given)
    if seen is None:
        given = under_autocast(given)
    gradient = program_strategy(name, gradient)
    sparse = method == "pdhg" or (method == "auto" and seen is None and any(map(is_sparse, given)))
    if sparse and integrality is None:
        found: SparseSolution = solve_pdhg(name, given, gradient, eps, max_iter, warm_start)
        if throw:
            raise_on_failure(name, found.status, PROGRAM_ADVICE)
        return QPSolution(*found.point, found.status, found.iterations, *found.residuals)
    data: tuple[Any, ...] = given
    if seen is None:
        data, batch = checked(name, names, given)
    else:
        batch = seen.batch
    check_settings(name, eps, max_iter)
    if gradient is None:
        gradient = Implicit() if P is not None else _LP_GRADIENT
    elif isinstance(gradient, LPGD):
        gradient = with_batch(name, gradient, batch, P is not None)
        within_range(name, gradient, data[1].dtype)
    integral: tuple[int, ...] = ()
    if integrality is not None:
        integral = integral_of(name, data, integrality, method, gradient)
    if method == "auto":
        method = "highs" if integral else "ipm"
    solver = METHODS.get(method)
    if solver is None:
        raise ValueError(f"{name}: method must be one of {_listed_methods()}, got {method!r}")
    if solver.check is not None:
        solver.check(name, data)
    q = data[1]
    eps = DEFAULT_EPS[q.dtype] if eps is None else float(eps)
    max_iter = solver.default_max_iter if max_iter is None else max_iter

    flat: tuple[Tensor | None, ...]
    if seen is not None and seen.flat:
        flat = tuple([None if t is None else t.contiguous() for t in data])
    else:
        flat = tuple(
            None if t is None else flatten_batch(t, rank, batch)
            for t, rank in zip(data, DATA_RANKS, strict=True)
        )
    start = NO_POINT if warm_start is None else start_of(name, warm_start, data, batch)
    options = Options(name, gradient, eps, max_iter, method, integral)
    *point, status, iterations, residuals = solve(flat, options, start)
    if integral:
        point[1:] = [part.detach() for part in point[1:]]  # no multipliers: zeros
    n = q.shape[-1]
    facts = (status, iterations, *residuals.unbind(-1))
    if len(batch) != 1:  # one leading dimension is what the ops give
        point = [part.reshape(*batch, part.shape[-1]) for part in point]
        facts = tuple(part.reshape(batch) for part in facts)
    x, y, z, z_lb, z_ub = point
    if lb is None or ub is None:
        zero = q.new_zeros(()).expand(*batch, n)
        z_lb = zero if lb is None else z_lb
        z_ub = zero if ub is None else z_ub
    if throw:
        raise_on_failure(name, facts[0], PROGRAM_ADVICE)
    return QPSolution(x, y, z, z_lb, z_ub, *facts)


def _solve_elastic(
    name: str,
    given: tuple[Tensor | None, ...],
    settings: tuple[
        GradientStrategy | None, float | None, int | None, QPSolution | None, bool, str
    ],
    integrality: Tensor | None,
    elastic: bool,
    elastic_penalty: float | None,
) -> QPSolution:
    """Solve the problem with slacks, as an ordinary one, and cut its solution."""
    checked_penalty(name, elastic, elastic_penalty)
    names = ("P", "c" if name == "solve_lp" else "q", "G", "h", "A", "b", "lb", "ub")
    given = under_autocast(given)
    check_tensors(name, names, given)
    data, _ = check_shapes(name, names, given)
    gradient, eps, max_iter, warm_start, throw, method = settings
    if gradient is None and data[0] is None:
        gradient = _LP_GRADIENT
    enlarged = Enlarged(data, elastic_penalty)
    if integrality is not None:
        integrality = enlarged.padded(name, integrality)
    if isinstance(warm_start, QPSolution):
        warm_start = enlarged.start(warm_start)
    others = (eps, max_iter, warm_start, throw, method, integrality)
    solution = _solve(name, *enlarged.data, gradient, *others)  # type: ignore[arg-type, call-arg]
    point, residual = enlarged.original(solution)
    return solution._replace(
        **dict(zip(("x", "y", "z", "z_lb", "z_ub"), point, strict=True)), primal_residual=residual
    )


def _listed_methods() -> str:
    return ", ".join(f'"{known}"' for known in ("auto", *METHODS, "pdhg"))
