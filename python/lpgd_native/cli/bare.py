"""The command line where typer is not installed: ``info``, and how to get the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lpgd_native.cli.info import info_text

__all__ = ["run_bare"]

USAGE = "Usage: lpgd-native info [--json]"
REST = "all other commands need pip install 'lpgd-native[cli]'"


def run_bare(arguments: Sequence[str]) -> int:
    """Run ``info``; answer everything else with what is missing."""
    words = [word for word in arguments if word != "--debug"]
    if words in (["info"], ["info", "--json"]):
        print(info_text("--json" in words))
        return 0
    if words in (["--help"], ["info", "--help"]):
        print(f"{USAGE}\n{REST}")
        return 0
    if not words or words[0] == "info":
        print(f"{USAGE}\nlpgd-native: {REST}", file=sys.stderr)
        return 2
    print(f"lpgd-native: typer is not installed: {REST}", file=sys.stderr)
    return 1
