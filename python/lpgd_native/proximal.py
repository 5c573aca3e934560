"""Functions with a prox, as objects: what an algorithm, or an unrolled network, takes.

`f(x)` is the value, one a vector along the last dimension (`Nuclear`, `TotalVariation2D`: one a
matrix along the last two); `f.prox(x, step)` is argmin_p 1/2
||p - x||^2 + step f(p); `f.conjugate()` is the convex conjugate, whose prox is given by
Moreau's identity. Objects hold numbers or tensors, which may require gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lpgd_native import prox as _prox

__all__ = [
    "L0",
    "L1",
    "L2",
    "Box",
    "Composed",
    "Conjugate",
    "ElasticNet",
    "Function",
    "L1Ball",
    "L2Ball",
    "LInf",
    "Nonnegative",
    "Nuclear",
    "Perturbed",
    "Scaled",
    "Simplex",
    "SortedL1",
    "SquaredL2",
    "TotalVariation",
    "TotalVariation2D",
    "Translated",
    "Zero",
]

Number = float | Tensor


class Function:
    """A function with a prox: derive from it for your own.

    The algorithms and `nn.ProxBlock` call ``prox``, so a subclass needs that; ``__call__`` if
    anybody asks for values. Weights that are tensors may require gradients; for a module to train
    them, keep them as its parameters and make the object in its ``forward``.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), a number for every vector."""
        raise NotImplementedError

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """argmin_p 1/2 ||p - x||^2 + step f(p); step: a number or one a vector, [..., 1]."""
        raise NotImplementedError

    def conjugate(self) -> Function:
        """f*(y) = sup_x <x, y> - f(x), of a convex f."""
        return Conjugate(self)

    def translated(self, by: Tensor) -> Function:
        """The function x -> f(x - by)."""
        return Translated(self, by)

    def scaled(self, outer: Number = 1.0, inner: float = 1.0) -> Function:
        """The function x -> outer f(inner x), outer >= 0."""
        return Scaled(self, outer, inner)

    def perturbed(self, curvature: Number = 0.0, linear: Number = 0.0) -> Function:
        """The function x -> f(x) + curvature / 2 ||x||^2 + <linear, x>."""
        return Perturbed(self, curvature, linear)

    def composed(
        self, forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]
    ) -> Function:
        """The function x -> f(W x), for W with orthonormal rows: W W' = 1."""
        return Composed(self, forward, adjoint)


def _indicator(inside: Tensor, x: Tensor) -> Tensor:
    return torch.where(inside, 0.0, math.inf).to(x.dtype)


def _one_a_matrix(step: Number, x: Tensor) -> Number:
    """A step [..., 1, 1] of items with two dimensions as [...], as weights of matrices are."""
    if isinstance(step, Tensor) and step.dim() == x.dim() and step.shape[-2:] == (1, 1):
        return step[..., 0, 0]
    return step


def _slack(x: Tensor) -> float:
    return 100 * torch.finfo(x.dtype).eps


@dataclass(frozen=True, eq=False)
class Zero(Function):
    """0."""

    def __call__(self, x: Tensor) -> Tensor:
        """0."""
        return x.new_zeros(x.shape[:-1])

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The point itself."""
        return x


@dataclass(frozen=True, eq=False)
class L1(Function):
    """Sum of weight_i |x_i|; weight: a number or [..., n], >= 0."""

    weight: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """The weighted norm along the last dimension."""
        return (self.weight * x.abs()).sum(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """Soft thresholding."""
        return _prox.prox_l1(x, step * self.weight)


@dataclass(frozen=True, eq=False)
class L0(Function):
    """Sum of weight_i [x_i != 0]; weight: a number or [..., n], >= 0. Not convex."""

    weight: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """The weight of the support."""
        return (self.weight * (x != 0).to(x.dtype)).sum(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """Hard thresholding."""
        return _prox.prox_l0(x, step * self.weight)

    def conjugate(self) -> Function:
        """There is none to use: Moreau's identity asks for a convex function."""
        raise ValueError("L0: not convex, so Moreau's identity does not give its conjugate's prox")


@dataclass(frozen=True, eq=False)
class SquaredL2(Function):
    """weight / 2 ||x||^2; weight: a number or [..., n], >= 0."""

    weight: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """Half the weighted squares along the last dimension."""
        return (self.weight * x.square()).sum(-1) / 2

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """A scaling."""
        return _prox.prox_squared_l2(x, step * self.weight)


