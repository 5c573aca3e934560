"""Implicit() is the derivative; shared data gets the sum; the raw op agrees with its twin."""

from __future__ import annotations

import math

import pytest
import torch

from cases import CASES, NAMES, RANKS, Data, parametrize_cases, random_lp, random_qp
from losses import OUTPUTS, gradients, leaves_of, weights_for
from lpgd_native import LPGD, Implicit, reference, solve_lp, solve_qp
from oracles import stacked
from transforms import forward_mode

pytestmark = pytest.mark.on_device


def movable(case, data: Data) -> list[str]:
    """Names of the arguments that finite differences may move."""
    return [
        name
        for name, t in zip(NAMES, data, strict=True)
        if t is not None and t.numel() and name not in case.edge
    ]


@parametrize_cases(lambda case: case.smooth and not case.large)
def test_implicit_is_the_derivative_of_every_output(case):
    """With respect to every entry of every argument, those of P one at a time."""
    data = case.build()
    names = movable(case, data)

    def solve(*arguments: torch.Tensor):
        given = data._replace(**dict(zip(names, arguments, strict=True)))
        s = solve_qp(*given, gradient=Implicit())
        return tuple(part for part in s[:5] if part.requires_grad and part.numel())

    leaves = [getattr(data, name).clone().requires_grad_() for name in names]
    torch.autograd.gradcheck(solve, leaves, eps=1e-6, atol=1e-6, rtol=1e-6)


@parametrize_cases(lambda case: case.smooth)
def test_implicit_of_a_nonlinear_loss(case):
    """Along random directions of all arguments, losses of all outputs together."""
    data = case.build()
    names = movable(case, data)
    leaves = [getattr(data, name).clone().requires_grad_() for name in names]

    def loss(arguments) -> torch.Tensor:
        given = data._replace(**dict(zip(names, arguments, strict=True)))
        s = solve_qp(*given, gradient=Implicit())
        return sum(part.sin().sum() for part in s[:5])

    grads = torch.autograd.grad(loss(leaves), leaves)
    directions = weights_for(leaves, seed=1)

    def quotient(eps: float) -> float:
        ends = [
            float(loss([t.detach() + s * d for t, d in zip(leaves, directions, strict=True)]))
            for s in (eps, -eps)
        ]
        return (ends[0] - ends[1]) / (2 * eps)

    slope = sum(float((g * d).sum()) for g, d in zip(grads, directions, strict=True))
    # extrapolated: multipliers bend strongly where the rows are nearly parallel
    expected = (4 * quotient(5e-7) - quotient(1e-6)) / 3
    assert slope == pytest.approx(expected, rel=1e-6, abs=1e-6)


@parametrize_cases()
def test_the_gradient_of_P_is_symmetric_and_all_are_finite(case):
    grads = gradients(case.build(), Implicit())
    for grad in grads.values():
        assert torch.isfinite(grad).all()
    if "P" in grads:
        torch.testing.assert_close(grads["P"], grads["P"].mT, rtol=0, atol=1e-12)


@parametrize_cases(lambda case: case.smooth and "lb" not in case.edge)
def test_raw_implicit_agrees_with_the_twin(case):
    data = case.build().flat()
    *point, solved, _, _ = torch.ops.lpgd.solve_qp(*data, 1e-9, 60)
    g = weights_for(point)
    *d, status = torch.ops.lpgd.implicit_qp(*data, *point, solved, *g)
    assert not status.any()
    for k, item in enumerate(data.items()):
        P, _, C, right, A, _ = stacked(item)
        x, y, *duals = (part[k] for part in point)
        finite = _finite_rows(item)
        z = torch.cat(duals)[finite]
        g_x, g_y, *g_duals = (part[k] for part in g)
        active = right - C @ x < z
        g_z = torch.cat(g_duals)[finite]
        expected = reference.implicit_qp(P, C, A, active, g_x, g_y, g_z)
        got = d[0][k], d[1][k], torch.cat([part[k] for part in d[2:]])[finite]
        assert y.shape == got[1].shape
        for left, want in zip(got, expected, strict=True):
            torch.testing.assert_close(left, want, rtol=1e-8, atol=1e-8)


def _finite_rows(item: Data) -> torch.Tensor:
    bounds = [t for t in (item.h, item.lb, item.ub) if t is not None]
    return torch.isfinite(torch.cat(bounds)) if bounds else torch.zeros(0, dtype=torch.bool)


