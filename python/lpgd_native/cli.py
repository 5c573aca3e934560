"""The console script ``lpgd-native``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lpgd_native._build_info import build_info


def demo(arguments: argparse.Namespace) -> int:
    """Run the portfolio study and write portfolio.png, portfolio.json and portfolio.md."""
    from lpgd_native.experiments import _files, require

    for module in ("rich", "matplotlib", "skfolio"):
        require(module)  # before minutes of work, not after
    from lpgd_native.experiments import (
        portfolio,
        portfolio_data,
        portfolio_report,
        portfolio_study,
    )

    started = time.perf_counter()
    settings = portfolio.QUICK if arguments.quick else portfolio.Settings()
    if arguments.seeds is not None:
        settings = replace(settings, seeds=arguments.seeds)
    arguments.out.mkdir(parents=True, exist_ok=True)

    console = require("rich.console").Console()
    if not console.is_terminal:
        console.width = 120
    rich = require("rich.progress")
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=console) as progress:

        def track(what: str, steps: int) -> Callable[[], None]:
            task = progress.add_task(what, total=steps)
            return lambda: progress.advance(task)

        splits = portfolio_data.split(portfolio_data.make_weeks(*portfolio_data.load_prices()))
        study = portfolio_study.study(splits, settings, track=track)

    rows = portfolio_report.summarise(study)
    console.print(portfolio_report.rich_table(study, rows))
    console.print(f"{study.solved} QPs solved, {study.failed} with a status other than ok")
    portfolio_report.plot(study, arguments.out / "portfolio.png")
    portfolio_report.write_json(study, rows, arguments.out / "portfolio.json")
    _files.write_text(arguments.out / "portfolio.md", portfolio_report.markdown_table(rows))
    console.print(
        f"{arguments.out}/portfolio.png, .json, .md written; "
        f"{time.perf_counter() - started:.0f} s in all"
    )
    return 0


def train_deconvolution(arguments: argparse.Namespace) -> int:
    """Train networks of the deconvolution study that are not trained yet; write the tables."""
    from lpgd_native.experiments import _files, require
    from lpgd_native.experiments import deconvolution as study
    from lpgd_native.experiments import deconvolution_report as report
    from lpgd_native.experiments import deconvolution_train as training
    from lpgd_native.operators import VolterraDeconvolution

    if arguments.threads:
        require("torch").set_num_threads(arguments.threads)
    settings = study.QUICK if arguments.quick else study.Settings()
    if arguments.steps is not None:
        settings = replace(settings, steps=arguments.steps)
    names: list[str] = arguments.networks or list(study.SIX)
    if arguments.controls:
        names += study.CONTROLS
    if arguments.sensitivity:
        names += study.SENSITIVITY
    try:
        specs = [study.network(name) for name in dict.fromkeys(names)]
    except ValueError as error:
        print(f"lpgd-native: {error}", file=sys.stderr)
        return 2
    writer = None
    if arguments.tensorboard and importlib.util.find_spec("tensorboard") is None:
        print(
            "lpgd-native: --tensorboard needs pip install 'lpgd-native[tensorboard]'",
            file=sys.stderr,
        )
        return 1
    data = study.make_data(settings.sizes)
    folder: Path = arguments.out
    with training.processes() as group:
        runs = [
            (seed, a, spec)
            for seed in range(arguments.seeds)
            for a in arguments.a
            for spec in specs
        ]
        for number, (seed, a, spec) in enumerate(runs, 1):
            name = training.run_name(spec, a, seed)
            if arguments.tensorboard and group.rank == 0:
                board = require("torch.utils.tensorboard")
                writer = board.SummaryWriter(folder / "tensorboard" / name)

            def log(step: int, values: dict[str, float], writer: Any = writer) -> None:
                if writer is not None:
                    for key, value in values.items():
                        writer.add_scalar(f"mse/{key}", value, step)

            result = training.train(spec, a, seed, data, settings, folder, group, log)
            if writer is not None:
                writer.close()
            if group.rank == 0:
                print(
                    f"[{number}/{len(runs)}] {name}: test {result['test']:.5f}, "
                    f"{result['seconds']:.0f} s",
                    flush=True,
                )
        if group.rank:
            return 0
    floors: dict[str, dict[float, float]] = {
        "linear least squares": {},
        "quadratic least squares": {},
    }
    for a in arguments.a:
        operator = VolterraDeconvolution.random(a)
        for quadratic, label in enumerate(floors):
            floors[label][a] = study.least_squares(operator, data, bool(quadratic))
    results = report.Results.read(folder, settings.steps)
    labels = [spec.name for spec in specs]
    text = report.markdown(results, labels, arguments.a, floors)
    _files.write_text(folder / "deconvolution.md", text)
    print(text)
    try:
        report.plot(results, labels, arguments.a, floors, folder / "deconvolution.png")
    except ModuleNotFoundError as error:
        print(f"no picture: {error}")
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Print what this build is and runs on."""
    facts = build_info()
    if arguments.json:
        print(json.dumps(facts, indent=2, default=str))
        return 0
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
    return 0


