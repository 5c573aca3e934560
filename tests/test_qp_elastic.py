"""elastic=True: the closest feasible problem, and the problem itself where it is feasible."""

from __future__ import annotations

import math

import pytest
import torch

from cases import parametrize_cases, random_qp, rows
from losses import leaves_of, weights_for
from lpgd_native import LPGD, Implicit, Status, nn, solve_lp, solve_qp

F64 = torch.float64


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


@parametrize_cases(lambda case: case.unique and not case.large)
def test_feasible_items_keep_their_solution(case):
    data = case.build()
    plain, elastic = solve_qp(*data), solve_qp(*data, elastic=True)
    torch.testing.assert_close(elastic.x, plain.x, rtol=1e-7, atol=1e-7)
    assert not elastic.status.any()
    assert elastic.primal_residual.max() < 1e-8
    for left, right in zip(elastic, plain, strict=True):
        assert left.shape == right.shape
    if case.unique_duals:
        for left, right in zip(elastic[1:5], plain[1:5], strict=True):
            torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)


@parametrize_cases(lambda case: case.smooth and not case.large)
def test_feasible_items_keep_their_gradient(case):
    data = case.build()
    grads = []
    for elastic in (False, True):
        leaves = leaves_of(data)
        x = solve_qp(*leaves, gradient=Implicit(), elastic=elastic).x
        wanted = [t for t in leaves if t is not None and t.numel()]
        grads.append(torch.autograd.grad((weights_for([x])[0] * x).sum(), wanted))
    for left, right in zip(*grads, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)


def test_contradicting_rows_meet_where_the_sum_of_violations_is_least():
    """x <= 1 and x >= 3, twice the weight on the second by two rows: x = 3, violated by 2."""
    P, q = torch.eye(1, dtype=F64), tensor(0.0)
    G, h = tensor(1.0, -1.0, -1.0).reshape(3, 1), tensor(1.0, -3.0, -3.0)
    assert int(solve_qp(P, q, G, h).status) == Status.PRIMAL_INFEASIBLE
    s = solve_qp(P, q, G, h, elastic=True)
    assert int(s.status) == Status.OK
    torch.testing.assert_close(s.x, tensor(3.0), rtol=0, atol=1e-8)
    torch.testing.assert_close(s.primal_residual, torch.tensor(2.0, dtype=F64), rtol=0, atol=1e-8)
    assert s.z.max() <= 1e3 * (1 + 1e-9)  # the penalty bounds the multipliers


def test_contradicting_equalities():
    """x_1 = 0, x_1 = 1, x_1 = 5: the median, violated by 4; x_2 as if alone."""
    P, q = torch.eye(2, dtype=F64), tensor(0.0, -1.0)
    A = tensor(1.0, 0.0).expand(3, 2)
    s = solve_qp(P, q, A=A, b=tensor(0.0, 1.0, 5.0), elastic=True)
    torch.testing.assert_close(s.x, tensor(1.0, 1.0), rtol=0, atol=1e-8)
    torch.testing.assert_close(s.primal_residual, torch.tensor(4.0, dtype=F64), rtol=0, atol=1e-8)


def infeasible_batch():
    """Feasible items and, every other one, rows pushed until they contradict the bounds."""
    data = random_qp(301, 6, n=4, m=3, p=1, lower=True, upper=True)
    h = data.h.clone()
    h[::2] -= 50.0
    return data._replace(h=h)


def test_a_mixed_batch():
    data = infeasible_batch()
    plain, s = solve_qp(*data), solve_qp(*data, elastic=True)
    assert plain.status.tolist() == [2, 0, 2, 0, 2, 0]
    assert not s.status.any()
    torch.testing.assert_close(s.x[1::2], plain.x[1::2], rtol=1e-7, atol=1e-7)
    # violation as the definition has it, and bounds hard
    over = (rows(data.G, s.x) - data.h).clamp(min=0).amax(-1)
    off = (rows(data.A, s.x) - data.b).abs().amax(-1)
    torch.testing.assert_close(s.primal_residual, torch.maximum(over, off), rtol=0, atol=1e-9)
    assert s.primal_residual[::2].min() > 1
    assert (s.x >= data.lb - 1e-9).all()
    assert (s.x <= data.ub + 1e-9).all()


