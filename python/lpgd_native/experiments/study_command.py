"""Commands of the studies of `runs`: options that all have, and those of one study."""

from __future__ import annotations

import importlib
import inspect
import shlex
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lpgd_native.cli.console import Json, Quick, Report, Seed, Threads, output_option

__all__ = ["study_command"]

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


def study_command(module: str) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., int]]:
    """Makes the command of the study in `module` of a function of the options it has alone.

    The function returns them by the names that the study's settings know. The command has its
    docstring, and makes the runs that are not in the folder yet, then the tables.
    """

    def decorate(own: Callable[..., dict[str, Any]]) -> Callable[..., int]:
        def command(
            output: Output = None,
            full: Full = False,
            quick: Quick = False,
            seeds: Seeds = None,
            seed: Seed = 0,
            epochs: Epochs = None,
            threads: Threads = None,
            tensorboard: Tensorboard = False,
            report: Report = False,
            as_json: Json = False,
            **extra: Any,
        ) -> int:
            return _run(
                module,
                output,
                quick=quick,
                full=full,
                seeds=seeds,
                seed=seed,
                threads=threads,
                tensorboard=tensorboard,
                report=report,
                as_json=as_json,
                extra={"epochs": epochs, **own(**extra)},
            )

        hints = [typing.get_type_hints(each, include_extras=True) for each in (command, own)]
        *shared, _ = inspect.signature(command).parameters.values()
        options = [
            p.replace(annotation=hint[p.name])
            for parameters, hint in zip(
                (shared, inspect.signature(own).parameters.values()), hints, strict=True
            )
            for p in parameters
        ]
        command.__signature__ = inspect.Signature(options, return_annotation=int)  # type: ignore[attr-defined]
        command.__annotations__ = {**{p.name: p.annotation for p in options}, "return": int}
        command.__doc__, command.__module__ = own.__doc__, own.__module__
        return command

    return decorate


def _run(
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
    extra: dict[str, Any],
) -> int:
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
