"""Tables and the picture of the predict-then-optimise study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lpgd_native.experiments import require
from lpgd_native.experiments.deconvolution_report import Mean
from lpgd_native.experiments.runs import Results, Run, table

OURS, THEIRS = "lpgd_native", "PyEPO"
COLOURS = {OURS: "#009E73", THEIRS: "#D55E00"}


def percent(mean: Mean) -> str:
    """A share as a percentage, with its interval."""
    if math.isnan(mean.value):
        return "-"
    if math.isnan(mean.half):
        return f"{100 * mean.value:.2f}"
    return f"{100 * mean.value:.2f} ± {100 * mean.half:.2f}"


def methods_of(results: Results, problem: str) -> list[Run]:
    """Package, method and tau of what was run on a problem, in the order of the plan."""
    seen: dict[tuple[Any, ...], Run] = {}
    for run in results.select(problem=problem):
        labels = run["labels"]
        key = (labels["by"], labels["method"], labels["tau"])
        seen.setdefault(key, dict(zip(("by", "method", "tau"), key, strict=True)))
    return sorted(seen.values(), key=lambda m: (m["by"] != OURS, m["method"], m["tau"] or 0.0))


def cases_of(results: Results, problem: str) -> list[Run]:
    """Degree and noise of what was run on a problem."""
    found = {
        (run["labels"]["degree"], run["labels"]["noise"]) for run in results.select(problem=problem)
    }
    return [{"degree": degree, "noise": noise} for degree, noise in sorted(found)]


def problems_of(results: Results) -> list[str]:
    """In the order of the alphabet, backwards: the shortest path first."""
    return sorted({run["labels"]["problem"] for run in results.runs}, reverse=True)


def name_of(method: Run) -> str:
    """What a method is called."""
    return str(method["method"]) + ("" if method["tau"] is None else f", tau {method['tau']:g}")


def markdown(results: Results, settings: Any) -> str:
    """For each problem: regret of every method and case, and the time of a step."""
    text = (
        f"Normalised regret on {settings.test:,} test instances, percent; {settings.train:,} "
        f"training instances, {settings.epochs} epochs in batches of {settings.batch}, Adam "
        f"{settings.learning_rate:g}, linear predictor; {settings.samples} samples of noise. "
        "tau of LPGD is relative. ms: a training step (prediction, loss, backward, update), mean "
        "over all cases.\n"
    )
    for problem in problems_of(results):
        cases, rows = cases_of(results, problem), []
        for method in methods_of(results, problem):
            step = results.mean("seconds_per_step", problem=problem, **method)
            row = [f"{name_of(method)} ({method['by']})", f"{1e3 * step.value:.2f}"]
            row += [
                percent(results.mean("test_regret", problem=problem, **method, **case))
                for case in cases
            ]
            rows.append(row)
        headings = ["method", "ms"]
        headings += [f"degree {case['degree']}, noise {case['noise']:g}" for case in cases]
        text += f"\n**{problem}**\n\n{table(headings, rows)}\n{verdict(results, problem)}"
    return text


def verdict(results: Results, problem: str) -> str:
    """Times beside PyEPO's, where a method is in both packages."""
    parts = []
    for method in methods_of(results, problem):
        if method["by"] != THEIRS:
            continue
        theirs = results.mean("seconds_per_step", problem=problem, **method)
        ours = results.mean("seconds_per_step", problem=problem, **{**method, "by": OURS})
        if not math.isnan(ours.value):
            parts.append(f"{name_of(method)} {theirs.value / ours.value:.0f}x")
    solver = sorted({r["result"]["solver"] for r in results.select(problem=problem, by=THEIRS)})
    if not parts:
        return ""
    return f"A step of PyEPO ({', '.join(solver)}) over one of ours: {', '.join(parts)}.\n"


def plot(results: Results, settings: Any, path: Path) -> None:
    """Regret against the time of a step, a row for each problem, a column for each case."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    problems = problems_of(results)
    columns = max(len(cases_of(results, problem)) for problem in problems)
    figure, grid = plt.subplots(
        len(problems),
        columns,
        figsize=(max(7.5, 4.2 * columns), 3.8 * len(problems)),
        layout="constrained",
        squeeze=False,
    )
    for row, problem in zip(grid, problems, strict=True):
        for axes, case in zip(row, cases_of(results, problem), strict=False):
            for method in methods_of(results, problem):
                labels = {"problem": problem, **case, **method}
                step = results.mean("seconds_per_step", **labels)
                regret = results.mean("test_regret", **labels)
                if math.isnan(step.value):
                    continue
                axes.errorbar(
                    [1e3 * step.value],
                    [100 * regret.value],
                    yerr=[0.0 if math.isnan(regret.half) else 100 * regret.half],
                    fmt="o",
                    ms=4,
                    capsize=2,
                    color=COLOURS[method["by"]],
                )
                axes.annotate(
                    name_of(method),
                    (1e3 * step.value, 100 * regret.value),
                    xytext=(5, 3),
                    textcoords="offset points",
                    fontsize=7,
                    color=COLOURS[method["by"]],
                )
            axes.set(xscale="log", xlabel="ms a training step", ylabel="normalised regret, %")
            axes.set_title(f"{problem}, degree {case['degree']}, noise {case['noise']:g}")
            axes.margins(x=0.25, y=0.12)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=c, label=by) for by, c in COLOURS.items()
    ]
    grid[0, 0].legend(handles=handles, frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
