"""A user's program: mypy --strict must find nothing to say of it (`make lint` runs it)."""

from __future__ import annotations

import torch
from torch import Tensor

import lpgd_native as lpgd
from lpgd_native import algorithms, losses, nn, operators, proximal


class Policy(torch.nn.Module):
    """Features [B, k] to the solution of a QP [B, n]."""

    def __init__(self, k: int, n: int) -> None:
        super().__init__()
        one = torch.ones(1, n)
        self.costs = torch.nn.Linear(k, n)
        self.layer = nn.QPLayer(
            P=torch.eye(n),
            A=one,
            b=one[:, 0],
            lb=0.0,
            gradient=lpgd.LPGD(tau=0.5, envelope="lower"),
        )

    def forward(self, features: Tensor) -> Tensor:
        solution: lpgd.QPSolution = self.layer(q=self.costs(features))
        failed: int = int((solution.status != lpgd.Status.OK).sum())
        return solution.x if failed == 0 else torch.zeros_like(solution.x)


def solve(q: Tensor, strategy: lpgd.Implicit | lpgd.LPGD | None = None) -> tuple[Tensor, Tensor]:
    """Solution and status."""
    try:
        solution = lpgd.solve_lp(q, lb=-torch.ones_like(q), ub=torch.ones_like(q), throw=True)
    except lpgd.SolverError as error:
        items: dict[tuple[int, ...], lpgd.Status] = error.items
        raise RuntimeError(str(items)) from error
    again = lpgd.solve_qp(torch.eye(q.shape[-1]), q, gradient=strategy, warm_start=solution)
    return again.x, again.status


def shrink(x: Tensor) -> Tensor:
    """Functions and objects."""
    threshold: proximal.Function = proximal.L1(0.1)
    return lpgd.prox_l1(lpgd.project_simplex(x), 0.1) + threshold.prox(x, 1.0)


def network(a: Tensor) -> nn.LearnedProximalGradient:
    """An unrolled network."""
    return nn.LearnedProximalGradient(
        operators.LinearOperator(a),
        iterations=3,
        momentum=nn.RecurrentMomentum(hidden=8),
        block=nn.ProxBlock(proximal.L1(0.1), tau=0.5),
    )


def deblur(operator: operators.Operator, y: Tensor) -> Tensor:
    """An algorithm on images."""
    found: algorithms.Result = algorithms.fista(
        lambda x: operator.gradient(x, y),
        proximal.TotalVariation2D(0.01),
        torch.zeros_like(y),
        1 / float(operator.norm()) ** 2,
        event_dim=2,
    )
    return found.x


def regret(costs: Tensor, true_costs: Tensor) -> float:
    """Of the cheapest choice."""
    oracle = lpgd.LPOracle(A=torch.ones(1, costs.shape[-1]), b=torch.ones(1), lb=0.0)
    return float(losses.regret(costs, true_costs, oracle).mean())
