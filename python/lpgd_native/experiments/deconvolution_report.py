"""Tables and the picture of the deconvolution study, from the files its runs have left."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lpgd_native.experiments import _files, require

# 97.5 % quantiles of Student's t with 1, 2, ... degrees of freedom
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and the half-width of its 95 % interval (nan with one seed)."""

    value: float
    half: float
    count: int
    lost: int = 0  # seeds left out because their value was not finite

    def __str__(self) -> str:
        return self.text(".4f")

    def text(self, form: str) -> str:
        """Mean ± half, both in this format, and over how many seeds if not over all."""
        half = "" if math.isnan(self.half) else f" ± {self.half:{form.lstrip('+')}}"
        of = f" ({self.count} of {self.count + self.lost})" if self.lost else ""
        value = "-" if math.isnan(self.value) else f"{self.value:{form}}"
        return f"{value}{half}{of}"


def mean_of(values: Sequence[float], only_finite: bool = False) -> Mean:
    """Student's t interval of the mean; `only_finite` leaves out what is not, and counts it."""
    kept = [value for value in values if math.isfinite(value) or not only_finite]
    count, lost = len(kept), len(values) - len(kept)
    if count < 2:
        return Mean(kept[0] if count else math.nan, math.nan, count, lost)
    t = _T[count - 2] if count - 2 < len(_T) else 1.96 + 2.4 / (count - 1)
    tensor = torch.tensor(kept, dtype=torch.float64)
    return Mean(float(tensor.mean()), t * float(tensor.std()) / math.sqrt(count), count, lost)