def positive(text: str) -> int:
    """An argument that is an integer >= 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def numbers(text: str) -> list[float]:
    """An argument that is a list of numbers >= 0, with commas."""
    values = [float(part) for part in text.split(",")]
    if min(values) < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return values


def names(text: str) -> list[str]:
    """An argument that is a list of names: with semicolons, or commas where no name has options."""
    return text.split(";") if ";" in text or ":" in text else text.split(",")


def add_training(commands: Any) -> None:
    """The command ``train deconvolution``."""
    trained = commands.add_parser("train", help="train the networks of a study").add_subparsers(
        required=True, metavar="study"
    )
    command = trained.add_parser(
        "deconvolution",
        help="unrolled networks with recurrent momentum on nonlinear deconvolution",
        description="Trains what is not in --out yet; may be stopped and started again, also under "
        "torchrun (python -m torch.distributed.run -m lpgd_native.cli train deconvolution ...).",
    )
    command.add_argument(
        "--out", type=Path, default=Path("deconvolution"), help="folder of the runs"
    )
    command.add_argument("--seeds", type=positive, default=5, help="number of paired seeds")
    command.add_argument("--a", type=numbers, default=[0.0, 0.5, 1.0, 2.0, 4.0], help="0,0.5,1,2,4")
    command.add_argument(
        "--networks",
        type=names,
        help="LPD,LPD-RMA or 'LPD;LPD-RMA:hidden=10,layers=1' (default: the six)",
    )
    command.add_argument(
        "--steps", type=positive, help="training steps of each run (default: 6250)"
    )
    command.add_argument("--controls", action="store_true", help="add the controls")
    command.add_argument(
        "--sensitivity", action="store_true", help="add sizes, cells, data shares, T"
    )
    command.add_argument("--threads", type=positive, help="threads of torch")
    command.add_argument("--tensorboard", action="store_true", help="curves for TensorBoard")
    command.add_argument(
        "--quick", action="store_true", help="small sets, 100 steps: to see that it runs"
    )
    command.set_defaults(run=train_deconvolution)


def make_parser() -> argparse.ArgumentParser:
    """The command line: ``demo``, ``train`` and ``info``."""
    parser = argparse.ArgumentParser(
        prog="lpgd-native", description="Batched QP layers with LPGD gradients."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("demo", help="learn a portfolio policy on real prices")
    command.add_argument("--seeds", type=positive, help="seeds of every method (default: 3)")
    command.add_argument(
        "--out", type=Path, default=Path(), help="folder for portfolio.png, .json, .md (default: .)"
    )
    command.add_argument(
        "--quick", action="store_true", help="one seed, two epochs: to see that it runs"
    )
    command.set_defaults(run=demo)
    add_training(commands)
    command = commands.add_parser("info", help="print how this copy was built")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=info)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:  # a missing extra says how to install it
        if "lpgd-native[experiments]" not in str(error):
            raise
        print(f"lpgd-native: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
