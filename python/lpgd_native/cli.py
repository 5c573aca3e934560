"""The console script ``lpgd-native``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lpgd_native._build_info import build_info


def demo(arguments: argparse.Namespace) -> int:
    """Run the portfolio study and write portfolio.png, portfolio.json and portfolio.md."""
    from lpgd_native.experiments import require

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
    (arguments.out / "portfolio.md").write_text(portfolio_report.markdown_table(rows))
    console.print(
        f"{arguments.out}/portfolio.png, .json, .md written; "
        f"{time.perf_counter() - started:.0f} s in all"
    )
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


def make_parser() -> argparse.ArgumentParser:
    """The command line: ``demo`` and ``info``."""
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
