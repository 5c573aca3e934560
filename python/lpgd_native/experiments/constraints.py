"""Learning the constraints of integer programs from their solutions.

Someone minimises <c, x> over whole x in a box that also satisfy G x <= h. Costs c and solutions x
are seen, G and h are not: a layer with rows of its own, started at random, is trained on the
squared error of its solutions. There are no duals and no derivatives; `CombOpt` moves the rows so
that the solution wanted comes in and the solution found goes out. HiGHS solves the programs.

Beside it: the LP relaxation as a layer with LPGD, whose rows are used in the integer program
afterwards; a network from costs to solutions without any program; and the box alone.

The synthetic task of CombOptNet (Paulus, Rolinek, Musil, Amos & Martius, ICML 2021): 16 variables,
binary or from -5 to 5, 1 to 8 random rows; costs uniform in [-1, 1].
"""

from __future__ import annotations

import itertools
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lpgd_native.experiments import require
from lpgd_native.experiments.constraints_report import BOX, markdown, plot
from lpgd_native.experiments.runs import GRID, Log, Options, Run, batch_of, seeded, seeds_of
from lpgd_native.gradients import LPGD, CombOpt
from lpgd_native.oracles import LPOracle, OracleLayer
from lpgd_native.qp import solve_lp

__all__ = ["NAME", "TITLE", "make_settings", "markdown", "plan", "plot", "train"]

NAME = "constraints"
TITLE = "Learning the constraints of integer programs"
COMBOPT = "CombOpt"
RELAXED = "LP relaxation, LPGD"
NETWORK = "network"
METHODS = (COMBOPT, RELAXED, NETWORK)
BOUNDS = {"binary": (0.0, 1.0), "dense": (-5.0, 5.0)}
PENALTY = 10.0  # of a relaxed row, for costs and rows of norm 1
DISTANCE = 0.2  # of a row from the point it is drawn around


@dataclass(frozen=True)
class Settings:
    """Everything that defines the study."""

    variables: int = 16
    train: int = 1_600
    test: int = 1_000
    epochs: int = 20
    batch: int = 8
    learning_rate: float = 5e-3
    extra_rows: int = 1  # learned rows for each true one
    combopt_tau: float = 0.5
    relative_tau: float = 1.0  # of LPGD
    hidden: int = 512
    evaluations: int = 5
    seeds: int = field(default=5, metadata=GRID)
    first_seed: int = field(default=0, metadata=GRID)
    kinds: tuple[str, ...] = field(default=tuple(BOUNDS), metadata=GRID)
    rows: tuple[int, ...] = field(default=(1, 2, 4, 8), metadata=GRID)
    methods: tuple[str, ...] = field(default=METHODS, metadata=GRID)


FULL = Settings()
SHORT = replace(FULL, train=800, test=300, epochs=8, seeds=2, rows=(1, 4), evaluations=4)
QUICK = replace(
    SHORT, variables=6, train=160, test=80, epochs=4, seeds=1, kinds=("binary",), rows=(1,)
)


def make_settings(options: Options) -> Settings:
    """The settings of a mode."""
    settings = {"quick": QUICK, "short": SHORT, "full": FULL}[options.mode]
    return seeded(settings, options)


def plan(settings: Settings) -> list[Run]:
    """The methods of a program side by side."""
    cases = itertools.product(seeds_of(settings), settings.kinds, settings.rows, settings.methods)
    return [
        {"kind": kind, "rows": rows, "method": method, "seed": seed}
        for seed, kind, rows, method in cases
    ]


class Data(NamedTuple):
    """Costs [N, n] of norm 1 and solutions [N, n]; float64."""

    costs: Tensor
    solutions: Tensor
    test_costs: Tensor
    test_solutions: Tensor


