"""Answers by other means: Clarabel, HiGHS, and the optimality conditions themselves."""

from __future__ import annotations

import clarabel
import numpy as np
import scipy.sparse
import torch
from scipy.optimize import linprog
from torch import Tensor

from cases import Data, rows
from lpgd_native import reference
from lpgd_native.reference.qp import stack_inequalities


def objective(data: Data, x: Tensor) -> Tensor:
    value = (data.q * x).sum(-1)
    return value if data.P is None else value + 0.5 * (x * rows(data.P, x)).sum(-1)


def stacked(item: Data) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(P, q, C, d, A, b) of one problem: finite rows C x <= d, fixed variables as equalities."""
    n, q = item.q.shape[0], item.q
    P = q.new_zeros(n, n) if item.P is None else 0.5 * (item.P + item.P.T)
    C, d = stack_inequalities(n, item.G, item.h, item.lb, item.ub, q)
    A = q.new_zeros(0, n) if item.A is None else item.A
    b = q.new_zeros(0) if item.b is None else item.b
    keep = torch.isfinite(d)
    if item.lb is not None and item.ub is not None:
        fixed = item.lb == item.ub
        A = torch.cat([A, torch.eye(n, dtype=q.dtype)[fixed]])
        b = torch.cat([b, item.lb[fixed]])
        keep = keep & ~torch.cat([fixed.new_zeros(len(d) - 2 * n), fixed, fixed])
    return P, q, C[keep], d[keep], A, b


def clarabel_x(item: Data) -> Tensor:
    """Minimiser of one problem by Clarabel, at the tightest tolerance it reaches, 1e-10 or better.

    At 1e-10 x is off by up to 1e-5 where a row is barely active, since the objective is flat there;
    it goes to one point as the tolerances tighten.
    """
    P, q, C, d, A, b = (t.numpy() for t in stacked(item))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cones = [clarabel.ZeroConeT(len(b)), clarabel.NonnegativeConeT(len(d))]
    matrices = scipy.sparse.csc_matrix(np.triu(P)), scipy.sparse.csc_matrix(np.vstack([A, C]))
    for tolerance in (1e-13, 1e-12, 1e-11, 1e-10):
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
        solution = clarabel.DefaultSolver(
            matrices[0], q, matrices[1], np.concatenate([b, d]), cones, settings
        ).solve()
        if str(solution.status) == "Solved":
            return torch.tensor(solution.x, dtype=torch.float64)
    raise AssertionError(f"Clarabel: {solution.status}")


def highs_objective(item: Data) -> float:
    """Least value of one LP by HiGHS."""
    assert item.P is None

    def array(t: Tensor | None) -> np.ndarray | None:
        return None if t is None else t.numpy()

    n = item.q.shape[0]
    lb = np.full(n, -np.inf) if item.lb is None else item.lb.numpy()
    ub = np.full(n, np.inf) if item.ub is None else item.ub.numpy()
    result = linprog(
        item.q.numpy(),
        array(item.G),
        array(item.h),
        array(item.A),
        array(item.b),
        np.stack([lb, ub], 1),
        method="highs",
    )
    assert result.status == 0, result.message
    return float(result.fun)


def reference_x(item: Data) -> Tensor:
    return reference.solve_qp(*stacked(item))[0]


def kkt_violations(data: Data, solution) -> dict[str, Tensor]:
    """How far each condition is from holding, relative to 1 + the size of its terms, per item."""
    x, y, z, z_lb, z_ub = (t.detach() for t in solution[:5])
    terms = [data.q.expand_as(x), -z_lb, z_ub]
    if data.P is not None:
        terms.append(rows(0.5 * (data.P + data.P.mT), x))
    if data.A is not None:
        terms.append(rows(data.A.mT, y))
    if data.G is not None:
        terms.append(rows(data.G.mT, z))
    size = torch.stack([t.abs().amax(-1) for t in terms]).amax(0)
    out = {"stationary": sum(terms).abs().amax(-1) / (1 + size)}
    zero = x.new_zeros(x.shape[:-1])
    out["equality"] = out["feasible"] = out["sign"] = out["complementary"] = zero
    if data.A is not None and data.A.shape[-2]:
        error = (rows(data.A, x) - data.b).abs() / (1 + data.b.abs())
        out["equality"] = error.amax(-1)
    inequalities = [(z_lb, x, None if data.lb is None else -data.lb, -1.0)]
    inequalities.append((z_ub, x, data.ub, 1.0))
    if data.G is not None and data.G.shape[-2]:
        inequalities.append((z, rows(data.G, x), data.h, 1.0))
    for dual, value, bound, sign in inequalities:
        if bound is None:  # no such bounds: their multipliers are zero
            out["sign"] = torch.maximum(out["sign"], dual.abs().amax(-1))
            continue
        slack = bound - sign * value
        finite = torch.isfinite(slack)
        scale = torch.where(finite, 1 + bound.abs(), 1.0)
        violated = torch.where(finite, -slack / scale, 0.0).amax(-1).clamp(min=0)
        product = (dual * torch.where(finite, slack, 1.0)).abs() / (scale * (1 + dual.abs()))
        out["feasible"] = torch.maximum(out["feasible"], violated)
        out["sign"] = torch.maximum(out["sign"], -dual.amin(-1).clamp(max=0))
        out["complementary"] = torch.maximum(out["complementary"], product.amax(-1))
    return out
