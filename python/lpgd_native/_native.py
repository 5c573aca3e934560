"""The compiled module, imported after torch, whose libraries it needs."""

from __future__ import annotations

import torch

try:
    from lpgd_native import _C
except ImportError as error:
    raise ImportError(
        f"lpgd_native: the compiled module lpgd_native._C did not load ({error}). "
        f"It needs Python's own build of it and torch >= 2.11 (this is torch {torch.__version__}). "
        "From a source tree run `make build`, or `pip install .`; "
        "after a change of Python or of the compiler, install again."
    ) from error

__all__ = ["_C"]
