"""Learning the rules of Sudoku as the equalities of a QP or an LP.

A puzzle p (one-hot, empty cells zero) goes through one layer,

    argmin_x  w/2 ||x||^2 - <p, x>   subject to   A x = A sigmoid(z0),   0 <= x <= 1

with A [rank of the rules, side^3] and z0 learned from solutions by the mean squared error: no rule
is told. The right-hand side keeps a feasible point, also where rows of A have become dependent.
w = 0.1 is OptNet's QP; w = 0 is an LP, whose solution jumps from vertex to vertex.

The question: does LPGD learn faster than implicit gradients, per epoch and per second, and at
which tau? The loss is a mean over the batch and the cells, so its gradient is about 1e-4: a tau of
1e4 moves the costs of a 4x4 board by about as much as a clue weighs, one of 1e-4 by nothing.

After OptNet (Amos & Kolter, ICML 2017) and LPGD (Paulus, Martius & Musil, ICML 2024), whose
settings are the default: Adam 0.1, batches of 150, 9,000 puzzles for training and 1,000 for tests.
"""

from __future__ import annotations

import itertools
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lpgd_native.experiments.runs import GRID, Log, Options, Run, batch_of, seeded, seeds_of
from lpgd_native.experiments.sudoku_data import make_puzzles, one_hot, rules
from lpgd_native.experiments.sudoku_peers import FFOLAYER, FFOSudoku
from lpgd_native.experiments.sudoku_report import IMPLICIT, markdown, plot
from lpgd_native.gradients import LPGD, Envelope, GradientStrategy, Implicit
from lpgd_native.nn import QPLayer

__all__ = ["NAME", "TITLE", "make_settings", "markdown", "plan", "plot", "train"]

NAME = "sudoku"
TITLE = "Sudoku: learning the rules"
PROBLEMS = ("QP", "LP")
ENVELOPES: tuple[Envelope, ...] = ("lower", "upper", "average")


@dataclass(frozen=True)
class Settings:
    """Everything that defines the study."""

    box: int = 2
    train: int = 9_000
    test: int = 1_000
    epochs: int = 4
    batch: int = 150
    learning_rate: float = 0.1
    quadratic: float = 0.1  # of the QP
    evaluations: int = 4  # in an epoch
    data_seed: int = 0
    seeds: int = field(default=5, metadata=GRID)
    first_seed: int = field(default=0, metadata=GRID)
    problems: tuple[str, ...] = field(default=PROBLEMS, metadata=GRID)
    envelopes: tuple[Envelope, ...] = field(default=ENVELOPES, metadata=GRID)
    taus: tuple[float, ...] = field(default=(1e-4, 1e-2, 1.0, 1e2, 1e3, 1e4, 1e5), metadata=GRID)
    rhos: tuple[float, ...] = field(default=(0.0, 0.1), metadata=GRID)
    peers: bool = field(default=False, metadata=GRID)  # ffolayer, on the QP


FULL = Settings()
SHORT = replace(FULL, seeds=2, envelopes=("average",), taus=(1e-4, 1e2, 1e3, 1e4), epochs=2)
QUICK = replace(
    SHORT, train=600, test=100, epochs=3, batch=50, taus=(1e3,), rhos=(0.0,), problems=("QP",)
)


def make_settings(options: Options) -> Settings:
    """The settings of a mode; 9x9 boards take smaller sets and batches."""
    settings = {"quick": QUICK, "short": SHORT, "full": FULL}[options.mode]
    size = options.extra.get("size") or 4
    if size not in (4, 9):
        raise ValueError(f"--size must be 4 or 9, got {size}")
    if size == 9:
        small = {"quick": (16, 8, 8, 1), "short": (96, 32, 16, 2), "full": (256, 64, 16, 8)}
        train, test, batch, epochs = small[options.mode]
        settings = replace(
            settings,
            box=3,
            train=train,
            test=test,
            batch=batch,
            epochs=epochs,
            evaluations=1,
            seeds=min(settings.seeds, 2),
            problems=("QP",),
            envelopes=("average",),
            taus=tuple(tau for tau in settings.taus if tau >= 100),
            rhos=settings.rhos[:1],
        )
    settings = replace(settings, peers=bool(options.extra.get("peers")))
    return seeded(settings, options)


def plan(settings: Settings) -> list[Run]:
    """Implicit gradients, then LPGD over the grid; problem by problem, seed by seed."""
    runs: list[Run] = []
    for seed, problem in itertools.product(seeds_of(settings), settings.problems):
        runs.append({"problem": problem, "method": IMPLICIT, "tau": None, "rho": None})
        if settings.peers and problem == "QP":
            runs.append({"problem": problem, "method": FFOLAYER, "tau": None, "rho": None})
        grid = itertools.product(settings.envelopes, settings.rhos, settings.taus)
        runs += [
            {"problem": problem, "method": f"LPGD {envelope}", "tau": tau, "rho": rho}
            for envelope, rho, tau in grid
        ]
        for run in runs:
            run.setdefault("seed", seed)
    return runs


def strategy(run: Run) -> GradientStrategy:
    """How a run differentiates."""
    if run["method"] in (IMPLICIT, FFOLAYER):
        return Implicit()
    return LPGD(run["tau"], rho=run["rho"], envelope=run["method"].removeprefix("LPGD "))


