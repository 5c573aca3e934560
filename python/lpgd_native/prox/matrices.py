"""Matrices: eigenvalues and singular values, affine sets.

The decompositions are torch.linalg's; the derivatives are exact and stay finite where eigenvalues
or singular values meet: divided differences of the scalar prox, not derivatives of the vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpgd_native._prox_checks import (
    check_input,
    compute_dtype,
    parameter,
    result_dtype,
)

__all__ = [
    "AffineSet",
    "project_affine",
    "project_psd",
    "project_spectral_ball",
    "prox_nuclear",
]


def _matrix(name: str, x: Any, *, square: bool = False) -> Tensor:
    matrix = check_input(name, x)
    if matrix.dim() < 2 or (square and matrix.shape[-1] != matrix.shape[-2]):
        shape = "[..., n, n]" if square else "[..., m, n]"
        raise ValueError(f"{name}: x must be {shape}, got {list(matrix.shape)}")
    return matrix


def _divided(f: Callable[[Tensor], Tensor], slope: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(f(a_i) - f(b_j)) / (a_i - b_j), and the slope at a_i where the two are close."""
    rise = f(a).unsqueeze(-1) - f(b).unsqueeze(-2)
    run = a.unsqueeze(-1) - b.unsqueeze(-2)
    scale = a.abs().amax(-1, keepdim=True).unsqueeze(-1) if a.shape[-1] else run
    close = run.abs() <= 1e3 * torch.finfo(a.dtype).eps * scale
    mean = slope.unsqueeze(-1)
    out: Tensor = torch.where(close, mean, rise / torch.where(close, 1, run))
    return out


def _finite(x: Tensor) -> tuple[Tensor, Tensor]:
    """Items that are not finite zeroed, since LAPACK stops at them; nan for these, else 0."""
    good = x.isfinite().all(-1).all(-1)[..., None, None]
    broken: Tensor = torch.where(good, 0.0, torch.nan).to(x.dtype)
    return torch.where(good, x, 0), broken


class _Final(torch.autograd.Function):
    """A derivative whose own derivative raises: it is not silently wrong."""

    generate_vmap_rule = True

    @staticmethod
    def forward(compute: Callable[..., Any], name: str, *args: Tensor) -> Any:
        return compute(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.name = inputs[1]

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            f"{ctx.name}: the gradient can't be differentiated again (no double backward); "
            "detach it"
        )


def _final(compute: Callable[..., Any], name: str, *args: Tensor) -> Any:
    if torch.compiler.is_compiling():  # has no second derivative and says so itself
        return compute(*args)
    return _Final.apply(compute, name, *args)  # type: ignore[no-untyped-call]