def test_the_violation_is_the_least_there_is():
    """Of the sum of violations, against a linear program that minimises it alone."""
    data = infeasible_batch()
    s = solve_qp(*data, elastic=True, elastic_penalty=1e5)
    free = data._replace(P=None, q=torch.zeros_like(data.q))
    least = solve_lp(*free[1:], elastic=True, elastic_penalty=1.0)

    def total(x):
        over = (rows(data.G, x) - data.h).clamp(min=0).sum(-1)
        return over + (rows(data.A, x) - data.b).abs().sum(-1)

    torch.testing.assert_close(total(s.x), total(least.x), rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_the_problem_with_slacks():
    """By finite differences, on a problem none of whose items is feasible, and training goes on."""
    P, q = torch.eye(2, dtype=F64), tensor(0.3, -0.2)
    G, h = tensor(1.0, 0.2, -1.0, 0.3).reshape(2, 2), tensor(-1.0, -1.5)
    lb = tensor(-2.0, -1.0)

    def solve(P, q, G, h):
        return solve_qp(P, q, G, h, lb=lb, elastic=True, elastic_penalty=7.0)[:3]

    leaves = [t.clone().requires_grad_() for t in (P, q, G, h)]
    assert solve_qp(P, q, G, h, lb=lb, elastic=True, elastic_penalty=7.0).primal_residual > 0.1
    torch.autograd.gradcheck(solve, leaves, eps=1e-6, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("strategy", [Implicit(), LPGD(0.5), None], ids=["implicit", "lpgd", "-"])
def test_infeasible_items_have_gradients(strategy):
    data = infeasible_batch()
    leaves = leaves_of(data)
    for elastic in (False, True):
        x = solve_qp(*leaves, gradient=strategy, elastic=elastic).x
        grads = torch.autograd.grad((weights_for([x])[0] * x).sum(), leaves)
        assert all(torch.isfinite(g).all() for g in grads)
        moved = grads[3].abs().amax(-1) + grads[5].abs().amax(-1) + grads[1].abs().amax(-1)
        moved = moved + grads[6].abs().amax(-1) + grads[7].abs().amax(-1)
        assert bool((moved[::2] > 0).all()) is elastic


def test_an_lp_through_highs():
    pytest.importorskip("highspy")
    data = infeasible_batch()._replace(P=None)
    ipm, highs = (solve_lp(*data[1:], elastic=True, method=m) for m in ("ipm", "highs"))
    assert not highs.status.any()
    torch.testing.assert_close(highs.x, ipm.x, rtol=1e-6, atol=1e-6)
    mask = torch.ones(4, dtype=torch.bool)
    wide = data._replace(lb=data.lb.floor(), ub=data.ub.ceil())
    whole = solve_lp(*wide[1:], elastic=True, integrality=mask)
    assert (whole.x == whole.x.round()).all()
    assert not whole.status.any()


def test_what_stays_hard_stays_infeasible():
    P, q = torch.eye(1, dtype=F64), tensor(1.0)
    s = solve_qp(P, q, lb=tensor(1.0), ub=tensor(0.0), elastic=True)
    assert int(s.status) == Status.PRIMAL_INFEASIBLE
    assert torch.isinf(s.primal_residual)


def test_rows_switched_off_and_float32():
    P, q = torch.eye(2), torch.tensor([-1.0, -2.0])
    s = solve_qp(P, q, torch.eye(2), torch.tensor([math.inf, 1.0]), elastic=True)
    torch.testing.assert_close(s.x, torch.tensor([1.0, 1.0]), rtol=1e-4, atol=1e-4)
    assert s.x.dtype == torch.float32
    assert float(s.primal_residual) < 1e-4


def test_vmap():
    data = infeasible_batch()
    rest = data[2:]

    def solve(P, q, *rest):
        return solve_qp(P, q, *rest, elastic=True).x

    torch.testing.assert_close(
        torch.func.vmap(solve)(data.P, data.q, *rest), solve(data.P, data.q, *rest)
    )


def test_bad_arguments():
    data = random_qp(302, n=3, m=2)
    with pytest.raises(ValueError, match="elastic_penalty is given without elastic=True"):
        solve_qp(*data, elastic_penalty=10.0)
    for bad in (0.0, -1.0, math.inf, math.nan, True):
        with pytest.raises(ValueError, match="elastic_penalty must be finite and positive"):
            solve_qp(*data, elastic=True, elastic_penalty=bad)
    with pytest.raises(ValueError, match="solve_qp: G must be"):
        solve_qp(data.P, data.q, data.G[:, :2], data.h, elastic=True)
    with pytest.raises(TypeError, match=r"solve_lp: c must be a torch\.Tensor"):
        solve_lp([1.0], elastic=True)


def test_a_warm_start_of_an_elastic_problem():
    """The start is one of the problem as given, or of an elastic solve: the slacks come with it."""
    G = torch.eye(3, dtype=torch.float64)
    data = (
        torch.eye(3, dtype=torch.float64),
        torch.randn(4, 3).double(),
        G,
        -torch.ones(3).double(),
    )
    lb = torch.zeros(3, dtype=torch.float64)
    cold = solve_qp(*data, lb=lb, elastic=True)
    warm = solve_qp(*data, lb=lb, elastic=True, warm_start=cold)
    assert (warm.status == Status.OK).all()
    torch.testing.assert_close(warm.x, cold.x, rtol=1e-9, atol=1e-9)
    assert (warm.iterations == 1).all()


def test_layers_take_it():
    one = torch.ones(1, dtype=torch.float64)
    rows = {"G": one.reshape(1, 1), "h": -one, "lb": 0 * one}  # x <= -1, x >= 0
    for layer, given in (
        (nn.QPLayer, {"P": one.reshape(1, 1), "q": one}),
        (nn.LPLayer, {"c": one}),
    ):
        assert layer(**rows)(**given).status == Status.PRIMAL_INFEASIBLE
        s = layer(**rows, elastic=True, elastic_penalty=50.0)(**given)
        assert s.status == Status.OK
        assert abs(float(s.x)) < 1e-12
        torch.testing.assert_close(s.z, 50.0 * one)
