"""``lpgd-native train deconvolution``."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer

from lpgd_native.cli.console import (
    Device,
    Json,
    Quick,
    Report,
    Seed,
    Threads,
    console,
    device_of,
    numbers,
    output_option,
    progress,
)

if TYPE_CHECKING:
    from lpgd_native.experiments.deconvolution import Data, Network, Settings
    from lpgd_native.experiments.deconvolution_train import processes

__all__ = ["command"]


def command(
    output: Annotated[Path, output_option("Folder of the runs.")] = Path("deconvolution"),
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of paired seeds.")] = 5,
    seed: Seed = 0,
    a: Annotated[str, typer.Option("--a", help="Strengths of the nonlinearity.")] = "0,0.5,1,2,4",
    networks: Annotated[
        str | None,
        typer.Option(
            "--networks",
            help="LPD,LPD-RMA or 'LPD;LPD-RMA:hidden=10,layers=1' (default: the six).",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps of each run (default: 6250).")
    ] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Add the controls.")] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Add sizes, cells, data shares, T.")
    ] = False,
    threads: Threads = None,
    device: Device = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Curves for TensorBoard.")
    ] = False,
    quick: Quick = False,
    report: Report = False,
    as_json: Json = False,
) -> int:
    """Unrolled networks with recurrent momentum on nonlinear deconvolution.

    Trains what is not in the output folder yet, then writes the tables; may be stopped and started
    again, also under torchrun (torchrun -m lpgd_native.cli train deconvolution ...).

    Examples:
        lpgd-native train deconvolution --quick
        lpgd-native train deconvolution --networks LPD,LPD-RMA --a 1,4 --steps 1000
    """
    from lpgd_native.experiments import deconvolution as study
    from lpgd_native.experiments import deconvolution_train as training

    if threads:
        torch.set_num_threads(threads)
    settings = study.QUICK if quick else study.Settings()
    if steps is not None:
        settings = replace(settings, steps=steps)
    strengths = numbers(a, "--a")
    names = _names(networks) if networks else list(study.SIX)
    names += [*(study.CONTROLS if controls else ()), *(study.SENSITIVITY if sensitivity else ())]
    try:
        specs = [study.network(name) for name in dict.fromkeys(names)]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--networks") from error
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError("--tensorboard needs pip install 'lpgd-native[tensorboard]'")
    data = study.make_data(settings.sizes)
    paired = range(seed, seed + seeds)
    with training.processes(device_of(device)) as group:
        runs = [(s, k, spec) for s in paired for k in strengths for spec in specs]
        if not report:
            _train_all(runs, data, settings, output, group, tensorboard, as_json)
        if group.rank:
            return 0
    _report(data, settings, output, [spec.name for spec in specs], strengths, paired, as_json)
    return 0


def _names(text: str) -> list[str]:
    """A list of names: with semicolons, or commas where no name has options."""
    return text.split(";") if ";" in text or ":" in text else text.split(",")


def _train_all(
    runs: list[tuple[int, float, Network]],
    data: Data,
    settings: Settings,
    folder: Path,
    group: processes,
    tensorboard: bool,
    as_json: bool,
) -> None:
    from lpgd_native.experiments import deconvolution_train as training
    from lpgd_native.experiments import require

    where = console(as_json)
    with progress(where) as bars:
        task = bars.add_task("runs", total=len(runs), visible=group.rank == 0)
        for number, (seed, a, spec) in enumerate(runs, 1):
            name = training.run_name(spec, a, seed)
            writer: Any = None
            if tensorboard and group.rank == 0:
                board = require("torch.utils.tensorboard")
                writer = board.SummaryWriter(folder / "tensorboard" / name)
            log = _logger(writer)
            result = training.train(spec, a, seed, data, settings, folder, group, log)
            if writer is not None:
                writer.close()
            if group.rank == 0:
                bars.advance(task)
                test = "not finite" if result["test"] is None else f"{result['test']:.5f}"
                where.print(
                    f"[{number}/{len(runs)}] {name}: test {test}, {result['seconds']:.0f} s",
                    markup=False,
                    highlight=False,
                )


def _logger(writer: Any) -> Callable[[int, dict[str, float]], None]:
    def log(step: int, values: dict[str, float]) -> None:
        if writer is not None:
            for key, value in values.items():
                writer.add_scalar(f"mse/{key}", value, step)

    return log


def _report(
    data: Data,
    settings: Settings,
    folder: Path,
    labels: list[str],
    strengths: list[float],
    seeds: range,
    as_json: bool,
) -> None:
    from lpgd_native.experiments import _files
    from lpgd_native.experiments import deconvolution as study
    from lpgd_native.experiments import deconvolution_report as report
    from lpgd_native.operators import VolterraDeconvolution

    floors: dict[str, dict[float, float]] = {
        "linear least squares": {},
        "quadratic least squares": {},
    }
    for a in strengths:
        operator = VolterraDeconvolution.random(a)
        for quadratic, label in enumerate(floors):
            floors[label][a] = study.least_squares(operator, data, bool(quadratic))
    results = report.Results.read(folder, settings.steps, seeds)
    studied = [label for label in labels if label in study.SENSITIVITY]
    rest = [label for label in labels if label not in studied]
    text = report.markdown(results, rest, strengths, floors)
    if studied:
        text += "".join(f"\n{report.by_option(results, studied, k)}" for k in strengths)
    _files.write_text(folder / "deconvolution.md", text)
    where = console(as_json)
    where.print(text, markup=False, highlight=False, soft_wrap=True)
    try:
        report.plot(results, labels, strengths, floors, folder / "deconvolution.png")
    except ModuleNotFoundError as error:
        where.print(f"no picture: {error}", markup=False)
    if as_json:
        rows = []
        for label in labels:
            for a in strengths:
                mean = results.error(label, a)
                row: dict[str, Any] = {"network": label, "a": a, "test": mean.value}
                row |= {"half": mean.half, "seeds": mean.count, "lost": mean.lost}
                for key in ("test", "half"):
                    row[key] = None if math.isnan(row[key]) else row[key]  # JSON has no nan
                rows.append(row)
        document = {"settings": asdict(settings), "runs": rows, "floors": floors}
        typer.echo(json.dumps(document, indent=2))
