"""An operator whose gradients are preconditioned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lpgd_native.operators.operator import Operator

__all__ = ["Preconditioned"]

KINDS = ("none", "norm", "gauss-newton")


class Preconditioned(Operator):
    """F as it is, with M J(x)' in the place of J(x)': for networks that are fed gradients.

    Where the gradients of an ill-posed problem are many orders smaller than x, as in EIT (1e-8
    beside 1 at a Gauss-Newton start), a network sees zeros. With J = J(at), made once:

    - "none": M = I
    - "norm": M = 1 / ||J||_2^2, so that x - gradient is a step of gradient descent that descends
    - "gauss-newton": M = (J'J + weight diag(J'J)^power)^-1, the step of `EIT.gauss_newton` from
      `at`

    M is symmetric and constant: derivatives through `vjp` and `gradient` are exact. `vjp` is no
    longer the adjoint of `jvp` (which is that of F), except with "none".

    Args:
        operator: with a method `jacobian`, as `EIT`; domain and range of one dimension
        kind: as above
        at: x of the Jacobian [T]; None: ones
        weight: of the regularisation in "gauss-newton"
        power: its power of diag(J'J)
    """

    matrix: Tensor | None
    scale: Tensor | None

    def __init__(
        self,
        operator: Any,
        kind: str = "norm",
        *,
        at: Tensor | None = None,
        weight: float = 1e-2,
        power: float = 0.25,
    ) -> None:
        if not isinstance(operator, Operator) or not hasattr(operator, "jacobian"):
            raise TypeError(
                "Preconditioned: operator must be an Operator with a jacobian, "
                f"got {type(operator).__name__}"
            )
        if kind not in KINDS:
            raise ValueError(f"Preconditioned: kind must be one of {KINDS}, got {kind!r}")
        if not 0 < weight < float("inf"):
            raise ValueError(f"Preconditioned: weight must be positive, got {weight}")
        super().__init__(operator.domain, operator.range)
        self.operator, self.kind = operator, kind
        self.register_buffer("matrix", None, persistent=False)
        self.register_buffer("scale", None, persistent=False)
        if kind == "none":
            return
        at = torch.ones(operator.domain, dtype=torch.float64) if at is None else at.double()
        differentiate: Any = operator.jacobian
        jacobian: Tensor = differentiate(self.check("at", at, self.domain))
        if kind == "norm":
            self.scale = torch.linalg.matrix_norm(jacobian, 2).pow(-2)
            return
        damping = weight * jacobian.square().sum(0) ** power
        if not bool((damping > 0).all()):
            where = int((~(damping > 0)).nonzero()[0])
            raise ValueError(f"Preconditioned: no output depends on x[{where}] at `at`")
        # by the Woodbury identity, as m is the smaller dimension
        scaled = jacobian / damping
        inner = scaled @ jacobian.mT + torch.eye(len(jacobian), dtype=jacobian.dtype)
        matrix = torch.diag(1 / damping) - scaled.mT @ torch.linalg.solve(inner, scaled)
        self.matrix = (matrix + matrix.mT) / 2

    def precondition(self, g: Tensor) -> Tensor:
        """M g for g [..., *domain]."""
        if self.scale is not None:
            return g * self.scale.to(g)
        return g if self.matrix is None else g @ self.matrix.to(g)

    def apply_operator(self, x: Tensor) -> Tensor:
        """F(x)."""
        y: Tensor = self.operator(x)
        return y

    def apply_jacobian(self, x: Tensor, dx: Tensor) -> Tensor:
        """J(x) dx."""
        moved: Tensor = self.operator.jvp(x, dx)
        return moved

    def apply_adjoint(self, x: Tensor, dy: Tensor) -> Tensor:
        """M J(x)' dy."""
        return self.precondition(self.operator.vjp(x, dy))

    def gradient(self, x: Tensor, y: Tensor, *, differentiable: bool = False) -> Tensor:
        """M J(x)' (F(x) - y)."""
        return self.precondition(self.operator.gradient(x, y, differentiable=differentiable))

    def extra_repr(self) -> str:
        """Shapes and settings."""
        return f"{super().extra_repr()}, kind={self.kind}"
