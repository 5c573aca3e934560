"""``lpgd-native train constraints``."""

from __future__ import annotations

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
    threads: Threads = None,
    tensorboard: Tensorboard = False,
    report: Report = False,
    as_json: Json = False,
) -> int:
    """Learn the constraints of integer programs from their solutions, with CombOpt over HiGHS.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train constraints --quick
        lpgd-native train constraints --full
    """
    return run_study(
        "lpgd_native.experiments.constraints",
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
    )