@dataclass(frozen=True, eq=False)
class ElasticNet(Function):
    """weight_l1 ||x||_1 + weight_l2 / 2 ||x||^2; weights: numbers or [..., n], >= 0."""

    weight_l1: Number
    weight_l2: Number

    def __call__(self, x: Tensor) -> Tensor:
        """Along the last dimension."""
        return (self.weight_l1 * x.abs() + self.weight_l2 / 2 * x.square()).sum(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """Soft thresholding, then a scaling."""
        return _prox.prox_elastic_net(x, step * self.weight_l1, step * self.weight_l2)


@dataclass(frozen=True, eq=False)
class L2(Function):
    """weight ||x||, along the last dimension; weight: a number or [..., 1]."""

    weight: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """The norm."""
        length: Tensor = x.norm(dim=-1, keepdim=True)
        return (self.weight * length).squeeze(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The vector shortened."""
        return _prox.prox_l2(x, step * self.weight)


@dataclass(frozen=True, eq=False)
class LInf(Function):
    """weight max |x_i|; weight: a number or [..., 1]."""

    weight: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """The norm."""
        return (self.weight * x.abs().amax(-1, keepdim=True)).squeeze(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The vector clipped."""
        return _prox.prox_linf(x, step * self.weight)


@dataclass(frozen=True, eq=False)
class TotalVariation(Function):
    """weight sum |x_{i+1} - x_i| along the last dimension; weight: also [..., n - 1]."""

    weight: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """The weighted variation."""
        return (self.weight * x.diff(dim=-1).abs()).sum(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """By the taut string."""
        return _prox.prox_total_variation(x, step * self.weight)


@dataclass(frozen=True, eq=False)
class SortedL1(Function):
    """Sum of weights_k |x|_(k), |x|_(1) the largest; weights [n], >= 0, not increasing."""

    weights: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The norm."""
        return (self.weights * x.abs().sort(-1, descending=True).values).sum(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """A sort and an isotonic fit."""
        return _prox.prox_sorted_l1(x, step * self.weights)


@dataclass(frozen=True, eq=False)
class Nuclear(Function):
    """weight times the sum of singular values of [..., m, n]; weight: a number or [...]."""

    weight: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """The norm, one a matrix."""
        out: Tensor = self.weight * torch.linalg.svdvals(x).sum(-1)
        return out

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """Soft thresholding of the singular values; step: a number or [..., 1, 1]."""
        return _prox.prox_nuclear(x, _one_a_matrix(step, x) * self.weight)


@dataclass(frozen=True, eq=False)
class TotalVariation2D(Function):
    """weight times the total variation of images [..., m, n]; weight: a number or [...].

    Args:
        weight: >= 0.
        isotropic: the sum of the lengths of the forward differences (default), else of their
            absolute values.
        eps, max_iter: of the iterations for the prox, see `prox_total_variation_2d`.
    """

    weight: Number = 1.0
    isotropic: bool = True
    eps: float | None = None
    max_iter: int = 2000

    def __call__(self, x: Tensor) -> Tensor:
        """The weighted variation, one an image."""
        pad = torch.nn.functional.pad
        down, right = pad(x.diff(dim=-2), (0, 0, 0, 1)), pad(x.diff(dim=-1), (0, 1))
        size = torch.hypot(down, right) if self.isotropic else down.abs() + right.abs()
        return self.weight * size.sum((-2, -1))

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """By the fast gradient method on the dual; step: a number or [..., 1, 1]."""
        weight = _one_a_matrix(step, x) * self.weight
        settings = {"isotropic": self.isotropic, "eps": self.eps, "max_iter": self.max_iter}
        return _prox.prox_total_variation_2d(x, weight, **settings)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Box(Function):
    """The indicator of lower <= x <= upper; bounds: numbers or [..., n], infinite for none."""

    lower: Number = -math.inf
    upper: Number = math.inf

    def __call__(self, x: Tensor) -> Tensor:
        """0 inside (to rounding), else inf."""
        slack = _slack(x) * (1 + x.abs())
        return _indicator(((x >= self.lower - slack) & (x <= self.upper + slack)).all(-1), x)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The projection."""
        return _prox.project_box(x, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class Nonnegative(Function):
    """The indicator of x >= 0."""

    def __call__(self, x: Tensor) -> Tensor:
        """0 inside, else inf."""
        return _indicator((x >= 0).all(-1), x)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The projection."""
        return _prox.project_nonnegative(x)


@dataclass(frozen=True, eq=False)
class Simplex(Function):
    """The indicator of x >= 0, sum x = radius; radius: a number or [..., 1]."""

    radius: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """0 inside (to rounding), else inf."""
        radius = torch.as_tensor(self.radius, dtype=x.dtype, device=x.device)
        off = (x.sum(-1, keepdim=True) - radius).abs() <= _slack(x) * (1 + radius.abs())
        return _indicator((x >= 0).all(-1) & off.all(-1), x)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The projection."""
        return _prox.project_simplex(x, self.radius)


@dataclass(frozen=True, eq=False)
class L1Ball(Function):
    """The indicator of ||x||_1 <= radius; radius: a number or [..., 1]."""

    radius: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """0 inside (to rounding), else inf."""
        inside = x.abs().sum(-1, keepdim=True) <= self.radius * (1 + _slack(x))
        return _indicator(inside.squeeze(-1), x)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The projection."""
        return _prox.project_l1_ball(x, self.radius)


@dataclass(frozen=True, eq=False)
class L2Ball(Function):
    """The indicator of ||x|| <= radius; radius: a number or [..., 1]."""

    radius: Number = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """0 inside (to rounding), else inf."""
        inside = x.norm(dim=-1, keepdim=True) <= self.radius * (1 + _slack(x))
        return _indicator(inside.squeeze(-1), x)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The projection."""
        return _prox.project_l2_ball(x, self.radius)


# --- combinators ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Conjugate(Function):
    """f*, by Moreau's identity: prox of step f* at x is x - step prox of f / step at x / step."""

    f: Function

    def __call__(self, x: Tensor) -> Tensor:
        """Not known in general."""
        raise NotImplementedError(f"the value of the conjugate of {self.f} is not known")

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """Moreau's identity; step > 0."""
        return x - step * self.f.prox(x / step, 1.0 / step)

    def conjugate(self) -> Function:
        """The function itself: a convex one is its own biconjugate."""
        return self.f


@dataclass(frozen=True, eq=False)
class Translated(Function):
    """x -> f(x - by), by [..., n]."""

    f: Function
    by: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The value at x - by."""
        return self.f(x - self.by)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The prox of f at x - by, moved."""
        return self.by + self.f.prox(x - self.by, step)


@dataclass(frozen=True, eq=False)
class Scaled(Function):
    """x -> outer f(inner x); outer: a number or [..., 1], >= 0; inner: a number, not 0."""

    f: Function
    outer: Number = 1.0
    inner: float = 1.0

    def __post_init__(self) -> None:
        if self.inner == 0:
            raise ValueError("Scaled: inner must not be 0")
        if not isinstance(self.outer, Tensor) and self.outer < 0:
            raise ValueError(f"Scaled: outer must not be negative, got {self.outer!r}")

    def __call__(self, x: Tensor) -> Tensor:
        """The value at inner x, times outer."""
        outer = (
            self.outer.squeeze(-1)
            if isinstance(self.outer, Tensor) and self.outer.dim()
            else self.outer
        )
        return outer * self.f(self.inner * x)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """Prox of step outer inner^2 f at inner x, divided by inner."""
        return self.f.prox(self.inner * x, step * self.outer * self.inner**2) / self.inner


@dataclass(frozen=True, eq=False)
class Perturbed(Function):
    """x -> f(x) + curvature / 2 ||x||^2 + <linear, x>; curvature: a number or [..., 1], >= 0."""

    f: Function
    curvature: Number = 0.0
    linear: Number = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """The sum of the three."""
        return self.f(x) + (self.curvature * x.square() / 2 + self.linear * x).sum(-1)

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """Prox of step / c f at (x - step linear) / c, c = 1 + step curvature."""
        c = 1.0 + step * self.curvature
        return self.f.prox((x - step * self.linear) / c, step / c)


@dataclass(frozen=True, eq=False)
class Composed(Function):
    """x -> f(W x), W with orthonormal rows (W W' = 1), given as functions W and W'."""

    f: Function
    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """f(W x)."""
        return self.f(self.forward(x))

    def prox(self, x: Tensor, step: Number = 1.0) -> Tensor:
        """The point moved by W'(prox of f at W x - W x)."""
        y = self.forward(x)
        return x + self.adjoint(self.f.prox(y, step) - y)
