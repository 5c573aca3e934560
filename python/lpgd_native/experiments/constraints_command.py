"""``lpgd-native train constraints``."""

from __future__ import annotations

from typing import Any

from lpgd_native.experiments.study_command import study_command

__all__ = ["command"]


@study_command("lpgd_native.experiments.constraints")
def command() -> dict[str, Any]:
    """Learn the constraints of integer programs from their solutions, with CombOpt over HiGHS.

    Makes the runs that are not in the output folder yet, then tables, curves and a picture; may be
    stopped and started again.

    Examples:
        lpgd-native train constraints --quick
        lpgd-native train constraints --full
    """
    return {}