class Data(NamedTuple):
    """One-hot boards [N, side^3], float64."""

    puzzles: Tensor
    solutions: Tensor
    test_puzzles: Tensor
    test_solutions: Tensor


@lru_cache(maxsize=2)
def make_data(box: int, train: int, test: int, seed: int) -> Data:
    """Disjoint sets."""
    made = make_puzzles(box, train + test, seed)
    x, y = (torch.from_numpy(one_hot(boards, box)) for boards in made)
    return Data(x[:train], y[:train], x[train:], y[train:])


@lru_cache
def rule_count(box: int) -> int:
    """Rank of the true rules: 40 for 4x4."""
    return int(np.linalg.matrix_rank(rules(box)))


class SudokuLayer(nn.Module):
    """The layer above; ``forward(puzzles [N, side^3])`` gives x [N, side^3] and status [N]."""

    def __init__(self, box: int, quadratic: float, gradient: GradientStrategy, seed: int) -> None:
        super().__init__()
        cells, generator = box**6, torch.Generator().manual_seed(seed)
        shape = (rule_count(box), cells)
        self.A = nn.Parameter(torch.rand(shape, generator=generator, dtype=torch.float64))
        self.z0 = nn.Parameter(torch.rand(cells, generator=generator, dtype=torch.float64))
        self.program = QPLayer(
            P=quadratic * torch.eye(cells, dtype=torch.float64) if quadratic else None,
            lb=torch.zeros(cells, dtype=torch.float64),
            ub=torch.ones(cells, dtype=torch.float64),
            gradient=gradient,
        )

    def forward(self, puzzles: Tensor) -> tuple[Tensor, Tensor]:
        """Relaxed solutions, and the solver's status."""
        solution = self.program(q=-puzzles, A=self.A, b=self.A @ self.z0.sigmoid())
        return solution.x, solution.status


@torch.no_grad()
def evaluate(model: nn.Module, puzzles: Tensor, solutions: Tensor, box: int) -> dict[str, float]:
    """Mean squared error, and the share of boards with a wrong cell after the argmax."""
    side = box * box
    squares, wrong, failed = 0.0, 0, 0
    for p, y in zip(torch.split(puzzles, 500), torch.split(solutions, 500), strict=True):
        x, status = model(p)
        squares += float((x - y).square().sum())
        mine, its = (t.reshape(len(p), -1, side).argmax(-1) for t in (x, y))
        wrong += int((mine != its).any(-1).sum())
        failed += int((status != 0).sum())
    return {
        "test_mse": squares / solutions.numel(),
        "board_error": wrong / len(puzzles),
        "failed": failed,
    }


def train(run: Run, settings: Settings, log: Log) -> dict[str, Any]:
    """One layer, from the start of its seed on; time is that of the steps alone."""
    data = make_data(settings.box, settings.train, settings.test, settings.data_seed)
    quadratic = settings.quadratic if run["problem"] == "QP" else 0.0
    model: nn.Module = SudokuLayer(settings.box, quadratic, strategy(run), run["seed"])
    if run["method"] == FFOLAYER:
        model = FFOSudoku(model, quadratic)
    return train_model(model, run, settings, data, log)


def train_model(
    model: nn.Module, run: Run, settings: Settings, data: Data, log: Log
) -> dict[str, Any]:
    """The same training for any layer that gives (x, status)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    per_epoch = max(1, settings.train // settings.batch)
    every = max(1, per_epoch // settings.evaluations)
    seconds, loss_sum, count, failed, fallbacks, unresolved = 0.0, 0.0, 0, 0, 0, 0
    point = evaluate(model, data.test_puzzles, data.test_solutions, settings.box)
    log(0, {"epoch": 0.0, "seconds": 0.0, **point})
    training = float("nan")
    for step in range(1, settings.epochs * per_epoch + 1):
        index = batch_of(step - 1, settings.train, settings.batch, run["seed"])
        puzzles, solutions = data.puzzles[index], data.solutions[index]
        begun = time.perf_counter()
        x, status = model(puzzles)
        loss = (x - solutions).square().mean()
        optimizer.zero_grad(set_to_none=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.autograd.backward(loss)
        optimizer.step()
        seconds += time.perf_counter() - begun
        loss_sum, count = loss_sum + float(loss.detach()), count + 1
        failed += int((status != 0).sum())
        kinds = [_kind(warning) for warning in caught]
        fallbacks, unresolved = fallbacks + (1 in kinds), unresolved + (2 in kinds)
        if step % every == 0 or step == settings.epochs * per_epoch:
            training, loss_sum, count = loss_sum / count, 0.0, 0
            point = evaluate(model, data.test_puzzles, data.test_solutions, settings.box)
            values = {"epoch": step / per_epoch, "seconds": seconds, "train_mse": training}
            log(step, values | point)
    return {
        "train_mse": training,
        "test_mse": point["test_mse"],
        "board_error": point["board_error"],
        "seconds_per_epoch": seconds / settings.epochs,
        "status_not_ok": failed,
        "steps_with_fallback": fallbacks,  # of some item: a perturbed problem had no solution
        "steps_unresolved": unresolved,  # tau below what the solver's tolerance can resolve
    }


def _kind(warning: warnings.WarningMessage) -> int:
    """The two warnings that a sweep of tau is bound to give are counted; others are passed on."""
    text = str(warning.message)
    if "perturbed problems had no solution" in text:
        return 1
    if "below what the tolerance" in text:
        return 2
    warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return 0
