"""Losses whose gradient is a difference of solutions: values, gradients, and what they mean."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpgd_native import LPGD, FunctionOracle, LPOracle, OracleLayer, Perturbed, QPOracle, Smoothed
from lpgd_native import DirectLoss as DirectLossStrategy
from lpgd_native.losses import (
    DirectLoss,
    FenchelYoung,
    SPOPlus,
    direct_loss,
    fenchel_young,
    regret,
    spo_plus,
)
from strategy_oracles import F64, Matrices, Vertices, choose, costs, permutations, polytope

SET = Vertices(polytope())
C, TRUE = costs(30, 5), costs(30, 5, seed=1)


def value_and_gradient(loss, c, *args, **options):
    c = c.detach().clone().requires_grad_()
    value = loss(c, *args, **options)
    (grad,) = torch.autograd.grad(value.sum(), c)
    return value.detach(), grad


def check_derivative(loss, c, grad, tolerance=1e-7):
    """Central differences of a function that is affine nearby (away from ties)."""
    h, move = 1e-6, costs(len(c), c[0].numel(), seed=9).reshape(c.shape)
    slope = (loss(c + h * move) - loss(c - h * move)) / (2 * h)
    expected = (grad * move).flatten(1).sum(-1)
    torch.testing.assert_close(slope, expected, rtol=tolerance, atol=tolerance)


# SPO+


def test_spo_plus_is_its_formula():
    value, grad = value_and_gradient(spo_plus, C, TRUE, SET)
    points = SET.points
    best = SET.solve(TRUE).x
    worst = ((TRUE - 2 * C) @ points.T).amax(-1)
    expected = worst + 2 * (C * best).sum(-1) - (TRUE * best).sum(-1)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, 2 * (best - SET.solve(2 * C - TRUE).x))
    check_derivative(lambda c: spo_plus(c, TRUE, SET), C, grad)


def test_spo_plus_is_lpgd_upper_at_half_from_the_lower_limit():
    """The upper envelope at tau = 1/2 of <c_t, x>, whose step starts at x*(c_t): the lower side's
    solution as tau grows.
    """
    _, grad = value_and_gradient(spo_plus, C, TRUE, SET)

    def direction(strategy):
        c = C.clone().requires_grad_()
        return torch.autograd.grad(OracleLayer(SET, strategy)(c).x, c, TRUE)[0]

    here, large = SET.solve(C).x, 1e9
    upper = 0.5 * direction(LPGD(0.5, envelope="upper"))  # x*(c) - x*(c - c_t / 2)
    lower = large * direction(LPGD(large, envelope="lower"))  # x*(c + large c_t) - x*(c)
    torch.testing.assert_close(here + lower, SET.solve(TRUE).x)
    torch.testing.assert_close(grad, 2 * (upper + lower), rtol=1e-7, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_spo_plus_bounds_the_regret_and_is_convex(seed, scale):
    c, d, true = (scale * costs(6, 5, seed=seed + k) for k in range(3))
    value = spo_plus(c, true, SET)
    regret = (true * (SET.solve(c).x - SET.solve(true).x)).sum(-1)
    slack = 1e-9 * scale
    assert (value >= regret - slack).all()
    assert (regret >= -slack).all()
    middle = spo_plus((c + d) / 2, true, SET)
    assert (middle <= (value + spo_plus(d, true, SET)) / 2 + slack).all()
    at_truth, grad = value_and_gradient(spo_plus, true, true, SET)
    assert at_truth.abs().max() <= slack
    assert not grad.any()


def test_regret():
    """By its formula; zero for the true costs; with a quadratic term for a QP; nan if unsolved."""
    decided, best = SET.solve(C).x, SET.solve(TRUE)
    expected = (TRUE * decided).sum(-1) - best.objective
    c = C.clone().requires_grad_()
    found = regret(c, TRUE, SET)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert (found >= -1e-12).all()
    assert found.max() > 0
    torch.testing.assert_close(regret(C, TRUE, SET, x_true=best.x), expected)
    torch.testing.assert_close(regret(TRUE, TRUE, SET), torch.zeros_like(expected))
    program = QPOracle(torch.eye(5, dtype=F64), lb=torch.zeros(5, dtype=F64))
    x, x_true = (-C).clamp(min=0), (-TRUE).clamp(min=0)
    value = [(p * p).sum(-1) / 2 + (TRUE * p).sum(-1) for p in (x, x_true)]
    torch.testing.assert_close(regret(C, TRUE, program), value[0] - value[1])
    assert (regret(C, TRUE, program) >= -1e-12).all()
    unsolved = regret(C[:2], TRUE[:2], lambda c: None if c[0] == float(C[0, 0]) else 0 * c)
    assert unsolved.isnan().tolist() == [True, False]
    with pytest.raises(ValueError, match=r"regret: c_true must have the shape .* got \[7\]"):
        regret(C, TRUE[0, :1].expand(7), SET)


@pytest.mark.parametrize("envelope", ["upper", "average"])
def test_the_perturbation_gradient_is_lpgd(envelope):
    """Gupta & Huang's zeroth-order loss (PyEPO's perturbationGradient), by its own formula."""
    sigma = 0.3
    ahead, back = (SET.solve(C + s * sigma * TRUE).x for s in (1, -1))
    expected = (ahead - back) / (2 * sigma)
    if envelope == "upper":
        expected = (SET.solve(C).x - back) / sigma
    layer = OracleLayer(SET, gradient=LPGD(sigma, envelope=envelope))
    _, grad = value_and_gradient(lambda c: (layer(c).x * TRUE).sum(-1), C)
    torch.testing.assert_close(grad, expected)


def test_spo_plus_with_the_true_solution_at_hand_solves_once():
    oracle = Vertices(polytope())
    best = oracle.solve(TRUE).x
    oracle.calls = oracle.items = 0
    known = value_and_gradient(spo_plus, C, TRUE, oracle, x_true=best)
    assert (oracle.calls, oracle.items) == (1, 30)
    unknown = value_and_gradient(spo_plus, C, TRUE, oracle)
    assert (oracle.calls, oracle.items) == (2, 90)  # both problems in one batch
    for a, b in zip(known, unknown, strict=True):
        assert torch.equal(a, b)


# Fenchel-Young


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_perturbed_fenchel_young(noise):
    target = SET.solve(TRUE).x

    def strategy():
        return Perturbed(0.5, 6, noise, seed=4)

    value, grad = value_and_gradient(fenchel_young, C, target, SET, strategy())
    z, _ = strategy().draw(C)
    points = SET.solve(C + 0.5 * z).x
    torch.testing.assert_close(grad, target - points.mean(0))
    assert (value >= 0).all()
    exact = ((C + 0.5 * z) * (target - points)).sum(-1).mean(0)
    torch.testing.assert_close(value, exact)
    check_derivative(lambda c: fenchel_young(c, target, SET, strategy()), C, grad)


def test_perturbed_fenchel_young_on_the_simplex_is_cross_entropy():
    n = 4
    oracle = Vertices(torch.eye(n, dtype=F64))
    c, target = costs(2, n), torch.eye(n, dtype=F64)[:2]
    strategy = Perturbed(1.0, 40_000, "gumbel")
    _, grad = value_and_gradient(fenchel_young, c, target, oracle, strategy)
    leaf = c.clone().requires_grad_()
    entropy = torch.nn.functional.cross_entropy(-leaf, target, reduction="sum")
    (exact,) = torch.autograd.grad(entropy, leaf)
    torch.testing.assert_close(grad, exact, atol=0.01, rtol=0)


def test_no_gradient_where_the_smoothed_solution_is_the_target():
    strategy = Perturbed(0.5, 6, seed=4)
    mean = OracleLayer(SET, Perturbed(0.5, 6, seed=4))(C).x
    _, grad = value_and_gradient(fenchel_young, C, mean, SET, strategy)
    assert grad.abs().max() < 1e-15


@pytest.mark.parametrize("form", ["lp", "qp"])
def test_quadratic_fenchel_young(form):
    n, mu = 4, 0.6
    ones = torch.ones(n, dtype=F64)
    bounds = {"lb": -ones, "ub": ones}
    P = torch.diag(torch.arange(1.0, n + 1, dtype=F64))
    oracle = LPOracle(**bounds) if form == "lp" else QPOracle(P, **bounds)
    c = costs(6, n)
    target = costs(6, n, seed=1).clamp(-1, 1)
    smooth = OracleLayer(oracle, Smoothed(mu))(c).x
    value, grad = value_and_gradient(fenchel_young, c, target, oracle, Smoothed(mu))
    torch.testing.assert_close(grad, target - smooth)
    assert (value > 0).all()
    fit, none = value_and_gradient(fenchel_young, c, smooth, oracle, Smoothed(mu))
    assert fit.abs().max() < 1e-9
    assert none.abs().max() < 1e-9
    check_derivative(lambda c: fenchel_young(c, target, oracle, Smoothed(mu)), c, grad, 1e-5)


def test_fenchel_young_learns_costs_from_solutions():
    oracle = Vertices(choose(5, 2))
    weights = costs(5, 5, seed=3)
    features = costs(64, 5, seed=4)
    target = oracle.solve(features @ weights).x
    model = torch.nn.Linear(5, 5, bias=False, dtype=F64)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    loss = FenchelYoung(oracle, Perturbed(0.5, 10))
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(features), target).backward()
        optimizer.step()
    right = (oracle.solve(model(features)).x == target).all(-1).double().mean()
    assert right > 0.9


# direct loss


@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_direct_loss_of_hamming(envelope):
    points = choose(5, 2)
    oracle, target, tau = Vertices(points), points[torch.arange(30) % len(points)], 0.8
    strategy = DirectLossStrategy(tau, envelope)
    value, grad = value_and_gradient(direct_loss, C, target, oracle, strategy)
    x = oracle.solve(C).x
    torch.testing.assert_close(value, (x - target).abs().sum(-1))
    ends = {s: oracle.solve(C + s * tau * (1 - 2 * target)).x for s in (1, -1)}
    lower, upper = (ends[1] - x) / tau, (x - ends[-1]) / tau
    expected = {"lower": lower, "upper": upper, "average": (lower + upper) / 2}[envelope]
    torch.testing.assert_close(grad, expected)


def test_the_upper_side_has_a_gradient_where_the_solution_is_right():
    oracle = Vertices(choose(5, 2))
    target = oracle.solve(C).x
    value, grad = value_and_gradient(
        direct_loss, C, target, oracle, DirectLossStrategy(5.0, "upper")
    )
    assert not value.any()
    assert grad.any()


def test_direct_loss_of_squares():
    ones = torch.ones(3, dtype=F64)
    oracle = QPOracle(torch.eye(3, dtype=F64), lb=-ones, ub=ones)
    c, target = costs(4, 3), 0.3 * costs(4, 3, seed=1)
    strategy = DirectLossStrategy(1e-5, loss="squared")
    value, grad = value_and_gradient(direct_loss, c, target, oracle, strategy)
    x = (-c).clamp(-1, 1)
    torch.testing.assert_close(value, 0.5 * (x - target).square().sum(-1))
    # as tau -> 0 the derivative of the loss of the clipped -c
    exact = torch.where(c.abs() < 1, target - x, 0.0)
    torch.testing.assert_close(grad, exact, atol=1e-4, rtol=0)


# all of them


LOSSES = {
    "spo": (SPOPlus, spo_plus, ()),
    "fenchel": (FenchelYoung, fenchel_young, (Perturbed(0.3, 4),)),
    "direct": (DirectLoss, direct_loss, (DirectLossStrategy(0.5),)),
}
each_loss = pytest.mark.parametrize("kind", LOSSES)


@each_loss
def test_modules_reduce(kind):
    module, function, settings = LOSSES[kind]
    oracle = Vertices(choose(5, 2))
    other = oracle.solve(TRUE).x if kind != "spo" else TRUE

    def fresh():
        return pickle.loads(pickle.dumps(settings))

    one = function(C, other, oracle, *fresh())
    assert one.shape == (30,)
    for reduction, value in {"none": one, "sum": one.sum(), "mean": one.mean()}.items():
        torch.testing.assert_close(module(oracle, *fresh(), reduction)(C, other), value)
    with pytest.raises(ValueError, match=f"{module.__name__}: reduction must be .* got 'max'"):
        module(oracle, *fresh(), "max")


@each_loss
def test_an_item_without_solution_counts_nothing(kind):
    _, function, settings = LOSSES[kind]
    oracle = Vertices(choose(5, 2), limit=50.0)
    other = oracle.solve(TRUE).x if kind != "spo" else TRUE
    c = C.clone()
    c[3, 0] = 1e3
    c[4, 0] = float("nan")
    settings = pickle.loads(pickle.dumps(settings))
    value, grad = value_and_gradient(function, c, other, oracle, *settings)
    assert not value[3:5].any()
    assert not grad[3:5].any()
    settings = pickle.loads(pickle.dumps(LOSSES[kind][2]))
    rest = value_and_gradient(function, C, other, oracle, *settings)
    for a, b in zip((value, grad), rest, strict=True):
        assert torch.equal(a[5:], b[5:])
        assert torch.equal(a[:3], b[:3])


@each_loss
def test_second_derivatives_raise(kind):
    _, function, settings = LOSSES[kind]
    oracle = Vertices(choose(5, 2))
    other = oracle.solve(TRUE).x if kind != "spo" else TRUE
    c = C.clone().requires_grad_()
    value = function(c, other, oracle, *settings).sum()
    (grad,) = torch.autograd.grad(value, c, create_graph=True)
    with pytest.raises(NotImplementedError, match="no double backward"):
        torch.autograd.grad(grad.sum(), c)


@each_loss
def test_shapes_and_kinds(kind):
    _, function, settings = LOSSES[kind]
    oracle = Vertices(choose(5, 2))
    name = function.__name__
    with pytest.raises(
        ValueError, match=rf"{name}: .* must have the shape .*\[30, 5\], got \[4, 5"
    ):
        function(C, TRUE[:4], oracle, *settings)
    with pytest.raises(TypeError, match=f"{name}: .* must be a torch.Tensor, got list"):
        function(C, [1.0], oracle, *settings)
    with pytest.raises(TypeError, match=f"{name}: c must be float32 or float64, got torch.int64"):
        function(C.long(), TRUE, oracle, *settings)
    with pytest.raises(TypeError, match=f"{name}: the oracle must have solve"):
        function(C, TRUE, 3, *settings)
    whole = oracle.solve(TRUE).x
    batched = function(C.reshape(5, 6, 5), whole.reshape(5, 6, 5), oracle, *settings)
    assert batched.shape == (5, 6)
    assert function(C.float(), whole, oracle, *settings).dtype == torch.float32


def test_matrices_and_functions():
    oracle = Matrices(permutations(3))
    c, true = costs(4, 9).reshape(4, 3, 3), costs(4, 9, seed=1).reshape(4, 3, 3)
    points = permutations(3).numpy().reshape(6, 3, 3)

    def best(c):
        return points[(points * c).sum((1, 2)).argmin()]

    left = value_and_gradient(spo_plus, c, true, oracle)
    right = value_and_gradient(spo_plus, c, true, FunctionOracle(best, event_dim=2))
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b)


def test_losses_of_programs_with_an_instance():
    n = 4
    ub = torch.rand(3, n, dtype=F64) + 0.5
    c, true = costs(3, n), costs(3, n, seed=1)
    value, grad = value_and_gradient(
        spo_plus, c, true, LPOracle(lb=torch.zeros(n, dtype=F64)), ub=ub
    )
    for k in range(3):
        alone = LPOracle(lb=torch.zeros(n, dtype=F64), ub=ub[k])
        one = value_and_gradient(spo_plus, c[k : k + 1], true[k : k + 1], alone)
        torch.testing.assert_close(value[k], one[0][0])
        torch.testing.assert_close(grad[k], one[1][0])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fenchel_young(C, C, SET, LPGD()), "fenchel_young: gradient must be Perturbed"),
        (lambda: FenchelYoung(SET, LPGD()), "FenchelYoung: gradient must be Perturbed"),
        (lambda: direct_loss(C, C, SET, LPGD()), "direct_loss: gradient must be DirectLoss"),
    ],
)
def test_other_strategies_are_refused(call, text):
    with pytest.raises(TypeError, match=text):
        call()


def test_smoothing_that_an_oracle_can_not_do():
    with pytest.raises(ValueError, match=r"FenchelYoung: Smoothed.kind='quadratic'. adds a term"):
        FenchelYoung(SET, Smoothed())
    with pytest.raises(ValueError, match=r"direct_loss: DirectLoss.loss=.squared.. solves a quadr"):
        direct_loss(C, C, SET, DirectLossStrategy(loss="squared"))


def test_under_torch_func():
    target = SET.points[:1].expand(30, 5)
    _, expected = value_and_gradient(direct_loss, C, target, SET)
    grad = torch.func.grad(lambda c: direct_loss(c, target, SET).sum())(C)
    assert torch.equal(grad, expected)
    with pytest.raises(NotImplementedError, match="losses of oracles don't work under vmap"):
        torch.func.vmap(lambda c: spo_plus(c, TRUE[0], SET))(C)
