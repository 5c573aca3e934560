"""The portfolio study walked forward: every two years trained anew on all that was known by then.

Fold k tests on its own years, chooses on the years just before them and trains on all earlier ones,
so the test years of all folds are one long stretch, each week of it decided by a policy that had
not seen it. Everything else is the portfolio study of `portfolio_study`. A fold begins from equal
weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lpgd_native.experiments import _files, portfolio, portfolio_data, portfolio_study, require
from lpgd_native.experiments.deconvolution_report import mean_of
from lpgd_native.experiments.portfolio import METHODS, TWO_STAGE
from lpgd_native.experiments.portfolio_data import Splits, Weeks
from lpgd_native.experiments.portfolio_report import (
    BLOCK_WEEKS,
    COLOURS,
    block_bootstrap,
    interval,
)
from lpgd_native.experiments.portfolio_study import EQUAL_WEIGHT, NO_FORECAST, WEEKS_PER_YEAR
from lpgd_native.experiments.runs import GRID, Log, Options, Results, Run, table

__all__ = ["NAME", "TITLE", "folds", "make_settings", "markdown", "plan", "plot", "train"]

NAME = "portfolio"
TITLE = "Portfolio, walked forward"
POLICIES = (EQUAL_WEIGHT, NO_FORECAST, *METHODS)


@dataclass(frozen=True)
class Settings:
    """Everything that defines the study."""

    training: portfolio.Settings = field(default_factory=portfolio.Settings)
    first_test_year: int = 2003
    test_years: int = 2  # of a fold
    validation_years: int = 3
    last_year: int = 2022
    folds: int = field(default=10, metadata=GRID)

    @property
    def seeds(self) -> int:
        """Of every method, side by side in a run."""
        return self.training.seeds


FULL = Settings(training=portfolio.Settings(seeds=5))
SHORT = Settings(folds=3)
QUICK = Settings(training=portfolio.QUICK, folds=1)


def make_settings(options: Options) -> Settings:
    """The settings of a mode; the mode's last folds are those of the latest years."""
    settings = {"quick": QUICK, "short": SHORT, "full": FULL}[options.mode]
    if options.extra.get("folds"):
        settings = replace(settings, folds=options.extra["folds"])
    most = (settings.last_year + 1 - settings.first_test_year) // settings.test_years
    if settings.folds > most:
        raise ValueError(f"at most {most} folds, got {settings.folds}")
    training = replace(settings.training, first_seed=options.first_seed)
    if options.seeds is not None:
        training = replace(training, seeds=options.seeds)
    if options.extra.get("epochs"):
        training = replace(training, epochs=options.extra["epochs"])
    return replace(settings, training=training)


def plan(settings: Settings) -> list[Run]:
    """The latest folds, in the order of time; all seeds of a fold are one run."""
    last = settings.last_year + 1
    years = range(last - settings.folds * settings.test_years, last, settings.test_years)
    return [{"test_from": year, "seed": 0} for year in years]


def fold(weeks: Weeks, year: int, settings: Settings) -> Splits:
    """The fold whose test years begin with `year`."""
    validation, end = year - settings.validation_years, year + settings.test_years
    return Splits(
        weeks.between("1900-01-01", f"{validation - 1}-12-31"),
        weeks.between(f"{validation}-01-01", f"{year - 1}-12-31"),
        weeks.between(f"{year}-01-01", f"{end - 1}-12-31"),
    )


def folds(weeks: Weeks, settings: Settings) -> list[Splits]:
    """All folds of the plan."""
    return [fold(weeks, run["test_from"], settings) for run in plan(settings)]


@lru_cache
def _weeks() -> Weeks:
    return portfolio_data.make_weeks(*portfolio_data.load_prices())


def train(run: Run, settings: Settings, log: Log) -> dict[str, Any]:
    """The whole portfolio study on one fold; weekly figures of the test years, by policy."""
    splits = fold(_weeks(), run["test_from"], settings)
    made = portfolio_study.study(splits, settings.training)
    policies = {}
    for outcome in made.outcomes:
        tested = outcome.test
        policies[outcome.name] = {
            "utility": tested.utility.double().mean(0).tolist(),
            "net": tested.net.double().mean(0).tolist(),
            "turnover": float(WEEKS_PER_YEAR * tested.turnover.double().mean()),
            "utility_of_each_seed": (WEEKS_PER_YEAR * tested.utility.double().mean(-1)).tolist(),
            "epoch": outcome.epoch,
            "seconds": outcome.training.seconds[-1] if outcome.training else None,
        }
        log(0, {f"utility of {outcome.name}": WEEKS_PER_YEAR * float(tested.utility.mean())})
    return {
        "policies": policies,
        "dates": [str(day) for day in splits.test.dates],
        "train_weeks": len(splits.train),
        "validation_weeks": len(splits.validation),
        "test_weeks": len(splits.test),
        "status_not_ok": made.failed,
        "solved": made.solved,
    }


