"""``lpgd-native train pto``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lpgd_native.experiments.study_command import study_command

__all__ = ["command"]


@study_command("lpgd_native.experiments.pto")
def command(
    problems: Annotated[
        str | None, typer.Option("--problems", help="Of: shortest path,knapsack,assignment.")
    ] = None,
) -> dict[str, Any]:
    """Predict, then optimise: losses and strategies beside PyEPO's, regret and time.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train pto --problems assignment --threads 1
        lpgd-native train pto --full --threads 1
    """
    return {"problems": problems}
