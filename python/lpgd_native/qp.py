"""Batched differentiable quadratic and linear programs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lpgd_native._batching import flatten_batch
from lpgd_native._pdhg import SparseSolution, is_sparse, solve_pdhg
from lpgd_native._qp_autograd import solve
from lpgd_native._qp_checks import DATA_RANKS, check_settings, check_shapes
from lpgd_native._qp_methods import METHODS, Options
from lpgd_native.gradients import LPGD, GradientStrategy, Implicit
from lpgd_native.status import raise_on_failure

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
    """[...] int32, interior-point iterations"""
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
    lb: Tensor | None = None,
    ub: Tensor | None = None,
    *,
    gradient: GradientStrategy | None = None,
    eps: float | None = None,
    max_iter: int | None = None,
    throw: bool = False,
    method: str = "auto",
) -> QPSolution:
    """argmin_x 1/2 x'Px + q'x  subject to  G x <= h,  A x = b,  lb <= x <= ub, for a batch.

    Every argument is batched or shared: leading dimensions broadcast, and shared data is not copied
    per item (its gradient is the sum over the batch). Any block may be None.

    Args:
        P: [..., n, n] positive semidefinite; only its symmetric part (P + P') / 2 is used.
            None: an LP.
        q: [..., n]
        G, h: [..., m, n] and [..., m]; an infinite entry of h switches its row off.
        A, b: [..., p, n] and [..., p]; redundant rows are fine.
        lb, ub: [..., n]; infinite entries are no bounds, lb = ub fixes a variable. Sizes from 1e20
            on (float32: 1e9) count as infinite, in h too.
        gradient: how to differentiate, ``Implicit()`` or ``LPGD(...)``. None: ``Implicit()`` with
            P; without, where the derivative is zero, ``LPGD(tau=1.0, relative=True)``.
        eps: tolerance on the KKT residuals and the gap, relative to the size of their terms (plus
            1). Default 1e-9 in float64, 1e-4 in float32. Where the active set is clear, a final
            solve on it makes the solution exact to rounding.
        max_iter: interior-point iterations, default 60 (10 to 20 are usual).
        method: the solver. ``"ipm"``: the interior point below. ``"pdhg"``: a first-order method
            for sparse P, G, A, on the CPU (torch.sparse_csr: [m, n], or [..., m, n] with one
            pattern). Its defaults are eps 1e-6 (float32: 1e-4), max_iter 100 000 and
            ``LPGD(tau=1.0, relative=True)``; gradients are LPGD's alone, of P, G, A on the
            pattern. ``"auto"``: ``"pdhg"`` where a matrix is sparse, else ``"ipm"``.
        throw: raise a SolverError that lists the items whose status is not OK (synchronises a GPU).

    Returns:
        QPSolution. A failed item has its reason in ``status`` and never touches its neighbours;
        its x is the best point found, or zero where there is none. Its gradient is zero, save with
        ``max_iterations``, where it is that of the point returned.

    Raises:
        TypeError: an argument that is not a tensor, a dtype other than float32 and float64, mixed
            dtypes (under autocast, half precision is computed in float32).
        ValueError: shapes that don't fit, mixed devices, eps or max_iter out of range.

    Derivatives: with respect to all eight arguments, for losses of x and of the multipliers; the
    gradient of P is symmetric. Conventions at kinks are those of the strategy. Forward mode and
    vmap work; a second derivative raises.

    Method: Mehrotra's predictor-corrector interior point, bounds as diagonals, static
    regularisation with iterative refinement, then active-set iterations from its result.
    """
    return _solve("solve_qp", P, q, G, h, A, b, lb, ub, gradient, eps, max_iter, throw, method)


def solve_lp(
    c: Tensor,
    G: Tensor | None = None,
    h: Tensor | None = None,
    A: Tensor | None = None,
    b: Tensor | None = None,
    lb: Tensor | None = None,
    ub: Tensor | None = None,
    *,
    gradient: GradientStrategy | None = None,
    eps: float | None = None,
    max_iter: int | None = None,
    throw: bool = False,
    method: str = "auto",
) -> QPSolution:
    """argmin_x c'x  subject to  G x <= h,  A x = b,  lb <= x <= ub, for a batch.

    The derivative of an LP's solution with respect to c is zero wherever it exists, so the default
    gradient is ``LPGD(tau=1.0, relative=True)``: the costs of each item are moved by a unit step
    along the loss gradient, both ways. Where the minimiser is not unique, the point returned is one
    of them, inside their set rather than at a vertex. All else as in `solve_qp`.
    """
    return _solve("solve_lp", None, c, G, h, A, b, lb, ub, gradient, eps, max_iter, throw, method)


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
    throw: bool,
    method: str,
) -> QPSolution:
    names = ("P", "c" if name == "solve_lp" else "q", "G", "h", "A", "b", "lb", "ub")
    given = _under_autocast((P, q, G, h, A, b, lb, ub))
    if method == "pdhg" or (method == "auto" and any(map(is_sparse, given))):
        found: SparseSolution = solve_pdhg(name, given, gradient, eps, max_iter)
        if throw:
            raise_on_failure(name, found.status)
        return QPSolution(*found.point, found.status, found.iterations, *found.residuals)
    _check_tensors(name, names, given)
    data, batch = check_shapes(name, names, given)
    check_settings(name, eps, max_iter)
    if gradient is None:
        gradient = Implicit() if P is not None else _LP_GRADIENT
    elif not isinstance(gradient, (Implicit, LPGD)):
        raise TypeError(f"{name}: gradient must be Implicit() or LPGD(...), got {gradient!r}")
    if method == "auto":
        method = "ipm"
    solver = METHODS.get(method)
    if solver is None:
        raise ValueError(f"{name}: method must be one of {_listed_methods()}, got {method!r}")
    if solver.check is not None:
        solver.check(name, data)
    q = data[1]
    eps = DEFAULT_EPS[q.dtype] if eps is None else float(eps)
    max_iter = solver.default_max_iter if max_iter is None else max_iter

    flat = tuple(
        None if t is None else flatten_batch(t, rank, batch)
        for t, rank in zip(data, DATA_RANKS, strict=True)
    )
    *point, status, iterations, residuals = solve(
        flat, Options(name, gradient, eps, max_iter, method)
    )
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
        raise_on_failure(name, facts[0])
    return QPSolution(x, y, z, z_lb, z_ub, *facts)


_Data = tuple[Tensor | None, ...]


def _listed_methods() -> str:
    return ", ".join(f'"{known}"' for known in ("auto", *METHODS, "pdhg"))


def _under_autocast(data: _Data) -> _Data:
    """Half precision up to float32, as autocast does for ops that need it."""
    if not any(isinstance(t, Tensor) and t.dtype in (torch.float16, torch.bfloat16) for t in data):
        return data
    device = next(t.device.type for t in data if isinstance(t, Tensor))
    if not torch.is_autocast_enabled(device):
        return data
    return tuple(
        t.float() if isinstance(t, Tensor) and t.dtype in (torch.float16, torch.bfloat16) else t
        for t in data
    )


def _check_tensors(name: str, names: tuple[str, ...], data: _Data) -> None:
    q = data[1]
    for arg, tensor in zip(names, data, strict=True):
        if tensor is None and arg != names[1]:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: {arg} must be a torch.Tensor, got {type(tensor).__name__}")
        if tensor.dtype not in DEFAULT_EPS:
            raise TypeError(f"{name}: {arg} must be float32 or float64, got {tensor.dtype}")
        if tensor.layout != torch.strided:
            raise TypeError(f"{name}: {arg} must be dense, got layout {tensor.layout}")
    assert q is not None
    for arg, tensor in zip(names, data, strict=True):
        if tensor is None:
            continue
        if tensor.dtype != q.dtype:
            raise TypeError(
                f"{name}: {arg} must have the dtype of {names[1]}, {q.dtype}, got {tensor.dtype}"
            )
        if tensor.device != q.device:
            raise ValueError(
                f"{name}: {arg} must be on the device of {names[1]}, {q.device}, "
                f"got {tensor.device}"
            )
