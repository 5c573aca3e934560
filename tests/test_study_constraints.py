"""Learned constraints: random programs, the layers, and that rows are learned."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

pytest.importorskip("highspy")

from lpgd_native.experiments import constraints
from studies import check_command

TINY = replace(constraints.QUICK, variables=4, train=40, test=20, epochs=1, evaluations=1)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", constraints.BOUNDS)
@pytest.mark.parametrize("rows", [1, 3])
def test_solutions_are_those_of_enumeration(kind, rows, monkeypatch):
    bounds = {"binary": (0.0, 1.0), "dense": (-1.0, 2.0)}
    monkeypatch.setattr(constraints, "BOUNDS", bounds)
    data = constraints.make_data.__wrapped__(kind, rows, 4, 20, 10, seed=2)
    low, high = bounds[kind]
    torch.testing.assert_close(data.costs.norm(dim=-1), torch.ones(20).double())
    solutions = torch.cat([data.solutions, data.test_solutions])
    assert bool(((solutions >= low) & (solutions <= high)).all())
    corner = torch.where(torch.cat([data.costs, data.test_costs]) > 0, low, high)
    share = (corner == solutions).all(-1).double().mean()
    assert share < 1  # the rows matter

    # the rows that made them, by the same draws
    generator = torch.Generator().manual_seed(1_002)
    G, points = constraints.random_rows(rows, 4, low, high, generator)
    torch.testing.assert_close(G.norm(dim=-1), torch.ones(rows).double())
    at = low + (high - low) * torch.randint(2, (4,), generator=generator).double()
    h = (G * points).sum(-1) - constraints.DISTANCE
    side = torch.where(G @ at <= h, 1.0, -1.0).double()
    G, h = side.unsqueeze(-1) * G, side * h
    values = torch.arange(low, high + 1).tolist()
    box = torch.tensor(list(itertools.product(values, repeat=4))).double()
    feasible = box[(box @ G.T <= h + 1e-7).all(-1)]
    costs = torch.cat([data.costs, data.test_costs])
    best = (costs @ feasible.T).amin(-1)
    torch.testing.assert_close((costs * solutions).sum(-1), best)


@pytest.mark.parametrize("method", [constraints.COMBOPT, constraints.RELAXED])
def test_rows_have_gradients_and_norm_one(method):
    data = constraints.make_data("binary", 2, 4, 20, 10, 0)
    layer = constraints.ConstraintLayer(
        {"kind": "binary", "rows": 2, "method": method, "seed": 5}, TINY
    )
    G, h = layer.constraints()
    torch.testing.assert_close(G.norm(dim=-1), torch.ones(len(h)).double())
    loss = (layer(data.costs) - data.solutions).square().mean()
    grads = torch.autograd.grad(loss, list(layer.parameters()))
    assert all(bool(torch.isfinite(g).all()) for g in grads)
    assert all(float(g.abs().max()) > 0 for g in grads)
    decided = layer.decide(data.costs)
    assert bool((decided == decided.round()).all())


@pytest.mark.parametrize("method", constraints.METHODS)
def test_training_learns(method):
    settings = replace(TINY, variables=6, train=240, test=100, epochs=5, learning_rate=2e-2)
    run = {"kind": "binary", "rows": 1, "method": method, "seed": 1}
    points = []
    result = constraints.train(run, settings, lambda step, values: points.append(values))
    assert result["entries"] == points[-1]["entries"]
    assert result["entries"] > points[0]["entries"]
    assert result["solutions"] > points[0]["solutions"]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(constraints, "QUICK", TINY)
    whole = check_command(constraints, "constraints", tmp_path, monkeypatch, capsys)
    assert len(whole) == 3
    text = (tmp_path / "whole" / "constraints.md").read_text()
    assert "| learned by | 1 row | ms a step |" in text
    assert "| box alone |" in text
