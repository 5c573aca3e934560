"""Unrolled networks: sizes of the paper, momenta that must agree, memory, bad input."""

from __future__ import annotations

import copy

import pytest
import torch

from lpgd_native.nn import (
    ConvBlock,
    ConvolutionalMemory,
    DenseMap,
    HeavyBall,
    LearnedPrimalDual,
    LearnedProximalGradient,
    NoMomentum,
    ProxBlock,
    RecurrentMomentum,
)
from lpgd_native.operators import LinearOperator, VolterraDeconvolution
from lpgd_native.prox import prox_l1
from lpgd_native.proximal import L1

OPERATOR = VolterraDeconvolution.random(1.0)
DOUBLE = VolterraDeconvolution.random(1.0, dtype=torch.float64)
IMAGE = VolterraDeconvolution.random(1.0, domain=(7, 9), window=3, stride=2)
NETWORKS = [LearnedProximalGradient, LearnedPrimalDual]
SLOTS = [
    NoMomentum(),
    HeavyBall(),
    HeavyBall(0.5, 0.1, learned=True),
    RecurrentMomentum(hidden=6),
    RecurrentMomentum("gru", 6, 1, downsample=2),
    RecurrentMomentum("rnn", 6, mode="history"),
    RecurrentMomentum(hidden=6, mode="history"),
    RecurrentMomentum("gru", hidden=4, layers=1, mode="history"),
    RecurrentMomentum("linear", 6),
    RecurrentMomentum(hidden=4, layers=1, per_coordinate=True),
    RecurrentMomentum(hidden=6, blind=True),
    RecurrentMomentum(hidden=6, downsample=2, residual=True),
    ConvolutionalMemory(3),
    DenseMap(6),
]
each_network = pytest.mark.parametrize("kind", NETWORKS, ids=lambda k: k.__name__)
each_slot = pytest.mark.parametrize("slot", SLOTS, ids=str)
SMALL = ConvBlock(width=4, depth=2)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_paper_s():
    lpd, lpgd = LearnedPrimalDual(OPERATOR), LearnedProximalGradient(OPERATOR)
    assert count(lpd.dual_blocks[0]) == 4_295
    assert count(lpd.blocks[0]) == 7_304
    assert count(lpgd.blocks[0]) == 6_532
    assert count(lpd) == 115_990
    assert count(lpgd) == 130_640
    assert count(LearnedProximalGradient(OPERATOR, shared=True)) == 6_532
    assert count(LearnedPrimalDual(OPERATOR, momentum=HeavyBall())) == 115_990
    toy = RecurrentMomentum().build((53,))
    assert count(toy) == 21_000 + 20_400 + 5_353
    assert [w.numel() for w in toy.weights[:4]] == [200 * 53, 200 * 50, 200, 200]
    low = RecurrentMomentum(hidden=64, layers=1, downsample=2).build((686,))
    assert sum(w.numel() for w in low.weights[:4]) == 104_704
    assert count(low) == 126_999
    assert count(RecurrentMomentum(hidden=128, layers=1).build((686,))) == 506_286
    tomography = LinearOperator(torch.zeros(208, 686))
    assert count(LearnedPrimalDual(tomography, iterations=22)) == 255_178
    assert (
        count(
            LearnedPrimalDual(
                tomography, momentum=RecurrentMomentum(hidden=64, layers=1, downsample=2)
            )
        )
        == 242_989
    )


def test_an_lstm_starts_with_its_forget_gates_open():
    weights = RecurrentMomentum(hidden=5).build((7,)).weights
    for layer in (0, 1):
        for bias in weights[4 * layer + 2 : 4 * layer + 4]:
            assert torch.equal(bias[5:10], torch.ones(5))
            assert bias[:5].abs().max() <= 5**-0.5
            assert bias[10:].abs().max() <= 5**-0.5
    assert not (RecurrentMomentum("gru", hidden=5).build((7,)).weights[2] == 1).any()


@each_network
@each_slot
def test_every_slot_trains_every_network(kind, slot):
    torch.manual_seed(0)
    network = kind(OPERATOR, iterations=3, momentum=slot, block=SMALL)
    x = torch.rand(4, 53)
    out = network(OPERATOR(x))
    assert out.shape == x.shape
    (out - x).square().mean().backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in network.parameters())
    # one item at a time gives the same, to rounding: nothing leaks between items
    alone = torch.cat([network(OPERATOR(item)[None]) for item in x])
    torch.testing.assert_close(alone, out, rtol=1e-4, atol=1e-5)


