"""What the commands share: options, a console, progress bars, the way out."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = [
    "Device",
    "Json",
    "Quick",
    "Report",
    "Seed",
    "Threads",
    "console",
    "device_of",
    "exits",
    "help_of",
    "numbers",
    "output_option",
    "progress",
]

_P = ParamSpec("_P")


def exits(command: Callable[_P, int]) -> Callable[_P, None]:
    """A command that returns its exit status, as typer wants it."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        status = command(*args, **kwargs)
        if status:
            raise typer.Exit(status)

    run.__annotations__ = command.__annotations__ | {"return": None}
    return run


def help_of(command: Callable[..., Any]) -> str:
    """The help text in a docstring: lines of a paragraph joined, indented lines as they are."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    joined = [
        re.sub(r"\n(?! )", " ", paragraph) if not paragraph.startswith("Examples:") else paragraph
        for paragraph in paragraphs
    ]
    return "\n\n".join(joined)


def device_of(name: str | None) -> torch.device | None:
    """The device of ``--device``; one that is not there is wrong usage."""
    if name is None:
        return None
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise typer.BadParameter(f"{name!r} can't be used: {reason}", param_hint="--device") from (
            error
        )
    return device


def numbers(text: str, option: str, least: float = 0.0) -> list[float]:
    """The numbers of an option such as ``0,0.5,1``."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"must be numbers with commas, got {text!r}", param_hint=option
        ) from None
    if min(values) < least:
        raise typer.BadParameter(f"must be at least {least:g}, got {text!r}", param_hint=option)
    return values


def output_option(text: str) -> Any:
    """``--output``, also ``--out`` and ``-o``."""
    return typer.Option("--output", "--out", "-o", help=text)


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="First seed of the random numbers.")]
Quick = Annotated[bool, typer.Option("--quick", help="A small run, to see that it works.")]
Report = Annotated[
    bool, typer.Option("--report", help="Only the tables of the runs that are there.")
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda|cuda:N", help="Where tensors live.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads (default: torch's).")
]


def console(as_json: bool = False) -> Console:
    """Where people read: standard output, or standard error beside JSON."""
    made = Console(stderr=as_json)
    if not made.is_terminal:
        made.width = 120
    return made


def progress(where: Console) -> Progress:
    """Bars with a count and the time passed; nothing where no terminal reads them."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=where, disable=not sys.stderr.isatty() and where.stderr)
