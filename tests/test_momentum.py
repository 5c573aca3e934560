"""The recurrent momentum: values, gradients, items that go wrong alone, bad input."""

from __future__ import annotations

import math

import pytest
import torch

from lpgd_native import gru_momentum_step, lstm_momentum_sequence, lstm_momentum_step
from lpgd_native._momentum_autograd import Tape, _Seen
from momentum_cases import SMALL, Case, each_case, loss

pytestmark = pytest.mark.on_device

TOLERANCE = {torch.float64: 1e-13, torch.float32: 3e-6}
each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@each_case
@each_dtype
def test_agrees_with_the_twin(case, dtype):
    leaves = [t.requires_grad_() for t in case.build(dtype)]
    ours, twin = case.ours(*leaves), case.twin(*leaves)
    pairs = [
        *zip(ours, twin, strict=True),
        *zip(
            torch.autograd.grad(loss(ours), leaves),
            torch.autograd.grad(loss(twin), leaves),
            strict=True,
        ),
    ]
    for left, right in pairs:
        assert left.shape == right.shape
        scale = 1 + float(right.detach().abs().max())
        assert float((left - right).detach().abs().max()) < TOLERANCE[dtype] * scale


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_gradcheck(case):
    leaves = [t.requires_grad_() for t in case.build()]
    assert torch.autograd.gradcheck(case.ours, leaves)


@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0, 300.0, 1e5])
@each_dtype
def test_activations_are_right_from_tiny_to_saturated(size, dtype):
    """A cell without hidden weights, whose states show its gates."""
    x = torch.linspace(-size, size, 41, dtype=torch.float64).unsqueeze(1)
    one, zero = x.new_ones(4, 1), x.new_zeros(4)
    weights = [one, 0 * one, zero, zero, x.new_ones(1, 1), x.new_zeros(1)]
    h = x.new_zeros(1, len(x), 1)
    expected = [x.sigmoid() * (x.sigmoid() * x.tanh()).tanh(), x.sigmoid() * x.tanh()]
    _, (h, c) = lstm_momentum_step(
        x.to(dtype), (h.to(dtype), h.to(dtype)), [w.to(dtype) for w in weights]
    )
    eps = torch.finfo(dtype).eps
    for left, right in zip((h[0], c[0]), expected, strict=True):
        assert (left.double() - right).abs().max() <= 8 * eps
        near = right.abs() < 1e-3  # no digits are lost near zero
        if near.any() and size < 1:
            relative = ((left.double() - right).abs() / (right.abs() + 1e-300))[near & (x != 0)]
            assert relative.max() < 40 * eps


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("form", ["step", "coordinate"])
@pytest.mark.parametrize("batch", [3, 8])
def test_a_bad_gradient_spoils_its_own_item_alone(bad, form, batch):
    case = Case("lstm", batch, 6, 4, 2, 6, form)
    tensors = case.build()
    good = case.ours(*tensors)
    tensors[0] = tensors[0].clone()
    tensors[0][1, 2] = bad
    spoilt = case.ours(*tensors)
    other = [i for i in range(batch) if i != 1]
    assert torch.equal(spoilt[0][other], good[0][other])
    dim = 1 if form == "step" else 2
    for left, right in zip(spoilt[1:], good[1:], strict=True):
        index = torch.tensor(other)
        assert torch.equal(left.index_select(dim, index), right.index_select(dim, index))
    if math.isnan(bad):
        assert spoilt[0][1].isnan().any()
    if form == "coordinate":  # not even its neighbours
        assert torch.equal(spoilt[0][1, 3:], good[0][1, 3:])


