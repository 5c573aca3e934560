"""method="highs": vertices, multipliers in our signs, statuses, LPGD, Implicit, whole numbers."""

from __future__ import annotations

import builtins
import itertools
import math

import pytest
import torch

from cases import Data, assignment, parametrize_cases, random_lp, random_qp, rows
from losses import leaves_of, weights_for
from lpgd_native import LPGD, Implicit, Status, nn, solve_lp, solve_qp
from oracles import objective

F64 = torch.float64


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def is_lp(case) -> bool:
    return case.build().P is None


@parametrize_cases(is_lp)
def test_optimal_and_as_good_as_the_interior_point(case):
    data = case.build()
    exact, ipm = solve_lp(*data[1:], method="highs"), solve_lp(*data[1:])
    assert not exact.status.any()
    values = objective(data, exact.x)
    torch.testing.assert_close(values, objective(data, ipm.x), rtol=1e-8, atol=1e-8)
    for residual in (exact.primal_residual, exact.dual_residual, exact.gap):
        assert residual.max() < 1e-9
    for dual in (exact.z, exact.z_lb, exact.z_ub):
        assert (dual >= 0).all()
    if case.unique and case.unique_duals:
        for left, right in zip(exact[:5], ipm[:5], strict=True):
            torch.testing.assert_close(left, right, rtol=1e-7, atol=1e-7)


@parametrize_cases(is_lp)
def test_residuals_are_those_of_the_point(case):
    """From the definitions, with multipliers in the signs of the docstring."""
    data = case.build()
    s = solve_lp(*data[1:], method="highs")
    dual = data.q - s.z_lb + s.z_ub
    if data.G is not None:
        dual = dual + rows(data.G.mT, s.z)
    if data.A is not None:
        dual = dual + rows(data.A.mT, s.y)
    assert dual.abs().max() < 1e-9
    slack = data.h - rows(data.G, s.x) if data.G is not None else tensor(0.0)
    assert slack.min() > -1e-9
    if data.G is not None:
        assert (slack * s.z).abs().max() < 1e-9  # complementary


def test_a_degenerate_optimum_is_a_vertex():
    """The interior point ends inside the face of minimisers, the simplex method at a corner."""
    data = assignment(4, 3)
    flat = data._replace(q=torch.zeros_like(data.q))
    x = solve_lp(*flat[1:], method="highs").x
    assert (x * (1 - x)).abs().max() == 0
    inside = solve_lp(*flat[1:]).x
    assert (inside * (1 - inside)).abs().max() > 1e-3


def test_statuses_of_a_mixed_batch_leave_the_neighbours_alone():
    """min c'x, x_1 + x_2 <= h, lb <= x <= ub."""
    inf, nan = math.inf, math.nan
    c = tensor(-1, -1, -1, -1, nan, -1, -1).repeat(2, 1).T.contiguous()
    h = tensor(1, -1, inf, 1, 1, -inf, 1).reshape(-1, 1)
    lb = tensor(0, 0, 0, 3, 0, 0, 0).repeat(2, 1).T.contiguous()
    ub = torch.full((7, 2), inf, dtype=F64)
    ub[3] = 2.0
    G = torch.ones(1, 2, dtype=F64)
    s = solve_lp(c, G, h, lb=lb, ub=ub, method="highs")
    assert s.status.tolist() == [0, 2, 3, 2, 4, 2, 0]
    assert s.x[[0, 6]].sum(-1).tolist() == [1.0, 1.0]
    assert (s.x[1:6] == 0).all()
    assert torch.isfinite(s.x).all()
    assert torch.isinf(s.primal_residual[1:6]).all()
    alone = solve_lp(c[6], G, h[6], lb=lb[6], ub=ub[6], method="highs")
    assert torch.equal(alone.x, s.x[6])


def test_an_iteration_limit_is_a_status():
    data = assignment(6, 2)
    s = solve_lp(*data[1:], method="highs", max_iter=2)
    assert (s.status == Status.MAX_ITERATIONS).all()
    assert s.iterations.max() <= 2


def test_results_do_not_depend_on_the_number_of_threads():
    data = assignment(4, 70)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(solve_lp(*data[1:], method="highs"))
    finally:
        torch.set_num_threads(before)
    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
@pytest.mark.parametrize("tau", [0.05, 2.0])
def test_lpgd_is_that_of_the_interior_point(envelope, tau):
    """For every argument and losses of all outputs, where the solutions are unique."""
    data = random_lp(201, 5, n=5, m=4, p=1)
    strategy = LPGD(tau, envelope=envelope)
    grads = []
    for method in ("ipm", "highs"):
        leaves = leaves_of(data)
        s = solve_lp(*leaves[1:], method=method, gradient=strategy)
        loss = sum((w * p).sum() for w, p in zip(weights_for(s[:5]), s[:5], strict=True))
        # moving A and the bounds against each other may leave nothing feasible: x alone then
        loss = loss if tau < 1 else (weights_for(s[:1])[0] * s.x).sum()
        grads.append(torch.autograd.grad(loss, leaves[1:]))
    for left, right in zip(*grads, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)


