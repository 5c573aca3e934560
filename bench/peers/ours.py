"""lpgd_native: the implicit derivative and LPGD's envelopes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from .torch_batch import Answer, TorchBatch


class Peer:
    packages = ("lpgd_native", "torch", "numpy")

    def __init__(self, threads: int, device: str, tau: float) -> None:
        self.api = importlib.import_module("lpgd_native")
        self.device = device
        self.strategies = {
            "ours-implicit": self.api.Implicit(),
            "ours-lpgd-lower": self.api.LPGD(tau=tau, envelope="lower"),
            "ours-lpgd-average": self.api.LPGD(tau=tau, envelope="average"),
        }

    def about(self) -> dict[str, Any]:
        return dict(self.api.build_info())

    def load(self, arrays: Mapping[str, Any]) -> TorchBatch:
        batch = TorchBatch(arrays, self.device)
        if not batch.is_qp:
            batch.extra["lb"] = torch.zeros_like(batch["q"][0])
        return batch

    def run(self, method: str, batch: TorchBatch, gradient: bool) -> Answer:
        strategy = self.strategies[method]

        def solve() -> torch.Tensor:
            if batch.is_qp:
                arguments = [batch[name] for name in "PqGhAb"]
                return self.api.solve_qp(*arguments, gradient=strategy).x  # type: ignore[no-any-return]
            return self.api.solve_lp(  # type: ignore[no-any-return]
                batch["q"], A=batch["A"], b=batch["b"], lb=batch.extra["lb"], gradient=strategy
            ).x

        return batch.run(solve, gradient)
