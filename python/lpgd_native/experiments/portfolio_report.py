"""Figures of the portfolio study: bootstrap intervals, table, picture, JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lpgd_native._build_info import build_info
from lpgd_native.experiments import _files, require
from lpgd_native.experiments.portfolio import (
    IMPLICIT,
    LPGD_AVERAGE,
    LPGD_LOWER,
    TWO_STAGE,
    Training,
)
from lpgd_native.experiments.portfolio_data import Array
from lpgd_native.experiments.portfolio_study import (
    EQUAL_WEIGHT,
    NO_FORECAST,
    WEEKS_PER_YEAR,
    Outcome,
    Study,
)

BLOCK_WEEKS = 13
RESAMPLES = 4000
NOTE = (
    "Utility, return and volatility in percent a year after costs, turnover in portfolios a year, "
    "means over the seeds. implicit, LPGD: trained end to end through the QP. Rate, weight decay "
    "and epoch were chosen on the validation years; no choice saw the test years. Intervals: "
    f"bootstrap over the test weeks in blocks of {BLOCK_WEEKS}; they don't cover how the 20 stocks "
    "were picked: all of them survived to the end."
)
Interval = tuple[float, float]

# colour-blind safe (Okabe-Ito); yardsticks in greys
COLOURS = {
    EQUAL_WEIGHT: "#555555",
    NO_FORECAST: "#AAAAAA",
    TWO_STAGE: "#E69F00",
    IMPLICIT: "#56B4E9",
    LPGD_LOWER: "#D55E00",
    LPGD_AVERAGE: "#009E73",
}


def block_bootstrap(length: int, resamples: int = RESAMPLES, block: int = BLOCK_WEEKS) -> Array:
    """Indices [resamples, length] of a circular block bootstrap: whole quarters, redrawn.

    Weekly utilities are not independent (volatility clusters); blocks keep their neighbours.
    """
    generator = np.random.default_rng(0)
    blocks = -(-length // block)
    starts = generator.integers(length, size=(resamples, blocks, 1))
    index = (starts + np.arange(block)) % length
    return np.asarray(index.reshape(resamples, -1)[:, :length])


def interval(weekly: Array, index: Array) -> Interval:
    """95% percentile interval of the yearly mean of a weekly series."""
    low, high = np.quantile(WEEKS_PER_YEAR * weekly[index].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Row:
    """One line of the table. Percent a year, mean over the seeds, after costs, test years."""

    name: str
    candidate: dict[str, float] | None
    epoch: int | None
    validation_utility: float
    utility: float
    utility_interval: Interval
    utility_seeds: list[float]
    difference: float | None  # utility minus that of the two-stage policy, same weeks
    difference_interval: Interval | None
    mean_return: float
    volatility: float
    turnover: float  # of the whole portfolio, bought plus sold, a year
    training_seconds: float | None  # all epochs, candidates and seeds together


def summarise(study: Study) -> list[Row]:
    """A row for each outcome, all on the same resampled weeks."""
    index = block_bootstrap(len(study.splits.test))
    weekly = {o.name: o.test.utility.double().mean(0).numpy() for o in study.outcomes}
    reference = weekly.get(TWO_STAGE)
    rows = []
    for outcome in study.outcomes:
        series, net = weekly[outcome.name], outcome.test.net.double()
        versus = None
        if reference is not None and outcome.name != TWO_STAGE:
            versus = series - reference
        seeds = WEEKS_PER_YEAR * outcome.test.utility.double().mean(-1)
        rows.append(
            Row(
                name=outcome.name,
                candidate=outcome.candidate and outcome.candidate._asdict(),
                epoch=outcome.epoch,
                validation_utility=outcome.validation_utility,
                utility=float(WEEKS_PER_YEAR * series.mean()),
                utility_interval=interval(series, index),
                utility_seeds=seeds.tolist(),
                difference=None if versus is None else float(WEEKS_PER_YEAR * versus.mean()),
                difference_interval=None if versus is None else interval(versus, index),
                mean_return=float(WEEKS_PER_YEAR * net.mean()),
                volatility=float((net.std(-1) * WEEKS_PER_YEAR**0.5).mean()),
                turnover=float(WEEKS_PER_YEAR * outcome.test.turnover.double().mean()),
                training_seconds=outcome.training.seconds[-1] if outcome.training else None,
            )
        )
    return rows


HEADINGS = (
    "policy",
    "rate, decay,\nepoch",
    "valid-\nation",
    "test utility\n[95%]",
    "minus two-stage\n[95%]",
    "seeds\nsd",
    "return",
    "vola-\ntility",
    "turn-\nover",
    "train-\ning",
)


def cells(row: Row) -> list[str]:
    """The row under ``HEADINGS``, as text."""

    def spread(value: float | None, bounds: Interval | None) -> str:
        if value is None or bounds is None:
            return "-"
        return f"{value:.1f} [{bounds[0]:.1f}, {bounds[1]:.1f}]"

    many = len(row.utility_seeds) > 1
    rate, decay = row.candidate.values() if row.candidate else (0.0, 0.0)
    return [
        row.name,
        "-" if row.candidate is None else f"{rate:g}, {decay:g}, {row.epoch}",
        f"{row.validation_utility:.1f}",
        spread(row.utility, row.utility_interval),
        spread(row.difference, row.difference_interval),
        f"{np.std(row.utility_seeds, ddof=1):.1f}" if many else "-",
        f"{row.mean_return:.1f}",
        f"{row.volatility:.1f}",
        f"{row.turnover:.1f}",
        "-" if row.training_seconds is None else f"{row.training_seconds:.0f} s",
    ]


def rich_table(study: Study, rows: list[Row]) -> Any:
    """A `rich.table.Table`."""
    test = study.splits.test
    table = require("rich.table").Table(
        title=f"Portfolio policies, {study.settings.seeds} seeds, test weeks "
        f"{test.traded[0]} to {test.dates[-1]}",
        caption=NOTE,
        box=require("rich.box").SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption_justify="left",
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for row in rows:
        table.add_row(*cells(row), end_section=row.name == NO_FORECAST)
    return table


def markdown_table(rows: list[Row]) -> str:
    """The same table for a README."""
    headings = [heading.replace("-\n", "").replace("\n", " ") for heading in HEADINGS]
    lines = [headings, ["---", *("---:" for _ in HEADINGS[1:])], *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write_json(study: Study, rows: list[Row], path: Path) -> None:
    """Settings, versions, splits, figures and training curves."""

    def curve(outcome: Outcome, training: Training) -> dict[str, Any]:
        utility = [] if outcome.training_utility is None else outcome.training_utility.tolist()
        return {"seconds": training.seconds, "utility_of_each_seed": utility}

    parts = {"train": study.splits.train, "validation": study.splits.validation}
    parts["test"] = study.splits.test
    document = {
        "units": "utility, return, volatility: percent a year after costs; turnover: a year",
        "settings": {
            **asdict(study.settings),
            "candidates": [c._asdict() for c in study.settings.candidates],
        },
        "build": build_info(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(study.splits.test.returns.dtype).removeprefix("torch."),
        "assets": study.splits.test.assets,
        "splits": {
            name: {"first": str(w.traded[0]), "last": str(w.dates[-1]), "weeks": len(w)}
            for name, w in parts.items()
        },
        "bootstrap": {"block_weeks": BLOCK_WEEKS, "resamples": RESAMPLES, "level": 0.95},
        "qps": {"solved": study.solved, "status_not_ok": study.failed},
        "policies": [asdict(row) for row in rows],
        "training_curves_of_first_candidate": {
            o.name: curve(o, o.training) for o in study.outcomes if o.training
        },
    }
    _files.write_text(path, json.dumps(document, indent=2, default=str) + "\n")


def plot(study: Study, path: Path) -> None:
    """Wealth on the test years, and utility on the training years against training time."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12.5, 5.4), width_ratios=(3, 2), layout="constrained"
    )

    def band(axes: Any, x: Array, y: Array, name: str, style: str) -> None:
        """Mean over the seeds, y [S, X], and the range from the lowest to the highest."""
        axes.plot(x, y.mean(0), style, color=COLOURS[name], lw=1.6, ms=3.5, label=name)
        if len(y) > 1:
            axes.fill_between(x, y.min(0), y.max(0), color=COLOURS[name], alpha=0.12, lw=0)

    test, settings = study.splits.test, study.settings
    dates = np.concatenate([test.traded[:1], test.dates])
    for outcome in study.outcomes:
        growth = (1 + outcome.test.net.double() / 100).cumprod(-1).numpy()
        wealth = np.concatenate([np.ones((len(growth), 1)), growth], axis=1)
        band(left, dates, wealth, outcome.name, "-" if outcome.training else "--")
        if outcome.training is not None and outcome.training_utility is not None:
            utility = outcome.training_utility.double().numpy()[1:].T
            band(right, np.array(outcome.training.seconds[1:]), utility, outcome.name, "o-")
    left.set(
        title=f"Test years, seen by no choice: wealth after costs of {settings.cost:g}%",
        ylabel="wealth, start = 1 (log scale)",
        yscale="log",
    )
    right.set(
        title="Training years: utility against training time",
        xlabel=f"training time of all {settings.seeds} seeds and {len(settings.candidates)} "
        "candidates together,\nseconds (log scale)",
        ylabel="utility after costs, % a year",
        xscale="log",
    )
    decades = 10.0 ** np.arange(-3, 4)
    for axis, steps in ((left.yaxis, (1, 1.5, 2, 3, 4, 5, 7)), (right.xaxis, (1, 2, 5))):
        low, high = axis.get_view_interval()
        ticks = [t for t in np.outer(decades, steps).ravel() if low <= t <= high]
        axis.set_ticks(ticks, [f"{t:g}" for t in ticks])
        axis.set_ticks([], minor=True)
    for axes in (left, right):
        axes.legend(loc="upper left", frameon=False, fontsize=9)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    rate, decay = settings.candidates[0]
    figure.supxlabel(
        f"Lines: mean of {settings.seeds} seeds, bands: lowest to highest seed. Left: rate, weight "
        "decay and epoch chosen on the validation years.\nRight: a dot is an epoch, AdamW at rate "
        f"{rate:g} with weight decay {decay:g} for every method.",
        fontsize=9,
        color="#444444",
    )
    _files.write_figure(path, figure, dpi=100, pil_kwargs={"optimize": True})
    plt.close(figure)
