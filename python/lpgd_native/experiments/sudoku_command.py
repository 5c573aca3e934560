"""``lpgd-native train sudoku``."""

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
    size: Annotated[int, typer.Option("--size", help="4 or 9.")] = 4,
    peers: Annotated[
        bool, typer.Option("--peers", help="ffolayer beside (pip install ffolayer osqp).")
    ] = False,
    threads: Threads = None,
    tensorboard: Tensorboard = False,
    report: Report = False,
    as_json: Json = False,
) -> int:
    """Learn the rules of Sudoku as the equalities of a QP or LP: implicit gradients beside LPGD.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train sudoku --quick
        lpgd-native train sudoku --full --threads 2
    """
    return run_study(
        "lpgd_native.experiments.sudoku",
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
        size=None if size == 4 else size,
        peers=peers,
    )
