"""Table and picture of the digits study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lpgd_native.experiments import _files, require
from lpgd_native.experiments.runs import Results, Run, curves, table
from lpgd_native.experiments.sudoku_report import percent

COLOURS = ("#555555", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#E69F00", "#56B4E9")


def families(results: Results) -> dict[str, list[Run]]:
    """The methods, each with its taus."""
    found: dict[str, list[Run]] = {}
    for run in results.runs:
        labels = {key: run["labels"][key] for key in ("method", "tau")}
        if labels not in found.setdefault(labels["method"], []):
            found[labels["method"]].append(labels)
    return {name: sorted(v, key=lambda r: r["tau"] or 0.0) for name, v in sorted(found.items())}


def name_of(run: Run) -> str:
    """What a method is called."""
    return str(run["method"]) + ("" if run["tau"] is None else f", tau {run['tau']:g}")


def markdown(results: Results, settings: Any) -> str:
    """All methods, all taus."""
    rows = [
        [
            name_of(run),
            percent(results.mean("rows", **run)),
            percent(results.mean("places", **run)),
            f"{results.mean('kendall', **run)}",
            percent(results.mean("train_places", **run)),
            f"{1e3 * results.mean('seconds_per_step', **run).value:.1f}",
        ]
        for members in families(results).values()
        for run in members
    ]
    headings = ["gradient", "rows sorted, %", "images at their place, %", "Kendall's tau"]
    headings += ["at their place in training, %", "ms a step"]
    return (
        f"{settings.test:,} test rows of {settings.length} images that no training row has; "
        f"{settings.train:,} training rows, {settings.epochs} epochs in batches of "
        f"{settings.batch}, Adam {settings.learning_rate:g}. tau is relative; "
        f"{settings.samples} samples of noise.\n\n{table(headings, rows)}"
    )


def plot(results: Results, settings: Any, path: Path) -> None:
    """Share of sorted rows against epochs and against tau."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for colour, members in zip(COLOURS, families(results).values(), strict=False):
        best = max(members, key=lambda run: results.mean("train_places", **run).value)
        runs = results.select(**best)
        _, ys = curves(runs, "step", "rows")
        middle = [100 * sum(values) / len(values) for values in zip(*ys, strict=True)]
        left.plot(range(len(middle)), middle, "o-", ms=3, color=colour, label=name_of(best))
        if len(ys) > 1:
            low, high = (
                [100 * pick(values) for values in zip(*ys, strict=True)] for pick in (min, max)
            )
            left.fill_between(range(len(middle)), low, high, color=colour, alpha=0.12, lw=0)
        means = [results.mean("rows", **run) for run in members]
        if members[0]["tau"] is None:
            right.axhline(100 * means[0].value, color=colour, lw=1.2, label=name_of(best))
        else:
            right.errorbar(
                [run["tau"] for run in members],
                [100 * mean.value for mean in means],
                yerr=[0.0 if math.isnan(mean.half) else 100 * mean.half for mean in means],
                fmt="o-",
                ms=4,
                capsize=2,
                color=colour,
                label=best["method"],
            )
    left.set(xlabel="epochs", ylabel="test rows sorted, %", title="Best tau of each, by training")
    right.set(xscale="log", xlabel="tau (relative)", title="After the last epoch")
    left.legend(frameon=False, fontsize=8)  # the colours are the same on the right
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _files.write_figure(path, figure, dpi=100)
    plt.close(figure)
