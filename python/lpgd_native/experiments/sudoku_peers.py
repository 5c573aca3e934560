"""ffolayer as the layer of the Sudoku study: ``pip install ffolayer osqp``, then ``--peers``.

Its `FFOQPLayer` over OSQP, the one of its solvers that needs neither a licence nor another Python.
OSQP stops at 1e-5, so rows count as active within 1e-4.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FFOLAYER", "FFOSudoku"]

FFOLAYER = "ffolayer (OSQP)"


class FFOSudoku(nn.Module):
    """The QP of a `SudokuLayer`, with its parameters; the status is always zero."""

    def __init__(self, layer: Any, quadratic: float) -> None:
        super().__init__()
        try:
            package = importlib.import_module("ffolayer")
            importlib.import_module("osqp")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error.name} is not installed: --peers needs pip install 'lpgd-native[cvxpy]' "
                "ffolayer osqp",
                name=error.name,
            ) from error
        self.A, self.z0 = layer.A, layer.z0
        cells = self.A.shape[1]
        eye = torch.eye(cells, dtype=self.A.dtype)
        self.register_buffer("P", quadratic * eye)
        self.register_buffer("G", torch.cat([-eye, eye]))
        self.register_buffer("h", torch.cat([torch.zeros(cells), torch.ones(cells)]).to(eye))
        self.solve = package.FFOQPLayer(solver="OSQP_NATIVE", slack_cutoff=1e-4)

    def forward(self, puzzles: Tensor) -> tuple[Tensor, Tensor]:
        """Relaxed solutions; what fails raises."""
        b = self.A @ self.z0.sigmoid()
        with warnings.catch_warnings():  # OSQP's, of its own future
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            x: Tensor = self.solve(self.P, -puzzles, self.G, self.h, self.A, b)
        return x, torch.zeros(len(puzzles), dtype=torch.int32)
