"""``lpgd-native train portfolio``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lpgd_native.experiments.study_command import study_command

__all__ = ["command"]


@study_command("lpgd_native.experiments.portfolio_folds")
def command(
    folds: Annotated[
        int | None, typer.Option("--folds", min=1, help="How many, the latest ones.")
    ] = None,
) -> dict[str, Any]:
    """The portfolio study of `demo`, walked forward: trained anew for every two years of tests.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train portfolio --folds 2
        lpgd-native train portfolio --full
    """
    return {"folds": folds}
