"""QPLayer and LPLayer: what they hold, what a call replaces, what is learned."""

from __future__ import annotations

import pytest
import torch

from cases import NAMES, random_lp, random_qp
from lpgd_native import (
    LPGD,
    Identity,
    Implicit,
    LPOracle,
    OracleLayer,
    QPOracle,
    Smoothed,
    SolverError,
    solve_lp,
    solve_qp,
)
from lpgd_native.nn import LPLayer, QPLayer

QP = random_qp(120, 3, n=4, m=3, p=1, lower=True, upper=True)


def named(data, names=NAMES):
    return dict(zip(names, data, strict=True))


def assert_equal(left, right) -> None:
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("held", [[], ["P"], ["q"], ["G", "h", "lb"], list(NAMES)], ids=str)
def test_blocks_come_from_the_constructor_or_the_call(held):
    data = named(QP)
    layer = QPLayer(**{name: data[name] for name in held})
    solution = layer(**{name: t for name, t in data.items() if name not in held})
    assert_equal(solution, solve_qp(*QP))


def test_a_number_bounds_all_variables():
    """In the layers and the functions, in any dtype, elastic or not, under vmap."""
    lb, ub = torch.full((4,), -5.0).double(), torch.full((4,), 2.5).double()
    bare = QP._replace(lb=None, ub=None)
    expected = solve_qp(*bare._replace(lb=lb, ub=ub))
    layer = QPLayer(P=QP.P, G=QP.G, h=QP.h, A=QP.A, b=QP.b, lb=-5.0, ub=2.5)
    assert "lb=-5.0" in repr(layer)
    assert "lb" not in layer.state_dict()
    for solution in (solve_qp(*bare._replace(lb=-5.0, ub=2.5)), layer(q=QP.q)):
        assert_equal(solution, expected)
    assert_equal(layer(q=QP.q, ub=1), layer(q=QP.q, ub=torch.ones_like(ub)))
    assert layer.float()(q=QP.q.float()).x.dtype == torch.float32
    soft = solve_qp(*bare._replace(lb=-5.0, ub=2.5), elastic=True)
    assert_equal(soft, solve_qp(*bare._replace(lb=lb, ub=ub), elastic=True))
    one, right = torch.ones(1, 4).double(), torch.ones(1).double()
    c = QP.q.clone().requires_grad_()
    x = LPLayer(A=one, b=right, lb=0.0)(c).x
    torch.testing.assert_close(x, solve_lp(c, A=one, b=right, lb=torch.zeros(4).double()).x)
    mapped = torch.func.vmap(lambda q: solve_lp(q, A=one, b=right, lb=0.0).x)(QP.q)
    torch.testing.assert_close(mapped, x.detach())


@pytest.mark.parametrize("gradient", [None, Smoothed(0.5), Smoothed(0.5, "entropic"), Identity()])
def test_a_number_bounds_all_variables_of_an_oracle(gradient):
    one, right = torch.ones(1, 4).double(), torch.ones(1).double()
    found = []
    for lb in (0.0, torch.zeros(4).double()):
        c = QP.q.clone().requires_grad_()
        layer = OracleLayer(LPOracle(A=one, b=right, lb=lb), gradient)
        x = layer(c).x
        x[:, 0].square().sum().backward()
        found.append((x, c.grad))
    assert_equal(*found)
    assert_equal(
        QPOracle(QP.P[0], lb=-1, ub=1).solve(QP.q),
        QPOracle(QP.P[0], lb=-torch.ones_like(QP.q), ub=torch.ones_like(QP.q)).solve(QP.q),
    )


def test_a_cost_in_the_place_of_P():
    """The first block of a QPLayer's call is P: the message says so."""
    with pytest.raises(ValueError, match=r"q is needed.* as q=\.\.\.; what comes first .* is P"):
        QPLayer(P=QP.P)(QP.q)


def test_the_call_takes_the_place_of_what_is_held():
    layer = QPLayer(**named(QP))
    other = random_qp(121, 3, n=4).q
    assert_equal(layer(q=other), solve_qp(QP.P, other, *QP[2:]))
    assert_equal(layer(), solve_qp(*QP))


def test_parameters_are_learned_and_tensors_are_buffers():
    layer = QPLayer(P=torch.nn.Parameter(QP.P[0].clone()), lb=QP.lb[0], ub=QP.ub[0])
    assert set(dict(layer.named_parameters())) == {"P"}
    assert set(layer.state_dict()) == {"P", "lb", "ub"}
    layer(q=QP.q).x.square().sum().backward()
    assert layer.P.grad.shape == (4, 4)
    single = layer.to(torch.float32)
    assert single(q=QP.q.float()).x.dtype == torch.float32
    fresh = QPLayer(P=torch.nn.Parameter(torch.zeros(4, 4)), lb=torch.zeros(4), ub=torch.zeros(4))
    fresh.load_state_dict(single.state_dict())
    assert torch.equal(fresh.P, single.P)


def test_settings_are_handed_on():
    layer = QPLayer(**named(QP), max_iter=1, eps=1e-14, throw=True)
    with pytest.raises(SolverError):
        layer()
    q = QP.q.clone().requires_grad_()
    for strategy in (Implicit(), LPGD(0.5, envelope="upper")):
        left = QPLayer(P=QP.P, ub=QP.ub, gradient=strategy)(q=q).x
        right = solve_qp(QP.P, q, ub=QP.ub, gradient=strategy).x
        grads = [torch.autograd.grad(x.square().sum(), q)[0] for x in (left, right)]
        assert torch.equal(*grads)


def test_lp_layer_is_solve_lp():
    data = random_lp(122, 4)
    names = ("c", *NAMES[2:])
    layer = LPLayer(**{k: v for k, v in named(data[1:], names).items() if k != "c"})
    c = data.q.clone().requires_grad_()
    left, right = layer(c=c), solve_lp(c, *data[2:])
    assert_equal(left, right)
    grads = [torch.autograd.grad(s.x.square().sum(), c)[0] for s in (left, right)]
    assert torch.equal(*grads)
    assert_equal(LPLayer(**named(data[1:], names))(), solve_lp(*data[1:]))


def test_repr_names_the_blocks():
    text = repr(QPLayer(P=torch.eye(3), lb=torch.zeros(3), gradient=LPGD(0.5)))
    assert text.startswith("QPLayer(P=[3, 3], lb=[3], gradient=LPGD(tau=0.5")


def test_a_layer_learns_the_costs_behind_solutions():
    """Costs of a small assignment from optimal solutions alone, through LPGD."""
    torch.manual_seed(0)
    eye, one = torch.eye(3), torch.ones(1, 3)
    layer = LPLayer(
        A=torch.cat([torch.kron(eye, one), torch.kron(one, eye)]),
        b=torch.ones(6),
        lb=torch.zeros(9),
        gradient=LPGD(tau=2.0, relative=True),
    )
    features, truth = torch.randn(64, 5), torch.randn(5, 9)
    target = layer(c=features @ truth).x
    network = torch.nn.Linear(5, 9, bias=False)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        loss = (layer(c=network(features)).x - target).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
