"""The recurrent momentum on CUDA: equal to the CPU over the case table. The first tests look at the
path that CUDA tensors take, which needs no GPU; the others are skipped where there is none.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lpgd_native import lstm_momentum_sequence, lstm_momentum_step
from lpgd_native._momentum_autograd import Tape
from lpgd_native._momentum_ops import DEVICES
from momentum_cases import CASES, Case, each_case, loss

each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

built = pytest.mark.skipif("cuda" not in DEVICES, reason="built without CUDA")


def on_a_gpu(function):
    function = pytest.mark.gpu(function)
    return pytest.mark.skipif(
        not torch.cuda.is_available() or "cuda" not in DEVICES,
        reason="no GPU, or built without CUDA",
    )(function)


class Called(TorchDispatchMode):
    """The names of the operators that run under it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


# no sequences: a CPU torch can't take slices of CUDA tensors, not even of these
@built
@pytest.mark.parametrize("case", [case for case in CASES if case.form != "sequence"], ids=str)
def test_cuda_tensors_go_to_the_kernels(case):
    """Shapes of CUDA tensors without memory, by the fake rules."""
    with FakeTensorMode(), Called() as called:
        out = case.ours(*(torch.empty(t.shape, device="cuda") for t in case.build()))
    assert [o.shape for o in out] == [o.shape for o in case.twin(*case.build())]
    assert {o.device.type for o in out} == {"cuda"}
    ours = [name for name in called.names if name.startswith("lpgd::")]
    assert ours == [f"lpgd::{case.cell}_momentum_{case.form}"]
    for name in (*ours, f"{ours[0]}_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA")


@built
def test_bad_input_on_cuda_is_a_value_error():
    case = Case("lstm", 3, 5, 4, 2, 5)
    with FakeTensorMode():
        gradient, states, weights = case.split(
            [torch.empty(t.shape, dtype=t.dtype, device="cuda") for t in case.build()]
        )
        with pytest.raises(ValueError, match="device of gradient, cuda"):
            lstm_momentum_step(gradient, (torch.empty(2, 3, 4, dtype=torch.float64), states[1]),
                               weights)  # fmt: skip
        with pytest.raises(ValueError, match=r"w_ih of layer 0 must be \[16, 4\]"):
            lstm_momentum_step(gradient.new_empty(3, 4), states, weights)
        with pytest.raises(TypeError, match="dtype of gradient"):
            lstm_momentum_step(gradient.float(), states, weights)


def cuda(tensors):
    return [t.detach().cuda().requires_grad_() for t in tensors]


def close(left, right, tolerance):
    scale = 1 + float(right.detach().abs().max()) if right.numel() else 1.0
    torch.testing.assert_close(left.cpu(), right, rtol=0, atol=tolerance * scale)


@on_a_gpu
@each_case
@each_dtype
def test_agrees_with_the_cpu(case, dtype):
    right = [t.requires_grad_() for t in case.build(dtype)]
    left = cuda(right)
    ours, expected = case.ours(*left), case.ours(*right)
    for a, b in zip(ours, expected, strict=True):
        assert a.device.type == "cuda"
        close(a, b, TOLERANCE[dtype])
    grads = zip(
        torch.autograd.grad(loss(ours), left),
        torch.autograd.grad(loss(expected), right),
        strict=True,
    )
    for a, b in grads:
        close(a, b, 10 * TOLERANCE[dtype])


@on_a_gpu
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("hidden", [1, 7, 20, 32, 50])
def test_coordinates_of_many_sizes(cell, hidden):
    """More rows than a block, weights that fit into shared memory and such that do not; twice the
    same, to the bit.
    """
    case = Case(cell, 3, 4001, hidden, 2, 4001, "coordinate")
    right = [t.requires_grad_() for t in case.build()]
    left = cuda(right)
    ours, expected = case.ours(*left), case.ours(*right)
    first = torch.autograd.grad(sum(o.sum() for o in ours), left)
    again = torch.autograd.grad(sum(o.sum() for o in case.ours(*left)), left)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    grads = torch.autograd.grad(sum(o.sum() for o in expected), right)
    for a, b in zip((*ours, *first), (*expected, *grads), strict=True):
        close(a, b, 1e-11)


