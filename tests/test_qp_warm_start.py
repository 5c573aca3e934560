"""warm_start= changes the time a solve takes, never its answer."""

from __future__ import annotations

import math

import pytest
import torch

from cases import NAMES, Data, parametrize_cases, random_lp, random_qp
from lpgd_native import LPGD, Implicit, Status, nn, solve_lp, solve_qp

pytestmark = pytest.mark.on_device

QP = random_qp(300, 16, n=12, m=10, p=3, lower=True, upper=True)
LP = random_lp(301, 16, n=12)


def assert_same(left, right, tolerance: float = 1e-8) -> None:
    assert torch.equal(left.status, right.status)
    for a, b in zip(left[:5], right[:5], strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@parametrize_cases(lambda case: not case.large)
def test_from_the_solution_itself(case):
    data = case.build()
    cold = solve_qp(*data)
    warm = solve_qp(*data, warm_start=cold)
    if case.unique_duals:
        assert_same(warm, cold)
    elif case.unique:
        torch.testing.assert_close(warm.x, cold.x, rtol=1e-8, atol=1e-8)
    assert torch.equal(warm.status, cold.status)


def test_the_active_set_known_takes_one_factorisation():
    for data in (QP, LP):
        cold = solve_qp(*data)
        warm = solve_qp(*data, warm_start=cold)
        assert (warm.iterations == 1).all()
        assert (cold.iterations > 1).all()


def test_a_sequence_of_problems():
    """Steps small and large; most need few of the iterations of a cold start."""
    generator = torch.Generator().manual_seed(0)
    total = {True: 0, False: 0}
    previous = solve_qp(*QP)
    data = QP
    for step in range(20):
        move = torch.randn(data.q.shape, generator=generator, dtype=torch.float64)
        data = data._replace(q=data.q + (0.02 if step % 5 else 1.0) * move)
        cold = solve_qp(*data)
        previous = solve_qp(*data, warm_start=previous)
        assert_same(previous, cold)
        total[True] += int(previous.iterations.sum())
        total[False] += int(cold.iterations.sum())
    assert total[True] < 0.5 * total[False]


@pytest.mark.parametrize("data", [QP, LP], ids=["QP", "LP"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e6, 1e-200, 1e200, math.nan, math.inf])
def test_a_start_of_no_use(data, value):
    cold = solve_qp(*data)
    start = cold._replace(**{part: torch.full_like(getattr(cold, part), value) for part in "xyz"})
    assert_same(solve_qp(*data, warm_start=start), cold)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_random_starts(dtype):
    data = QP.to(dtype)
    cold = solve_qp(*data)
    generator = torch.Generator().manual_seed(1)
    for scale in (0.1, 1.0, 100.0):
        start = cold._replace(
            **{
                part: scale * torch.randn(getattr(cold, part).shape, generator=generator).to(dtype)
                for part in ("x", "y", "z", "z_lb", "z_ub")
            }
        )
        warm = solve_qp(*data, warm_start=start)
        assert_same(warm, cold, 1e-8 if dtype == torch.float64 else 2e-3)


def test_one_bad_start_leaves_its_neighbours_alone():
    cold = solve_qp(*QP)
    good = solve_qp(*QP, warm_start=cold)
    x = cold.x.clone()
    x[5] = math.nan
    warm = solve_qp(*QP, warm_start=cold._replace(x=x))
    others = torch.arange(len(x)) != 5
    for a, b in zip(warm, good, strict=True):
        assert torch.equal(a[others], b[others])


def test_infeasible_and_unbounded_items():
    start = solve_lp(LP.q, LP.G, LP.h, LP.A, LP.b, LP.lb, LP.ub)
    lb = LP.lb.clone()
    lb[2, 0] = LP.ub[2, 0] + 1
    s = solve_qp(*LP._replace(lb=lb), warm_start=start)
    assert s.status.tolist() == [Status.PRIMAL_INFEASIBLE if k == 2 else 0 for k in range(16)]
    free = Data(None, LP.q, LP.G, LP.h, None, None, None, None)
    assert_same(solve_qp(*free, warm_start=start._replace(y=start.y[:, :0])), solve_qp(*free))


@pytest.mark.parametrize("strategy", [Implicit(), LPGD(0.1)], ids=["implicit", "LPGD"])
def test_gradients_are_those_of_a_cold_start(strategy):
    grads = []
    start = solve_qp(*QP)
    for warm_start in (None, start):
        leaves = QP.map(lambda t: t.clone().requires_grad_())
        s = solve_qp(*leaves, gradient=strategy, warm_start=warm_start)
        grads.append(torch.autograd.grad(s.x.square().sum() + s.z.sum(), list(leaves)))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def test_no_gradient_flows_into_the_start():
    q = QP.q.clone().requires_grad_()
    start = solve_qp(*QP._replace(q=q))
    s = solve_qp(*QP, warm_start=start)
    assert not s.x.requires_grad


def test_shared_starts_and_more_batch_dimensions():
    item = next(iter(QP.items()))
    one = solve_qp(*item)
    data = item._replace(q=item.q.expand(2, 3, -1))
    s = solve_qp(*data, warm_start=one)
    assert s.x.shape == (2, 3, 12)
    torch.testing.assert_close(s.x, one.x.expand(2, 3, -1), rtol=1e-9, atol=1e-9)


def test_vmap_over_problems_and_starts():
    start = solve_qp(*QP)
    expected = solve_qp(*QP, warm_start=start)

    def solve(q, x):
        item = QP.map(lambda t: t[0])._replace(q=q)
        one = type(start)(x, *(part[0] for part in start[1:]))
        return solve_qp(*item, warm_start=one).x

    out = torch.func.vmap(solve)(QP.q, start.x)
    torch.testing.assert_close(out[0], expected.x[0], rtol=1e-9, atol=1e-9)


def test_bad_input():
    start = solve_qp(*QP)
    with pytest.raises(TypeError, match="warm_start must be a QPSolution, got Tensor"):
        solve_qp(*QP, warm_start=start.x)
    with pytest.raises(TypeError, match=r"warm_start\.x must be torch\.float64"):
        solve_qp(*QP, warm_start=start._replace(x=start.x.float()))
    with pytest.raises(ValueError, match=r"warm_start\.x must be \[16, 12\].*got \[16, 11\]"):
        solve_qp(*QP, warm_start=start._replace(x=start.x[:, :11]))
    with pytest.raises(ValueError, match=r"warm_start\.y must be \[16, 3\].*got \[4, 3\]"):
        solve_qp(*QP, warm_start=start._replace(y=start.y[:4]))


def test_layers_take_it():
    for layer, data in (
        (nn.QPLayer(), QP),
        (nn.LPLayer(), LP),
    ):
        blocks = {name: t for name, t in zip(NAMES, data, strict=True) if t is not None}
        if isinstance(layer, nn.LPLayer):
            blocks["c"] = blocks.pop("q")
        start = layer(**blocks)
        assert (layer(**blocks, warm_start=start).iterations == 1).all()
