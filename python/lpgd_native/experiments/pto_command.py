"""``lpgd-native train pto``."""

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
    problems: Annotated[
        str | None, typer.Option("--problems", help="Of: shortest path,knapsack,assignment.")
    ] = None,
    threads: Threads = None,
    tensorboard: Tensorboard = False,
    report: Report = False,
    as_json: Json = False,
) -> int:
    """Predict, then optimise: losses and strategies beside PyEPO's, regret and time.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train pto --problems assignment --threads 1
        lpgd-native train pto --full --threads 1
    """
    return run_study(
        "lpgd_native.experiments.pto",
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
        problems=problems,
    )
