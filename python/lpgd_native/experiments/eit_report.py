"""Tables and pictures of the EIT study, from the files its runs have left."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpgd_native.experiments import _files, require
from lpgd_native.experiments.deconvolution_report import Mean, mean_of
from lpgd_native.experiments.eit import network
from lpgd_native.experiments.eit_data import Data, DataSettings, Part
from lpgd_native.experiments.eit_train import measures, predict
from lpgd_native.operators import EIT, Mesh

__all__ = [
    "CLAIMS",
    "Results",
    "claims_table",
    "markdown",
    "plot_errors",
    "plot_phantoms",
    "show",
    "verdict",
]

MEASURES = {"mse": ".5f", "psnr": ".2f", "ssim": ".3f", "voltage_error": ".4f"}
CLAIMS = (
    ("C2", "LPGD-RMA", "LPGD"),
    ("C2", "LPD-RMA", "LPD"),
    ("C2", "LPGD-RMA", "LPGD-MA"),
    ("C2", "LPD-RMA", "LPD-MA"),
    *(("C3", "LPD-RMA", other) for other in ("LPGD", "LPGD-MA", "LPGD-RMA", "LPD", "LPD-MA")),
    *(
        ("control", "LPD-RMA", other)
        for other in ("LPD:iterations=22", "LPD-MA-learned", "LPD-dense", "LPD-blind", "LPD-memory")
    ),
)


class Results:
    """The finished runs of a folder that were made with these data and so many steps."""

    def __init__(self, runs: Iterable[dict[str, Any]]) -> None:
        self.runs: dict[tuple[str, int], dict[int, dict[str, Any]]] = defaultdict(dict)
        for run in runs:
            self.runs[run["network"], run["size"]][run["seed"]] = run

    @staticmethod
    def read(folder: Path, data: DataSettings, steps: int) -> Results:
        """Those of `folder`."""
        wanted = json.loads(json.dumps(data.__dict__))
        found = (json.loads(path.read_text()) for path in sorted(folder.glob("*-seed=*.json")))
        return Results(
            run
            for run in found
            if run["settings"]["data"] == wanted and run["settings"]["steps"] == steps
        )

    def mean(self, name: str, size: int, measure: str) -> Mean:
        """Over seeds."""
        return mean_of([run[measure] for run in self.runs[name, size].values()])

    def difference(self, name: str, other: str, size: int, measure: str = "mse") -> Mean:
        """Paired over the seeds that both have: `name` minus `other`."""
        left, right = self.runs[name, size], self.runs[other, size]
        seeds = sorted(left.keys() & right.keys())
        return mean_of([left[s][measure] - right[s][measure] for s in seeds])

    def growth(self, name: str, few: int, many: int) -> Mean:
        """Paired over seeds: how much larger the error is with few samples than with many."""
        left, right = self.runs[name, few], self.runs[name, many]
        seeds = sorted(left.keys() & right.keys())
        return mean_of([left[s]["mse"] - right[s]["mse"] for s in seeds])


def verdict(difference: Mean) -> str:
    """Of the claim that the first error is the smaller one, by the 95 % interval."""
    if difference.count < 2 or math.isnan(difference.half):
        return "cannot be told (one seed)" if difference.count else "not run"
    if difference.value + difference.half < 0:
        return "holds"
    return "fails" if difference.value - difference.half > 0 else "cannot be told"


def _signed(mean: Mean) -> str:
    if not mean.count:
        return "-"
    return mean.text("+.5f")


def claims(results: Results, sizes: Sequence[int]) -> dict[tuple[str, str, str], Mean]:
    """Paired differences that the claims are about, by claim, networks and training samples."""
    out = {}
    for claim, name, other in CLAIMS:
        for size in sizes:
            mean = results.difference(name, other, size)
            if mean.count:
                out[claim, f"{name} − {other}", str(size)] = mean
    few, many = min(sizes), max(sizes)
    for prefix in ("LPGD", "LPD"):
        pairs = [results.runs[n, s] for n in (prefix, f"{prefix}-RMA") for s in (few, many)]
        seeds = sorted(set.intersection(*(set(runs) for runs in pairs)))
        if seeds and few < many:
            plain_few, plain_many, rma_few, rma_many = pairs
            text = f"loss from {many} to {few} samples: {prefix}-RMA − {prefix}"
            out["C4", text, "both"] = mean_of(
                [
                    (rma_few[s]["mse"] - rma_many[s]["mse"])
                    - (plain_few[s]["mse"] - plain_many[s]["mse"])
                    for s in seeds
                ]
            )
    return out


def claims_table(cases: dict[str, Results], sizes: Sequence[int]) -> str:
    """The claims with a column for each case."""
    columns = [claims(results, sizes) for results in cases.values()]
    lines = [
        "Paired differences of the MSE over seeds, in 1e-5, with 95 % intervals:",
        "",
        "| claim | difference | n | " + " | ".join(cases) + " |",
        "| --- | --- | ---: |" + " --- |" * len(cases),
    ]
    for key in dict.fromkeys(key for column in columns for key in column):
        cells = []
        for column in columns:
            mean = column.get(key)
            if mean is None:
                cells.append("not run")
                continue
            half = "" if math.isnan(mean.half) else f" ± {1e5 * mean.half:.0f}"
            cells.append(f"{1e5 * mean.value:+.0f}{half}: {verdict(mean)}")
        lines.append(f"| {' | '.join(key)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def markdown(
    results: Results,
    names: Sequence[str],
    sizes: Sequence[int],
    operator: EIT,
    data: Data,
    scales: dict[str, dict[str, float]],
) -> str:
    """Test errors, paired differences with verdicts, what preconditioners do to gradients."""
    lines = ["| network | parameters | n | seeds | MSE | PSNR, dB | SSIM | voltages | s/epoch |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for label, x in (("Gauss-Newton", data.test.start), ("background", torch.ones(1))):
        values = measures(x.expand_as(data.test.x), data.test, operator)
        cells = [format(values[m], form) for m, form in MEASURES.items()]
        lines.append(f"| {label} | - | - | - | {' | '.join(cells)} | - |")
    for name in names:
        for size in sizes:
            runs = results.runs[name, size]
            if not runs:
                continue
            cells = []
            for measure, form in MEASURES.items():
                cells.append(results.mean(name, size, measure).text(form))
            count = next(iter(runs.values()))["parameters"]
            seconds = statistics.median(run["seconds_per_epoch"] for run in runs.values())
            cells = [f"{count:,}", str(size), str(len(runs)), *cells, f"{seconds:.1f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Paired differences of the MSE over seeds, 95 % intervals:", ""]
    lines += [
        "| claim | difference | n | seeds | MSE | |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for (claim, text, samples), mean in claims(results, sizes).items():
        lines.append(
            f"| {claim} | {text} | {samples} | {mean.count} | {_signed(mean)} | {verdict(mean)} |"
        )
    lines += ["", "Root mean square of the gradient that a network is given at its start:", ""]
    starts = list(next(iter(scales.values())))
    lines.append("| preconditioner | " + " | ".join(f"start: {s}" for s in starts) + " |")
    lines.append("| --- |" + " ---: |" * len(starts))
    for kind, row in scales.items():
        lines.append(f"| {kind} | " + " | ".join(f"{row[s]:.2g}" for s in starts) + " |")
    return "\n".join(lines) + "\n"


def plot_errors(
    results: Results, names: Sequence[str], sizes: Sequence[int], title: str, path: Path
) -> None:
    """Test error against the size of the training set, a line for each network."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for index, name in enumerate(names):
        at = [size for size in sizes if results.runs[name, size]]
        if not at:
            continue
        means = [results.mean(name, size, "mse") for size in at]
        shift = 1 + 0.012 * (index - len(names) / 2)
        axes.errorbar(
            [size * shift for size in at],
            [m.value for m in means],
            yerr=[0 if math.isnan(m.half) else m.half for m in means],
            marker="o",
            markersize=3,
            linestyle="-" if name.startswith("LPD") else "-.",
            capsize=2,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_xticks(list(sizes), [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training samples")
    axes.set_ylabel("mean squared error on the test set")
    axes.set_title(title)
    axes.legend(fontsize=8, ncols=2)
    axes.grid(alpha=0.3)
    _files.write_figure(path, figure, dpi=130)
    plt.close(figure)


def show(mesh: Mesh, rows: Sequence[tuple[str, Tensor]], path: Path, titles: bool = True) -> None:
    """Conductivities [samples, T] of each row side by side, one colour scale."""
    require("matplotlib").use("Agg")
    plt = require("matplotlib.pyplot")
    samples = len(rows[0][1])
    low = min(float(x.min()) for _, x in rows)
    high = max(float(x.max()) for _, x in rows)
    figure, grid = plt.subplots(
        len(rows),
        samples,
        figsize=(1.8 * samples + 1.2, 1.8 * len(rows) + 0.2),
        layout="constrained",
        squeeze=False,
    )
    drawn = None
    for axes_row, (label, x) in zip(grid, rows, strict=True):
        for axes, values in zip(axes_row, x, strict=True):
            drawn = axes.tripcolor(
                *mesh.points.T,
                mesh.triangles,
                facecolors=values.numpy().astype(np.float64),
                vmin=low,
                vmax=high,
                cmap="viridis",
            )
            axes.set_aspect("equal")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        if titles:
            axes_row[0].set_ylabel(label, fontsize=9)
    figure.colorbar(drawn, ax=grid, shrink=0.6, label="conductivity")
    _files.write_figure(path, figure, dpi=120)
    plt.close(figure)


def plot_phantoms(
    folder: Path, names: Sequence[str], size: int, data: Data, operator: EIT, run: Any, path: Path
) -> list[str]:
    """Test phantoms, Gauss-Newton, networks of seed 0 in `folder`; returns which."""
    part = Part(*(tensor[:4] for tensor in data.test))
    rows: list[tuple[str, Tensor]] = [("truth", part.x), ("Gauss-Newton", part.start)]
    shown = []
    for name in names:
        spec = network(name)
        file = folder / "models" / f"{run(spec, size)}.pt"
        if not file.exists():
            continue
        model = spec.build(operator)
        model.load_state_dict(torch.load(file, weights_only=True)["weights"])
        rows.append((name, predict(model, spec, part)))
        shown.append(name)
    show(operator.mesh, rows, path)
    return shown
