"""Tables and the picture of the predict-then-optimise study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lpgd_native.experiments import _files, require
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


def best_of(results: Results, problem: str) -> list[tuple[str, list[Run]]]:
    """Methods by name, ours and PyEPO's; of several taus the one with the least training regret."""
    named: dict[str, dict[str, Run]] = {}
    for method in methods_of(results, problem):
        members = named.setdefault(method["method"], {})
        held = members.get(method["by"])

        def regret(run: Run) -> float:
            return results.mean("train_regret", problem=problem, **run).value

        if held is None or regret(method) < regret(held):
            members[method["by"]] = method
    return [(name, list(members.values())) for name, members in sorted(named.items())]


def plot(results: Results, settings: Any, path: Path) -> None:
    """A row for each problem: regret in each case, then the time of a step; a line for a method."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    problems = problems_of(results)
    columns = max(len(cases_of(results, problem)) for problem in problems)
    figure, grid = plt.subplots(
        len(problems),
        columns + 1,
        figsize=(2.6 + 2.5 * (columns + 1), 3.2 * len(problems)),
        layout="constrained",
        squeeze=False,
        sharey="row",
    )
    for row, problem in zip(grid, problems, strict=True):
        named = best_of(results, problem)
        panels = [*cases_of(results, problem), {}]
        for axes, case in zip([*row[: len(panels) - 1], row[-1]], panels, strict=True):
            key, scale = ("test_regret", 100.0) if case else ("seconds_per_step", 1e3)
            for place, (_, members) in enumerate(named):
                for method in members:
                    mean = results.mean(key, problem=problem, **case, **method)
                    axes.errorbar(
                        [scale * mean.value],
                        [place + (0.14 if method["by"] == THEIRS else -0.14)],
                        xerr=[0.0 if math.isnan(mean.half) or not case else scale * mean.half],
                        fmt="o",
                        ms=4.5,
                        lw=1.2,
                        capsize=2,
                        color=COLOURS[method["by"]],
                    )
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            if case:
                axes.set_title(
                    f"{problem}\ndegree {case['degree']}, noise {case['noise']:g}", fontsize=9
                )
                axes.set_xlabel("normalised regret, %")
                axes.set_xlim(0, min(axes.get_xlim()[1], 3 * _middle(results, problem, case)))
            else:
                axes.set(xscale="log", xlabel="ms a training step")
                axes.xaxis.set_minor_formatter(plt.NullFormatter())
                axes.margins(x=0.2)
                axes.set_title(f"{problem}\ntime", fontsize=9)
        names = [
            f"{name}, tau {tau:g}" if (tau := members[0]["tau"]) is not None else name
            for name, members in named
        ]
        row[0].set_yticks(range(len(names)), names)
        row[0].invert_yaxis()
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=c, label=by) for by, c in COLOURS.items()
    ]
    figure.legend(handles=handles, frameon=False, ncols=2, loc="outside lower center")
    _files.write_figure(path, figure, dpi=100)
    plt.close(figure)


def _middle(results: Results, problem: str, case: Run) -> float:
    """The middle one of the methods' regrets, percent: wide intervals must not hide the others."""
    values = sorted(
        100 * results.mean("test_regret", problem=problem, **case, **method).value
        for _, members in best_of(results, problem)
        for method in members
    )
    return values[len(values) // 2] if values else 1.0
