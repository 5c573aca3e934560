"""``lpgd-native train eit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpgd_native.cli.console import Quick, Report, Threads, console, numbers, output_option

__all__ = ["command"]


def command(
    output: Annotated[Path, output_option("Folder of the runs.")] = Path("eit"),
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Number of paired seeds (default: 5).")
    ] = None,
    inclusions: Annotated[
        str | None, typer.Option("--inclusions", help="2,3,4 (default: 2,4).")
    ] = None,
    settings: Annotated[
        str,
        typer.Option(
            "--settings",
            help="crime (same mesh, no noise), honest (finer mesh, 0.5 % noise).",
        ),
    ] = "crime,honest",
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", help="Sizes of the training set (default: 50,200,400)."),
    ] = None,
    shape: Annotated[str, typer.Option("--shape", help="disc, polygon or blob.")] = "disc",
    networks: Annotated[
        str | None,
        typer.Option("--networks", help="'LPD;LPD-RMA:hidden=32,layers=1' (default: the six)."),
    ] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Add the controls.")] = False,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Add preconditioners and starts.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps of a run (default: 500).")
    ] = None,
    threads: Threads = None,
    quick: Quick = False,
    report: Report = False,
) -> int:
    """Unrolled networks with recurrent momentum on electrical impedance tomography.

    Trains what is not in the output folder yet, then writes tables and pictures; may be stopped and
    started again.

    Examples:
        lpgd-native train eit --quick
        lpgd-native train eit --networks "LPD;LPD-RMA" --sizes 50 --seeds 2
    """
    from lpgd_native.experiments import eit, eit_study

    chosen = _names(networks) if networks else list(eit.SIX)
    chosen += eit.CONTROLS if controls else ()
    chosen += eit.GRADIENTS if gradients else ()
    where = console()
    try:
        eit_study.run(
            output,
            networks=chosen,
            inclusions=_counts(inclusions, "--inclusions"),
            settings=settings.split(","),
            sizes=_counts(sizes, "--sizes"),
            seeds=seeds,
            steps=steps,
            shape=shape,
            threads=threads,
            quick=quick,
            report=report,
            say=lambda text: where.print(text, markup=False, highlight=False, soft_wrap=True),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return 0


def _names(text: str) -> list[str]:
    return text.split(";") if ";" in text or ":" in text else text.split(",")


def _counts(text: str | None, option: str) -> list[int] | None:
    return None if text is None else [int(value) for value in numbers(text, option, least=1)]