def test_lpgd_of_vertices_is_the_difference_of_vertices():
    data, tau = assignment(5, 20, seed=3), 0.7
    c = data.q.clone().requires_grad_()
    s = solve_lp(c, *data[2:], method="highs", gradient=LPGD(tau))
    (g,) = weights_for([s.x])
    (grad,) = torch.autograd.grad((g * s.x).sum(), c)
    ends = [solve_lp(data.q + k * tau * g, *data[2:], method="highs").x for k in (1, -1)]
    torch.testing.assert_close(grad, (ends[0] - ends[1]) / (2 * tau), rtol=0, atol=1e-12)
    assert grad.abs().max() > 0.1


def test_lpgd_with_rho_is_the_interior_points():
    data = random_lp(202, 4)
    strategy = LPGD(0.5, rho=0.3)
    grads = []
    for method in ("ipm", "highs"):
        c = data.q.clone().requires_grad_()
        x = solve_lp(c, *data[2:], method=method, gradient=strategy).x
        grads.append(torch.autograd.grad((weights_for([x])[0] * x).sum(), c)[0])
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-6)
    assert grads[0].abs().max() > 1e-3


def test_lpgd_falls_back_and_says_so():
    """min c x over x >= 0: c - tau g < 0 has no minimum, the other side has."""
    c = tensor(1.0, 1.0).reshape(2, 1).requires_grad_()
    lb = tensor(0.0)
    x = solve_lp(c, lb=lb, method="highs", gradient=LPGD(3.0, envelope="upper")).x
    with pytest.warns(RuntimeWarning, match="1 used the other side alone"):
        (grad,) = torch.autograd.grad(x, c, tensor(1.0, 0.1).reshape(2, 1))
    assert (grad == 0).all()


def test_a_broken_loss_gradient_stays_in_its_item():
    data = assignment(3, 4)
    c = data.q.clone().requires_grad_()
    x = solve_lp(c, *data[2:], method="highs", gradient=LPGD(1.0)).x
    g = torch.ones_like(x)
    g[1, 2] = math.nan
    (grad,) = torch.autograd.grad(x, c, g)
    assert torch.isnan(grad[1]).all()
    assert torch.isfinite(grad[[0, 2, 3]]).all()


def test_implicit_is_the_derivative_at_the_vertex():
    data = random_lp(203, 3, p=1)
    leaves = [t.clone().requires_grad_() for t in data[2:]]

    def solve(*given):
        return solve_lp(data.q, *given, method="highs", gradient=Implicit())[:2]

    torch.autograd.gradcheck(solve, leaves, eps=1e-6, atol=1e-6, rtol=1e-6)


def test_float32():
    data = random_lp(204, 4)
    single = solve_lp(*data.to(torch.float32)[1:], method="highs")
    assert single.x.dtype == single.primal_residual.dtype == torch.float32
    double = solve_lp(*data[1:], method="highs")
    torch.testing.assert_close(single.x.double(), double.x, rtol=1e-5, atol=1e-5)


# torch.compile instantiates Functions, which torch itself deprecates
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_vmap_and_compile():
    data = assignment(3, 6)
    rest = data[2:]

    def solve(c):
        return solve_lp(c, *rest, method="highs", gradient=LPGD(0.5)).x

    def grad(c):
        return torch.func.grad(lambda c: (solve(c) * weight).sum())(c)

    weight = weights_for([data.q[0]])[0]
    plain = solve(data.q)
    torch.testing.assert_close(torch.func.vmap(solve)(data.q), plain)
    c = data.q.clone().requires_grad_()
    (expected,) = torch.autograd.grad((solve(c) * weight).sum(), c)
    torch.testing.assert_close(torch.func.vmap(grad)(data.q), expected)
    compiled = torch.compile(solve, backend="aot_eager", fullgraph=True)
    (got,) = torch.autograd.grad((compiled(c) * weight).sum(), c)
    torch.testing.assert_close(got, expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_forward_mode():
    data, (t,) = random_lp(205, 3), weights_for([random_lp(205, 3).q])

    def solve(c):
        return solve_lp(c, *data[2:], method="highs", gradient=LPGD(0.5)).x

    _, tangent = torch.func.jvp(solve, (data.q,), (t,))
    expected = solve(data.q + 0.5 * t) - solve(data.q - 0.5 * t)
    torch.testing.assert_close(tangent, expected)


def knapsack(*batch: int) -> Data:
    generator = torch.Generator().manual_seed(7)
    values = torch.rand(*batch, 8, dtype=F64, generator=generator)
    weight = torch.rand(1, 8, dtype=F64, generator=generator)
    box = torch.zeros(8, dtype=F64), torch.ones(8, dtype=F64)
    return Data(None, -values, weight, weight.sum(-1) / 2, lb=box[0], ub=box[1])


def test_whole_numbers_are_the_best_of_all():
    data, mask = knapsack(5), torch.ones(8, dtype=torch.bool)
    s = solve_lp(*data[1:], integrality=mask)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)), dtype=F64)
    allowed = every[rows(data.G, every).squeeze(-1) <= data.h]
    best = (data.q @ allowed.T).min(-1).values
    torch.testing.assert_close(objective(data, s.x), best, rtol=0, atol=1e-9)
    assert (s.x == s.x.round()).all()
    assert not s.status.any()
    for part in (*s[1:5], s.dual_residual):
        assert (part == 0).all()
    assert s.gap.max() < 1e-6


