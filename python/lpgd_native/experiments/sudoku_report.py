"""Tables and the picture of the Sudoku study."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

from lpgd_native.experiments import _files, require
from lpgd_native.experiments.deconvolution_report import Mean
from lpgd_native.experiments.runs import Results, Run, curves, table

IMPLICIT = "implicit"
GOAL = 0.1  # share of wrong boards that "learned" means in the table
COLOURS = {
    IMPLICIT: "#555555",
    "LPGD lower": "#D55E00",
    "LPGD upper": "#0072B2",
    "LPGD average": "#009E73",
}


def percent(mean: Mean) -> str:
    """A share, as a percentage with its interval; a dash where no run is there yet."""
    if math.isnan(mean.value):
        return "-"
    if math.isnan(mean.half):
        return f"{100 * mean.value:.1f}"
    return f"{100 * mean.value:.1f} ± {100 * mean.half:.1f}"


def first_at_goal(run: dict[str, Any], column: str) -> float:
    """`column` where the share of wrong boards is first at most `GOAL`; nan if never."""
    return next((float(p[column]) for p in run["curve"] if p["board_error"] <= GOAL), math.nan)


def reached(runs: list[dict[str, Any]], column: str) -> str:
    """Median over the seeds that reach the goal, and how many do not."""
    found = [value for run in runs if not math.isnan(value := first_at_goal(run, column))]
    if not found:
        return "-"
    text = f"{median(found):.1f}"
    return text if len(found) == len(runs) else f"{text} ({len(found)} of {len(runs)})"


def families(results: Results, problem: str) -> list[Run]:
    """Method and rho of what was run on a problem, implicit first."""
    seen: dict[tuple[Any, ...], Run] = {}
    for run in results.select(problem=problem):
        labels = run["labels"]
        key = (labels["method"], labels["rho"])
        seen.setdefault(key, {"problem": problem, "method": key[0], "rho": key[1]})
    order = list(COLOURS)
    return sorted(
        seen.values(),
        key=lambda f: (order.index(f["method"]) if f["method"] in order else -1, f["rho"] or 0.0),
    )


def taus_of(results: Results, family: Run) -> list[Any]:
    """The taus a family was run with; [None] for one without."""
    found = {run["labels"]["tau"] for run in results.select(**family)}
    return sorted(found, key=lambda tau: tau or 0.0)


def best(results: Results, family: Run) -> Run:
    """The family at the tau with the least training loss: no choice sees the test boards."""

    def loss(tau: Any) -> float:
        value = results.mean("train_mse", **family, tau=tau).value
        return math.inf if math.isnan(value) else value

    return {**family, "tau": min(taus_of(results, family), key=loss)}


def label(family: Run) -> str:
    """What a family is called in tables and pictures."""
    rho = family["rho"]
    return str(family["method"]) if rho is None else f"{family['method']}, rho {rho:g}"


def problems_of(results: Results) -> list[str]:
    """QP before LP."""
    return sorted({run["labels"]["problem"] for run in results.runs}, reverse=True)


def markdown(results: Results, settings: Any) -> str:
    """For each problem: the best tau of every family, then all taus; then what it says."""
    side = settings.box**2
    text = (
        f"{side}x{side} boards, {settings.train:,} for training and {settings.test:,} for tests, "
        f"{settings.epochs} epochs in batches of {settings.batch}, Adam "
        f"{settings.learning_rate:g}. "
        f"tau: that with the least training loss. To {100 * GOAL:.0f} %: epochs and seconds of "
        "training until at most that share of the test boards has a wrong cell; looked at "
        f"{settings.evaluations} times an epoch. Times are medians over the seeds. "
        "Not solved: items with a status other than ok; "
        "fallbacks: steps in which the perturbed problem of some item had no solution and its "
        "other side or a smaller tau was taken.\n"
    )
    for problem in problems_of(results):
        rows = []
        for family in families(results, problem):
            chosen = best(results, family)
            runs = results.select(**chosen)
            rows.append(
                [
                    label(family),
                    "-" if chosen["tau"] is None else f"{chosen['tau']:g}",
                    f"{results.mean('train_mse', **chosen)}",
                    f"{results.mean('test_mse', **chosen)}",
                    percent(results.mean("board_error", **chosen)),
                    reached(runs, "epoch"),
                    reached(runs, "seconds"),
                    f"{median(run['result']['seconds_per_epoch'] for run in runs):.1f}",
                    f"{sum(run['result']['status_not_ok'] for run in runs):,}",
                    f"{sum(run['result']['steps_with_fallback'] for run in runs):,}",
                ]
            )
        goal = f"to {100 * GOAL:.0f} %"
        headings = ["gradient", "tau", "training MSE", "test MSE", "wrong boards, %"]
        headings += [f"{goal}: epochs", "seconds", "s an epoch", "not solved", "fallbacks"]
        text += f"\n**{problem}**\n\n{table(headings, rows)}"
        swept = [f for f in families(results, problem) if taus_of(results, f) != [None]]
        taus = sorted({tau for family in swept for tau in taus_of(results, family)})
        if len(taus) > 1:
            rows = [
                [
                    label(family),
                    *(percent(results.mean("board_error", **family, tau=tau)) for tau in taus),
                ]
                for family in swept
            ]
            headings = ["wrong boards, %, at tau", *(f"{tau:g}" for tau in taus)]
            text += f"\n{table(headings, rows)}"
        text += "\n" + verdict(results, problem)
    return text


def verdict(results: Results, problem: str) -> str:
    """The answer of the runs, in a sentence."""
    reference = {"problem": problem, "method": IMPLICIT}
    ours = [f for f in families(results, problem) if f["method"].startswith("LPGD")]
    if not ours or not results.select(**reference):
        return ""
    chosen = min(
        (best(results, family) for family in ours),
        key=lambda run: results.mean("train_mse", **run).value,
    )
    difference = results.difference("test_mse", chosen, reference)
    sure = (
        "one seed only"
        if difference.count < 2
        else f"paired {difference.value:+.4f} ± {difference.half:.4f}"
    )
    times = [
        median(run["curve"][-1]["seconds"] for run in results.select(**which))
        for which in (chosen, reference)
    ]
    goal = results.mean("test_mse", **reference).value
    passed = [
        next((p["seconds"] for p in run["curve"] if p["test_mse"] <= goal), math.nan)
        for run in results.select(**chosen)
    ]
    when = (
        "it did not get there"
        if any(map(math.isnan, passed))
        else f"it got there after {median(passed):.1f} s"
    )
    return (
        f"{problem}: by training loss the best is {label(chosen)}, tau {chosen['tau']:g}. After "
        f"the same epochs its test MSE is {results.mean('test_mse', **chosen).value:.4f}, that of "
        f"implicit gradients {results.mean('test_mse', **reference).value:.4f} ({sure}); "
        f"{when}, implicit gradients after {times[1]:.1f} s. All its steps took {times[0]:.1f} s.\n"
    )


def plot(results: Results, settings: Any, path: Path) -> None:
    """A row for each problem: test error against tau, against epochs, against seconds."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    problems = problems_of(results)
    figure, grid = plt.subplots(
        len(problems), 3, figsize=(13, 4.0 * len(problems)), layout="constrained", squeeze=False
    )
    for (left, middle, right), problem in zip(grid, problems, strict=True):
        for family in families(results, problem):
            colour = COLOURS.get(family["method"], "#CC79A7")
            style = "--" if family["rho"] else "-"
            taus = taus_of(results, family)
            means = [results.mean("test_mse", **family, tau=tau) for tau in taus]
            if taus == [None]:
                left.axhline(means[0].value, color=colour, lw=1.6, label=label(family))
                if not math.isnan(means[0].half):
                    band = (means[0].value - means[0].half, means[0].value + means[0].half)
                    left.axhspan(*band, color=colour, alpha=0.12, lw=0)
            else:
                left.errorbar(
                    taus,
                    [m.value for m in means],
                    yerr=[0.0 if math.isnan(m.half) else m.half for m in means],
                    fmt=f"{style}o",
                    color=colour,
                    ms=3.5,
                    lw=1.4,
                    capsize=2,
                    label=label(family),
                )
            chosen = best(results, family)
            name = label(family) + ("" if chosen["tau"] is None else f", tau {chosen['tau']:g}")
            for axes, x in ((middle, "epoch"), (right, "seconds")):
                xs, ys = curves(results.select(**chosen), x, "test_mse")
                middles = [sum(values) / len(values) for values in zip(*ys, strict=True)]
                start = x == "seconds"  # the first point, at zero, has no place on a log scale
                axes.plot(
                    xs[start:], middles[start:], f"{style}o", color=colour, ms=3, lw=1.4, label=name
                )
        left.set(xscale="log", xlabel="tau", ylabel="MSE on the test boards")
        left.set_title(f"{problem}: after {settings.epochs} epochs")
        middle.set(xlabel="epochs", title=f"{problem}: best tau of each, per epoch")
        right.set(xlabel="seconds of training (log)", title="the same, per second")
        right.set_xscale("log")
        right.xaxis.set_minor_formatter(plt.NullFormatter())
        for axes in (left, middle, right):
            axes.set_yscale("log")
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        left.legend(frameon=False, fontsize=7)
        middle.legend(frameon=False, fontsize=7)
    _files.write_figure(path, figure, dpi=100)
    plt.close(figure)