def random_rows(
    count: int, n: int, low: float, high: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Unit normals G [count, n] and points [count, n] from the middle half of the box."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    normals = nn.functional.normalize(uniform(count, n) - 0.5, dim=-1)
    points = (low + high) / 2 + (high - low) / 2 * (uniform(count, n) - 0.5)
    return normals, points


def integer_oracle(n: int, low: float, high: float) -> LPOracle:
    """Min <c, x> over whole x in the box and G x <= h, by HiGHS."""
    require("highspy", "highs")
    ones = torch.ones(n, dtype=torch.float64)
    return LPOracle(lb=low * ones, ub=high * ones, integrality=torch.ones(n, dtype=torch.bool))


@lru_cache(maxsize=2)
def make_data(kind: str, rows: int, n: int, train: int, test: int, seed: int) -> Data:
    """A random program with a feasible corner, and its solutions for random costs."""
    low, high = BOUNDS[kind]
    generator = torch.Generator().manual_seed(1_000 + seed)
    G, points = random_rows(rows, n, low, high, generator)
    corner = low + (high - low) * torch.randint(2, (n,), generator=generator).double()
    h = (G * points).sum(-1) - DISTANCE
    side = torch.where(G @ corner <= h, 1.0, -1.0).double()
    G, h = side.unsqueeze(-1) * G, side * h
    costs = 2 * torch.rand(train + test, n, generator=generator, dtype=torch.float64) - 1
    costs = nn.functional.normalize(costs, dim=-1)
    solved = integer_oracle(n, low, high).solve(costs, G=G, h=h)
    if bool((solved.status != 0).any()):
        raise RuntimeError("constraints: a program with a feasible corner was not solved")
    x = solved.x.round()
    return Data(costs[:train], x[:train], costs[train:], x[train:])


class ConstraintLayer(nn.Module):
    """Rows of its own: ``forward(costs [B, n])`` gives x [B, n].

    A row is kept as a normal, a point and a distance, so that it turns around a place in the box.
    """

    def __init__(self, run: Run, settings: Settings) -> None:
        super().__init__()
        n, (self.low, self.high) = settings.variables, BOUNDS[run["kind"]]
        generator = torch.Generator().manual_seed(run["seed"])
        count = settings.extra_rows * run["rows"]
        normals, points = random_rows(count, n, self.low, self.high, generator)
        self.normals, self.points = nn.Parameter(normals), nn.Parameter(points)
        self.distances = nn.Parameter(torch.full((count,), DISTANCE, dtype=torch.float64))
        oracle = integer_oracle(n, self.low, self.high)
        self.integer = OracleLayer(oracle, gradient=CombOpt(tau=settings.combopt_tau))
        self.relaxed = run["method"] == RELAXED
        self.gradient = LPGD(settings.relative_tau, relative=True)

    def constraints(self) -> tuple[Tensor, Tensor]:
        """G [k, n] with rows of norm 1, and h [k]."""
        G = nn.functional.normalize(self.normals, dim=-1)
        return G, (G * self.points).sum(-1) - self.distances

    def forward(self, costs: Tensor) -> Tensor:
        """What the layer is trained on: the integer solution, or the relaxed one."""
        G, h = self.constraints()
        if self.relaxed:
            low, high = torch.full_like(costs[0], self.low), torch.full_like(costs[0], self.high)
            # elastic: rows that leave nothing feasible must still be told where to go
            solution = solve_lp(
                costs,
                G,
                h,
                lb=low,
                ub=high,
                gradient=self.gradient,
                elastic=True,
                elastic_penalty=PENALTY,
            )
            return solution.x
        x: Tensor = self.integer(costs, G=G, h=h).x
        return x

    @torch.no_grad()
    def decide(self, costs: Tensor) -> Tensor:
        """The integer solution with the rows learned."""
        G, h = self.constraints()
        x: Tensor = self.integer(costs, G=G, h=h).x
        return x.round()


class Network(nn.Module):
    """Costs to solutions without a program."""

    def __init__(self, run: Run, settings: Settings) -> None:
        super().__init__()
        self.low, self.high = BOUNDS[run["kind"]]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run["seed"])
            self.layers = nn.Sequential(
                nn.Linear(settings.variables, settings.hidden),
                nn.ReLU(),
                nn.Linear(settings.hidden, settings.variables),
                nn.Sigmoid(),
            ).double()

    def forward(self, costs: Tensor) -> Tensor:
        """A point of the box."""
        x: Tensor = self.low + (self.high - self.low) * self.layers(costs)
        return x

    @torch.no_grad()
    def decide(self, costs: Tensor) -> Tensor:
        """Rounded."""
        x: Tensor = self(costs).round()
        return x


def train(run: Run, settings: Settings, log: Log) -> dict[str, Any]:
    """One layer; time is that of the training steps."""
    data = make_data(
        run["kind"], run["rows"], settings.variables, settings.train, settings.test, run["seed"]
    )
    model = (Network if run["method"] == NETWORK else ConstraintLayer)(run, settings)
    rate = 1e-3 if run["method"] == NETWORK else settings.learning_rate
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    low, high = BOUNDS[run["kind"]]
    per_epoch, seconds = max(1, settings.train // settings.batch), 0.0
    steps = settings.epochs * per_epoch
    every = max(1, steps // settings.evaluations)
    figures = evaluate(model, data)
    log(0, {"seconds": 0.0, **figures})
    for step in range(1, steps + 1):
        index = batch_of(step - 1, settings.train, settings.batch, run["seed"])
        begun = time.perf_counter()
        with warnings.catch_warnings():  # of perturbed relaxations without a solution
            warnings.filterwarnings("ignore", message=".*perturbed.*", category=RuntimeWarning)
            error = (model(data.costs[index]) - data.solutions[index]) / (high - low)
            loss = error.square().mean()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
        optimizer.step()
        seconds += time.perf_counter() - begun
        if step % every == 0 or step == steps:
            figures = evaluate(model, data)
            log(step, {"seconds": seconds, "loss": float(loss.detach()), **figures})
    corner = torch.where(data.test_costs > 0, low, high)
    return {
        **figures,
        BOX: float((corner == data.test_solutions).all(-1).double().mean()),
        "seconds_per_step": seconds / steps,
    }


def evaluate(model: Any, data: Data) -> dict[str, float]:
    """Share of test solutions that are right, whole and by entry."""
    right = model.decide(data.test_costs) == data.test_solutions
    return {
        "solutions": float(right.all(-1).double().mean()),
        "entries": float(right.double().mean()),
    }
