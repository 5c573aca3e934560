"""cvxpy and cvxpylayers, or how to install them."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


def require(module: str) -> Any:
    """Import a module of the extra ``cvxpy``."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # the package is there, something inside it is broken
        raise ModuleNotFoundError(
            f"lpgd_native.cvxpy needs {error.name}: pip install 'lpgd-native[cvxpy]'",
            name=error.name,
        ) from error
