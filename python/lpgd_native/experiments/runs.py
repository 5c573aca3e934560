"""What the studies share: runs that are made once, logs, tables with intervals over seeds.

A study is a module with the functions of `Study`. Its runs are told apart by labels (method, tau,
seed, ...); each leaves one JSON file, so a study that was stopped goes on where it was.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal, Protocol, TypeVar

import torch

from lpgd_native._build_info import build_info
from lpgd_native.experiments import _files, require
from lpgd_native.experiments.deconvolution_report import Mean, mean_of
from lpgd_native.experiments.fit import batch_of as batch_of

__all__ = [
    "GRID",
    "Log",
    "Options",
    "Results",
    "Run",
    "Study",
    "batch_of",
    "curves",
    "execute",
    "run_name",
    "seeded",
    "seeds_of",
    "table",
]

# metadata of a setting that says which runs there are, and not what a run does
GRID = {"grid": True}
Run = dict[str, Any]  # the labels of a run; "seed" is one of them
Log = Callable[[int, dict[str, float]], None]  # (step, values): a point of the run's curve
_S = TypeVar("_S")
Mode = Literal["quick", "short", "full"]


@dataclass(frozen=True)
class Options:
    """What the command line says, the same for all studies."""

    out: Path
    mode: Mode = "short"
    seeds: int | None = None
    first_seed: int = 0
    threads: int | None = None
    tensorboard: bool = False
    report_only: bool = False
    as_json: bool = False  # the results on standard output, all else on standard error
    command: str = ""
    extra: dict[str, Any] = field(default_factory=dict)  # options of one study


class Study(Protocol):
    """The functions of a study's module."""

    NAME: str
    TITLE: str

    def make_settings(self, options: Options) -> Any:
        """A dataclass with all that defines the study; fields with `GRID` choose the runs."""
        ...

    def plan(self, settings: Any) -> list[Run]:
        """The runs, those that belong together (the methods of a seed) side by side."""
        ...

    def train(self, run: Run, settings: Any, log: Log) -> dict[str, Any]:
        """Make a run; its figures, to be written as JSON."""
        ...

    def markdown(self, results: Results, settings: Any) -> str:
        """Tables, and what they say."""
        ...

    def plot(self, results: Results, settings: Any, path: Path) -> None:
        """The picture."""
        ...


def seeded(settings: _S, options: Options) -> _S:
    """The settings with the seeds and epochs of the command line, where it names some."""
    changes: dict[str, Any] = {"first_seed": options.first_seed}
    if options.seeds is not None:
        changes["seeds"] = options.seeds
    if options.extra.get("epochs"):
        changes["epochs"] = options.extra["epochs"]
    made: _S = replace(settings, **changes)  # type: ignore[type-var]
    return made


def seeds_of(settings: Any) -> range:
    """The seeds of a study."""
    return range(settings.first_seed, settings.first_seed + settings.seeds)


def run_name(run: Run) -> str:
    """A file name for a run."""
    parts = [
        f"{value}" if isinstance(value, str) else f"{key}={value:g}"
        for key, value in run.items()
        if value is not None
    ]
    return re.sub(r"[^\w.=+-]", "_", "-".join(parts))


def fingerprint(settings: Any) -> dict[str, Any]:
    """The settings that a run depends on, as JSON gives them back."""
    kept = {f.name for f in fields(settings) if not f.metadata.get("grid")}
    values = {name: value for name, value in asdict(settings).items() if name in kept}
    found: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return found


class Results:
    """Finished runs: ``{"labels", "settings", "curve", "result", "seconds"}`` each."""

    def __init__(self, runs: Iterable[dict[str, Any]]) -> None:
        self.runs = list(runs)

    @staticmethod
    def read(folder: Path, settings: Any) -> Results:
        """All runs in `folder` that were made with these settings, of whatever labels."""
        wanted = fingerprint(settings)
        files = sorted((folder / "runs").glob("*.json"))
        found = (json.loads(file.read_text()) for file in files)
        return Results(run for run in found if run["settings"] == wanted)

    def select(self, **labels: Any) -> list[dict[str, Any]]:
        """The runs with these labels, by seed."""
        chosen = [
            run
            for run in self.runs
            if all(run["labels"].get(key) == value for key, value in labels.items())
        ]
        return sorted(chosen, key=lambda run: int(run["labels"]["seed"]))

    def mean(self, key: str, **labels: Any) -> Mean:
        """Mean over the seeds of a figure, and its 95 % interval."""
        return mean_of([float(run["result"][key]) for run in self.select(**labels)])

    def difference(self, key: str, labels: Run, other: Run) -> Mean:
        """Paired over the seeds that both have: the figure of `labels` minus that of `other`."""
        left = {r["labels"]["seed"]: r["result"][key] for r in self.select(**labels)}
        right = {r["labels"]["seed"]: r["result"][key] for r in self.select(**other)}
        return mean_of([left[seed] - right[seed] for seed in sorted(left.keys() & right.keys())])

    def seconds(self) -> float:
        """Wall time of all runs together."""
        return float(sum(run["seconds"] for run in self.runs))


