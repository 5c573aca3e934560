"""proxsuite 0.8.0, QPLayer: ProxQP an item at a time, implicit gradient.

Its parallel mode uses half the cores, which is one thread on two cores, so it is left off.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from .torch_batch import Answer, TorchBatch


class Peer:
    packages = ("proxsuite", "torch", "numpy")

    def __init__(self, threads: int, device: str, tau: float) -> None:
        self.layer = importlib.import_module("proxsuite.torch.qplayer").QPFunction(eps=1e-6)

    def load(self, arrays: Mapping[str, Any]) -> TorchBatch:
        batch = TorchBatch(arrays)
        batch.extra["lower"] = torch.full_like(batch["h"], -1e20)
        return batch

    def run(self, method: str, batch: TorchBatch, gradient: bool) -> Answer:
        P, q, G, h, A, b = (batch[name] for name in "PqGhAb")

        def solve() -> torch.Tensor:
            return self.layer(P, q, A, b, G, batch.extra["lower"], h)[0]  # type: ignore[no-any-return]

        return batch.run(solve, gradient)
