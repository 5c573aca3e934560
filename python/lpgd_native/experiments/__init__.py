"""Runnable studies. They need extras: ``pip install 'lpgd-native[experiments,highs,pyepo]'``."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, extra: str = "experiments") -> Any:
    """Import a module of an extra, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # the package is there, something inside it is broken
        what = "the demo needs" if extra == "experiments" else "this study needs"
        raise ModuleNotFoundError(
            f"{error.name} is not installed: {what} pip install 'lpgd-native[{extra}]'",
            name=error.name,
        ) from error
