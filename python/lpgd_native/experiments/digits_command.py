"""``lpgd-native train digits``."""

from __future__ import annotations

from typing import Annotated

import typer

from lpgd_native.cli.console import Json, Quick, Seed, Threads
from lpgd_native.experiments.study_command import (
    Epochs,
    Full,
    Output,
    Report,
    Seeds,
    Tensorboard,
    run_study,
)

__all__ = ["command"]


def command(
    output: Output = None,
    full: Full = False,
    quick: Quick = False,
    seeds: Seeds = None,
    seed: Seed = 0,
    epochs: Epochs = None,
    length: Annotated[
        int | None, typer.Option("--length", help="Images in a row (default: 8).")
    ] = None,
    threads: Threads = None,
    tensorboard: Tensorboard = False,
    report: Report = False,
    as_json: Json = False,
) -> int:
    """Learn to sort rows of handwritten digits through an argsort, from their ranks alone.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train digits --quick
        lpgd-native train digits --length 5 --seeds 3
    """
    return run_study(
        "lpgd_native.experiments.digits",
        output,
        quick=quick,
        full=full,
        seeds=seeds,
        seed=seed,
        threads=threads,
        tensorboard=tensorboard,
        report=report,
        as_json=as_json,
        epochs=epochs,
        length=length,
    )
