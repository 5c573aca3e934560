"""min_x <c, x> + mu sum_i x_i log x_i over A x = b, x >= 0: the dual problem by Newton's method."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["entropic_program"]

_STEPS = 60  # Newton steps a stage; a handful is usual
_STAGE = 0.25  # mu falls to the one asked for by this factor, each stage from the last one's end
_TOLERANCE = 1e-10
_HALVINGS = 30


def entropic_program(c: Tensor, A: Tensor, b: Tensor, mu: float) -> tuple[Tensor, Tensor]:
    """Solve for x [*batch, n], differentiable in c and b; and tell which are solved [*batch].

    With the multipliers y of A x = b, x = exp(-(c + A'y) / mu - 1), and y minimises the convex
    mu sum(x) + b'y. Where all entries of the only row are equal, x is a softmax.
    """
    dtype = c.dtype
    c, A, b = c.double(), A.double(), b.double()
    if A.shape[-2] == 1 and bool((A[..., :1] == A).all()) and bool((A[..., 0] != 0).all()):
        total = b / A[..., 0]
        x = total * torch.softmax(-c / mu, -1)
        ok = torch.isfinite(c).all(-1) & (total > 0).all(-1).expand(c.shape[:-1])
        return torch.where(ok.unsqueeze(-1), x, 0.0).to(dtype), ok
    with torch.no_grad():
        # an orthonormal basis of the rows: redundant ones would leave y open
        left, size, rows = torch.linalg.svd(A, full_matrices=False)
        used = size > 1e-12 * size.amax(-1, keepdim=True)
        inverse = torch.where(used, 1 / torch.where(used, size, 1.0), 0.0)
        rows = used.unsqueeze(-1) * rows
        idle = torch.diag_embed((~used).double())
    short = inverse * (left.mT @ b.unsqueeze(-1)).squeeze(-1)
    finite = torch.isfinite(c).all(-1, keepdim=True)
    c = torch.where(finite, c, 0.0)
    with torch.no_grad():
        y = _dual(c, rows, short, idle, mu)
    for _ in range(2):  # at the solution a Newton step has its derivative, two have the second one
        y = y + _newton(c, rows, short, idle, y, mu)
    x = _primal(c, rows, y, mu)
    with torch.no_grad():
        error = ((A @ x.unsqueeze(-1)).squeeze(-1) - b).abs() / (1 + b.abs())
        ok = (error <= 1e-7).all(-1) & finite.squeeze(-1)
    return torch.where(ok.unsqueeze(-1), x, 0.0).to(dtype), ok


def _primal(c: Tensor, rows: Tensor, y: Tensor, mu: float) -> Tensor:
    pulled: Tensor = (y.unsqueeze(-2) @ rows).squeeze(-2)
    x: Tensor = torch.exp(-(c + pulled) / mu - 1)
    return x


def _newton(c: Tensor, rows: Tensor, b: Tensor, idle: Tensor, y: Tensor, mu: float) -> Tensor:
    x = _primal(c, rows, y, mu)
    hessian = (rows * x.unsqueeze(-2)) @ rows.mT / mu
    # far from the solution x may vanish along a row
    scale = hessian.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=1e-300)[..., None, None]
    eye = torch.eye(rows.shape[-2], dtype=x.dtype, device=x.device)
    ridge = 1e-14 * scale * eye + idle * scale
    residual = (rows @ x.unsqueeze(-1)).squeeze(-1) - b
    step: Tensor = torch.linalg.solve_ex(hessian + ridge, residual.unsqueeze(-1))[0]
    return step.squeeze(-1)


def _dual(c: Tensor, rows: Tensor, b: Tensor, idle: Tensor, mu: float) -> Tensor:
    """y, by damped Newton steps at falling temperatures."""
    y = torch.zeros(torch.broadcast_shapes(c.shape[:-1], b.shape[:-1]) + b.shape[-1:]).to(c)  # type: ignore[no-untyped-call]
    warm = max(mu, float(c.abs().amax()) if c.numel() else mu)
    while True:
        last = warm == mu
        y = _stage(c, rows, b, idle, y, warm, _TOLERANCE if last else 1e-2)
        if last:
            return y
        warm = max(mu, _STAGE * warm)


def _stage(
    c: Tensor, rows: Tensor, b: Tensor, idle: Tensor, y: Tensor, mu: float, tolerance: float
) -> Tensor:
    def value(at: Tensor) -> Tensor:
        return mu * _primal(c, rows, at, mu).sum(-1) + (b * at).sum(-1)

    for _ in range(_STEPS):
        step = torch.nan_to_num(_newton(c, rows, b, idle, y, mu), 0.0, 0.0, 0.0)
        residual = (rows @ _primal(c, rows, y, mu).unsqueeze(-1)).squeeze(-1) - b
        left = (residual.abs() > tolerance * (1 + b.abs())).any(-1)
        if not bool(left.any()):
            break
        slope = -(residual * step).sum(-1)
        here = value(y)
        length = left.to(c)
        for _ in range(_HALVINGS):
            # near the end the decrease is lost in rounding
            allowed = here + 1e-4 * length * slope + 1e-13 * here.abs()
            short = value(y + length.unsqueeze(-1) * step) > allowed
            short = short & left & (length > 0)
            if not bool(short.any()):
                break
            length = torch.where(short, 0.5 * length, length)
        y = y + length.unsqueeze(-1) * step
    return y
