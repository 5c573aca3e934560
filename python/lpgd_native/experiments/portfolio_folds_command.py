"""``lpgd-native train portfolio``."""

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
    folds: Annotated[
        int | None, typer.Option("--folds", min=1, help="How many, the latest ones.")
    ] = None,
    threads: Threads = None,
    tensorboard: Tensorboard = False,
    report: Report = False,
    as_json: Json = False,
) -> int:
    """The portfolio study of `demo`, walked forward: trained anew for every two years of tests.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train portfolio --folds 2
        lpgd-native train portfolio --full
    """
    return run_study(
        "lpgd_native.experiments.portfolio_folds",
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
        folds=folds,
    )
