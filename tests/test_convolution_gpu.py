"""Convolutions of short signals on CUDA: equal to the CPU. The first tests look at the path that
CUDA tensors take, which needs no GPU; the others are skipped where there is none.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lpgd_native import convolution
from lpgd_native.convolution import conv_prelu
from test_convolution import (
    CHAINS,
    chain_leaves,
    chained,
    each_shape,
    each_slope,
    leaves,
    off,
    values_and_gradients,
)

built = pytest.mark.skipif("cuda" not in convolution._DEVICES, reason="built without CUDA")


def on_a_gpu(function):
    function = pytest.mark.gpu(function)
    return pytest.mark.skipif(
        not torch.cuda.is_available() or "cuda" not in convolution._DEVICES,
        reason="no GPU, or built without CUDA",
    )(function)


def on_cuda(tensors):
    return [None if t is None else t.detach().cuda().requires_grad_() for t in tensors]


class Called(TorchDispatchMode):
    """The names of the operators that run under it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@built
@each_shape
@pytest.mark.parametrize("slope", [None, 0.25])
def test_cuda_tensors_go_to_the_kernels(shape, slope):
    batch, _, outputs, n, _ = shape
    with FakeTensorMode(), Called() as called:
        x, factor, weight, bias = (
            None if t is None else torch.empty(t.shape, device="cuda") for t in leaves(shape, slope)
        )
        y = conv_prelu(x, factor, weight, bias)
        grads = torch.ops.lpgd.conv_prelu_backward(y, x, factor, weight, True)
    assert [name for name in called.names if name.startswith("lpgd::")] == [
        "lpgd::conv_prelu",
        "lpgd::conv_prelu_backward",
    ]
    assert y.shape == (batch, outputs, n)
    assert [g.shape for g in grads] == [x.shape, (batch * (factor is not None),), weight.shape,
                                        bias.shape]  # fmt: skip
    assert {t.device.type for t in (y, *grads)} == {"cuda"}


@built
def test_chains_of_cuda_tensors_go_to_the_kernels():
    with FakeTensorMode(), Called() as called:
        x, *flat = (torch.empty(t.shape, device="cuda") for t in chain_leaves(CHAINS[0]))
        y = chained(x, *flat)
        kept = torch.empty(2 * y.numel() * 32, device="cuda")
        grads = torch.ops.lpgd.conv_chain_backward(y, x, kept, flat, True)
    assert [name for name in called.names if name.startswith("lpgd::")] == [
        "lpgd::conv_chain",
        "lpgd::conv_chain_backward",
    ]
    weights = sum(t.numel() for t in flat) - 2
    assert [tuple(g.shape) for g in grads] == [tuple(x.shape), (2, len(x)), (weights,)]
    assert {t.device.type for t in (y, *grads)} == {"cuda"}


@on_a_gpu
@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_chains_agree_with_the_cpu(chain):
    right = chain_leaves(chain)
    left = on_cuda(right)
    ours = values_and_gradients(chained, left)
    for a, b in zip(ours, values_and_gradients(chained, right), strict=True):
        assert off(a.cpu(), b) < 1e-12


@built
def test_many_weights_are_a_matter_for_cudnn():
    with FakeTensorMode():
        x, bias = torch.empty(2, 64, 50, device="cuda"), torch.empty(64, device="cuda")
        for kernel, expected in ((1, True), (3, False)):
            with Called() as called:
                conv_prelu(x, None, torch.empty(64, 64, kernel, device="cuda"), bias)
            assert ("lpgd::conv_prelu" in called.names) == expected


@on_a_gpu
@each_shape
@each_slope
def test_agrees_with_the_cpu(shape, slope):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        right = leaves(shape, slope, dtype)
        left = on_cuda(right)
        ours = [t.cpu() for t in values_and_gradients(conv_prelu, left)]
        for a, b in zip(ours, values_and_gradients(conv_prelu, right), strict=True):
            assert a.dtype == dtype
            assert off(a, b.double()) < tolerance


@on_a_gpu
@pytest.mark.parametrize("batch", [1, 64, 20000])
def test_few_and_many_rows_and_twice_the_same(batch):
    """Both tiles of the launch; sums in the same order each time."""
    right = leaves((batch, 32, 32, 13, 3), 0.25)
    left = on_cuda(right)
    first, again = (values_and_gradients(conv_prelu, left) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for a, b in zip(first, values_and_gradients(conv_prelu, right), strict=True):
        assert off(a.cpu(), b) < 1e-11


@on_a_gpu
def test_a_bad_item_spoils_itself_alone():
    x, slope, weight, bias = (t.detach().cuda() for t in leaves((3, 3, 4, 20, 3), 0.25))
    good = conv_prelu(x, slope, weight, bias)
    x[1, 0, 5] = torch.nan
    spoilt = conv_prelu(x, slope, weight, bias)
    assert torch.equal(spoilt[[0, 2]], good[[0, 2]])
    assert spoilt[1, :, 4:7].isnan().all()
    assert torch.equal(spoilt[1, :, 7:], good[1, :, 7:])


@on_a_gpu
def test_opcheck():
    x, slope, weight, bias = (t.detach().cuda() for t in leaves((3, 3, 4, 20, 3), 0.25))
    torch.library.opcheck(torch.ops.lpgd.conv_prelu.default, (x, slope, weight, bias))


@on_a_gpu
def test_autocast_is_torchs():
    x, slope, weight, bias = (t.detach().cuda() for t in leaves((3, 3, 4, 20, 3), 0.25))
    with torch.autocast("cuda", dtype=torch.bfloat16):
        y = conv_prelu(x.float(), slope.float(), weight.float(), bias.float())
    assert y.dtype == torch.bfloat16