@parametrize_cases(lambda case: case.smooth)
@pytest.mark.parametrize(
    ("strategy", "tolerance"),
    # LPGD divides the solver's error, 1e-4 in float32, by tau
    [(Implicit(), 1e-3), (LPGD(tau=0.3), 1e-2)],
    ids=["implicit", "average"],
)
def test_float32_gradients_agree_with_float64(case, strategy, tolerance):
    data = case.build()
    single, double = (gradients(d, strategy, ["x"]) for d in (data.to(torch.float32), data))
    for name, grad in single.items():
        assert grad.dtype == torch.float32
        scale = 1 + float(double[name].abs().max())
        assert (grad - double[name]).abs().max() < tolerance * scale, name


SHARED = ("P", "q", "G", "h", "A", "b", "lb", "ub")


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize(
    "strategy",
    [Implicit(), LPGD(tau=0.2), LPGD(tau=0.2, envelope="lower", rho=0.1)],
    ids=["implicit", "average", "lower"],
)
def test_a_shared_argument_gets_the_sum_over_the_batch(name, strategy):
    data = random_qp(50, 6, n=5, m=4, p=2, lower=True, upper=True)
    one = random_qp(51, n=5, m=4, p=2, lower=True, upper=True)
    shape = data.map(lambda t: t)
    # the same solution stays feasible: only q differs, the rest comes from one problem
    data = Data(*(t.expand_as(b).clone() for t, b in zip(one, shape, strict=True)))
    data = data._replace(q=shape.q)
    value = getattr(data, name)[0]
    if name == "q":
        data = data._replace(P=shape.P)
    shared = data._replace(**{name: value})
    apart = data._replace(**{name: value.expand(6, *value.shape).clone()})
    outputs = OUTPUTS if isinstance(strategy, Implicit) else ("x",)
    left, right = (gradients(d, strategy, outputs) for d in (shared, apart))
    torch.testing.assert_close(left[name], right[name].sum(0), rtol=1e-12, atol=1e-12)
    for other in NAMES:
        if other != name:
            torch.testing.assert_close(left[other], right[other], rtol=1e-12, atol=1e-12)
    # and equals the sum of the gradients of the items alone
    rank = RANKS[NAMES.index(name)]
    assert left[name].dim() == rank


