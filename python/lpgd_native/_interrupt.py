"""Ctrl-C during an operator: its loop over the batch ends early, and KeyboardInterrupt is raised."""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lpgd_native._native import _C

__all__ = ["interruptible"]

_MESSAGE = "lpgd: interrupted by a signal"  # of csrc/ops/ops.h


def interruptible(op: Callable[..., Any]) -> Callable[..., Any]:
    """The raw operator `op`, raising what the signal's handler raised, not the op's RuntimeError.

    In a compiled graph operators stand without this: there Ctrl-C is that RuntimeError.
    """

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return op(*args)
        try:
            return op(*args)
        except RuntimeError as error:
            if _MESSAGE not in str(error):
                raise
            raised = _C.take_interrupt()
            if raised is None:
                raise
        raise raised  # outside: the op's error is no part of the story

    return call
