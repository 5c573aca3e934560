"""The QP in plain torch: one problem at a time, all inequalities as rows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["implicit_qp", "outer_sum", "resolve_qp", "solve_qp", "stack_inequalities"]


def stack_inequalities(
    n: int, G: Tensor | None, h: Tensor | None, lb: Tensor | None, ub: Tensor | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """All inequalities as C x <= d: the rows of G, then -x <= -lb, then x <= ub."""
    eye = torch.eye(n, dtype=like.dtype)
    rows, right = [like.new_zeros(0, n)], [like.new_zeros(0)]
    for matrix, vector in (
        (G, h),
        (-eye if lb is not None else None, -lb if lb is not None else None),
        (eye if ub is not None else None, ub),
    ):
        if matrix is not None and vector is not None:
            rows.append(matrix)
            right.append(vector)
    return torch.cat(rows), torch.cat(right)


def solve_qp(
    P: Tensor, q: Tensor, C: Tensor, d: Tensor, A: Tensor, b: Tensor, iterations: int = 60
) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, z of  min 1/2 x'Px + q'x  s.t.  C x <= d, A x = b  (Nocedal & Wright, alg. 16.4)."""
    n, m, p = q.shape[0], d.shape[0], b.shape[0]
    x, y = torch.zeros_like(q), torch.zeros_like(b)
    s, z = torch.ones_like(d), torch.ones_like(d)
    for _ in range(iterations):
        r_x, r_y, r_s = P @ x + q + A.T @ y + C.T @ z, A @ x - b, C @ x + s - d
        mu = float(s @ z) / max(m, 1)
        K = q.new_zeros(n + p + m, n + p + m)
        K[:n, :n], K[:n, n : n + p], K[:n, n + p :] = P, A.T, C.T
        K[n : n + p, :n], K[n + p :, :n], K[n + p :, n + p :] = A, C, -torch.diag(s / z)

        def newton(
            centre: Tensor, K: Tensor = K, r: tuple[Tensor, ...] = (r_x, r_y, r_s)
        ) -> Tensor:
            right = -torch.cat([r[0], r[1], r[2] - centre / z])
            return torch.linalg.lstsq(K, right[:, None], driver="gelsd").solution[:, 0]

        def steps(
            centre: Tensor, delta: Tensor, z: Tensor = z
        ) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
            dx, dy, dz = delta[:n], delta[n : n + p], delta[n + p :]
            ds = -(centre + s * dz) / z
            limits = [
                float((-v / dv)[dv < 0].min()) for v, dv in ((s, ds), (z, dz)) if (dv < 0).any()
            ]
            return dx, dy, dz, ds, min([1.0, *limits])

        affine = s * z
        *_, dz, ds, alpha = steps(affine, newton(affine))
        after = float((s + alpha * ds) @ (z + alpha * dz)) / max(m, 1)
        sigma = (after / mu) ** 3 if m and mu > 0 else 0.0
        centre = s * z + ds * dz - sigma * mu
        dx, dy, dz, ds, alpha = steps(centre, newton(centre))
        alpha = min(1.0, 0.995 * alpha) if m else 1.0
        x, y, z, s = x + alpha * dx, y + alpha * dy, z + alpha * dz, s + alpha * ds
        if max(float(r.abs().max()) if r.numel() else 0.0 for r in (r_x, r_y, r_s)) + mu < 1e-13:
            break
    return x, y, z


def implicit_qp(
    P: Tensor,
    C: Tensor,
    A: Tensor,
    active: Tensor,
    g_x: Tensor,
    g_y: Tensor,
    g_z: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """d_x, d_y, d_z of the KKT system of the active rows: P d_x + A'd_y + C_a'd_z = -g_x, A d_x =
    -g_y, C_a d_x = -g_z."""
    n, p = P.shape[0], A.shape[0]
    rows = C[active]
    K = P.new_zeros(n + p + rows.shape[0], n + p + rows.shape[0])
    K[:n, :n], K[:n, n : n + p], K[:n, n + p :] = P, A.T, rows.T
    K[n : n + p, :n], K[n + p :, :n] = A, rows
    delta = torch.linalg.lstsq(K, -torch.cat([g_x, g_y, g_z[active]])[:, None], driver="gelsd")
    solution = delta.solution[:, 0]
    d_z = torch.zeros_like(g_z)
    d_z[active] = solution[n + p :]
    return solution[:n], solution[n : n + p], d_z


def resolve_qp(
    problem: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
    x: Tensor,
    g: tuple[Tensor, Tensor, Tensor],
    shift: float,
    rho: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The perturbed solution of LPGD: q + shift g_x, d - shift g_z, b - shift g_y, and the proximal
    term rho / 2 ||x' - x||^2; shift is +tau (lower) or -tau (upper)."""
    P, q, C, d, A, b = problem
    eye = torch.eye(q.shape[0], dtype=q.dtype)
    return solve_qp(
        P + rho * eye, q + shift * g[0] - rho * x, C, d - shift * g[2], A, b - shift * g[1]
    )


def outer_sum(a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
    """[batch, rows, cols] a1 b1' + a2 b2'."""
    return a1[:, :, None] * b1[:, None, :] + a2[:, :, None] * b2[:, None, :]
