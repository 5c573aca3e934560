"""The studies of ``lpgd-native train``: their options, and how one is started.

Nothing heavy is imported before a study runs.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["STUDIES", "StudyEntry", "StudyOption", "add_commands", "add_options", "main", "run"]


class StudyOption(NamedTuple):
    """An option that only some studies have."""

    name: str  # as an attribute; --with-dashes on the command line
    kind: Callable[[str], Any] | None  # of its argument; None: a flag
    help: str


class StudyEntry(NamedTuple):
    """A study: its module has the functions of `runs.Study`."""

    name: str
    module: str
    help: str
    options: tuple[StudyOption, ...] = ()


def positive(text: str) -> int:
    """An argument that is an integer >= 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def words(text: str) -> list[str]:
    """An argument that is a list of words, with commas."""
    return [word for word in text.split(",") if word]


_EPOCHS = StudyOption("epochs", positive, "passes over the data, in place of the mode's")

STUDIES = (
    StudyEntry(
        "sudoku",
        "lpgd_native.experiments.sudoku",
        "learn the rules of Sudoku as the equalities of a QP or LP",
        (
            StudyOption("size", int, "4 or 9 (default: 4)"),
            StudyOption("peers", None, "ffolayer beside (pip install ffolayer osqp)"),
            _EPOCHS,
        ),
    ),
    StudyEntry(
        "pto",
        "lpgd_native.experiments.pto",
        "predict, then optimise: shortest path, knapsack, assignment, beside PyEPO",
        (StudyOption("problems", words, "of: shortest path,knapsack,assignment"), _EPOCHS),
    ),
    StudyEntry(
        "constraints",
        "lpgd_native.experiments.constraints",
        "learn the constraints of integer programs from their solutions",
        (_EPOCHS,),
    ),
    StudyEntry(
        "digits",
        "lpgd_native.experiments.digits",
        "learn to sort rows of handwritten digits through an argsort",
        (StudyOption("length", positive, "images in a row"), _EPOCHS),
    ),
    StudyEntry(
        "portfolio",
        "lpgd_native.experiments.portfolio_folds",
        "the portfolio study of `demo`, walked forward in folds",
        (StudyOption("folds", positive, "how many, the latest ones"), _EPOCHS),
    ),
)


def add_options(parser: argparse.ArgumentParser, entry: StudyEntry) -> None:
    """The options all studies have, and those of this one."""
    parser.add_argument(
        "--out", type=Path, default=Path(entry.name), help=f"folder (default: {entry.name})"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="seconds: to see that it runs")
    mode.add_argument("--full", action="store_true", help="all seeds and settings: hours")
    parser.add_argument("--seeds", type=positive, help="number of seeds, in place of the mode's")
    parser.add_argument("--threads", type=positive, help="threads of torch")
    parser.add_argument("--tensorboard", action="store_true", help="curves for TensorBoard")
    parser.add_argument(
        "--report", action="store_true", help="only the tables of what --out holds, no new runs"
    )
    for option in entry.options:
        name = "--" + option.name.replace("_", "-")
        if option.kind is None:
            parser.add_argument(name, action="store_true", help=option.help)
        else:
            parser.add_argument(name, type=option.kind, help=option.help)


def add_commands(subparsers: Any) -> None:
    """A subcommand for each study, with ``run`` as its function."""
    for entry in STUDIES:
        command = subparsers.add_parser(
            entry.name,
            help=entry.help,
            description="Makes the runs that --out does not hold yet; may be stopped and started "
            "again. Writes tables (.md), curves (.csv) and a picture (.png).",
        )
        add_options(command, entry)
        command.set_defaults(run=run, study=entry.name)


def command_line(entry: StudyEntry, arguments: argparse.Namespace) -> str:
    """The command that gives these results, for the report."""
    parts = [f"lpgd-native train {entry.name}"]
    parts += [f"--{flag}" for flag in ("quick", "full") if getattr(arguments, flag)]
    for name in ("seeds", "threads", *(option.name for option in entry.options)):
        value = getattr(arguments, name)
        if value is None or value is False:
            continue
        option = f"--{name.replace('_', '-')}"
        shown = ",".join(value) if isinstance(value, list) else str(value)
        parts.append(option if value is True else f"{option} {shlex.quote(shown)}")
    return " ".join(parts)


def run(arguments: argparse.Namespace) -> int:
    """Run the study that ``arguments.study`` names, with parsed options."""
    from lpgd_native.experiments import runs

    entry = next(entry for entry in STUDIES if entry.name == arguments.study)
    options = runs.Options(
        out=arguments.out,
        mode="quick" if arguments.quick else "full" if arguments.full else "short",
        seeds=arguments.seeds,
        threads=arguments.threads,
        tensorboard=arguments.tensorboard,
        report_only=arguments.report,
        command=command_line(entry, arguments),
        extra={option.name: getattr(arguments, option.name) for option in entry.options},
    )
    try:
        return runs.execute(importlib.import_module(entry.module), options)
    except ValueError as error:
        print(f"lpgd-native: {error}", file=sys.stderr)
        return 2


def main(name: str, argv: Sequence[str]) -> int:
    """Run a study from unparsed options: for a command line that is not argparse's."""
    entry = next(entry for entry in STUDIES if entry.name == name)
    parser = argparse.ArgumentParser(prog=f"lpgd-native train {name}", description=entry.help)
    add_options(parser, entry)
    arguments = parser.parse_args(list(argv))
    arguments.study = name
    return run(arguments)
