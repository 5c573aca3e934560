"""Matrices by iterations: doubly stochastic matrices (Dykstra), images (dual fast gradient)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lpgd_native._prox_checks import compute_dtype, parameter, result_dtype
from lpgd_native._qp_checks import check_settings
from lpgd_native.prox.matrices import _final, _finite, _matrix
from lpgd_native.prox.projections import project_simplex
from lpgd_native.prox.separable import prox_l1

__all__ = ["project_birkhoff", "prox_total_variation_2d"]


@torch.library.custom_op("lpgd::project_birkhoff", mutates_args=())
def _dykstra(x: Tensor, max_iter: int, eps: float) -> tuple[Tensor, Tensor]:
    """The projection of [..., n, n], and 1 where its entries are positive."""
    finite, broken = _finite(x)
    p = half = finite.clone()
    rows, columns = torch.zeros_like(p), torch.zeros_like(p)
    for _ in range(max_iter):
        half = project_simplex(p + rows, dim=-1)
        rows = p + rows - half
        after = project_simplex(half + columns, dim=-2)
        columns = half + columns - after
        moved, p = torch.maximum((after - p).abs(), (after - half).abs()), after
        if bool((moved <= eps).all()):
            break
    # an entry that either set holds at 0 is 0 in the limit
    positive = torch.minimum(p, half) > 0
    return (p + broken).contiguous(), (positive + broken).contiguous()


@_dykstra.register_fake
def _(x: Tensor, max_iter: int, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@_dykstra.register_vmap
def _(info: Any, in_dims: Any, x: Tensor, max_iter: int, eps: float) -> tuple[Any, Any]:
    x = x.movedim(in_dims[0], 0).contiguous()
    return tuple(_dykstra(x, max_iter, eps)), (0, 0)


def _birkhoff_slope(positive: Tensor, direction: Tensor) -> Tensor:
    """The derivative, which is symmetric: the projection onto the matrices that are 0 where p is,
    with rows and columns that sum to 0. u and v, what rows and columns are lowered by, solve a
    Laplacian system, one block of which is eliminated.
    """
    broken = positive - positive
    s = positive.nan_to_num(0.0).double()
    g = s * direction
    row, column = s.sum(-1).clamp(min=1), s.sum(-2)
    left, right = g.sum(-1), g.sum(-2)
    over = s.mT / row.unsqueeze(-2)
    laplacian = torch.diag_embed(column) - over @ s
    rest = right - (over @ left.unsqueeze(-1)).squeeze(-1)
    inverse = torch.linalg.pinv(laplacian, rtol=1e-10, hermitian=True)
    v = (inverse @ rest.unsqueeze(-1)).squeeze(-1)
    u = (left - (s @ v.unsqueeze(-1)).squeeze(-1)) / row
    out: Tensor = s * (g - u.unsqueeze(-1) - v.unsqueeze(-2))
    return out.to(direction.dtype) + broken


class _Birkhoff(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, max_iter: int, eps: float) -> tuple[Tensor, Tensor]:
        out, positive = torch.ops.lpgd.project_birkhoff(x, max_iter, eps)
        return out, positive

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None
        (positive,) = ctx.saved_tensors
        return _final(_birkhoff_slope, "project_birkhoff", positive, grad), None, None


class _BirkhoffWithJvp(_Birkhoff):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None]:
        (positive,) = ctx.saved_tensors
        return _birkhoff_slope(positive, tangent), None


def project_birkhoff(x: Tensor, *, eps: float | None = None, max_iter: int = 500) -> Tensor:
    """argmin_p ||p - x||_F over p >= 0 with rows and columns that sum to 1; x: [..., n, n].

    By Dykstra's algorithm, which alternates between simplex projections of the rows and of the
    columns and converges to the projection (Sinkhorn's scaling would give an entropic one). It
    stops when no entry of any matrix moves by more than `eps` (default 1e-9, float32 1e-5), or
    after `max_iter` rounds. The derivative is that of the projection, not of the rounds: on the
    face of the polytope that p lies in, so entries that are 0 stay 0. It costs an eigenvalue
    decomposition of size n.
    """
    x = _matrix("project_birkhoff", x, square=True)
    check_settings("project_birkhoff", eps, max_iter)
    wide = x.to(compute_dtype(x)).contiguous()
    stop = eps if eps is not None else 1e-9 if wide.dtype == torch.float64 else 1e-5
    function = _Birkhoff if torch.compiler.is_compiling() else _BirkhoffWithJvp
    out: Tensor = function.apply(wide, max_iter, stop)[0]  # type: ignore[no-untyped-call]
    return out.to(result_dtype(x))


def _quiet(moved: Tensor, gap: Tensor, stop: float) -> bool:
    """Whether no entry moved; asked for where no transform is looking on."""
    if torch._C._functorch.is_functorch_wrapped_tensor(moved):
        return False
    return bool((torch.maximum(moved, gap).nan_to_num(0.0) <= stop).all())


def prox_total_variation_2d(
    x: Tensor,
    weight: float | Tensor,
    *,
    isotropic: bool = True,
    eps: float | None = None,
    max_iter: int = 2000,
) -> Tensor:
    """argmin_p 1/2 ||p - x||_F^2 + weight TV(p) for images x: [..., m, n].

    TV: the sum of the lengths of the forward differences (isotropic), or of their absolute values.
    By the fast gradient method on the dual (Beck & Teboulle 2009),
    until the duality gap of every image is at most `eps` (default 1e-8, float32 1e-4) times
    the number of pixels, or for `max_iter` steps. weight: one an image, [...]. The derivative is
    that of the iterations, which are kept for it: as exact as they have converged. Inside
    torch.compile and torch.func's transforms all `max_iter` steps are made, since none can ask for
    the gap; give a smaller number there.
    """
    name = "prox_total_variation_2d"
    x = _matrix(name, x)
    check_settings(name, eps, max_iter)
    w = parameter(name, "weight", weight, x)
    if w.dim() > x.dim() - 2:
        raise ValueError(
            f"{name}: weight must broadcast against the batch {list(x.shape[:-2])}, "
            f"got {list(w.shape)}"
        )
    w = w[..., None, None]
    image = x.to(compute_dtype(x))
    stop = eps if eps is not None else 1e-8 if image.dtype == torch.float64 else 1e-4
    dual = momentum = image.new_zeros(*image.shape[:-2], 2, *image.shape[-2:])
    speed = 1.0
    for step in range(max_iter):
        p = image - _transposed(momentum)
        after = _dual_ball(momentum + _differences(p) / 8, w, isotropic)
        faster = (1 + (1 + 4 * speed * speed) ** 0.5) / 2
        momentum = after + (speed - 1) / faster * (after - dual)
        dual, speed = after, faster
        if step % 25 == 24 and not torch.compiler.is_compiling() and image.numel():
            d = _differences(image.detach() - _transposed(dual.detach()))
            size = d.norm(dim=-3) if isotropic else d.abs().sum(-3)
            gap = (w.detach() * size).sum((-2, -1)) - (dual.detach() * d).sum((-3, -2, -1))
            per_pixel = gap / (image.shape[-1] * image.shape[-2])
            if _quiet(per_pixel, per_pixel, stop):
                break
    return (image - _transposed(dual)).to(result_dtype(x))


def _differences(p: Tensor) -> Tensor:
    """[..., 2, m, n]: down and to the right, 0 past the edge."""
    pad = torch.nn.functional.pad
    return torch.stack([pad(p.diff(dim=-2), (0, 0, 0, 1)), pad(p.diff(dim=-1), (0, 1))], -3)


def _transposed(u: Tensor) -> Tensor:
    """The transpose of `_differences`."""
    pad = torch.nn.functional.pad
    down, right = u[..., 0, :-1, :], u[..., 1, :, :-1]
    return (
        pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1)) + pad(right, (1, 0)) - pad(right, (0, 1))
    )


def _dual_ball(u: Tensor, w: Tensor, isotropic: bool) -> Tensor:
    bound = w.unsqueeze(-3) if w.dim() > 2 else w
    if not isotropic:
        return u - prox_l1(u, bound.expand_as(u))
    length = u.square().sum(-3, keepdim=True).clamp(min=torch.finfo(u.dtype).tiny).sqrt()
    return u * (bound / torch.maximum(length, bound.clamp(min=torch.finfo(u.dtype).tiny)))
