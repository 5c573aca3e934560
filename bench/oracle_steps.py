"""Training steps by blackbox differentiation, ours and PyEPO's, for bench_oracles.py."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch

from lpgd_native import oracles

LAMBDA = 10.0


class TwoCalls(torch.autograd.Function):
    """Blackbox differentiation, (x(c + lambda g) - x(c)) / lambda, as two calls of an oracle."""

    @staticmethod
    def forward(ctx, costs: torch.Tensor, oracle: oracles.Oracle) -> torch.Tensor:
        x = oracle.solve(costs).x
        ctx.save_for_backward(costs, x)
        ctx.oracle = oracle
        return x

    @staticmethod
    def backward(ctx, g: torch.Tensor):
        costs, x = ctx.saved_tensors
        return (ctx.oracle.solve(costs + LAMBDA * g).x - x) / LAMBDA, None


@dataclass
class Task:
    name: str
    oracle: oracles.Oracle
    #: of one cost
    shape: tuple[int, ...]
    #: PyEPO's models, by name
    models: dict[str, object]
    #: PyEPO maximises here
    maximise: bool = False


def pyepo_tasks() -> list[Task]:
    """Shortest path, knapsack, assignment, with those of PyEPO's solvers that run here."""
    from pyepo.data.knapsack import genData
    from pyepo.model.opt import optModel

    def available(**makers: Callable[[], object]) -> dict[str, object]:
        found = {}
        for name, make in makers.items():
            try:
                found[name] = make()
            except Exception as error:  # a solver that is not installed or has no licence
                print(f"PyEPO with {name} is left out: {error}")
        return found

    class ScipyAssignment(optModel):
        """PyEPO has no model of assignments: one on scipy's solver, the fastest at hand."""

        def __init__(self, n: int) -> None:
            self.n = n
            super().__init__()

        def _getModel(self):
            return None, list(range(self.n**2))

        def setObj(self, c) -> None:
            self.c = np.asarray(c, dtype=float).reshape(self.n, self.n)

        def solve(self):
            rows, columns = scipy.optimize.linear_sum_assignment(self.c)
            x = np.zeros_like(self.c)
            x[rows, columns] = 1.0
            return x.ravel(), self.c[rows, columns].sum()

    def lp_assignment(n: int) -> object:
        """PyEPO's way for its other models: a linear program by OR-tools."""
        from ortools.linear_solver import pywraplp
        from pyepo.model.ort.ortmodel import optOrtModel

        class Assignment(optOrtModel):
            def _getModel(self):
                model = pywraplp.Solver.CreateSolver("GLOP")
                x = {(i, j): model.NumVar(0, 1, "") for i in range(n) for j in range(n)}
                for i in range(n):
                    model.Add(sum(x[i, j] for j in range(n)) == 1)
                    model.Add(sum(x[j, i] for j in range(n)) == 1)
                return model, x

        return Assignment(solver="glop")

    def ortools(family: str, *args: object, **options: object) -> object:
        module = __import__(f"pyepo.model.ort.{family}", fromlist=["x"])
        return getattr(module, f"{family if family != 'shortestpath' else 'shortestPath'}Model")(
            *args, **options
        )

    n = 10
    weights, _, _ = genData(1, 5, 32, dim=2, seed=1)
    capacity = np.array([20.0, 20.0])

    edges = oracles.grid_edges(5, 5)
    sided = torch.from_numpy(np.asarray(weights)), torch.from_numpy(capacity)
    return [
        Task(
            "shortest path 5x5",
            oracles.DagShortestPath(edges),
            (len(edges),),
            available(glop=lambda: ortools("shortestpath", (5, 5), solver="glop")),
        ),
        Task(
            "knapsack, 32 items, 2 resources",
            oracles.Knapsack(*sided),
            (32,),
            available(
                scip=lambda: ortools("knapsack", weights=weights, capacity=capacity, solver="scip")
            ),
            maximise=True,
        ),
        Task(
            f"assignment {n}x{n}",
            oracles.LinearAssignment(),
            (n, n),
            available(glop=lambda: lp_assignment(n), scipy=lambda: ScipyAssignment(n)),
        ),
    ]


def step_times(task: Task, batch: int, rounds: int) -> dict[str, float]:
    """Milliseconds of forward and backward."""
    from pyepo.func import blackboxOpt

    # no ties, on which solvers differ
    numbers = torch.from_numpy(np.random.default_rng(3).random((batch, *task.shape))).float()
    target = torch.from_numpy(np.random.default_rng(4).random((batch, *task.shape))).float()
    sign = -1.0 if task.maximise else 1.0

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = numbers.clone().requires_grad_()
        x = TwoCalls.apply(sign * leaf, task.oracle)
        (x * target).sum().backward()
        return x.detach(), leaf.grad

    def of_pyepo(module: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = numbers.flatten(1).clone().requires_grad_()
        x = module(leaf)
        (x * target.flatten(1)).sum().backward()
        return x.detach(), leaf.grad

    calls: dict[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]] = {"ours": ours}
    for name, model in task.models.items():
        module = blackboxOpt(model, lambd=LAMBDA, processes=1)
        calls[name] = lambda module=module: of_pyepo(module)
    x, grad = (t.flatten(1) for t in ours())
    for name in task.models:
        their_x, their_grad = calls[name]()
        ours_value = (numbers.flatten(1) * x).sum(-1)
        value = (numbers.flatten(1) * their_x).sum(-1)
        torch.testing.assert_close(ours_value, value, rtol=1e-4, atol=1e-4)
        if (their_grad - grad).abs().gt(1e-5).any(-1).double().mean() > 0.02:  # ties may differ
            raise RuntimeError(f"{task.name}: gradients differ from PyEPO's with {name}")
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            samples[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(times) for name, times in samples.items()}
