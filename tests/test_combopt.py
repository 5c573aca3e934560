"""CombOpt: gradients of constraints of integer programs, against the paper's sums item by item."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor

from lpgd_native import IMLE, LPGD, CombOpt, LPOracle, OracleLayer, Status
from lpgd_native.oracles import OracleSolution
from strategy_oracles import F64, costs

N, M, BATCH = 4, 3, 12


class Integers:
    """argmin <c, x> over G x <= h and whole x in {low..high}^n, by trying all."""

    event_dim = 1
    instance_dims = {"G": 2, "h": 1}  # noqa: RUF012

    def __init__(self, n: int = N, low: int = 0, high: int = 1) -> None:
        values = [float(v) for v in range(low, high + 1)]
        self.points = torch.tensor(list(itertools.product(values, repeat=n)), dtype=F64)
        self.data = {"lb": low, "ub": high}

    def solve(self, c: Tensor, G: Tensor, h: Tensor) -> OracleSolution:
        fits = (self.points @ G.mT <= h.unsqueeze(-2) + 1e-9).all(-1)
        values = torch.where(fits, c @ self.points.T, math.inf)
        best = values.min(-1)
        ok = torch.isfinite(best.values)
        x = torch.where(ok.unsqueeze(-1), self.points[best.indices], 0.0)
        status = torch.where(ok, 0, int(Status.PRIMAL_INFEASIBLE)).to(torch.int32)
        return OracleSolution(x, torch.where(ok, best.values, torch.nan), status)


def loss_of_the_paper(c, G, h, x, g, *, tau, low, high, canonical, clip, solved) -> Tensor:
    """sum_k lambda_k P_k of one item, for autograd."""
    wish = [-float(v) for v in g]
    sign = [math.copysign(1.0, v) if v else 0.0 for v in wish]
    if clip:
        wish = [w if low <= float(x[i]) + sign[i] <= high else 0.0 for i, w in enumerate(wish)]
    order = sorted(range(len(wish)), key=lambda i: -abs(wish[i]))
    sizes = [abs(wish[i]) for i in order] + [0.0]
    total = 0 * (c.sum() + G.sum() + h.sum())
    for k in range(len(wish)):
        near, weight = x.clone(), abs(wish[k])
        if canonical:
            near[k] += sign[k] if wish[k] else 0.0
        else:
            weight = sizes[k] - sizes[k + 1]
            for i in order[: k + 1]:
                near[i] += sign[i] if wish[i] else 0.0
        if weight == 0 or bool((near < low).any() | (near > high).any()):
            continue
        beyond = (G @ near - h) / G.norm(dim=-1)
        if bool((G @ near <= h + 1e-9).all()):
            if not solved:
                continue
            slack = ((h - G @ x) / G.norm(dim=-1)).clamp(min=0)
            nearest = slack.min() if tau == 0 else -tau * torch.logsumexp(-slack / tau, 0)
            total = total + weight * (nearest + (c @ (near - x)).clamp(min=0))
        else:
            total = total + weight * beyond.clamp(min=0).sum()
    return total


def instance(seed: int, low: int, high: int, feasible: bool = True):
    """Constraints that the corner (high, ...) meets; else every other item has a row too many."""
    generator = torch.Generator().manual_seed(seed)
    G = torch.randn(BATCH, M, N, dtype=F64, generator=generator)
    h = high * G.sum(-1) + torch.rand(BATCH, M, dtype=F64, generator=generator)
    if not feasible:
        least = torch.minimum(low * G[::2, 0], high * G[::2, 0]).sum(-1)
        h[::2, 0] = least - 0.1
    return G, h


@pytest.mark.parametrize("feasible", [True, False])
@pytest.mark.parametrize("box", [(0, 1), (-2, 2)], ids=str)
@pytest.mark.parametrize(
    "strategy",
    [CombOpt(), CombOpt(0.0), CombOpt(2.0, "canonical"), CombOpt(clip=False)],
    ids=["default", "min", "canonical", "unclipped"],
)
def test_gradients_are_those_of_the_papers_sums(strategy, box, feasible):
    low, high = box
    G, h = instance(1, low, high, feasible)
    c, g = costs(BATCH, N), costs(BATCH, N, seed=7)
    leaves = [t.requires_grad_() for t in (c, G, h)]
    out = OracleLayer(Integers(low=low, high=high), strategy)(c, G=G, h=h)
    got = torch.autograd.grad(out.x, leaves, g)
    solved = out.status == 0
    assert int(solved.sum()) == (BATCH if feasible else BATCH // 2)
    for k in range(BATCH):
        loss = loss_of_the_paper(
            c[k],
            G[k],
            h[k],
            out.x[k].detach(),
            g[k],
            tau=strategy.tau,
            low=low,
            high=high,
            canonical=strategy.basis == "canonical",
            clip=strategy.clip,
            solved=bool(solved[k]),
        )
        for a, b in zip(got, torch.autograd.grad(loss, leaves), strict=True):
            torch.testing.assert_close(a[k], b[k], rtol=1e-9, atol=1e-9)
    assert got[1].any()


def test_the_step_is_a_sum_of_neighbours():
    """-g = sum_k lambda_k d_k, with ties and zeros."""
    g = torch.tensor([[0.5, -0.5, 0.0, 2.0], [0.0, 0.0, 0.0, -1.0]], dtype=F64)
    for basis in ("sorted", "canonical"):
        step, weight = CombOpt(basis=basis, clip=False)._neighbours(0 * g, -g, None, None)
        torch.testing.assert_close((weight.unsqueeze(-1) * step).sum(-2), -g)
        assert (weight >= 0).all()


def test_shared_constraints_get_the_sum():
    G, h = (t[0] for t in instance(2, 0, 1))
    c, g = costs(BATCH, N), costs(BATCH, N, seed=3)
    layer = OracleLayer(Integers(), CombOpt())

    def grads(G, h):
        leaves = [G.clone().requires_grad_(), h.clone().requires_grad_()]
        x = layer(c, G=leaves[0], h=leaves[1]).x
        return torch.autograd.grad(x, leaves, g)

    shared = grads(G, h)
    whole = grads(G.expand(BATCH, M, N), h.expand(BATCH, M))
    for a, b in zip(shared, whole, strict=True):
        torch.testing.assert_close(a, b.sum(0))


def test_infinite_right_hand_sides_are_no_rows():
    G, h = instance(4, 0, 1)
    c, g = costs(BATCH, N), costs(BATCH, N, seed=3)

    def grads(G, h):
        leaves = [G.clone().requires_grad_(), h.clone().requires_grad_()]
        x = OracleLayer(Integers(), CombOpt())(c, G=leaves[0], h=leaves[1]).x
        return torch.autograd.grad(x, leaves, g)

    plain = grads(G, h)
    more = grads(
        torch.cat([G, G[:, :1]], 1), torch.cat([h, torch.full((BATCH, 1), math.inf, dtype=F64)], 1)
    )
    for a, b in zip(plain, more, strict=True):
        torch.testing.assert_close(a, b[:, :M])
        assert not b[:, M].any()


def test_a_box_of_its_own_and_none():
    G, h = instance(5, 0, 1)
    c, g = costs(BATCH, N), costs(BATCH, N, seed=3)

    def grad(strategy, oracle):
        leaf = G.clone().requires_grad_()
        return torch.autograd.grad(OracleLayer(oracle, strategy)(c, G=leaf, h=h).x, leaf, g)[0]

    boxed, free = Integers(), Integers()
    free.data = {}
    torch.testing.assert_close(grad(CombOpt(lb=0, ub=torch.ones(N)), free), grad(CombOpt(), boxed))
    assert not torch.equal(grad(CombOpt(), free), grad(CombOpt(), boxed))


def test_equalities_bar_neighbours():
    """On x1 + x2 + x3 = 2 no neighbour along an axis is feasible: nothing to cut off."""
    pytest.importorskip("highspy")
    n = 3
    oracle = LPOracle(
        A=torch.ones(1, n, dtype=F64),
        b=torch.tensor([2.0], dtype=F64),
        lb=torch.zeros(n, dtype=F64),
        ub=torch.ones(n, dtype=F64),
        integrality=torch.ones(n, dtype=torch.bool),
    )
    G = torch.ones(1, n, dtype=F64).requires_grad_()
    h = torch.tensor([5.0], dtype=F64)
    c, g = costs(4, n), costs(4, n, seed=1)
    layer = OracleLayer(oracle, CombOpt(basis="canonical"))
    (grad,) = torch.autograd.grad(layer(c, G=G, h=h).x, G, g)
    assert not grad.any()


def test_learns_the_constraint_of_a_knapsack():
    """Weights and capacity from solutions alone, from a start that allows too much."""
    n = 6
    oracle = Integers(n)
    weights = torch.tensor([[0.9, 0.4, 0.7, 0.3, 0.6, 0.5]], dtype=F64)
    capacity = torch.tensor([1.5], dtype=F64)
    generator = torch.Generator().manual_seed(0)
    c, unseen = -torch.rand(2, 150, n, dtype=F64, generator=generator)
    target, truth = (oracle.solve(v, G=weights, h=capacity).x for v in (c, unseen))
    G = torch.full((1, n), 0.5, dtype=F64).requires_grad_()
    h = torch.tensor([2.6], dtype=F64).requires_grad_()
    layer = OracleLayer(oracle, CombOpt())
    optimizer = torch.optim.Adam([G, h], 0.02)

    def error():
        with torch.no_grad():
            wrong = layer(unseen, G=G, h=h).x != truth
        return float(wrong.any(-1).double().mean())

    before = error()
    for _ in range(150):
        optimizer.zero_grad()
        (layer(c, G=G, h=h).x - target).square().sum(-1).mean().backward()
        optimizer.step()
    assert before > 0.8
    assert error() < 0.15


def test_learns_its_way_out_of_infeasibility():
    oracle = Integers()
    G, h = torch.ones(1, N, dtype=F64), torch.tensor([-0.5], dtype=F64).requires_grad_()
    c, target = -torch.ones(1, N, dtype=F64), torch.ones(1, N, dtype=F64)
    layer = OracleLayer(oracle, CombOpt())
    assert layer(c, G=G, h=h).status.tolist() == [Status.PRIMAL_INFEASIBLE]
    optimizer = torch.optim.SGD([h], 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (layer(c, G=G, h=h).x - target).square().sum().backward()
        optimizer.step()
    assert torch.equal(layer(c, G=G, h=h).x, target)


def test_what_it_needs():
    layer = OracleLayer(Integers(), CombOpt())
    c = costs(2, N)
    G, h = torch.ones(1, N, dtype=F64), torch.ones(1, dtype=F64)
    with pytest.raises(ValueError, match=r"CombOpt needs the constraints: layer.c, G=G, h=h."):
        layer(c)
    with pytest.raises(ValueError, match=r"G .*n = 4 costs, got \[1, 3\] and \[1\]"):
        layer(c, G=G[:, :3], h=h)
    with pytest.raises(ValueError, match="CombOpt has a gradient for the costs, but lb requires"):
        OracleLayer(LPOracle(integrality=torch.ones(N, dtype=torch.bool)), CombOpt())(
            c, G=G, h=h, lb=torch.zeros(N, dtype=F64, requires_grad=True)
        )


@pytest.mark.parametrize("shared", [True, False])
def test_an_oracle_that_does_not_tell_its_instance_dims(shared):
    class Quiet(Integers):
        instance_dims = {}  # noqa: RUF012

    G, h = instance(6, 0, 1)
    G, h = (G[0], h[0]) if shared else (G, h)
    c, g = costs(BATCH, N), costs(BATCH, N, seed=3)
    g[::2] = 0

    def grads(oracle, strategy):
        leaves = [
            t.clone().requires_grad_(k == 0 or isinstance(strategy, CombOpt))
            for k, t in enumerate((c, G, h))
        ]
        x = OracleLayer(oracle, strategy)(leaves[0], G=leaves[1], h=leaves[2]).x
        return torch.autograd.grad(x, [t for t in leaves if t.requires_grad], g)

    for strategy in (CombOpt(), LPGD(2.0), IMLE(samples=2)):
        left = grads(Quiet(), copy.deepcopy(strategy))
        for a, b in zip(left, grads(Integers(), copy.deepcopy(strategy)), strict=True):
            torch.testing.assert_close(a, b)