class Results:
    """All finished runs of a folder."""

    def __init__(self, runs: Iterable[dict[str, Any]]) -> None:
        self.runs = list(runs)
        self.errors: dict[str, dict[float, dict[int, float]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self.parameters: dict[str, int] = {}
        for run in self.runs:
            test = math.nan if run["test"] is None else run["test"]  # overflow on a test signal
            self.errors[run["network"]][run["a"]][run["seed"]] = test
            self.parameters[run["network"]] = run["parameters"]

    @staticmethod
    def read(folder: Path, steps: int, seeds: Container[int]) -> Results:
        """The runs in `folder` with these seeds, trained for so many steps."""
        found = (json.loads(p.read_text()) for p in sorted(folder.glob("*-seed=*.json")))
        return Results(
            run for run in found if run["settings"]["steps"] == steps and run["seed"] in seeds
        )

    def error(self, name: str, a: float) -> Mean:
        """Test error, mean over seeds."""
        return mean_of(list(self.errors[name][a].values()), only_finite=True)

    def difference(self, name: str, other: str, a: float) -> Mean:
        """Paired over the seeds that both have: error of `name` minus that of `other`."""
        left, right = self.errors[name][a], self.errors[other][a]
        pairs = [left[s] - right[s] for s in sorted(left.keys() & right.keys())]
        return mean_of(pairs, only_finite=True)


def markdown(
    results: Results,
    names: Sequence[str],
    nonlinearities: Sequence[float],
    floors: dict[str, dict[float, float]],
) -> str:
    """The table of test errors, then the paired differences."""
    head = "| network | parameters | " + " | ".join(f"a = {a:g}" for a in nonlinearities) + " |"
    lines = [head, "| --- | ---: |" + " ---: |" * len(nonlinearities)]
    for label, values in floors.items():
        lines.append(
            f"| {label} | - | " + " | ".join(f"{values[a]:.4f}" for a in nonlinearities) + " |"
        )
    for name in names:
        cells = [
            str(results.error(name, a)) if results.errors[name][a] else "-" for a in nonlinearities
        ]
        lines.append(
            f"| {name} | {results.parameters.get(name, 0):,} | " + " | ".join(cells) + " |"
        )
    lines += [
        "",
        "Paired differences over seeds:",
        "",
        head.replace("parameters", "seeds").replace("network", "difference"),
    ]
    lines.append("| --- | ---: |" + " ---: |" * len(nonlinearities))
    for name, other in pairs(names):
        means = [results.difference(name, other, a) for a in nonlinearities]
        count = max(m.count for m in means)
        if count:
            cells = [m.text("+.4f") if m.count else "-" for m in means]
            lines.append(f"| {name} − {other} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Which networks of these are compared: minuend, subtrahend.

    The six with and without momentum; controls with recurrent momentum and without any; a network
    with options with itself without them, and recurrent momentum with plain at the same options.
    """
    wanted = [("LPGD-MA", "LPGD"), ("LPGD-RMA", "LPGD"), ("LPD-MA", "LPD"), ("LPD-RMA", "LPD")]
    wanted.append(("LPD-RMA", "LPGD-RMA"))
    basic = {name for pair in wanted for name in pair}
    for name in names:
        base, colon, options = name.partition(":")
        family, _, momentum = base.partition("-")
        same = f"{family}-RMA{colon}{options}"
        if name in basic:
            continue
        if not momentum and same in names:
            wanted.append((same, name))
        elif momentum != "RMA":
            wanted.append((name, f"{family}-RMA"))
            if momentum:
                wanted.append((name, family))
        if colon:
            wanted.append((name, base))
    return [pair for pair in wanted if set(pair) <= set(names)]


def by_option(results: Results, names: Sequence[str], a: float) -> str:
    """A row for each option, a column for each network that has some, and how far recurrent
    momentum is from the same network without: for one `a`.
    """
    found = dict.fromkeys(name.partition(":")[0] for name in names)
    bases = sorted(found, key=lambda base: base.endswith("-RMA"))
    options = list(dict.fromkeys(["", *(name.partition(":")[2] for name in names)]))
    beside = [(base, f"{base}-RMA") for base in bases if f"{base}-RMA" in bases]
    head = [f"a = {a:g}", *bases, *(f"{left} − {right}" for right, left in beside)]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    for option in options:
        cells = [option or "as it is"]
        of = {base: f"{base}:{option}".rstrip(":") for base in bases}
        cells += [results.error(of[base], a).text(".4f") for base in bases]
        cells += [results.difference(of[r], of[m], a).text("+.4f") for m, r in beside]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(
    results: Results,
    names: Sequence[str],
    nonlinearities: Sequence[float],
    floors: dict[str, dict[float, float]],
    path: Path,
) -> None:
    """Test error against a, a line for each network, intervals as bars; for one a, a row each."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    names = [name for name in names if any(results.errors[name][a] for a in nonlinearities)]
    if len(nonlinearities) == 1:
        _plot_levels(results, names, nonlinearities[0], floors, path)
        return
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for style, (label, values) in zip(("--", ":"), floors.items(), strict=False):
        axes.plot(
            nonlinearities, [values[a] for a in nonlinearities], style, color="0.5", label=label
        )
    width = 0.02 * (max(nonlinearities) - min(nonlinearities) + 1e-9)
    for index, name in enumerate(names):
        at = [a for a in nonlinearities if results.errors[name][a]]
        means = [results.error(name, a) for a in at]
        shift = width * (index - len(names) / 2) / max(len(names), 1)
        axes.errorbar(
            [a + shift for a in at],
            [m.value for m in means],
            yerr=[0 if math.isnan(m.half) else m.half for m in means],
            marker="o",
            markersize=3,
            linestyle="-" if name.startswith("LPD") else "-.",
            capsize=2,
            label=name,
        )
    axes.set_xlabel("a, weight of the quadratic part")
    axes.set_ylabel("mean squared error on the test set")
    axes.set_title("Nonlinear deconvolution, 53 numbers from 12")
    axes.legend(fontsize=8, ncols=2)
    axes.grid(alpha=0.3)
    _files.write_figure(path, figure, dpi=130)
    plt.close(figure)


def _plot_levels(
    results: Results,
    names: Sequence[str],
    a: float,
    floors: dict[str, dict[float, float]],
    path: Path,
) -> None:
    plt = require("matplotlib.pyplot")
    height = 1.2 + 0.25 * len(names)
    figure, axes = plt.subplots(figsize=(8, height), layout="constrained")
    for style, (label, values) in zip(("--", ":"), floors.items(), strict=False):
        axes.axvline(values[a], linestyle=style, color="0.5", label=label)
    for row, name in enumerate(names):
        mean = results.error(name, a)
        half = 0 if math.isnan(mean.half) else mean.half
        axes.errorbar(mean.value, row, xerr=half, marker="o", markersize=4, capsize=2, color="C0")
    axes.set_yticks(range(len(names)), labels=names)
    axes.invert_yaxis()
    axes.set_xlabel("mean squared error on the test set")
    axes.set_title(f"Nonlinear deconvolution, 53 numbers from 12, a = {a:g}")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    _files.write_figure(path, figure, dpi=130)
    plt.close(figure)