@each_network
def test_images(kind):
    network = kind(IMAGE, iterations=2, momentum=RecurrentMomentum(hidden=4), block=SMALL)
    x = torch.rand(3, 7, 9)
    out = network(IMAGE(x))
    assert out.shape == x.shape
    out.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


# momenta that must agree


def networks_with(kind, *slots, **options):
    """Networks in float64 that differ in their slot alone."""
    made = []
    for slot in slots:
        torch.manual_seed(0)
        made.append(kind(DOUBLE, iterations=4, block=SMALL, momentum=slot, **options).double())
    for network in made[1:]:
        state = {k: v for k, v in made[0].state_dict().items() if not k.startswith("momentum.")}
        network.load_state_dict(state, strict=False)
    return made


def gradients(network, y):
    out = network(y)
    named = [(n, p) for n, p in network.named_parameters() if not n.startswith("momentum.")]
    grads = torch.autograd.grad(out.square().sum(), [p for _, p in named])
    return out, dict(zip((n for n, _ in named), grads, strict=True))


def assert_same(left, right, y, tolerance=1e-12):
    (a, g), (b, h) = gradients(left, y), gradients(right, y)
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    for name, value in g.items():
        torch.testing.assert_close(value, h[name], rtol=tolerance, atol=tolerance)


@each_network
def test_heavy_ball_without_memory_is_the_plain_network(kind):
    y = DOUBLE(torch.rand(3, 53, dtype=torch.float64))
    plain, heavy = networks_with(kind, NoMomentum(), HeavyBall(0, 1))
    assert_same(plain, heavy, y)
    different = networks_with(kind, NoMomentum(), HeavyBall(0.8, 1))[1]
    assert (plain(y) - different(y)).abs().max() > 1e-3


@each_network
def test_a_linear_cell_can_be_heavy_ball(kind):
    """h' = gamma h + eta g, v = h: W = eta I, U = gamma I, W_o = I."""
    gamma, eta = 0.8, 0.3
    heavy, linear = networks_with(
        kind, HeavyBall(gamma, eta), RecurrentMomentum("linear", hidden=53, layers=1)
    )
    eye = torch.eye(53, dtype=torch.float64)
    with torch.no_grad():
        for parameter in linear.momentum.parameters():
            parameter.zero_()
        linear.momentum.w_ih_0.copy_(eta * eye)
        linear.momentum.w_hh_0.copy_(gamma * eye)
        linear.momentum.w_out.copy_(eye)
    assert_same(heavy, linear, DOUBLE(torch.rand(3, 53, dtype=torch.float64)), 1e-6)


def test_an_lstm_with_forced_gates_is_heavy_ball():
    """i = o = 1, f = gamma, and cells so small that tanh is linear."""
    gamma, eta, small = 0.8, 0.3, 1e-5
    heavy, network = networks_with(
        LearnedProximalGradient, HeavyBall(gamma, eta), RecurrentMomentum(hidden=53, layers=1)
    )
    eye = torch.eye(53, dtype=torch.float64)
    with torch.no_grad():
        for parameter in network.momentum.parameters():
            parameter.zero_()
        bias = network.momentum.b_ih_0
        bias[:53] = bias[3 * 53 :] = 40.0
        bias[53 : 2 * 53] = torch.logit(torch.tensor(gamma, dtype=torch.float64))
        network.momentum.w_ih_0[2 * 53 : 3 * 53] = small * eta * eye
        network.momentum.w_out.copy_(eye / small)
    assert_same(heavy, network, DOUBLE(torch.rand(3, 53, dtype=torch.float64)), 1e-6)


