"""Warnings that point at the line of the user's that led to them."""

from __future__ import annotations

import os
import sys
import warnings

import torch

__all__ = ["warn"]

_INSIDE = tuple(os.path.dirname(path) + os.sep for path in (__file__, torch.__file__))


def warn(message: str) -> None:
    """A RuntimeWarning at the first caller outside this package and torch.

    In a backward pass that is the line that called ``backward``.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, RuntimeWarning, stacklevel=level)
