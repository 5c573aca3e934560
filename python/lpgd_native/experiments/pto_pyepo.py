"""PyEPO's own losses and layers on the same data, with the fastest of its solvers that is here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from lpgd_native.experiments import require
from lpgd_native.experiments.pto_problems import (
    AGENTS,
    CAPACITY,
    GRID_SIDE,
    RESOURCES,
    Problem,
    Sample,
)
from lpgd_native.oracles import grid_edges

__all__ = ["METHODS", "make_loss", "make_model", "solver_name"]

METHODS = ("SPO+", "blackbox", "identity", "perturbed FY", "I-MLE")
Loss = Callable[[Tensor, Sample], Tensor]  # predicted costs, the batch -> the loss to minimise


def _have_ortools() -> bool:
    return importlib.util.find_spec("ortools") is not None


def solver_name(problem: str) -> str:
    """What solves PyEPO's problems here."""
    if problem == "assignment":
        return "scipy linear_sum_assignment"
    if _have_ortools():
        return {"shortest path": "OR-Tools GLOP", "knapsack": "OR-Tools SCIP"}[problem]
    return "scipy milp (HiGHS)"


def make_model(problem: Problem) -> Any:
    """An optModel: PyEPO's with OR-Tools, else its interface over scipy."""
    opt = require("pyepo.model.opt", "pyepo").optModel
    sense = require("pyepo", "pyepo").EPO
    if problem.name == "shortest path" and _have_ortools():
        return require("pyepo.model.ort", "pyepo").shortestPathModel((GRID_SIDE, GRID_SIDE))
    if problem.name == "knapsack" and _have_ortools():
        model = require("pyepo.model.ort", "pyepo").knapsackModel
        return model(problem.weights, np.full(RESOURCES, CAPACITY))
    optimize = require("scipy.optimize", "pyepo")

    class ScipyModel(opt):  # type: ignore[misc, valid-type]
        """min or max <c, x> by scipy."""

        def _getModel(self) -> tuple[None, list[int]]:
            self.modelSense = sense.MAXIMIZE if problem.sign < 0 else sense.MINIMIZE
            return None, list(range(problem.train.costs.shape[1]))

        def setObj(self, c: Any) -> None:
            self.cost = np.asarray(c, dtype=np.float64)

        def solve(self) -> tuple[Any, float]:
            x = solve_one(problem.sign * self.cost)
            return x, float(self.cost @ x)

    def assign(cost: Any) -> Any:
        rows, columns = optimize.linear_sum_assignment(cost.reshape(AGENTS, AGENTS))
        x = np.zeros((AGENTS, AGENTS), dtype=np.float32)
        x[rows, columns] = 1
        return x.reshape(-1)

    if problem.name == "assignment":
        solve_one: Callable[[Any], Any] = assign
        return ScipyModel()
    if problem.name == "knapsack":
        rows = optimize.LinearConstraint(problem.weights, ub=np.full(RESOURCES, CAPACITY))
    else:
        incidence = np.zeros((GRID_SIDE**2, problem.train.costs.shape[1]))
        for edge, (tail, head) in enumerate(grid_edges(GRID_SIDE, GRID_SIDE)):
            incidence[tail, edge], incidence[head, edge] = -1, 1
        supply = np.zeros(GRID_SIDE**2)
        supply[0], supply[-1] = -1, 1
        rows = optimize.LinearConstraint(incidence, supply, supply)

    def program(cost: Any) -> Any:
        found = optimize.milp(
            cost, integrality=np.ones(len(cost)), bounds=optimize.Bounds(0, 1), constraints=rows
        )
        return found.x.round().astype(np.float32)

    solve_one = program
    return ScipyModel()


def make_loss(
    method: str, problem: Problem, samples: int, lam: float, sigma: float, seed: int
) -> Loss:
    """The loss of a batch by PyEPO's module; those that give solutions are charged their regret."""
    func, model = require("pyepo.func", "pyepo"), make_model(problem)
    if method == "SPO+":
        surrogate = func.SPOPlus(model)
        return lambda predicted, batch: surrogate(
            predicted, batch.costs, batch.solutions, batch.objectives.unsqueeze(-1)
        )
    if method == "perturbed FY":
        fenchel = func.perturbedFenchelYoung(model, n_samples=samples, sigma=sigma, seed=seed)
        return lambda predicted, batch: fenchel(predicted, batch.solutions)
    noise = require("pyepo.func.utils", "pyepo").sumGammaDistribution(kappa=5, seed=seed)
    layers = {
        "blackbox": lambda: func.blackboxOpt(model, lambd=lam),
        "identity": lambda: func.negativeIdentity(model),
        "I-MLE": lambda: func.implicitMLE(
            model, n_samples=samples, sigma=sigma, lambd=lam, distribution=noise
        ),
    }
    if method not in layers:
        raise ValueError(f"unknown method of PyEPO {method!r}")
    layer = layers[method]()

    def loss(predicted: Tensor, batch: Sample) -> Tensor:
        value = (batch.costs * layer(predicted)).sum(-1)
        regret: Tensor = problem.sign * (value - batch.objectives).mean()
        return regret

    return loss
