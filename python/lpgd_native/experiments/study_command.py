"""The options that all studies of `runs` have, and how one is started from them."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from lpgd_native.cli.console import output_option

__all__ = ["Epochs", "Full", "Output", "Report", "Seeds", "Tensorboard", "run_study"]

Output = Annotated[
    Path | None, output_option("Folder of runs, tables, picture (default: the study's name).")
]
Full = Annotated[bool, typer.Option("--full", help="All seeds and settings: hours.")]
Seeds = Annotated[
    int | None, typer.Option("--seeds", min=1, help="Number of paired seeds (default: the mode's).")
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Passes over the data (default: the mode's).")
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Curves for TensorBoard.")]
Report = Annotated[
    bool, typer.Option("--report", help="Only the tables of the runs that are there.")
]


def run_study(
    module: str,
    output: Path | None,
    *,
    quick: bool,
    full: bool,
    seeds: int | None,
    seed: int,
    threads: int | None,
    tensorboard: bool,
    report: bool,
    as_json: bool,
    **extra: Any,
) -> int:
    """Make the runs that are not in the folder yet, then the tables; the exit status."""
    from lpgd_native.experiments import runs

    if quick and full:
        raise typer.BadParameter("can't be given together", param_hint="--quick, --full")
    study = importlib.import_module(module)
    options = runs.Options(
        out=Path(study.NAME) if output is None else output,
        mode="quick" if quick else "full" if full else "short",
        seeds=seeds,
        first_seed=seed,
        threads=threads,
        tensorboard=tensorboard,
        report_only=report,
        as_json=as_json,
        command=_command_line(
            study.NAME, quick=quick, full=full, seeds=seeds, seed=seed, threads=threads, **extra
        ),
        extra=extra,
    )
    try:
        settings = study.make_settings(options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return runs.execute(study, settings, options)


def _command_line(study: str, **options: Any) -> str:
    """The command that gives these results, for the report."""
    parts = [f"lpgd-native train {study}"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            parts.append(option)
        elif value not in (None, False, 0):
            parts.append(f"{option} {shlex.quote(str(value))}")
    return " ".join(parts)