@each_case
def test_an_item_does_not_depend_on_its_batch(case):
    tensors = case.build()
    states = case.states
    all_items = case.ours(*tensors)
    g = 1 if case.form == "sequence" else 0
    s = 2 if case.form == "coordinate" else 1
    one = [t.narrow(g if k == 0 else s, 0, 1) if k <= states else t for k, t in enumerate(tensors)]
    alone = case.ours(*one)
    torch.testing.assert_close(alone[0], all_items[0][:1], rtol=1e-12, atol=1e-13)
    for left, right in zip(alone[1:], all_items[1:], strict=True):
        torch.testing.assert_close(left, right.narrow(s, 0, 1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("form", ["step", "sequence", "coordinate"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_empty_batch(cell, form):
    case = Case(cell, 0, 6, 4, 2, 6, form, 2)
    leaves = [t.requires_grad_() for t in case.build()]
    out = case.ours(*leaves)
    assert [o.shape for o in out] == [o.shape for o in case.twin(*leaves)]
    grads = torch.autograd.grad(loss(out), leaves)
    assert all(g.shape == t.shape and not g.any() for g, t in zip(grads, leaves, strict=True))


def test_leading_dimensions_and_no_state():
    case = Case("lstm", 6, 5, 4, 2, 5)
    gradient, states, weights = case.split(case.build())
    flat, (h, c) = lstm_momentum_step(gradient, states, weights)
    shaped = [s.reshape(2, 2, 3, 4) for s in states]
    v, (h2, c2) = lstm_momentum_step(gradient.reshape(2, 3, 5), tuple(shaped), weights)
    assert torch.equal(v.reshape(6, 5), flat)
    assert torch.equal(h2.reshape(h.shape), h)
    assert torch.equal(c2.reshape(c.shape), c)
    alone, (h1, _) = lstm_momentum_step(gradient[0], None, weights)
    assert alone.shape == (5,)
    assert h1.shape == (2, 4)
    zeros = tuple(torch.zeros_like(s) for s in states)
    assert torch.equal(
        lstm_momentum_step(gradient, None, weights)[0],
        lstm_momentum_step(gradient, zeros, weights)[0],
    )


@pytest.mark.parametrize("form", ["step", "sequence", "coordinate"])
def test_strides_do_not_matter(form):
    case = Case("lstm", 3, 6, 4, 2, 6, form, 2)
    tensors = case.build()
    expected = case.ours(*tensors)
    views = [t.mT.contiguous().mT if t.dim() > 1 else t.repeat_interleave(2)[::2] for t in tensors]
    for left, right in zip(case.ours(*views), expected, strict=True):
        assert torch.equal(left, right)


def test_a_sequence_is_its_steps():
    case = Case("lstm", 3, 5, 4, 2, 5, "sequence", 4)
    gradients, states, weights = case.split(case.build())
    v, (h, c) = lstm_momentum_sequence(gradients, states, weights)
    for g in gradients:
        last, states = lstm_momentum_step(g, states, weights)
    for left, right in ((v, last), (h, states[0]), (c, states[1])):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("batch", [1, 6, 200])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_tape_gives_the_gradients_of_single_steps(cell, batch):
    """More steps than a chunk of the tape, one of them without a part in the loss."""
    case = Case(cell, batch, 5, 4, 2, 5)
    leaves = [t.requires_grad_() for t in case.build()]

    def unroll(step):
        gradient, states, _ = case.split(leaves)
        total = gradient.new_zeros(())
        for t in range(20):
            v, *states = step(gradient, states)
            if t != 7:
                total = total + (v.sin() * (t + 1)).sum()
            gradient = gradient - 0.3 * v.detach() if t == 7 else gradient - 0.3 * v
        return total + states[0].sum()

    tape = Tape(cell, tuple(case.split(leaves)[2]), batch, steps=8)
    taped = unroll(lambda g, s: tape.step(g, s[0], s[1] if len(s) > 1 else None)[: 1 + len(s)])
    plain = unroll(lambda g, s: case.twin(g, *s, *case.split(leaves)[2]))
    torch.testing.assert_close(taped, plain, rtol=1e-12, atol=1e-12)
    right = torch.autograd.grad(plain, leaves)
    for _ in range(2):  # a second pass over the same graph too
        left = torch.autograd.grad(taped, leaves, retain_graph=True)
        for a, b in zip(left, right, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
    # gradients of a part do not disturb those of the whole
    torch.autograd.grad(taped, leaves[0], retain_graph=True)
    for a, b in zip(torch.autograd.grad(taped, leaves), right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("batch", "n", "hidden", "layers", "m"),
    [
        (1, 53, 50, 2, 53),
        (3, 5, 4, 1, 70),
        (7, 130, 17, 3, 1),
        (16, 33, 8, 1, 16),
        (22, 40, 5, 1, 9),  # two rows more than are in the cache at a time
        (64, 17, 3, 1, 20),  # a multiple of these
    ],
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weight_gradients_of_some_steps(cell, batch, n, hidden, layers, m, dtype):
    """The op, written and then added, against torch's products; a step without a gradient of v."""
    torch.manual_seed(0)
    case = Case(cell, batch, n, hidden, layers, m)
    states = [torch.randn(layers, batch, hidden, dtype=dtype) for _ in range(6)]
    seen = _Seen(
        [torch.randn(batch, n, dtype=dtype) for _ in range(3)],
        states[:3],
        states[3:],
        [torch.randn(layers, batch, 4 * hidden, dtype=dtype) for _ in range(3)],
        [torch.randn(batch, m, dtype=dtype), None, torch.randn(batch, m, dtype=dtype)],
    )
    expected = seen.products(cell)
    totals = [torch.full_like(w, math.nan) for w in case.split(case.build(dtype))[2]]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for times in (1, 2):
        seen.add(cell, totals, times == 1)
        for total, own in zip(totals, expected, strict=True):
            torch.testing.assert_close(total, times * own, rtol=tolerance, atol=30 * tolerance)


@pytest.mark.parametrize("fresh", [True, False])
def test_weight_gradients_without_any_of_v(fresh):
    """Those of the output map are zeros where they are written, and stay where they are added."""
    case = Case("lstm", 2, 5, 3, 1, 20)
    _, states, weights = case.split(case.build())
    gates = torch.randn(1, 2, 12, dtype=torch.float64)
    x = torch.randn(2, 5, dtype=torch.float64)
    totals = [torch.full_like(w, 7.0) for w in weights]
    _Seen([x], [states[0]], [states[1]], [gates], [None]).add("lstm", totals, fresh)
    assert all((total == (0.0 if fresh else 7.0)).all() for total in totals[-2:])
    expected = gates[0].mT @ x + (0.0 if fresh else 7.0)
    torch.testing.assert_close(totals[0], expected, rtol=1e-12, atol=1e-12)


def test_a_tape_notices_changed_weights_and_has_no_second_derivative():
    case = Case("lstm", 2, 5, 4, 1, 5)
    gradient, states, weights = case.split(case.build())
    weights = [w.requires_grad_() for w in weights]
    v = Tape("lstm", tuple(weights), 2).step(gradient, *states)[0]
    with torch.no_grad():
        weights[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        v.sum().backward()
    v = Tape("lstm", tuple(weights), 2).step(gradient.requires_grad_(), *states)[0]
    (g,) = torch.autograd.grad(v.square().sum(), gradient, create_graph=True)
    with pytest.raises(NotImplementedError, match="no double backward"):
        torch.autograd.grad(g.sum(), gradient)
    with pytest.raises(NotImplementedError, match="no create_graph"):
        torch.autograd.grad(v.square().sum(), weights, create_graph=True)


# bad input


def arguments():
    case = Case("lstm", 3, 5, 4, 2, 5)
    gradient, states, weights = case.split(case.build())
    return {"gradient": gradient, "state": states, "weights": weights}


def changed(name, change):
    args = arguments()
    args[name] = change(args[name])
    return args


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (
            changed("gradient", lambda g: g[:, :4]),
            ValueError,
            r"w_ih of layer 0 must be \[16, 4\].*\[16, 5\]",
        ),
        (
            changed("gradient", lambda g: g[:2]),
            ValueError,
            r"state must be \[2, 2, 4\].*\[2, 3, 4\]",
        ),
        (changed("state", lambda s: (s[0], s[1][:1])), ValueError, r"\[2, 3, 4\].*\[1, 3, 4\]"),
        (changed("state", lambda s: s[:1]), ValueError, "2 tensors, got 1"),
        (changed("weights", lambda w: w[:-1]), ValueError, "got 9 tensors"),
        (
            changed("weights", lambda w: [*w[:4], w[4][:, :3], *w[5:]]),
            ValueError,
            r"layer 1.*\[16, 3\]",
        ),
        (
            changed("weights", lambda w: [*w[:-1], w[-1][:2]]),
            ValueError,
            r"w_out must be \[2, 8\].*\[5, 8\]",
        ),
        (changed("gradient", lambda g: g.float()), TypeError, "dtype of gradient, torch.float32"),
        (
            changed("gradient", lambda g: g.bfloat16()),
            TypeError,
            "float32 or float64, got torch.bfloat16",
        ),
        (changed("gradient", lambda g: g.tolist()), TypeError, "must be a torch.Tensor, got list"),
        (changed("weights", lambda w: [*w[:-1], None]), TypeError, "must be tensors, got NoneType"),
        (
            changed("state", lambda s: (s[0].to("meta"), s[1])),
            ValueError,
            "device of gradient, cpu, got meta",
        ),
    ],
)
def test_bad_input(args, error, text):
    with pytest.raises(error, match=text):
        lstm_momentum_step(args["gradient"], args["state"], args["weights"])


def test_bad_input_of_the_other_forms():
    args = arguments()
    with pytest.raises(ValueError, match=r"\[S, ..., n\], S >= 1, got \[0, 3, 5\]"):
        lstm_momentum_sequence(args["gradient"].new_zeros(0, 3, 5), args["state"], args["weights"])
    with pytest.raises(ValueError, match=r"w_ih of layer 0 must be \[16, 1\]"):
        lstm_momentum_step(args["gradient"], None, args["weights"], per_coordinate=True)
    with pytest.raises(ValueError, match="gru_momentum_step: w_ih of layer 0"):
        gru_momentum_step(args["gradient"], None, args["weights"])
    wide = [
        *arguments()["weights"][:-2],
        args["gradient"].new_zeros(2, 8),
        args["gradient"].new_zeros(2),
    ]
    wide[0] = wide[0][:, :1].contiguous()
    with pytest.raises(ValueError, match="per_coordinate needs w_out"):
        lstm_momentum_step(args["gradient"], None, wide, per_coordinate=True)


@pytest.mark.parametrize(
    "name", ["lstm_momentum_step", "lstm_momentum_sequence", "lstm_momentum_coordinate"]
)
def test_raw_ops_keep_memory_safe(name):
    """What gets past Python's checks is refused, not read beyond its end."""
    args = arguments()
    op = getattr(torch.ops.lpgd, name)
    with pytest.raises(RuntimeError):
        op(args["gradient"][:, :3], args["state"][0], args["state"][1], args["weights"])
    with pytest.raises(RuntimeError):
        op(args["gradient"], args["state"][0][:1], args["state"][1], args["weights"])
    with pytest.raises(RuntimeError):
        op(args["gradient"], args["state"][0], None, args["weights"])
    with pytest.raises(RuntimeError):
        op(args["gradient"], args["state"][0], args["state"][1], args["weights"][:-1])


def test_the_raw_op_of_the_weights_keeps_memory_safe():
    case = Case("lstm", 3, 5, 4, 1, 6)
    _, states, weights = case.split(case.build())
    gates, v = torch.ones(1, 3, 16).double(), torch.ones(3, 6).double()
    fine = [[torch.ones(3, 5).double()], states[:1], states[:1], [gates], [v], weights]
    op = torch.ops.lpgd.lstm_momentum_weight_gradients
    assert op(*fine, False) is None
    for k, given in enumerate(fine):
        first = given[0]
        for wrong in ([], [first[..., :-1]], [first.float()], [*given, first]):
            with pytest.raises(RuntimeError):
                op(*fine[:k], wrong, *fine[k + 1 :], False)