def curves(runs: Sequence[dict[str, Any]], x: str, y: str) -> tuple[list[float], list[list[float]]]:
    """Median of column x over the runs, and column y of each run, as far as all of them go."""
    length = min((len(run["curve"]) for run in runs), default=0)
    xs = [float(median(run["curve"][k][x] for run in runs)) for k in range(length)]
    return xs, [[float(run["curve"][k][y]) for k in range(length)] for run in runs]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table, the first column to the left."""
    lines = [list(headings), ["---", *("---:" for _ in headings[1:])], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write_csv(results: Results, path: Path) -> None:
    """All curves, a line for each point."""
    labels = list(dict.fromkeys(key for run in results.runs for key in run["labels"]))
    points = [(run["labels"], point) for run in results.runs for point in run["curve"]]
    columns = list(dict.fromkeys(key for _, point in points for key in point))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*labels, *columns])
        for label, point in points:
            writer.writerow(
                [*(label.get(k, "") for k in labels), *(point.get(k, "") for k in columns)]
            )


@contextmanager
def progress(
    what: str, total: int, stream: Any
) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """Two functions: one says what goes on, the other that a run is done."""
    try:
        rich, console = require("rich.progress"), require("rich.console").Console(file=stream)
    except ModuleNotFoundError:
        yield (lambda text: None), (lambda text: print(text, flush=True, file=stream))
        return
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def done(text: str) -> None:
            console.print(text, highlight=False, markup=False, soft_wrap=True)
            bar.update(task, description=what, advance=1)

        yield (lambda text: bar.update(task, description=text)), done


def make_run(study: Study, run: Run, settings: Any, options: Options, say: Any) -> dict[str, Any]:
    """The run from its file, or made and written."""
    name, folder = run_name(run), options.out / "runs"
    file, wanted = folder / f"{name}.json", fingerprint(settings)
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        if found["settings"] == wanted:
            return found
    writer = None
    if options.tensorboard:
        board = require("torch.utils.tensorboard")
        writer = board.SummaryWriter(options.out / "tensorboard" / name)
    curve: list[dict[str, float]] = []

    def log(step: int, values: dict[str, float]) -> None:
        curve.append({"step": step, **values})
        say(f"{name}: step {step}")
        if writer is not None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)

    begun = time.perf_counter()
    result = study.train(run, settings, log)
    made = {
        "labels": run,
        "settings": wanted,
        "result": result,
        "curve": curve,
        "seconds": round(time.perf_counter() - begun, 2),
        "threads": torch.get_num_threads(),
    }
    if writer is not None:
        writer.close()
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_text(file, json.dumps(made))
    parsed: dict[str, Any] = json.loads(json.dumps(made))  # what a second reading would give
    return parsed


def machine() -> str:
    """What the runs were made on, in one line."""
    facts = build_info()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.machine()}, {cores} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, lpgd_native {facts['version']}"
    )


def execute(study: Study, settings: Any, options: Options) -> int:
    """Make the runs that are not there yet, then the CSV, the markdown section and the picture."""
    if options.tensorboard:
        require("tensorboard", "tensorboard")  # before the work, not after
    if options.threads:
        torch.set_num_threads(options.threads)
    stream = sys.stderr if options.as_json else sys.stdout
    options.out.mkdir(parents=True, exist_ok=True)
    runs = study.plan(settings)
    names = {run_name(run) for run in runs}
    if not options.report_only:
        with progress(study.NAME, len(runs), stream) as (say, done):
            for number, run in enumerate(runs, 1):
                made = make_run(study, run, settings, options, say)
                figures = ", ".join(
                    f"{key} {value:.4g}"
                    for key, value in made["result"].items()
                    if isinstance(value, (int, float))
                )
                done(f"[{number}/{len(runs)}] {run_name(run)}: {figures}")
    results = Results.read(options.out, settings)
    results.runs = [run for run in results.runs if run_name(run["labels"]) in names]
    if not results.runs:
        print(f"lpgd-native: no runs of these settings in {options.out}", file=sys.stderr)
        return 1
    write_csv(results, options.out / f"{study.NAME}.csv")
    command = options.command or f"lpgd-native train {study.NAME}"
    minutes = results.seconds() / 60
    text = (
        f"## {study.TITLE}\n\n```sh\n{command}\n```\n\n"
        f"{len(results.runs)} runs, seeds: {settings.seeds}, {minutes:.1f} min in all "
        f"({machine()}). Where ± is: Student's 95 % interval over the seeds.\n\n"
        f"{study.markdown(results, settings)}"
    )
    _files.write_text(options.out / f"{study.NAME}.md", text)
    print(text, file=stream)
    try:
        study.plot(results, settings, options.out / f"{study.NAME}.png")
    except ModuleNotFoundError as error:
        print(f"no picture: {error}", file=stream)
    if options.as_json:
        print(json.dumps({"settings": asdict(settings), "runs": results.runs}, default=str))
    return 0
