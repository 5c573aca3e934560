"""The commands and their help."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from lpgd_native.cli import bench as bench_module
from lpgd_native.cli import solve as solve_module
from lpgd_native.cli.console import Json, exits, help_of
from lpgd_native.cli.info import info_text
from lpgd_native.experiments.registry import COMMANDS, STUDIES

__all__ = ["make_app"]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lpgd-native {version_of('lpgd-native')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors (anywhere in the line).")
    ] = False,
) -> None:
    """Differentiable optimisation for torch: QPs, LPs, proxes, unrolled networks.

    Exit status: 0 done, 1 a run that failed or items without a solution, 2 wrong usage.
    """


def info(as_json: Json = False) -> int:
    """Print how this copy was built and what it runs on.

    Examples:
        lpgd-native info --json
    """
    typer.echo(info_text(as_json))
    return 0


def _add(app: typer.Typer, name: str, command: Callable[..., int]) -> None:
    app.command(name, help=help_of(command))(exits(command))


def make_app() -> typer.Typer:
    """The command line, with the commands of the registry."""
    settings = {"rich_markup_mode": "rich", "pretty_exceptions_enable": False}
    app = typer.Typer(no_args_is_help=False, add_completion=True, **settings)  # type: ignore[arg-type]
    app.callback(help=help_of(_root))(_root)
    _add(app, "info", info)
    _add(app, "solve", solve_module.command)
    _add(app, "bench", bench_module.command)
    for name, module in COMMANDS.items():
        _add(app, name, importlib.import_module(module).command)
    train = typer.Typer(**settings, help="Train the networks of a study.")  # type: ignore[arg-type]
    train.callback()(_train)
    for name, module in STUDIES.items():
        _add(train, name, importlib.import_module(module).command)
    app.add_typer(train, name="train")
    return app


def _train() -> None:
    """Train the networks of a study; what is finished is not repeated."""
