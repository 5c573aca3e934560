"""``lpgd-native train digits``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lpgd_native.experiments.study_command import study_command

__all__ = ["command"]


@study_command("lpgd_native.experiments.digits")
def command(
    length: Annotated[
        int | None, typer.Option("--length", help="Images in a row (default: 8).")
    ] = None,
) -> dict[str, Any]:
    """Learn to sort rows of handwritten digits through an argsort, from their ranks alone.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train digits --quick
        lpgd-native train digits --length 5 --seeds 3
    """
    return {"length": length}
