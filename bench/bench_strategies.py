"""What the strategies cost beyond the oracle: a training step less the time spent in the solver.

    python bench/bench_strategies.py            prints a Markdown table, a minute or two
    python bench/bench_strategies.py --runs 3   sooner

Three solvers of the user, item by item in a function given to `FunctionOracle`, with a clock: light
(scipy's linear assignment, 50 x 50, which takes about as long as reading its costs ten times),
moderate (scipy's Dijkstra on a grid) and heavy (HiGHS on a knapsack by scipy's milp). A step is
forward and backward. Before anything is timed, a gradient is compared with the difference of
solutions written out. Overhead is the rest of the step, less a loss of squares without any solver,
over the time in the solver; all are CPU time of the thread, torch on one thread, medians of runs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy
import torch
from scipy.optimize import LinearConstraint, linear_sum_assignment, milp
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from lpgd_native import (
    IMLE,
    LPGD,
    Blackbox,
    DirectLoss,
    FunctionOracle,
    Identity,
    OracleLayer,
    Perturbed,
)
from lpgd_native.losses import FenchelYoung, SPOPlus


class Clock:
    """A solver of one item, over a batch, and the seconds spent in it."""

    def __init__(self, solve: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> None:
        self.solve, self.shape = solve, shape
        self.seconds = 0.0

    def __call__(self, costs: np.ndarray) -> np.ndarray:
        start = time.thread_time()
        x = np.zeros_like(costs)
        for place, cost in enumerate(costs):
            x[place] = self.solve(cost)
        self.seconds += time.thread_time() - start
        return x


def assignment(cost: np.ndarray) -> np.ndarray:
    x = np.zeros_like(cost)
    x[linear_sum_assignment(cost)] = 1.0
    return x


class GridPath:
    """From one corner of an n x n grid to the other, right and down: a cost for each edge."""

    def __init__(self, n: int) -> None:
        node = np.arange(n * n).reshape(n, n)
        tails = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel()])
        heads = np.concatenate([node[:, 1:].ravel(), node[1:].ravel()])
        order = np.lexsort((heads, tails))
        self.ends, self.nodes = (tails[order], heads[order]), n * n
        self.edge = {(int(i), int(j)): k for k, (i, j) in enumerate(zip(*self.ends, strict=True))}

    def __call__(self, cost: np.ndarray) -> np.ndarray:
        graph = csr_matrix((np.maximum(cost, 1e-9), self.ends), (self.nodes, self.nodes))
        _, before = dijkstra(graph, indices=0, return_predecessors=True)
        x, node = np.zeros_like(cost), self.nodes - 1
        while node:
            x[self.edge[int(before[node]), node]] = 1.0
            node = int(before[node])
        return x


class Knapsack:
    def __init__(self, n: int) -> None:
        weights = np.random.default_rng(0).uniform(3, 8, (2, n))
        self.rows = LinearConstraint(weights, ub=weights.sum(1) / 3)

    def __call__(self, cost: np.ndarray) -> np.ndarray:
        return np.round(milp(-cost, integrality=1, bounds=(0, 1), constraints=self.rows).x)


ORACLES = {
    "assignment 50 x 50, B = 32": (assignment, (50, 50), 32),
    "path 12 x 12, B = 32": (GridPath(12), (264,), 32),
    "knapsack 20, B = 8": (Knapsack(20), (20,), 8),
}


def squares(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (x - target).square().sum() / len(x)


def steps(clock: Clock) -> dict:
    oracle = FunctionOracle(clock, event_dim=len(clock.shape), batched=True)

    def through(strategy):
        layer = OracleLayer(oracle, strategy)

        def step(c, target):
            more = {"target": target} if isinstance(strategy, DirectLoss) else {}
            return squares(layer(c, **more).x, target)

        return step

    spo, young = SPOPlus(oracle), FenchelYoung(oracle, Perturbed(0.1, 4))
    return {
        "LPGD average, relative": through(LPGD(1.0, relative=True)),
        'LPGD tau="auto"': through(LPGD("auto")),
        "Blackbox": through(Blackbox(20.0)),
        "Identity, both projections": through(Identity("both")),
        "DirectLoss": through(DirectLoss(0.5)),
        "Perturbed, 4 samples": through(Perturbed(0.1, 4)),
        "IMLE, 2 samples, average": through(IMLE(1.0, 0.1, 2, envelope="average")),
        "SPO+": lambda c, target: spo(c, target),
        "Fenchel-Young, 4 samples": lambda c, target: young(c, target),
    }


def check(n: int) -> None:
    clock = Clock(assignment, (n, n))
    c, g = torch.rand(4, n, n, dtype=torch.float64), torch.rand(4, n, n, dtype=torch.float64)
    leaf = c.clone().requires_grad_()
    oracle = FunctionOracle(clock, event_dim=2, batched=True)
    OracleLayer(oracle, LPGD(2.0))(leaf).x.backward(g)
    ends = [torch.from_numpy(clock((c + s * 2.0 * g).numpy())) for s in (1, -1)]
    torch.testing.assert_close(leaf.grad, (ends[0] - ends[1]) / 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="of each step")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    check(6)
    print(
        f"{platform.machine()}, torch {torch.__version__}, scipy {scipy.__version__}, float64, "
        "one thread\n"
    )
    print("| strategy | " + " | ".join(f"{name}: ms, overhead" for name in ORACLES) + " |")
    print("| --- |" + " ---: |" * len(ORACLES))
    rows: dict[str, list[str]] = {}
    for solve, shape, batch in ORACLES.values():
        clock = Clock(solve, shape)
        base = torch.rand(batch, *shape, dtype=torch.float64)
        target = torch.from_numpy(clock(torch.rand_like(base).numpy()))
        for name, step in steps(clock).items():
            whole, inside, plain = [], [], []
            for _ in range(options.runs + 1):
                c = base.clone().requires_grad_()
                clock.seconds = 0.0
                start = time.thread_time()
                step(c, target).backward()
                whole.append(time.thread_time() - start)
                inside.append(clock.seconds)
                start = time.thread_time()
                squares(c, target).backward()
                plain.append(time.thread_time() - start)
            times = zip(whole[1:], inside[1:], plain[1:], strict=True)
            share = [(w - i - p) / i for w, i, p in times]
            text = f"{1e3 * statistics.median(whole[1:]):.1f}, {statistics.median(share):.1%}"
            rows.setdefault(name, []).append(text)
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
