"""`--device cuda`: the same tests with what they make on the GPU.

A test marked `on_device` makes its tensors as always; what the files of tests/ make without naming
a device is moved, so that the numbers are those that the CPU is tested with. The package's own
tensors are left where it puts them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

TESTS = str(Path(__file__).resolve().parent)


_from_numpy = torch.from_numpy


def _from_tests() -> bool:
    """Whether a file of tests/ called what called this."""
    return sys._getframe(2).f_code.co_filename.startswith(TESTS)


class OnDevice(TorchFunctionMode):
    """Moves what tests make to `device`, and back what they hand to numpy."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)

    def __enter__(self) -> OnDevice:
        def moved(array: Any) -> torch.Tensor:
            return _from_numpy(array).to(self.device) if _from_tests() else _from_numpy(array)

        torch.from_numpy = moved  # the one constructor that no mode is asked about
        return super().__enter__()

    def __exit__(self, *failure: Any) -> None:
        torch.from_numpy = _from_numpy
        super().__exit__(*failure)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not _from_tests():
            return func(*args, **kwargs)
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            return func(args[0].cpu(), *args[1:], **kwargs)
        if func not in _device_constructors() or kwargs.get("device") is not None:
            return func(*args, **kwargs)
        if func in (torch.as_tensor, torch.asarray) and isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        leaf = kwargs.pop("requires_grad", False)
        out = func(*args, **{**kwargs, "device": "cpu"}).to(self.device)
        return out.requires_grad_() if leaf else out
