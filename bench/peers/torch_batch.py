"""What the torch layers share: leaves, the linear loss, the gradients asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

Answer = tuple[Any, dict[str, Any]]


class TorchBatch:
    """A batch as torch leaves; `c` is the upstream gradient, so the loss is sum(c x)."""

    def __init__(self, arrays: Mapping[str, Any], device: str = "cpu") -> None:
        tensors = {k: torch.as_tensor(v, dtype=torch.float64).to(device) for k, v in arrays.items()}
        self.c = tensors.pop("c")
        self.is_qp = "P" in tensors
        wanted = "PqGhAb" if self.is_qp else "q"
        self.leaves = {k: t.requires_grad_() for k, t in tensors.items() if k in wanted}
        self.rest = {k: t for k, t in tensors.items() if k not in wanted}
        self.extra: dict[str, Any] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.leaves[name] if name in self.leaves else self.rest[name]

    def run(self, solve: Callable[[], torch.Tensor], gradient: bool) -> Answer:
        """Solve without a graph, or solve and pull the loss back to every leaf."""
        with contextlib.nullcontext() if gradient else torch.no_grad():
            x = solve()
        if not gradient:
            return x, {}
        grads = torch.autograd.grad((self.c * x).sum(), list(self.leaves.values()))
        return x.detach(), dict(zip(self.leaves, grads, strict=True))
