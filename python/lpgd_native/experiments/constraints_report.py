"""Table and picture of the learned constraints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lpgd_native.experiments import _files, require
from lpgd_native.experiments.runs import Results, table
from lpgd_native.experiments.sudoku_report import percent

BOX = "box_alone"
COLOURS = ("#009E73", "#D55E00", "#0072B2", "#555555")


def cases_of(results: Results) -> tuple[list[str], list[int], list[str]]:
    """Kinds, numbers of rows and methods that were run."""
    labels = [run["labels"] for run in results.runs]
    methods = list(dict.fromkeys(label["method"] for label in labels))
    return (
        sorted({label["kind"] for label in labels}),
        sorted({label["rows"] for label in labels}),
        sorted(methods),
    )


def markdown(results: Results, settings: Any) -> str:
    """A table for each kind: solutions exactly right, by number of rows, and the time of a step."""
    kinds, rows, methods = cases_of(results)
    text = (
        f"Share of {settings.test:,} test solutions that are right in every one of "
        f"{settings.variables} entries, percent. {settings.train:,} training pairs, "
        f"{settings.epochs} epochs in batches of {settings.batch}, Adam "
        f"{settings.learning_rate:g} (network: 1e-3), {settings.extra_rows} learned row(s) for "
        "each true one. Box alone: as if there were no rows.\n"
    )
    for kind in kinds:
        lines = []
        for method in methods:
            step = results.mean("seconds_per_step", kind=kind, method=method)
            shares = (
                results.mean("solutions", kind=kind, rows=count, method=method) for count in rows
            )
            lines.append([method, *map(percent, shares), f"{1e3 * step.value:.1f}"])
        shares = (results.mean(BOX, kind=kind, rows=count, method=methods[0]) for count in rows)
        lines.append(["box alone", *map(percent, shares), "-"])
        headings = [
            "learned by",
            *(f"{count} row{'s' * (count > 1)}" for count in rows),
            "ms a step",
        ]
        text += f"\n**{kind}**\n\n{table(headings, lines)}"
    return text


def plot(results: Results, settings: Any, path: Path) -> None:
    """Share of right solutions against the number of rows, for each kind."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    kinds, rows, methods = cases_of(results)
    figure, grid = plt.subplots(
        1, len(kinds), figsize=(5.4 * len(kinds), 4.2), layout="constrained", squeeze=False
    )
    for axes, kind in zip(grid[0], kinds, strict=True):
        shown = [(method, "solutions", method) for method in methods]
        for colour, (method, key, name) in zip(
            COLOURS, [*shown, (methods[0], BOX, "box alone")], strict=False
        ):
            means = [results.mean(key, kind=kind, rows=count, method=method) for count in rows]
            axes.errorbar(
                range(len(rows)),
                [100 * mean.value for mean in means],
                yerr=[0.0 if math.isnan(mean.half) else 100 * mean.half for mean in means],
                fmt="o--" if key == BOX else "o-",
                ms=4,
                capsize=2,
                color=colour,
                label=name,
            )
        axes.set_xticks(range(len(rows)), [str(count) for count in rows])
        axes.set(xlabel="rows", ylabel="test solutions right, %", title=kind, ylim=(0, 102))
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _files.write_figure(path, figure, dpi=100)
    plt.close(figure)