def test_shared_by_all_the_batch_equals_items_alone():
    data = random_qp(52, n=4, m=3, p=1, lower=True)
    q = random_qp(53, 5, n=4).q
    leaves = leaves_of(data._replace(q=q))
    whole = torch.autograd.grad(solve_qp(*leaves).x.square().sum(), [leaves.P, leaves.G, leaves.b])
    total = [0.0, 0.0, 0.0]
    for k in range(5):
        item = leaves_of(data._replace(q=q[k]))
        parts = torch.autograd.grad(solve_qp(*item).x.square().sum(), [item.P, item.G, item.b])
        total = [t + p for t, p in zip(total, parts, strict=True)]
    for left, right in zip(whole, total, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_broadcast_dimensions_are_summed():
    data = random_qp(54, 2, 3, n=4, m=3, p=1)
    narrow = data._replace(P=data.P[:1], q=data.q[:, :1], G=data.G[:1, :1], h=data.h + 2.0)
    wide = narrow.map(lambda t: t.expand(2, 3, *t.shape[2:]).clone())
    left, right = gradients(narrow, Implicit()), gradients(wide, Implicit())
    for name, grad in left.items():
        full = right[name]
        lead = [k for k in range(2) if getattr(narrow, name).shape[k] == 1]
        expected = full.sum(lead, keepdim=True) if lead else full
        torch.testing.assert_close(grad, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("output", OUTPUTS)
def test_unused_outputs_cost_nothing_and_change_nothing(output):
    """A loss of one output has the gradient that zero weights on the others give."""
    data = random_qp(55, 3, n=5, m=4, p=2, lower=True, upper=True)
    leaves = leaves_of(data)
    solution = solve_qp(*leaves)
    index = OUTPUTS.index(output)
    weight = weights_for(solution[:5])[index]
    alone = torch.autograd.grad((weight * solution[index]).sum(), leaves, retain_graph=True)
    padded = (weight * solution[index]).sum() + sum(0.0 * part.sum() for part in solution[:5])
    for left, right in zip(alone, torch.autograd.grad(padded, leaves), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-13, atol=1e-13)


def test_only_what_is_needed_gets_a_gradient():
    data = random_qp(56, 3, n=4, m=3)
    for name in ("P", "q", "G", "h"):
        leaf = getattr(data, name).clone().requires_grad_()
        x = solve_qp(*data._replace(**{name: leaf})).x
        x.sum().backward()
        assert leaf.grad.shape == leaf.shape
    assert not solve_qp(*data).x.requires_grad
    assert not solve_qp(*leaves_of(data)).status.requires_grad
    for part in solve_qp(*leaves_of(data))[5:]:
        assert not part.requires_grad


def test_fixed_variables_share_their_derivative_between_both_bounds():
    """Where lb = ub only moving both together makes sense: the sum of both gradients is right."""
    fixed = CASES["fixed_variables"].build()
    (weight,) = weights_for([fixed.q])
    leaves = leaves_of(fixed)
    loss = (weight * solve_qp(*leaves).x).sum()
    g_lb, g_ub = torch.autograd.grad(loss, [leaves.lb, leaves.ub])
    eps = 1e-6
    moved = torch.where(fixed.lb == fixed.ub, weights_for([fixed.q], seed=1)[0], 0.0)
    assert moved.any()
    ends = []
    for step in (eps * moved, -eps * moved):
        x = solve_qp(*fixed._replace(lb=fixed.lb + step, ub=fixed.ub + step)).x
        ends.append(float((weight * x).sum()))
    slope = float(((g_lb + g_ub) * moved).sum())
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-6, abs=1e-7)


def test_an_lp_has_no_derivative_but_zero_in_its_costs():
    data = random_lp(58, 6, n=5, m=4)
    c = data.q.clone().requires_grad_()
    x = solve_lp(c, *data[2:], gradient=Implicit()).x
    (grad,) = torch.autograd.grad((weights_for([x])[0] * x).sum(), c)
    assert grad.abs().max() < 1e-12


def test_default_strategies():
    data, weight = random_qp(59, 3, n=5, m=4), None
    assert _same(gradients(data, None), gradients(data, Implicit()))
    linear = random_lp(60, 3)
    grads = []
    for strategy in (None, LPGD(tau=1.0, relative=True)):
        c = linear.q.clone().requires_grad_()
        x = solve_lp(c, *linear[2:], gradient=strategy).x
        weight = weights_for([x])[0]
        grads.append(torch.autograd.grad((weight * x).sum(), c)[0])
    assert torch.equal(*grads)
    assert _same(gradients(linear, None, ["x"]), gradients(linear, LPGD(1.0, relative=True), ["x"]))


def _same(left, right) -> bool:
    return all(torch.equal(left[name], right[name]) for name in right)


@pytest.mark.parametrize("strategy", [Implicit(), LPGD(tau=0.1)], ids=["implicit", "lpgd"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_upstream_gradient_stays_in_its_item(strategy, bad):
    data = random_qp(61, 9, n=5, m=4, p=2, lower=True, upper=True)
    leaves = leaves_of(data)
    x = solve_qp(*leaves, gradient=strategy).x
    g = weights_for([x])[0]
    whole = torch.autograd.grad(x, leaves, g, retain_graph=True)
    for place in (0, 4):
        g_bad = g.clone()
        g_bad[place, 1] = bad
        broken = torch.autograd.grad(x, leaves, g_bad, retain_graph=True)
        others = [k for k in range(9) if k != place]
        for left, right in zip(broken, whole, strict=True):
            assert torch.equal(left[others], right[others])
        # what was not a number must not look like one
        assert not torch.isfinite(broken[1][place]).all()


@forward_mode
@pytest.mark.parametrize("recording", [False, True])
def test_forward_derivatives_need_no_recording(recording):
    """Without a graph to record the solver is called directly, but not where a tangent comes."""
    data = random_qp(5, 3, n=4, m=5, p=1)
    P, q, *rest = data
    tangent = torch.ones_like(q)
    with torch.set_grad_enabled(recording), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(q, tangent)
        x = solve_qp(P, dual, *rest).x
        found = torch.autograd.forward_ad.unpack_dual(x).tangent
    _, expected = torch.func.jvp(lambda q: solve_qp(P, q, *rest).x, (q,), (tangent,))
    assert torch.equal(found, expected)
    assert found.abs().amax() > 0


def test_nothing_to_record_gives_the_same_point():
    data = random_qp(6, 3, n=4, m=5, p=1)
    with torch.no_grad():
        plain = solve_qp(*data)
    moving = [None if t is None else t.clone().requires_grad_() for t in data]
    recorded = solve_qp(*moving)
    for there, here in zip(plain, recorded, strict=True):
        assert torch.equal(there, here)
        assert not there.requires_grad
    with torch.no_grad():
        assert not solve_qp(*moving).x.requires_grad
