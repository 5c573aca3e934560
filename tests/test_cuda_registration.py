"""Every op that has a CPU kernel has a CUDA one in the same module; no GPU is needed to tell."""

from __future__ import annotations

import pytest
import torch

from lpgd_native import build_info

# Ops of no device in particular (CompositeExplicitAutograd), and why.
OF_ALL_DEVICES = {
    "lpgd::highs_solve": "HiGHS is a library for the CPU: arrays go there and back",
    "lpgd::highs_resolve": "HiGHS is a library for the CPU: arrays go there and back",
    "lpgd::project_birkhoff": "a loop of torch's own operations, wherever the tensor is",
}
# Ops of the CPU alone, and why.
OF_THE_CPU = {
    f"lpgd::{cell}_momentum_weight_gradients": "on CUDA they are products of torch's, of cuBLAS"
    for cell in ("lstm", "gru")
}


def _has(op: str, key: str) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(op, key))


def _ops() -> list[str]:
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("lpgd::")}
    return sorted(names)


def test_every_cpu_kernel_has_a_cuda_one() -> None:
    if not build_info()["cuda_architectures"]:
        pytest.skip("built without CUDA: no nvcc here, or LPGD_CUDA=OFF")
    alone = {op for op in _ops() if _has(op, "CPU") and not _has(op, "CUDA")}
    assert alone == set(OF_THE_CPU)


def test_no_op_is_for_cuda_alone() -> None:
    assert [op for op in _ops() if _has(op, "CUDA") and not _has(op, "CPU")] == []


def test_ops_of_all_devices_are_named_with_a_reason() -> None:
    of_all = {op for op in _ops() if not _has(op, "CPU")}
    assert of_all == set(OF_ALL_DEVICES)


def test_every_op_has_a_fake_rule() -> None:
    """A program is compiled with tensors of no device's memory, CUDA's like the CPU's."""
    without = [op for op in _ops() if not _has(op, "Meta") and not _has_fake(op)]
    assert without == []


def _has_fake(op: str) -> bool:
    return torch._library.simple_registry.singleton.find(op).fake_impl.kernel is not None
