"""The three problems of the predict-then-optimise study, with PyEPO's data.

Features are N(0, I); costs are a polynomial of a random 0/1 mixture of them, times noise: PyEPO's
generators, called as they are. Assignment has none there: its n^2 costs are those of a path with
as many edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lpgd_native.experiments import require
from lpgd_native.oracles import DagShortestPath, Knapsack, LinearAssignment, Oracle, grid_edges

PROBLEMS = ("shortest path", "knapsack", "assignment")
FEATURES = 5
GRID_SIDE = 5
ITEMS, RESOURCES, CAPACITY = 32, 2, 20.0
AGENTS = 8


class Sample(NamedTuple):
    """Features [N, p], true costs [N, d], and what is optimal for them; float32."""

    features: Tensor
    costs: Tensor
    solutions: Tensor  # [N, d]
    objectives: Tensor  # [N] in the problem's own sense


@dataclass(frozen=True)
class Problem:
    """One problem with its data."""

    name: str
    oracle: Oracle
    sign: float  # +1: costs are minimised, -1: values are maximised
    shape: tuple[int, ...]  # of one cost vector, as the oracle wants it
    train: Sample
    test: Sample
    weights: Any = None  # [RESOURCES, ITEMS] of the knapsack

    def solve(self, costs: Tensor) -> Tensor:
        """Optimal x [N, d] for costs or values [N, d]."""
        found = self.oracle.solve(self.sign * costs.reshape(-1, *self.shape)).x
        return found.reshape(costs.shape)

    def regret(self, predicted: Tensor, sample: Sample) -> float:
        """What deciding on the predictions loses, as a share of the optimal objectives' size."""
        value = (sample.costs * self.solve(predicted)).sum(-1)
        lost = self.sign * (value - sample.objectives)
        return float(lost.double().sum() / sample.objectives.double().abs().sum())


def make_problem(name: str, train: int, test: int, degree: int, noise: float, seed: int) -> Problem:
    """A problem with samples that share their (unknown) map from features to costs."""
    require("pyepo", "pyepo")
    shortest = require("pyepo.data.shortestpath", "pyepo")
    knapsack = require("pyepo.data.knapsack", "pyepo")
    count, sign, weights = train + test, 1.0, None
    oracle: Any
    if name == "shortest path":
        grid = (GRID_SIDE, GRID_SIDE)
        features, costs = shortest.genData(count, FEATURES, grid, degree, noise, seed)
        edges = grid_edges(*grid)
        oracle = DagShortestPath(edges)
        shape: tuple[int, ...] = (len(edges),)
    elif name == "knapsack":
        weights, features, costs = knapsack.genData(
            count, FEATURES, ITEMS, RESOURCES, degree, noise, seed
        )
        capacity = torch.full((RESOURCES,), CAPACITY, dtype=torch.float64)
        oracle, sign, shape = Knapsack(torch.from_numpy(weights), capacity), -1.0, (ITEMS,)
    elif name == "assignment":
        path = (1, AGENTS**2 + 1)
        features, costs = shortest.genData(count, FEATURES, path, degree, noise, seed)
        oracle, shape = LinearAssignment(), (AGENTS, AGENTS)
    else:
        raise ValueError(f"unknown problem {name!r}, known are {', '.join(PROBLEMS)}")
    x = torch.from_numpy(np.asarray(features, dtype=np.float32))
    c = torch.from_numpy(np.asarray(costs, dtype=np.float32))
    best = oracle.solve(sign * c.reshape(-1, *shape)).x.reshape(c.shape)
    parts = (x, c, best, (c * best).sum(-1))
    return Problem(
        name,
        oracle,
        sign,
        shape,
        Sample(*(part[:train] for part in parts)),
        Sample(*(part[train:] for part in parts)),
        weights,
    )
