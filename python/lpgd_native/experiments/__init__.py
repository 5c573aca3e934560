"""Runnable studies. They need the extra: ``pip install 'lpgd-native[experiments]'``."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str) -> Any:
    """Import a module of the ``experiments`` extra, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # the package is there, something inside it is broken
        raise ModuleNotFoundError(
            f"{error.name} is not installed: the demo needs pip install 'lpgd-native[experiments]'",
            name=error.name,
        ) from error
