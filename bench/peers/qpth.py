"""qpth 0.0.18 (OptNet's layer): batched interior point in torch, implicit gradient."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from .torch_batch import Answer, TorchBatch


class Peer:
    packages = ("qpth", "torch", "numpy")

    def __init__(self, threads: int, device: str, tau: float) -> None:
        # without the check that P is positive definite: one Cholesky less
        self.layer = importlib.import_module("qpth.qp").QPFunction(
            eps=1e-6, verbose=-1, check_Q_spd=False
        )
        self.device = device

    def load(self, arrays: Mapping[str, Any]) -> TorchBatch:
        return TorchBatch(arrays, self.device)

    def run(self, method: str, batch: TorchBatch, gradient: bool) -> Answer:
        def solve() -> torch.Tensor:
            return self.layer(*(batch[name] for name in "PqGhAb"))  # type: ignore[no-any-return]

        return batch.run(solve, gradient)
