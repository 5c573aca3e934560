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


def _newton(
    P: Tensor, C: Tensor, A: Tensor, theta: Tensor, right: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dy, dz) of [P A' C'; A 0 0; C 0 -diag(theta)], by least squares where it is singular."""
    n, p, m = P.shape[0], A.shape[0], C.shape[0]
    K = P.new_zeros(n + p + m, n + p + m)
    K[:n, :n], K[:n, n : n + p], K[:n, n + p :] = P, A.T, C.T
    K[n : n + p, :n], K[n + p :, :n], K[n + p :, n + p :] = A, C, -torch.diag(theta)
    # theta reaches 1e12 on inactive rows: scaled, so that the rank is judged on equal terms
    scale = torch.cat([K.new_ones(n + p), (1 + theta).rsqrt()])
    scaled = torch.linalg.lstsq(
        scale[:, None] * K * scale, (scale * torch.cat(right))[:, None], driver="gelsd"
    )
    delta: Tensor = scale * scaled.solution[:, 0]
    return delta[:n], delta[n : n + p], delta[n + p :]


def _to_boundary(v: Tensor, dv: Tensor) -> float:
    blocking = dv < 0
    return min(1.0, float((-v / dv)[blocking].min())) if bool(blocking.any()) else 1.0


def solve_qp(
    P: Tensor, q: Tensor, C: Tensor, d: Tensor, A: Tensor, b: Tensor, iterations: int = 60
) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, z of  min 1/2 x'Px + q'x  s.t.  C x <= d, A x = b  (Nocedal & Wright, alg. 16.4)."""
    x, y, s, z = torch.zeros_like(q), torch.zeros_like(b), torch.ones_like(d), torch.ones_like(d)
    for _ in range(iterations):
        r_x, r_y, r_s = -(P @ x + q + A.T @ y + C.T @ z), b - A @ x, d - C @ x - s
        if float(torch.cat([r_x, r_y, r_s, s * z]).abs().max()) < 1e-12:
            break
        centre = s * z
        dx, dy, dz = _newton(P, C, A, s / z, (r_x, r_y, r_s + centre / z))
        ds = -(centre + s * dz) / z
        alpha = min(_to_boundary(s, ds), _to_boundary(z, dz))
        mu, after = (s * z).sum(), ((s + alpha * ds) * (z + alpha * dz)).sum()
        sigma = (after / mu) ** 3 if len(d) else mu
        centre = s * z + ds * dz - sigma * mu / max(len(d), 1)
        dx, dy, dz = _newton(P, C, A, s / z, (r_x, r_y, r_s + centre / z))
        ds = -(centre + s * dz) / z
        alpha = min(1.0, 0.995 * min(_to_boundary(s, ds), _to_boundary(z, dz)))
        x, y, z, s = x + alpha * dx, y + alpha * dy, z + alpha * dz, s + alpha * ds
    return x, y, z


def implicit_qp(
    P: Tensor, C: Tensor, A: Tensor, active: Tensor, g_x: Tensor, g_y: Tensor, g_z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """d_x, d_y, d_z of the active rows' KKT system.

    P d_x + A'd_y + C_a'd_z = -g_x, A d_x = -g_y, C_a d_x = -g_z; d_z = 0 for inactive rows.
    """
    rows = C[active]
    d_z = torch.zeros_like(g_z)
    d_x, d_y, d_z[active] = _newton(
        P, rows, A, rows.new_zeros(rows.shape[0]), (-g_x, -g_y, -g_z[active])
    )
    return d_x, d_y, d_z


def resolve_qp(
    problem: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
    x: Tensor,
    g: tuple[Tensor, Tensor, Tensor],
    shift: float,
    rho: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The perturbed solution of LPGD, at q + shift g_x, d - shift g_z, b - shift g_y.

    With the proximal term rho / 2 ||x' - x||^2; shift is +tau (lower) or -tau (upper).
    """
    P, q, C, d, A, b = problem
    eye = torch.eye(q.shape[0], dtype=q.dtype)
    return solve_qp(
        P + rho * eye, q + shift * g[0] - rho * x, C, d - shift * g[2], A, b - shift * g[1]
    )


def outer_sum(a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
    """[batch, rows, cols] a1 b1' + a2 b2'."""
    return a1[:, :, None] * b1[:, None, :] + a2[:, :, None] * b2[:, None, :]