def test_residual_and_blind_add_the_gradient():
    plain, residual, blind = (
        RecurrentMomentum(hidden=4, downsample=2, **options).build((5,)).double()
        for options in ({}, {"residual": True}, {"blind": True})
    )
    residual.load_state_dict(plain.state_dict())
    blind.load_state_dict(plain.state_dict())
    g = torch.randn(3, 5, dtype=torch.float64)
    state = tuple(torch.randn_like(part) for part in plain.begin(g))
    v, new = plain.step(g, state, g)
    v_residual, new_residual = residual.step(g, state, g)
    torch.testing.assert_close(v_residual, g + v)
    torch.testing.assert_close(new_residual, new)
    v_unseen, _ = plain.step(torch.zeros_like(g), state, g)
    torch.testing.assert_close(blind.step(g, state, g)[0], g + v_unseen)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_history_is_the_sequence_fed_again(cell):
    slot = RecurrentMomentum(cell, 4, 2, mode="history")
    history = slot.build((5,)).double()
    step = RecurrentMomentum(cell, 4, 2).build((5,)).double()
    step.load_state_dict(history.state_dict())
    gs = torch.randn(3, 2, 5, dtype=torch.float64)
    state = history.begin(gs[0])
    now = step.begin(gs[0])
    for t, g in enumerate(gs):
        v, state = history.step(g, state, g)
        for earlier in gs[: t + 1]:
            expected, now = step.step(earlier, now, earlier)
        torch.testing.assert_close(v, expected, rtol=1e-12, atol=1e-12)


# autograd


@each_network
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_deferred_weight_gradients_are_those_of_plain_torch(kind, cell, monkeypatch):
    torch.manual_seed(0)
    network = kind(DOUBLE, iterations=4, block=SMALL, momentum=RecurrentMomentum(cell, 6)).double()
    y = DOUBLE(torch.rand(3, 53, dtype=torch.float64))
    parameters = list(network.parameters())
    left = torch.autograd.grad(network(y).square().sum(), parameters)
    monkeypatch.setattr(type(network.momentum), "tape", lambda self, like, iterations: None)
    right = torch.autograd.grad(network(y).square().sum(), parameters)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@each_network
@pytest.mark.parametrize("slot", [NoMomentum(), *SLOTS[3:8]], ids=str)
@pytest.mark.parametrize("checkpoint", [True, 1, 3])
def test_checkpointing_changes_nothing(kind, slot, checkpoint):
    torch.manual_seed(0)
    network = kind(DOUBLE, iterations=5, block=SMALL, momentum=slot).double()
    other = copy.deepcopy(network)
    other.checkpoint = checkpoint
    assert_same(network, other, DOUBLE(torch.rand(2, 53, dtype=torch.float64)))


def test_checkpointing_saves_memory():
    """Bytes kept for the backward pass, counted where autograd keeps them."""
    x = torch.rand(8, 53)

    def kept(checkpoint):
        network = LearnedProximalGradient(OPERATOR, iterations=16, checkpoint=checkpoint)
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            network(OPERATOR(x))
        return total

    assert kept(True) < kept(False) / 10


@each_network
def test_physics_is_a_constant_unless_asked(kind):
    x0 = torch.rand(2, 53, dtype=torch.float64, requires_grad=True)
    y = DOUBLE(torch.rand(2, 53, dtype=torch.float64))
    torch.manual_seed(0)
    network = kind(DOUBLE, iterations=1, block=SMALL, differentiable_physics=True).double()
    assert torch.autograd.gradcheck(lambda x0: network(y, x0).sum(), (x0,), eps=1e-5, atol=1e-6)
    (through,) = torch.autograd.grad(network(y, x0).sum(), x0)
    network.differentiable_physics = False
    (constant,) = torch.autograd.grad(network(y, x0).sum(), x0)
    assert (through - constant).abs().max() > 1e-8


@each_network
def test_iterates(kind):
    network = kind(OPERATOR, iterations=3, momentum=RecurrentMomentum(hidden=4), block=SMALL)
    x0 = torch.rand(2, 53)
    y = OPERATOR(torch.rand(2, 53))
    shown = network(y, x0, iterates=True)
    assert shown.shape == (4, 2, 53)
    assert torch.equal(shown[0], x0)
    assert torch.equal(shown[-1], network(y, x0))


@each_network
def test_proxes_as_blocks(kind):
    """A fixed prox makes proximal gradient descent; any function will do."""
    operator = LinearOperator(0.4 * torch.eye(6, dtype=torch.float64))
    y = torch.linspace(-1, 1, 6, dtype=torch.float64).unsqueeze(0)

    def soft(x):
        return x.sign() * (x.abs() - 0.05).relu()

    options = {"channels": 1} if kind is LearnedPrimalDual else {}
    network = kind(operator, iterations=4, block=soft, **options).double()
    assert network(y).shape == (1, 6)
    if kind is LearnedProximalGradient:
        x = torch.zeros_like(y)
        for _ in range(4):
            x = soft(x - 0.4 * (0.4 * x - y))
        torch.testing.assert_close(network(y), x)
    learned = kind(
        operator,
        iterations=2,
        block=ProxBlock(torch.nn.Linear(6, 6), tau=0.5, learned=True),
        **options,
    ).double()
    learned(y).sum().backward()
    assert learned.blocks[0].prox is learned.blocks[1].prox
    assert learned.blocks[0].tau.grad is not None
    assert len([n for n, _ in learned.named_parameters() if n.endswith("tau")]) == 2