class _Positive(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        finite, broken = _finite(x)
        values, vectors = torch.linalg.eigh((finite + finite.mT) / 2)
        out = (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT + broken
        return out, values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, values, vectors = output
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(values, vectors)
        ctx.save_for_backward(values, vectors)
        ctx.save_for_forward(values, vectors)

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> Tensor | None:
        if grad is None:
            return None
        values, vectors = ctx.saved_tensors
        out: Tensor = _final(_positive_slope, "project_psd", values, vectors, grad)
        return out


class _PositiveWithJvp(_Positive):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> tuple[Tensor, None, None]:
        values, vectors = ctx.saved_tensors
        return _positive_slope(values, vectors, tangent), None, None


def _positive_slope(values: Tensor, vectors: Tensor, direction: Tensor) -> Tensor:
    """The derivative, which is symmetric; 0 at a zero eigenvalue."""
    slope = (values > 0).to(values.dtype)
    weights = _divided(lambda v: v.clamp(min=0), slope, values, values)
    inner = vectors.mT @ ((direction + direction.mT) / 2) @ vectors
    return vectors @ (weights * inner) @ vectors.mT


def project_psd(x: Tensor) -> Tensor:
    """argmin_p ||p - x||_F over symmetric positive semidefinite p; x: [..., n, n].

    The symmetric part counts, its negative eigenvalues become 0. At a zero eigenvalue the
    derivative is that of a negative one. O(n^3), by torch.linalg.eigh.
    """
    x = _matrix("project_psd", x, square=True)
    wide = x.to(compute_dtype(x))
    function = _Positive if torch.compiler.is_compiling() else _PositiveWithJvp
    out: Tensor = function.apply(wide)[0]  # type: ignore[no-untyped-call]
    return out.to(result_dtype(x))


class _Singular(torch.autograd.Function):
    """U f(s) V' with f = soft thresholding at t (Clip: clipping at t)."""

    @staticmethod
    def forward(x: Tensor, t: Tensor, clip: bool) -> tuple[Tensor, ...]:
        finite, broken = _finite(x)
        u, s, vh = torch.linalg.svd(finite, full_matrices=False)
        f = torch.minimum(s, t) if clip else (s - t).clamp(min=0)
        broken = torch.where(t.unsqueeze(-1) >= 0, broken, torch.nan)
        return (u * f.unsqueeze(-2)) @ vh + broken, u, s, vh

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, t, ctx.clip = inputs
        _, u, s, vh = output
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(u, s, vh)
        ctx.save_for_backward(u, s, vh, t)
        ctx.save_for_forward(u, s, vh, t)

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None
        u, s, vh, t = ctx.saved_tensors
        compute = _clipped_gradients if ctx.clip else _shrunk_gradients
        name = "project_spectral_ball" if ctx.clip else "prox_nuclear"
        g_x, g_t = _final(compute, name, u, s, vh, t, grad)
        return g_x, g_t, None


class _SingularWithJvp(_Singular):
    @staticmethod
    def jvp(ctx: Any, tangent: Any, t_tangent: Any, _: Any) -> tuple[Any, ...]:
        u, s, vh, t = ctx.saved_tensors
        out = u.new_zeros(()) * (u @ vh)
        if tangent is not None:
            out = out + _singular_slope(u, s, vh, t, ctx.clip, tangent)
        if t_tangent is not None:
            moved = torch.where(s > t, t_tangent if ctx.clip else -t_tangent, 0)
            out = out + (u * moved.unsqueeze(-2)) @ vh
        return out, None, None, None


def _shrunk_gradients(
    u: Tensor, s: Tensor, vh: Tensor, t: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    along = (u.mT @ grad @ vh.mT).diagonal(dim1=-2, dim2=-1)
    moved = torch.where(s > t, -along, 0)
    return _singular_slope(u, s, vh, t, False, grad), moved.sum(-1, keepdim=True)


def _clipped_gradients(
    u: Tensor, s: Tensor, vh: Tensor, t: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    along = (u.mT @ grad @ vh.mT).diagonal(dim1=-2, dim2=-1)
    moved = torch.where(s > t, along, 0)
    return _singular_slope(u, s, vh, t, True, grad), moved.sum(-1, keepdim=True)


def _singular_slope(
    u: Tensor, s: Tensor, vh: Tensor, t: Tensor, clip: bool, direction: Tensor
) -> Tensor:
    """The derivative (symmetric) of U f(s) V' for odd f: divided differences of f at s_i, +-s_j."""

    def f(v: Tensor) -> Tensor:
        return torch.maximum(torch.minimum(v, t), -t) if clip else v - f_clip(v)

    def f_clip(v: Tensor) -> Tensor:
        return torch.maximum(torch.minimum(v, t), -t)

    slope = ((s < t) if clip else (s > t)).to(s.dtype)
    minus = _divided(f, slope, s, s)
    plus = _divided(f, slope, s, -s)
    inner = u.mT @ direction @ vh.mT
    flipped = inner.mT
    core = (minus + plus) / 2 * inner + (minus - plus) / 2 * flipped
    out = u @ core @ vh
    # what of the direction is outside the span of U or of V: f(s) / s
    zero = s <= 1e3 * torch.finfo(s.dtype).eps * s.amax(-1, keepdim=True)
    ratio = torch.where(zero, slope, f(s) / torch.where(zero, 1, s))
    left = direction @ vh.mT - u @ inner
    right = u.mT @ direction - inner @ vh
    return out + (left * ratio.unsqueeze(-2)) @ vh + (u * ratio.unsqueeze(-2)) @ right


def _singular(name: str, x: Tensor, arg: str, value: float | Tensor, clip: bool) -> Tensor:
    x = _matrix(name, x)
    t = parameter(name, arg, value, x)
    if t.dim() > x.dim() - 2:
        raise ValueError(
            f"{name}: {arg} must broadcast against the batch {list(x.shape[:-2])}, "
            f"got {list(t.shape)}"
        )
    try:
        t = t.expand(x.shape[:-2]).unsqueeze(-1)
    except RuntimeError:
        raise ValueError(
            f"{name}: {arg} must broadcast against the batch {list(x.shape[:-2])}, "
            f"got {list(t.shape)}"
        ) from None
    wide = x.to(compute_dtype(x))
    function = _Singular if torch.compiler.is_compiling() else _SingularWithJvp
    out: Tensor = function.apply(wide, t, clip)[0]  # type: ignore[no-untyped-call]
    return out.to(result_dtype(x))


def prox_nuclear(x: Tensor, weight: float | Tensor) -> Tensor:
    """argmin_p 1/2 ||p - x||_F^2 + weight sum of the singular values of p; x: [..., m, n].

    weight: one a matrix, [...]. Singular values are soft-thresholded; at the kink the derivative
    is 0. By torch.linalg.svd.
    """
    return _singular("prox_nuclear", x, "weight", weight, False)


def project_spectral_ball(x: Tensor, radius: float | Tensor = 1.0) -> Tensor:
    """argmin_p ||p - x||_F over largest singular value of p <= radius; x: [..., m, n].

    radius: one a matrix, [...]. At the kink the derivative is that of a clipped singular value.
    """
    return _singular("project_spectral_ball", x, "radius", radius, True)


def _factor_of_rows(A: Tensor) -> Tensor:
    """Cholesky factor of A A', A [..., p, n]; nan for an item whose rows are dependent.

    A pivot over its row's square is the squared sine of the angle between the row and those before
    it. Below what rounding makes of a zero it says nothing: whether the factorisation fails then
    depends on the order of summation, so on the processor.
    """
    gram = A @ A.mT
    factor, info = torch.linalg.cholesky_ex(gram)
    with torch.no_grad():
        least = 10 * math.sqrt(A.shape[-1]) * torch.finfo(A.dtype).eps
        pivots = factor.diagonal(dim1=-2, dim2=-1).square()
        squares = gram.diagonal(dim1=-2, dim2=-1)
        full = (info == 0) & (pivots > least * squares).all(-1)
    return torch.where(full[..., None, None], factor, torch.nan)


class AffineSet(NamedTuple):
    """{p: A p = b} with A factored once: `project_affine` on it costs two products.

    Made by ``AffineSet.of(A)``, A [..., p, n] of full row rank; `factor` is the Cholesky factor of
    A A', nan where the rank is not full. Projections are differentiable in x and b, not in A.
    """

    A: Tensor
    factor: Tensor

    @staticmethod
    def of(A: Tensor) -> AffineSet:
        """Factor A A' (Cholesky)."""
        if not isinstance(A, Tensor) or A.dim() < 2 or not A.dtype.is_floating_point:
            raise ValueError("AffineSet: A must be a floating-point tensor [..., p, n]")
        A = A.detach()
        return AffineSet(A, _factor_of_rows(A))

    def project(self, x: Tensor, b: Tensor) -> Tensor:
        """argmin_p ||p - x|| over A p = b; x: [..., n], b: [..., p]."""
        residual = (self.A @ x.unsqueeze(-1)).squeeze(-1) - b
        dual = torch.cholesky_solve(residual.unsqueeze(-1), self.factor)
        return x - (self.A.mT @ dual).squeeze(-1)


def project_affine(x: Tensor, A: Tensor | AffineSet, b: Tensor) -> Tensor:
    """argmin_p ||p - x|| over A p = b; x: [..., n], A: [..., p, n] of full row rank, b: [..., p].

    A may be an `AffineSet`, whose factor is used again. As a tensor, A is differentiable too.
    Where A has not full row rank, to rounding, the item is nan.
    """
    x = check_input("project_affine", x)
    matrix = A.A if isinstance(A, AffineSet) else A
    if not isinstance(matrix, Tensor) or matrix.dim() < 2 or matrix.shape[-1] != x.shape[-1]:
        shape = list(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
        raise ValueError(
            f"project_affine: A must be [..., p, n] with n = {x.shape[-1]}, got {shape}"
        )
    if not isinstance(b, Tensor) or b.dim() < 1 or b.shape[-1] != matrix.shape[-2]:
        shape = list(b.shape) if isinstance(b, Tensor) else type(b).__name__
        raise ValueError(
            f"project_affine: b must be [..., p] with p = {matrix.shape[-2]}, got {shape}"
        )
    if isinstance(A, AffineSet):
        return A.project(x, b)
    return AffineSet(A, _factor_of_rows(A)).project(x, b)