def test_some_whole_numbers():
    c, G, h = tensor(-1.0, -1.0), tensor(2.0, 2.0).reshape(1, 2), tensor(3.0)
    box = {"lb": tensor(0.0, 0.0), "ub": tensor(1.0, 0.4)}
    s = solve_lp(c, G, h, **box, integrality=torch.tensor([True, False]))
    torch.testing.assert_close(s.x, tensor(1.0, 0.4))


def test_integer_lpgd_moves_whole_solutions():
    data, mask = knapsack(6), torch.ones(8, dtype=torch.bool)
    c = data.q.clone().requires_grad_()
    s = solve_lp(c, *data[2:], integrality=mask, gradient=LPGD(0.5, envelope="lower"))
    (g,) = weights_for([s.x])
    (grad,) = torch.autograd.grad((g * s.x).sum(), c)
    moved = solve_lp(data.q + 0.5 * g, *data[2:], integrality=mask).x
    torch.testing.assert_close(grad, (moved - s.x.detach()) / 0.5, rtol=0, atol=1e-9)
    assert grad.abs().max() > 0
    assert not s.z.requires_grad


def test_integer_infeasible_and_unbounded():
    mask, free = torch.ones(1, dtype=torch.bool), torch.full((1,), math.inf, dtype=F64)
    s = solve_lp(tensor(1.0), lb=tensor(0.2), ub=tensor(0.8), integrality=mask)
    assert int(s.status) == Status.PRIMAL_INFEASIBLE
    s = solve_lp(tensor(-1.0), lb=tensor(0.2), ub=free, integrality=mask)
    assert int(s.status) == Status.DUAL_INFEASIBLE


def test_bad_arguments():
    data, mask = knapsack(2), torch.ones(8, dtype=torch.bool)
    given = data[1:]
    with pytest.raises(ValueError, match='use method="ipm"'):
        solve_qp(*random_qp(1, 2), method="highs")
    with pytest.raises(ValueError, match='solve_lp: method must be one of "auto", "ipm", "highs"'):
        solve_lp(*given, method="simplex")
    with pytest.raises(TypeError, match="integrality must be a bool tensor"):
        solve_lp(*given, integrality=mask.int())
    with pytest.raises(ValueError, match=r"integrality must be \[n\] with n = 8.*got \[2, 8\]"):
        solve_lp(*given, integrality=mask.expand(2, 8))
    with pytest.raises(ValueError, match='integrality needs method="highs"'):
        solve_lp(*given, integrality=mask, method="ipm")
    c = given[0].clone().requires_grad_()
    with pytest.raises(ValueError, match="gradient must be LPGD"):
        solve_lp(c, *given[1:], integrality=mask, gradient=Implicit())
    h = given[2].clone().requires_grad_()
    with pytest.raises(ValueError, match="h requires one"):
        solve_lp(c, given[1], h, *given[3:], integrality=mask)


def test_without_highspy_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "highspy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match="pip install highspy"):
        solve_lp(*knapsack(2)[1:], method="highs")


def test_the_layer_takes_method_and_whole_numbers():
    c, G, h = tensor(-1.0, -1.0), tensor(2.0, 2.0).reshape(1, 2), tensor(3.0)
    box = {"lb": tensor(0.0, 0.0), "ub": tensor(1.0, 1.0)}
    vertex = nn.LPLayer(G=G, h=h, method="highs", **box)(c)
    assert vertex.x.sum() == 1.5
    whole = nn.LPLayer(G=G, h=h, integrality=torch.tensor([True, True]), **box)(c)
    assert whole.x.sum() == 1.0
