"""Convolutions of short signals: torch's own values and derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from lpgd_native import reference
from lpgd_native.convolution import conv_chain, conv_prelu

pytestmark = pytest.mark.on_device

# batch, channels in and out, length, kernel
SHAPES = [
    (3, 2, 5, 53, 3),
    (2, 7, 32, 12, 3),
    (4, 32, 32, 53, 3),
    (2, 6, 1, 8, 3),
    (1, 1, 1, 1, 1),
    (2, 3, 4, 8, 5),
    (2, 5, 3, 100, 7),
    (2, 3, 4, 2, 9),
    (0, 3, 4, 9, 3),
    # by minimal filtering on the CPU: several groups of items, channels and lengths with remainders
    (40, 8, 9, 25, 3),
    (3, 17, 13, 100, 3),
    (1, 9, 8, 684, 3),
    (0, 8, 8, 53, 3),
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_slope = pytest.mark.parametrize("slope", [None, 0.25, 0.0, -0.5, 2.0])


def leaves(shape, slope, dtype=torch.float64):
    batch, inputs, outputs, n, kernel = shape
    tensors = [
        torch.randn(batch, inputs, n),
        None if slope is None else torch.tensor([slope]),
        torch.randn(outputs, inputs, kernel),
        torch.randn(outputs),
    ]
    return [None if t is None else t.to(dtype).requires_grad_() for t in tensors]


def values_and_gradients(function, tensors, least=-1.0):
    y = function(*tensors)
    weights = torch.linspace(least, 1.5, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    return (y, *torch.autograd.grad(y, [t for t in tensors if t is not None], weights))


def off(left, right):
    """Largest difference, relative to the size of the tensor."""
    left, right = left.detach().double(), right.detach()
    return float((left - right).abs().max() / (1 + right.abs().max())) if right.numel() else 0.0


@each_shape
@each_slope
def test_agrees_with_the_twin(shape, slope):
    tensors = leaves(shape, slope)
    assert type(conv_prelu(*tensors).grad_fn).__name__ == "_ConvPreluBackward"  # no stand-in
    exact = values_and_gradients(reference.conv_prelu, tensors)
    for left, right in zip(values_and_gradients(conv_prelu, tensors), exact, strict=True):
        assert left.shape == right.shape
        assert off(left, right) < 1e-13
    # single precision: as near to the double one as torch's own
    singles = [None if t is None else t.detach().float().requires_grad_() for t in tensors]
    exact = values_and_gradients(
        reference.conv_prelu,
        [None if t is None else t.detach().double().requires_grad_() for t in singles],
    )
    ours = values_and_gradients(conv_prelu, singles)
    theirs = values_and_gradients(reference.conv_prelu, singles)
    for left, other, right in zip(ours, theirs, exact, strict=True):
        assert left.dtype == torch.float32
        assert off(left, right) < 3 * off(other, right) + 1e-6


@pytest.mark.parametrize("shape", [(2, 8, 8, 2048, 3), (1, 8, 8, 2049, 3)], ids=str)
def test_long_signals(shape):
    """Sums of thousands of terms, against the sum of their sizes."""
    tensors = leaves(shape, 0.25)
    singles = [t.detach().float().requires_grad_() for t in tensors]
    exact = [t.detach().double().requires_grad_() for t in singles]
    absolute = [t.detach().abs() for t in tensors]
    absolute[0], absolute[1] = -absolute[0], -torch.ones_like(absolute[1])  # prelu makes it |x|
    sizes = values_and_gradients(
        reference.conv_prelu, [t.requires_grad_() for t in absolute], least=1.5
    )
    for given, eps in ((singles, 2**-23), (exact, 2**-52)):
        ours = values_and_gradients(conv_prelu, given)
        right = values_and_gradients(reference.conv_prelu, exact)
        for left, other, size in zip(ours, right, sizes, strict=True):
            assert ((left.double() - other).abs() <= 100 * eps * (1 + size.abs())).all()


@pytest.mark.parametrize("slope", [None, 0.25])
def test_gradcheck_first_and_second(slope):
    tensors = leaves((2, 2, 3, 5, 3), slope)
    present = [t for t in tensors if t is not None]

    def call(*args):
        rest = list(args)
        return conv_prelu(rest.pop(0), None if slope is None else rest.pop(0), *rest)

    assert torch.autograd.gradcheck(call, present)
    assert torch.autograd.gradgradcheck(call, present)


def test_only_what_is_needed():
    x, slope, weight, bias = leaves((2, 3, 4, 9, 3), 0.25)
    y = conv_prelu(x.detach(), slope.detach(), weight, bias)
    g = torch.autograd.grad(y.sum(), (weight, bias))
    full = torch.autograd.grad(conv_prelu(x, slope, weight, bias).sum(), (weight, bias))
    assert all(torch.equal(a, b) for a, b in zip(g, full, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_item_spoils_itself_alone(bad):
    x, slope, weight, bias = (t.detach() for t in leaves((3, 3, 4, 20, 3), 0.25))
    good = conv_prelu(x, slope, weight, bias)
    x[1, 0, 5] = bad
    spoilt = conv_prelu(x, slope, weight, bias)
    assert torch.equal(spoilt[[0, 2]], good[[0, 2]])
    assert not spoilt[1, :, 4:7].isfinite().any()
    assert torch.equal(spoilt[1, :, 7:], good[1, :, 7:])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_item_spoils_no_other(bad):
    """With many channels its neighbours share registers with it."""
    x, slope, weight, bias = (t.detach() for t in leaves((5, 8, 8, 53, 3), 0.25))
    x.requires_grad_()
    given = torch.randn(5, 8, 53, dtype=x.dtype)

    def both():
        y = conv_prelu(x, slope, weight, bias)
        return y.detach(), torch.autograd.grad(y, x, given)[0]

    good = both()
    with torch.no_grad():
        x[1, 3, 50] = bad
    spoilt = both()
    others = [0, 2, 3, 4]
    assert torch.equal(spoilt[0][others], good[0][others])
    assert torch.equal(spoilt[1][others], good[1][others])
    assert not spoilt[0][1, :, 49:52].isfinite().any()
    assert torch.equal(spoilt[0][1, :, :44], good[0][1, :, :44])  # the tiles that don't see it


@pytest.mark.cpu_only("about the layout of the CPU's kernels")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_item_is_what_it_is_alone(dtype):
    x, slope, weight, bias = (t.detach() for t in leaves((37, 9, 11, 53, 3), 0.25, dtype))
    x.requires_grad_()
    given = torch.randn(37, 11, 53, dtype=dtype)

    def both(rows):
        part = x[rows].detach().requires_grad_()
        y = conv_prelu(part, slope, weight, bias)
        return y.detach(), torch.autograd.grad(y, part, given[rows])[0]

    whole = both(slice(None))
    for rows in (slice(0, 1), slice(8, 9), slice(5, 30), slice(36, 37)):
        for left, right in zip(both(rows), whole, strict=True):
            assert torch.equal(left, right[rows])


@each_shape
@pytest.mark.parametrize("slope", [None, 0.25])
def test_opcheck(shape, slope):
    x, slope, weight, bias = (None if t is None else t.detach() for t in leaves(shape, slope))
    torch.library.opcheck(torch.ops.lpgd.conv_prelu.default, (x, slope, weight, bias))
    d_y = torch.randn(x.shape[0], weight.shape[0], x.shape[2], dtype=x.dtype)
    for wanted in (True, False):
        torch.library.opcheck(
            torch.ops.lpgd.conv_prelu_backward.default, (d_y, x, slope, weight, wanted)
        )


@pytest.mark.cpu_only("about the CPU's autocast")
def test_elsewhere_torch_runs():
    """Transforms, autocast and half precision."""
    x, slope, weight, bias = (t.detach() for t in leaves((3, 2, 4, 9, 3), 0.25))
    expected = reference.conv_prelu(x, slope, weight, bias)
    mapped = torch.func.vmap(lambda x: conv_prelu(x[None], slope, weight, bias)[0])(x)
    torch.testing.assert_close(mapped, expected)
    g = torch.func.grad(lambda w: conv_prelu(x, slope, w, bias).sum())(weight)
    assert g.shape == weight.shape
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (
            conv_prelu(x.float(), slope.float(), weight.float(), bias.float()).dtype
            == torch.bfloat16
        )
    half = [t.bfloat16() for t in (x, slope, weight, bias)]
    assert conv_prelu(*half).dtype == torch.bfloat16


@pytest.mark.cpu_only("about threads")
def test_threads_change_nothing():
    tensors = leaves((32, 32, 32, 53, 3), 0.25, torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            y = conv_prelu(*tensors)
            results.append((y, *torch.autograd.grad(y.sin().sum(), tensors)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


#: batch, length, and (channels, kernel) of each layer, the first the channels of x
CHAINS = [
    (3, 53, ((2, 0), (32, 3), (32, 3), (1, 3))),
    (2, 12, ((7, 0), (32, 3), (5, 3))),
    (2, 9, ((3, 0), (4, 5))),
    (1, 30, ((9, 0), (8, 3), (9, 1), (11, 3), (8, 3), (2, 7))),
    (0, 9, ((3, 0), (4, 3), (2, 3))),
]
each_chain = pytest.mark.parametrize("chain", CHAINS, ids=str)


def chain_leaves(chain, dtype=torch.float64):
    batch, n, sizes = chain
    tensors = [torch.randn(batch, sizes[0][0], n)]
    for index, (outputs, kernel) in enumerate(sizes[1:]):
        if index:
            tensors.append(torch.rand(1) - 0.3)
        tensors += [torch.randn(outputs, sizes[index][0], kernel) / 4, torch.randn(outputs)]
    return [t.to(dtype).requires_grad_() for t in tensors]


def layers_of(flat):
    return [(None, *flat[:2]), *(tuple(flat[at : at + 3]) for at in range(2, len(flat), 3))]


def chained(x, *flat):
    return conv_chain(x, layers_of(flat))


def one_by_one(x, *flat):
    for layer in layers_of(flat):
        x = conv_prelu(x, *layer)
    return x


@each_chain
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_chain_is_its_layers(chain, dtype):
    tensors = chain_leaves(chain, dtype)
    assert type(chained(*tensors).grad_fn).__name__ == "_ConvChainBackward"  # no stand-in
    ours = values_and_gradients(chained, tensors)
    for left, right in zip(ours, values_and_gradients(one_by_one, tensors), strict=True):
        assert torch.equal(left, right)


def test_gradcheck_of_a_chain():
    tensors = chain_leaves((2, 5, ((2, 0), (3, 3), (2, 3))))
    assert torch.autograd.gradcheck(chained, tensors)
    assert torch.autograd.gradgradcheck(chained, tensors)


@each_chain
def test_opcheck_of_a_chain(chain):
    x, *layers = (t.detach() for t in chain_leaves(chain))
    torch.library.opcheck(torch.ops.lpgd.conv_chain.default, (x, layers))
    y, kept = torch.ops.lpgd.conv_chain(x, layers)
    for wanted in (True, False):
        inputs = (torch.randn_like(y), x, kept, layers, wanted)
        torch.library.opcheck(torch.ops.lpgd.conv_chain_backward.default, inputs)


@pytest.mark.cpu_only("about the CPU's autocast")
def test_chains_elsewhere_are_torchs():
    tensors = chain_leaves(CHAINS[0])
    x, *flat = (t.detach() for t in tensors)
    torch.testing.assert_close(
        torch.func.vmap(lambda x: chained(x[None], *flat)[0])(x), chained(x, *flat)
    )
    # an activation before the first, strides, only some gradients
    y = conv_chain(x, [(flat[2], *flat[:2]), *layers_of(flat)[1:]])
    assert torch.equal(y, one_by_one(x.where(x > 0, flat[2] * x), *flat))
    strided = x.mT.contiguous().mT
    assert torch.equal(chained(strided, *flat), chained(x, *flat))
    y = chained(x, *tensors[1:])
    assert torch.equal(
        torch.autograd.grad(y.sum(), tensors[1])[0],
        torch.autograd.grad(one_by_one(*tensors).sum(), tensors[1])[0],
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert chained(x.float(), *(t.float() for t in flat)).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="conv_chain: layers must not be empty"):
        conv_chain(x, [])
    with pytest.raises(ValueError, match="conv_prelu: x must be"):
        chained(x[:, :1], *flat)


def test_raw_chains_keep_memory_safe():
    x, *layers = (t.detach() for t in chain_leaves(CHAINS[1]))
    y, kept = torch.ops.lpgd.conv_chain(x, layers)
    wrong = [
        (x[:, :1].contiguous(), layers),
        (x, layers[:-1]),
        (x, []),
        (x, [layers[0], layers[1][:3], *layers[2:]]),
        (x, [*layers[:3], layers[3][:, :5].contiguous(), layers[4]]),
        (x, [*layers[:2], layers[1], *layers[3:]]),
        (x.float(), layers),
    ]
    for args in wrong:
        with pytest.raises(RuntimeError):
            torch.ops.lpgd.conv_chain(*args)
        with pytest.raises(RuntimeError):
            torch.ops.lpgd.conv_chain_backward(y, args[0], kept, args[1], True)
    for d_y, given in ((y[:, :1].contiguous(), kept), (y, kept[:-1]), (y, kept.float())):
        with pytest.raises(RuntimeError):
            torch.ops.lpgd.conv_chain_backward(d_y, x, given, layers, True)


def test_raw_ops_keep_memory_safe():
    x, slope, weight, bias = (t.detach() for t in leaves((3, 2, 4, 9, 3), 0.25))
    op = torch.ops.lpgd.conv_prelu
    for args in (
        (x[:, :1], slope, weight, bias),
        (x, slope, weight[:, :, :2].contiguous(), bias),
        (x, slope, weight, bias[:3]),
        (x, torch.cat([slope, slope]), weight, bias),
        (x.mT, slope, weight, bias),
        (x, slope.float(), weight, bias),
    ):
        with pytest.raises(RuntimeError):
            op(*args)
