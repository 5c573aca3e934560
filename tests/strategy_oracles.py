"""Small oracles for the tests of strategies: the vertices are listed, every answer is exact."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from lpgd_native import Status
from lpgd_native.oracles import OracleSolution

F64 = torch.float64


class Vertices:
    """argmin_x <c, x> over the rows of `points` [m, n]; counts what it is asked.

    Costs with an entry above `limit` have no solution.
    """

    event_dim = 1

    def __init__(self, points: Tensor, limit: float = float("inf")) -> None:
        self.points = points
        self.limit = limit
        self.calls = 0
        self.items = 0

    def solve(self, c: Tensor) -> OracleSolution:
        self.calls += 1
        self.items += c[..., 0].numel()
        values = c @ self.points.T.to(c)
        x = self.points.to(c)[values.argmin(-1)]
        bad = (c.abs() > self.limit).any(-1) | ~torch.isfinite(c).all(-1)
        x = torch.where(bad.unsqueeze(-1), 0.0, x)
        status = torch.where(bad, int(Status.DUAL_INFEASIBLE), 0).to(torch.int32)
        value = torch.where(bad, torch.nan, (c * x).sum(-1))
        return OracleSolution(x, value, status)


class Matrices(Vertices):
    """Permutation matrices: costs are [n, n]."""

    event_dim = 2

    def solve(self, c: Tensor) -> OracleSolution:
        flat = super().solve(c.flatten(-2))
        return flat._replace(x=flat.x.reshape(c.shape))


def cube(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=F64)


def choose(n: int, k: int) -> Tensor:
    """All 0/1 vectors with k ones."""
    points = cube(n)
    return points[points.sum(-1) == k]


def permutations(n: int) -> Tensor:
    eye = torch.eye(n, dtype=F64)
    return torch.stack([eye[list(p)].flatten() for p in itertools.permutations(range(n))])


def polytope(n: int = 5, seed: int = 3) -> Tensor:
    """Random points: a set with neither symmetry nor constant sum."""
    return torch.randn(12, n, dtype=F64, generator=torch.Generator().manual_seed(seed))


def costs(batch: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, n, dtype=F64, generator=torch.Generator().manual_seed(seed))