def _series(results: Results, name: str, key: str) -> Any:
    """A policy's weekly figures over all folds, in the order of time."""
    runs = sorted(results.runs, key=lambda run: int(run["labels"]["test_from"]))
    return np.concatenate([run["result"]["policies"][name][key] for run in runs])


def markdown(results: Results, settings: Settings) -> str:
    """All test years together, then fold by fold."""
    runs = sorted(results.runs, key=lambda run: int(run["labels"]["test_from"]))
    years = [run["labels"]["test_from"] for run in runs]
    weekly = {name: _series(results, name, "utility") for name in POLICIES}
    index = block_bootstrap(len(weekly[TWO_STAGE]))
    rows, by_fold = [], []
    for name in POLICIES:
        low, high = interval(weekly[name], index)
        net = _series(results, name, "net")
        parts = [run["result"]["policies"][name] for run in runs]
        cells = [name, f"{WEEKS_PER_YEAR * weekly[name].mean():.2f} [{low:.1f}, {high:.1f}]"]
        if name == TWO_STAGE:
            cells.append("-")
        else:
            versus = weekly[name] - weekly[TWO_STAGE]
            low, high = interval(versus, index)
            cells.append(f"{WEEKS_PER_YEAR * versus.mean():+.2f} [{low:.1f}, {high:.1f}]")
        seconds = [part["seconds"] for part in parts if part["seconds"] is not None]
        cells += [
            f"{WEEKS_PER_YEAR * net.mean():.1f}",
            f"{WEEKS_PER_YEAR**0.5 * net.std(ddof=1):.1f}",
            f"{mean_of([part['turnover'] for part in parts]).value:.1f}",
            f"{sum(seconds):.0f} s" if seconds else "-",
        ]
        rows.append(cells)
        utilities = (WEEKS_PER_YEAR * float(np.mean(part["utility"])) for part in parts)
        by_fold.append([name, *(f"{value:.1f}" for value in utilities)])
    headings = ["policy", "test utility [95%]", "minus two-stage [95%]", "return", "volatility"]
    headings += ["turnover", "training"]
    failed = sum(run["result"]["status_not_ok"] for run in runs)
    solved = sum(run["result"]["solved"] for run in runs)
    return (
        f"Test years {years[0]} to {years[-1] + settings.test_years - 1} in {len(runs)} folds of "
        f"{settings.test_years} years, {settings.validation_years} years before each to choose "
        "rate, decay and epoch on, all earlier years to train on. Percent a year after costs, "
        f"means over {settings.seeds} seeds; intervals by a bootstrap over the test weeks in "
        f"blocks of {BLOCK_WEEKS}. {solved:,} QPs, {failed:,} with a status other than ok.\n\n"
        f"{table(headings, rows)}\nUtility by fold, from:\n\n"
        f"{table(['policy', *map(str, years)], by_fold)}"
    )


def plot(results: Results, settings: Settings, path: Path) -> None:
    """Wealth over all test years, and every fold's utility beyond the two-stage policy's."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    runs = sorted(results.runs, key=lambda run: int(run["labels"]["test_from"]))
    dates = np.array([d for run in runs for d in run["result"]["dates"]], dtype="datetime64[D]")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12.5, 4.8), width_ratios=(3, 2), layout="constrained"
    )
    for name in POLICIES:
        wealth = np.cumprod(1 + _series(results, name, "net") / 100)
        style = "-" if name in METHODS else "--"
        left.plot(dates, wealth, style, color=COLOURS[name], lw=1.5, label=name)
    shown = [name for name in POLICIES if name not in (TWO_STAGE, EQUAL_WEIGHT)]
    width = 0.8 / len(shown)
    for k, name in enumerate(shown):
        gaps = [
            WEEKS_PER_YEAR
            * float(
                np.mean(run["result"]["policies"][name]["utility"])
                - np.mean(run["result"]["policies"][TWO_STAGE]["utility"])
            )
            for run in runs
        ]
        at = np.arange(len(runs)) + (k - (len(shown) - 1) / 2) * width
        right.bar(at, gaps, width, color=COLOURS[name], label=name)
    right.axhline(0, color="0.3", lw=0.8)
    right.set_xticks(range(len(runs)), [str(run["labels"]["test_from"]) for run in runs])
    left.set(yscale="log", ylabel="wealth, start = 1 (log scale)", title="Test years of all folds")
    right.set(
        title="Utility minus that of the two-stage policy, by fold",
        xlabel="first test year",
        ylabel="% a year",
    )
    low, high = left.get_ylim()
    steps = np.outer(10.0 ** np.arange(-1, 3), (1, 1.5, 2, 3, 4, 5, 7)).ravel()
    ticks = [t for t in steps if low <= t <= high]
    left.yaxis.set_ticks(ticks, [f"{t:g}" for t in ticks])
    left.yaxis.set_ticks([], minor=True)
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _files.write_figure(path, figure, dpi=100)
    plt.close(figure)