@on_a_gpu
def test_a_bad_gradient_spoils_its_own_row_alone():
    case = Case("lstm", 3, 200, 8, 2, 200, "coordinate")
    tensors = [t.cuda() for t in case.build()]
    good = case.ours(*tensors)
    tensors[0][1, 2] = torch.nan
    for a, b in zip(good, case.ours(*tensors), strict=True):
        different = (a != b).nonzero()
        assert {tuple(i[-2:]) for i in different.tolist()} == {(1, 2)}


@on_a_gpu
def test_a_sequence_is_its_steps():
    case = Case("lstm", 33, 50, 20, 2, 50, "sequence", 4)
    gradients, states, weights = case.split([t.cuda() for t in case.build()])
    v, (h, c) = lstm_momentum_sequence(gradients, states, weights)
    for g in gradients:
        last, states = lstm_momentum_step(g, states, weights)
    for left, right in ((v, last), (h, states[0]), (c, states[1])):
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-12)


@on_a_gpu
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_tape_gives_the_gradients_of_single_steps(cell):
    case = Case(cell, 6, 5, 4, 2, 5)
    leaves = cuda(case.build())
    gradient, states, weights = case.split(leaves)
    tape = Tape(cell, tuple(weights), 6, steps=4)

    def unroll(step):
        g, s, total = gradient, states, 0.0
        for _ in range(6):
            v, *s = step(g, s)
            g, total = g - 0.3 * v, total + v.sin().sum()
        return torch.autograd.grad(total, leaves)

    taped = unroll(lambda g, s: tape.step(g, s[0], s[1] if len(s) > 1 else None)[: 1 + len(s)])
    plain = unroll(lambda g, s: case.twin(g, *s, *weights))
    for a, b in zip(taped, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@on_a_gpu
@pytest.mark.parametrize("form", ["step", "sequence", "coordinate"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_empty_batch(cell, form):
    case = Case(cell, 0, 6, 4, 2, 6, form, 2)
    leaves = cuda(case.build())
    out = case.ours(*leaves)
    grads = torch.autograd.grad(sum(o.sum() for o in out), leaves)
    assert all(g.shape == t.shape and not g.any() for g, t in zip(grads, leaves, strict=True))


@on_a_gpu
@pytest.mark.parametrize("form", ["step", "coordinate"])
def test_the_current_stream_and_graphs(form):
    """A captured call, replayed on other numbers."""
    case = Case("gru", 64, 40, 16, 2, 40, form)
    tensors = [t.cuda() for t in case.build()]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        case.ours(*tensors)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = case.ours(*tensors)
    tensors[0].add_(0.1)
    graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(out, case.ours(*tensors), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@on_a_gpu
@pytest.mark.parametrize("form", ["step", "sequence", "coordinate"])
def test_opcheck(form):
    case = Case("lstm", 6, 5, 4, 2, 5, form, 2)
    gradient, states, weights = case.split([t.cuda() for t in case.build()])
    op = getattr(torch.ops.lpgd, f"lstm_momentum_{form}").default
    torch.library.opcheck(op, (gradient, *states, weights))


@on_a_gpu
def test_autocast_computes_in_single_precision():
    case = Case("lstm", 6, 5, 4, 2, 5)
    gradient, states, weights = case.split([t.cuda() for t in case.build(torch.float32)])
    halves = [w.bfloat16() for w in weights]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        v, (h, c) = lstm_momentum_step(gradient.bfloat16(), states, halves)
    assert {v.dtype, h.dtype, c.dtype} == {torch.float32}
