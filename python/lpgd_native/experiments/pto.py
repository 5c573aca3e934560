"""Predict, then optimise: a linear map from features to costs, judged by the decisions it leads to.

Three problems (shortest path on a 5x5 grid, a knapsack of 32 items and two resources, assignment
of 8 to 8) with PyEPO's data: the costs are a polynomial of the features, so a linear predictor is
wrong in a way that depends on the degree, and what it is trained on decides what it gets right.

Every method trains the same predictor from the same start on the same batches for the same epochs:
strategies and losses of this package over its native oracles, and PyEPO's own modules over PyEPO's
own solvers. Layers that give solutions are charged the regret; SPO+ and Fenchel-Young are losses of
their own; "two-stage" is the squared error of the costs. Reported: normalised regret on the test
set (what is lost, as a share of the optimum) and the time of the training steps.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from lpgd_native.experiments import pto_pyepo
from lpgd_native.experiments.pto_problems import PROBLEMS, Problem, Sample, make_problem
from lpgd_native.experiments.pto_report import OURS, THEIRS, markdown, plot
from lpgd_native.experiments.runs import GRID, Log, Options, Run, batch_of, seeded, seeds_of
from lpgd_native.gradients import IMLE, LPGD, Blackbox, Identity, Perturbed
from lpgd_native.losses import FenchelYoung, SPOPlus
from lpgd_native.oracles import OracleLayer

__all__ = ["NAME", "TITLE", "make_settings", "markdown", "plan", "plot", "train"]

NAME = "pto"
TITLE = "Predict, then optimise"
TWO_STAGE = "two-stage"
LPGD_AVERAGE = "LPGD average"
METHODS = (
    TWO_STAGE,
    "SPO+",
    "perturbed FY",
    "blackbox",
    LPGD_AVERAGE,
    "perturbed",
    "I-MLE",
    "identity",
)


@dataclass(frozen=True)
class Settings:
    """Everything that defines the study."""

    train: int = 320
    test: int = 1_000
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 5e-2
    samples: int = 4  # of noise: perturbed, Fenchel-Young, I-MLE
    sigma: float = 1.0  # PyEPO's default
    lam: float = 10.0  # of blackbox and I-MLE: PyEPO's default
    seeds: int = field(default=5, metadata=GRID)
    first_seed: int = field(default=0, metadata=GRID)
    problems: tuple[str, ...] = field(default=PROBLEMS, metadata=GRID)
    degrees: tuple[int, ...] = field(default=(1, 4, 6), metadata=GRID)
    noises: tuple[float, ...] = field(default=(0.0, 0.5), metadata=GRID)
    taus: tuple[float, ...] = field(default=(0.1, 1.0, 10.0, 100.0), metadata=GRID)  # relative
    methods: tuple[str, ...] = field(default=METHODS, metadata=GRID)
    pyepo: tuple[str, ...] = field(default=pto_pyepo.METHODS, metadata=GRID)


FULL = Settings()
SHORT = replace(
    FULL, train=192, test=500, epochs=5, samples=4, seeds=2, degrees=(4,), noises=(0.5,)
)
QUICK = replace(
    SHORT, train=96, test=96, epochs=4, samples=2, seeds=1, taus=(1.0,), problems=PROBLEMS[:1]
)


def make_settings(options: Options) -> Settings:
    """The settings of a mode."""
    settings = {"quick": QUICK, "short": SHORT, "full": FULL}[options.mode]
    settings = seeded(settings, options)
    if options.extra.get("problems"):
        names = [name.strip() for name in options.extra["problems"].split(",")]
        for name in names:
            if name not in PROBLEMS:
                raise ValueError(f"unknown problem {name!r}, known are {', '.join(PROBLEMS)}")
        settings = replace(settings, problems=tuple(names))
    return settings


def plan(settings: Settings) -> list[Run]:
    """All methods of a problem side by side."""
    runs: list[Run] = []
    cases = itertools.product(
        seeds_of(settings), settings.problems, settings.degrees, settings.noises
    )
    for seed, problem, degree, noise in cases:
        methods: list[tuple[str, str, float | None]] = []
        for method in settings.methods:
            taus = settings.taus if method == LPGD_AVERAGE else (None,)
            methods += [(OURS, method, tau) for tau in taus]
        methods += [(THEIRS, method, None) for method in settings.pyepo]
        for by, method, tau in methods:
            labels = {"problem": problem, "degree": degree, "noise": noise}
            runs.append({**labels, "by": by, "method": method, "tau": tau, "seed": seed})
    return runs


Loss = Callable[[Tensor, Sample], Tensor]


def make_loss(run: Run, problem: Problem, settings: Settings) -> Loss:
    """The loss of a batch from its predicted costs or values [B, d]."""
    if run["by"] == THEIRS:
        return pto_pyepo.make_loss(
            run["method"], problem, settings.samples, settings.lam, settings.sigma, run["seed"]
        )
    method, sign, shape = run["method"], problem.sign, problem.shape
    if method == TWO_STAGE:
        return lambda predicted, batch: (predicted - batch.costs).square().mean()

    def shaped(t: Tensor) -> Tensor:
        return t.reshape(-1, *shape)

    if method == "SPO+":
        surrogate = SPOPlus(problem.oracle)
        return lambda predicted, batch: surrogate(
            shaped(sign * predicted),
            shaped(sign * batch.costs),
            x_true=shaped(batch.solutions),
        )
    noise = Perturbed(settings.sigma, settings.samples, antithetic=False, seed=run["seed"])
    if method == "perturbed FY":
        fenchel = FenchelYoung(problem.oracle, noise)
        return lambda predicted, batch: fenchel(shaped(sign * predicted), shaped(batch.solutions))
    strategies: dict[str, Any] = {
        "blackbox": Blackbox(settings.lam),
        LPGD_AVERAGE: LPGD(run["tau"] or 1.0, relative=True),
        "perturbed": noise,
        "I-MLE": IMLE(
            settings.lam,
            settings.sigma,
            settings.samples,
            noise="sum_of_gamma",
            k=5,
            seed=run["seed"],
        ),
        "identity": Identity(),
    }
    layer = OracleLayer(problem.oracle, gradient=strategies[method])

    def regret(predicted: Tensor, batch: Sample) -> Tensor:
        x = layer(shaped(sign * predicted)).x.reshape(batch.costs.shape)
        lost: Tensor = sign * ((batch.costs * x).sum(-1) - batch.objectives).mean()
        return lost

    return regret


@lru_cache(maxsize=2)
def _problem(name: str, train: int, test: int, degree: int, noise: float, seed: int) -> Problem:
    return make_problem(name, train, test, degree, noise, seed)


def train(run: Run, settings: Settings, log: Log) -> dict[str, Any]:
    """One predictor; the data is that of the seed, too."""
    problem = _problem(
        run["problem"], settings.train, settings.test, run["degree"], run["noise"], run["seed"]
    )
    generator = torch.Generator().manual_seed(run["seed"])
    features, costs = problem.train.features.shape[1], problem.train.costs.shape[1]
    model = nn.Linear(features, costs)
    with torch.no_grad():  # torch's own start, but of this seed
        for parameter in model.parameters():
            parameter.uniform_(-(features**-0.5), features**-0.5, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    loss_of = make_loss(run, problem, settings)
    per_epoch, seconds = max(1, settings.train // settings.batch), 0.0
    figures = _evaluate(model, problem)
    log(0, {"seconds": 0.0, **figures})
    for step in range(1, settings.epochs * per_epoch + 1):
        index = batch_of(step - 1, settings.train, settings.batch, run["seed"])
        batch = Sample(*(part[index] for part in problem.train))
        begun = time.perf_counter()
        loss = loss_of(model(batch.features), batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        seconds += time.perf_counter() - begun
        if step % per_epoch == 0:
            figures = _evaluate(model, problem)
            log(step, {"seconds": seconds, **figures})
    solver = pto_pyepo.solver_name(run["problem"]) if run["by"] == THEIRS else "native"
    return {**figures, "seconds": seconds, "seconds_per_step": seconds / step, "solver": solver}


@torch.no_grad()
def _evaluate(model: nn.Module, problem: Problem) -> dict[str, float]:
    return {
        "test_regret": problem.regret(model(problem.test.features), problem.test),
        "train_regret": problem.regret(model(problem.train.features), problem.train),
    }
