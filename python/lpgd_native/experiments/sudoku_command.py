"""``lpgd-native train sudoku``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lpgd_native.experiments.study_command import study_command

__all__ = ["command"]


@study_command("lpgd_native.experiments.sudoku")
def command(
    size: Annotated[int, typer.Option("--size", help="4 or 9.")] = 4,
    peers: Annotated[
        bool, typer.Option("--peers", help="ffolayer beside (pip install ffolayer osqp).")
    ] = False,
) -> dict[str, Any]:
    """Learn the rules of Sudoku as the equalities of a QP or LP: implicit gradients beside LPGD.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train sudoku --quick
        lpgd-native train sudoku --full --threads 2
    """
    return {"size": None if size == 4 else size, "peers": peers}