def test_proximal_objects_as_blocks():
    """An object of `proximal` is its prox at the step: ISTA, with a learned step and weight."""
    operator = LinearOperator(0.4 * torch.eye(6, dtype=torch.float64))
    y = torch.linspace(-1, 1, 6, dtype=torch.float64).unsqueeze(0)
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    network = LearnedProximalGradient(
        operator, iterations=4, block=ProxBlock(L1(weight), tau=0.5, learned=True)
    ).double()
    x = torch.zeros_like(y)
    for _ in range(4):
        x = prox_l1(x - 0.5 * 0.4 * (0.4 * x - y), 0.05)
    torch.testing.assert_close(network(y), x)
    network(y).square().sum().backward()
    assert weight.grad < 0
    assert all(p.grad is not None for p in network.parameters())
    bare = LearnedProximalGradient(operator, iterations=1, block=L1(0.05)).double()
    torch.testing.assert_close(bare(y), prox_l1(0.4 * y, 0.05))
    with pytest.raises(TypeError, match="prox must be a function"):
        ProxBlock(0.1)


def test_a_heavy_ball_learns():
    network = LearnedProximalGradient(
        OPERATOR, iterations=3, block=SMALL, momentum=HeavyBall(0.5, 0.1, learned=True)
    )
    network(OPERATOR(torch.rand(2, 53))).square().sum().backward()
    assert float(network.momentum.gamma.grad.abs()) > 0
    assert float(network.momentum.eta.grad.abs()) > 0


def test_the_code_is_the_same_at_any_batch_and_under_autocast():
    network = LearnedPrimalDual(
        OPERATOR, iterations=2, block=SMALL, momentum=RecurrentMomentum(hidden=4)
    )
    y = OPERATOR(torch.rand(2, 53))
    assert network(y[:0]).shape == (0, 53)
    expected = network(y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(y)
    torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.05)
    out.float().sum().backward()
    assert network.momentum.w_ih_0.grad.dtype == torch.float32


# bad input


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: LearnedProximalGradient(OPERATOR, iterations=0),
            ValueError,
            "iterations must be at least 1, got 0",
        ),
        (
            lambda: LearnedProximalGradient(torch.nn.Linear(2, 2)),
            TypeError,
            "must be an Operator .*, got Linear",
        ),
        (
            lambda: LearnedProximalGradient(OPERATOR)(torch.zeros(2, 11)),
            ValueError,
            r"\[B, 12\].*got \[2, 11\]",
        ),
        (
            lambda: LearnedProximalGradient(OPERATOR)(torch.zeros(12)),
            ValueError,
            r"\[B, 12\].*got \[12\]",
        ),
        (
            lambda: LearnedPrimalDual(OPERATOR)(torch.zeros(2, 12), torch.zeros(3, 53)),
            ValueError,
            r"x0 must be \[2, 53\] for y \[2, 12\], got \[3, 53\]",
        ),
        (
            lambda: LearnedPrimalDual(OPERATOR, block=torch.sign),
            ValueError,
            "one channel, got channels = 5",
        ),
        (lambda: LearnedPrimalDual(OPERATOR, block=3), TypeError, "or a prox, got int"),
        (lambda: LearnedPrimalDual(OPERATOR, channels=0), ValueError, "at least 1, got 0 and 5"),
        (lambda: LearnedPrimalDual(OPERATOR, checkpoint=-1), ValueError, "not be negative, got -1"),
        (lambda: ConvBlock(kernel=2), ValueError, "kernel odd, got 4, 32, 2"),
        (lambda: ConvBlock(activation="swish"), ValueError, "'swish'"),
        (lambda: RecurrentMomentum("elman"), ValueError, "'elman'"),
        (lambda: RecurrentMomentum(mode="all"), ValueError, "'all'"),
        (lambda: RecurrentMomentum(layers=9), ValueError, "layers 1 to 8"),
        (
            lambda: RecurrentMomentum("rnn", per_coordinate=True),
            ValueError,
            "per_coordinate goes with",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
