"""CombOptNet: constraints of integer programs, learned from solutions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from lpgd_native._strategies.base import OracleStrategy, choice, number
from lpgd_native._strategies.problem import Problem
from lpgd_native.status import Status

__all__ = ["CombOpt"]

_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-5}  # of feasibility, as solvers have it


@dataclass(frozen=True)
class CombOpt(OracleStrategy):
    """Gradients of the constraints G x <= h (and the costs) of an integer program, without duals.

    The step -g that the loss asks for is written as ``sum_k lambda_k d_k`` with lambda_k >= 0 and
    d_k in {-1, 0, 1}^n, the signs of -g at its k largest entries. Each neighbour x_k = x* + d_k
    inside the box lb <= x <= ub stands for a wish, and the gradient is that of
    ``sum_k lambda_k loss_k``, with distances ``d_j(x) = (h_j - G_j x) / ||G_j||`` to the rows::

        x_k feasible:    softmin_j d_j(x*)  +  max(<c, x_k - x*>, 0)    x* out, x_k cheaper
        x_k infeasible:  sum_j max(-d_j(x_k), 0)                        x_k in

    An item that is infeasible is treated as x* = 0 with the second line alone, so that learning
    gets out of it. Needs no further solve.

    The instance must name the constraints: ``layer(c, G=G, h=h)`` with an oracle that minimises
    <c, x> over G x <= h, lb <= x <= ub and whole x, as ``LPOracle(lb=..., ub=...,
    integrality=...)``. Fixed equalities A x = b are respected; a learned one is two inequalities.

    Args:
        tau: temperature of the softmin over the rows; 0: the nearest row alone. Default 0.5, in
            units of x, which is within the paper's range.
        basis: ``"sorted"`` (default), as above, or ``"canonical"``: one neighbour an axis, lambda
            = |g_i|.
        clip: drop the entries of -g that point out of the box. Default True.
        lb, ub: the box, numbers or tensors [n]. None: what the instance names so, or the oracle
            holds (`LPOracle`, or in a dictionary ``oracle.data``), else there is none.

    Raises:
        TypeError, ValueError: tau negative, an unknown basis, an oracle of costs that are not
            vectors.

    Source: Paulus, Rolinek, Musil, Amos & Martius, CombOptNet: Fit the Right NP-Hard Problem by
    Learning Integer Programming Constraints, ICML 2021, section 3. (Its code divides by n and the
    batch; here the loss does.)
    """

    tau: float = 0.5
    basis: Literal["sorted", "canonical"] = "sorted"
    clip: bool = True
    lb: float | Tensor | None = field(default=None, compare=False)
    ub: float | Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        number("CombOpt", "tau", self.tau, positive=False)
        choice("CombOpt", "basis", self.basis, ("sorted", "canonical"))

    def check_oracle(self, name: str, oracle: Any) -> None:
        """Costs are vectors."""
        if oracle.event_dim != 1:
            raise ValueError(
                f"{name}: CombOpt needs costs that are vectors (event_dim = 1), "
                f"{type(oracle).__name__} has event_dim = {oracle.event_dim}"
            )

    def serves(self, argument: str) -> bool:
        """G and h are learned."""
        return argument in ("G", "h")

    def usable(self, status: Tensor) -> Tensor:
        """Infeasible items learn, too."""
        return (status == Status.OK) | (status == Status.PRIMAL_INFEASIBLE)

    def forward(self, problem: Problem, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The solution; kept: its status."""
        G, h = problem.instance.get("G"), problem.instance.get("h")
        if not isinstance(G, Tensor) or not isinstance(h, Tensor):
            raise ValueError("OracleLayer: CombOpt needs the constraints: layer(c, G=G, h=h)")
        if G.dim() < 2 or G.shape[-1] != c.shape[-1] or h.shape[-1:] != G.shape[-2:-1]:
            raise ValueError(
                f"OracleLayer: CombOpt needs G [..., m, n] and h [..., m] with n = {c.shape[-1]} "
                f"costs, got {list(G.shape)} and {list(h.shape)}"
            )
        x, status = problem.solve_once(c)
        return x, status, (status,)

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of c, G and h."""
        data = problem.instance
        G, h = data["G"], data["h"]
        lower, upper = (self._held(problem, name, c) for name in ("lb", "ub"))
        step, weight = self._neighbours(x, -g, lower, upper)
        near = x.unsqueeze(-2) + step  # [*batch, k, n]
        tolerance = _TOLERANCE.get(x.dtype, 1e-5)
        inside = torch.ones_like(weight, dtype=torch.bool)
        for bound, sign in ((lower, -1.0), (upper, 1.0)):
            if bound is not None:
                inside = inside & (sign * (near - bound.unsqueeze(-2)) <= tolerance).all(-1)
        finite = torch.isfinite(h)
        right = torch.where(finite, h, 0.0)
        length = torch.linalg.vector_norm(G, dim=-1).clamp(min=1e-30)
        beyond = (near @ G.mT - right.unsqueeze(-2)) * finite.unsqueeze(-2)  # [*batch, k, m]
        allowed = (beyond <= tolerance * (1 + right.abs()).unsqueeze(-2)).all(-1)
        for_rows = allowed
        A, b = (self._held(problem, name, c) for name in ("A", "b"))
        if A is not None and b is not None:
            off = (near @ A.mT - b.unsqueeze(-2)).abs()
            for_rows = allowed & (off <= tolerance * (1 + b.abs()).unsqueeze(-2)).all(-1)
        solved = (kept[0] == Status.OK).unsqueeze(-1)
        wanted = torch.where(inside & for_rows & solved, weight, 0.0)
        barred = torch.where(inside & ~allowed, weight, 0.0)

        dearer = (step @ c.unsqueeze(-1)).squeeze(-1) > 0
        grad_c = ((wanted * dearer).unsqueeze(-2) @ step).squeeze(-2)

        # let the barred neighbours in: sum_k w_k (G_j x_k - h_j) / ||G_j|| over violated rows
        push = barred.unsqueeze(-1) * (beyond > 0) / length.unsqueeze(-2)  # [*batch, k, m]
        pull = (push * beyond).sum(-2) / length.square()
        grad_G = push.mT @ near - pull.unsqueeze(-1) * G
        grad_h = -push.sum(-2)

        # cut x* off: softmin_j (h_j - G_j x) / ||G_j||
        slack = (right - (G @ x.unsqueeze(-1)).squeeze(-1)) / length
        slack = torch.where(finite, slack.clamp(min=0), torch.inf)
        share = self._softmin_weights(slack) * (slack > 0)
        cut = wanted.sum(-1, keepdim=True) * share / length
        reach = cut * torch.where(finite, slack, 0.0) / length
        grad_G = grad_G - cut.unsqueeze(-1) * x.unsqueeze(-2) - reach.unsqueeze(-1) * G
        grad_h = grad_h + cut
        return grad_c, {"G": grad_G, "h": grad_h}

    def _held(self, problem: Problem, name: str, like: Tensor) -> Tensor | None:
        """A fixed part of the program: of the settings, of the instance, or of the oracle."""
        value = getattr(self, name, None)
        if value is None:
            value = problem.instance.get(name)
        if value is None:
            value = getattr(problem.oracle, "data", {}).get(name)
        if value is None:
            return None
        value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        return value.expand(like.shape[-1]) if value.dim() == 0 else value

    def _neighbours(
        self, x: Tensor, wish: Tensor, lower: Tensor | None, upper: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Steps [*batch, k, n] and their weights [*batch, k], k = n."""
        if self.clip:
            there = x + wish.sign()
            for bound, sign in ((lower, -1.0), (upper, 1.0)):
                if bound is not None:
                    wish = torch.where(sign * (there - bound) <= 1e-5, wish, 0.0)
        size, signs = wish.abs(), wish.sign()
        n = wish.shape[-1]
        if self.basis == "canonical":
            return torch.diag_embed(signs), size
        ordered, order = size.sort(stable=True, dim=-1, descending=True)
        rank = order.argsort(-1)
        weight = ordered - torch.nn.functional.pad(ordered[..., 1:], (0, 1))
        among = rank.unsqueeze(-2) <= torch.arange(n, device=x.device).unsqueeze(-1)
        return among * signs.unsqueeze(-2), weight

    def _softmin_weights(self, slack: Tensor) -> Tensor:
        if self.tau == 0:
            first = slack.argmin(-1, keepdim=True)
            return torch.zeros_like(slack).scatter(-1, first, 1.0)
        lowest = slack.amin(-1, keepdim=True)
        lowest = torch.where(torch.isfinite(lowest), lowest, 0.0)
        return torch.softmax(-(slack - lowest) / self.tau, -1)
