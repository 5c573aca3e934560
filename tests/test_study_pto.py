"""Predict, then optimise: PyEPO's data and problems, equal budgets, regret that falls."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("pyepo")

from lpgd_native.experiments import pto, pto_problems, pto_pyepo
from lpgd_native.experiments.pto_report import OURS, THEIRS
from studies import check_command

TINY = replace(
    pto.QUICK,
    train=64,
    test=40,
    epochs=2,
    methods=("two-stage", "SPO+", "LPGD average"),
    pyepo=("SPO+",),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def make(name, degree=4, noise=0.5, train=30, test=20):
    return pto_problems.make_problem(name, train, test, degree, noise, seed=1)


# problems


@pytest.mark.parametrize("ortools", [True, False], ids=["OR-Tools", "scipy"])
@pytest.mark.parametrize("name", pto_problems.PROBLEMS)
def test_both_packages_solve_the_same_problem(name, ortools, monkeypatch):
    if ortools and importlib.util.find_spec("ortools") is None:
        pytest.skip("no OR-Tools")
    monkeypatch.setattr(pto_pyepo, "_have_ortools", lambda: ortools)
    problem = make(name)
    model = pto_pyepo.make_model(problem)
    assert model.num_cost == problem.train.costs.shape[1]
    for costs, best, value in zip(
        problem.train.costs[:10], problem.train.solutions, problem.train.objectives, strict=False
    ):
        model.setObj(costs)
        solution, objective = model.solve()
        assert objective == pytest.approx(float(value), rel=1e-5)
        assert float(costs @ best) == pytest.approx(float(value), rel=1e-5)
        assert np.isin(np.round(solution, 5), [0, 1]).all()
    assert str(pto_pyepo.solver_name(name))


@pytest.mark.parametrize("name", pto_problems.PROBLEMS)
def test_regret_is_that_of_pyepo(name):
    from pyepo.data.dataset import optDataset
    from pyepo.metric import regret
    from torch.utils.data import DataLoader

    problem = make(name)
    model = torch.nn.Linear(pto_problems.FEATURES, problem.test.costs.shape[1])
    optimum = pto_pyepo.make_model(problem)
    data = optDataset(optimum, problem.test.features.numpy(), problem.test.costs.numpy())
    theirs = regret(model, optimum, DataLoader(data, batch_size=7))
    with torch.no_grad():
        ours = problem.regret(model(problem.test.features), problem.test)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours > 0.01
    assert problem.regret(problem.test.costs, problem.test) == pytest.approx(0, abs=1e-6)


def test_data_is_that_of_pyepo_and_shared_by_train_and_test():
    from pyepo.data import shortestpath

    x, c = shortestpath.genData(50, pto_problems.FEATURES, (5, 5), 4, 0.5, 1)
    problem = make("shortest path")
    np.testing.assert_allclose(
        torch.cat([problem.train.features, problem.test.features]), x, rtol=1e-6
    )
    np.testing.assert_allclose(torch.cat([problem.train.costs, problem.test.costs]), c, rtol=1e-6)
    with pytest.raises(ValueError, match="unknown problem 'tour', known are shortest path"):
        make("tour")


# methods


@pytest.mark.parametrize("name", pto_problems.PROBLEMS)
@pytest.mark.parametrize("method", ["SPO+", "blackbox", "identity"])
def test_losses_without_noise_are_those_of_pyepo(name, method):
    """Value and gradient, from the same predictions: the comparison is of speed."""
    problem, settings = make(name), TINY
    batch = problem.train
    generator = torch.Generator().manual_seed(0)
    found = []
    for by in (OURS, THEIRS):
        run = {"by": by, "method": method, "tau": None, "seed": 0}
        predicted = (1 + torch.rand(batch.costs.shape, generator=generator.manual_seed(0))) * 2
        predicted.requires_grad_()
        loss = pto.make_loss(run, problem, settings)(predicted, batch)
        (gradient,) = torch.autograd.grad(loss, predicted)
        found.append((float(loss.detach()), gradient))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
    assert float(found[0][1].abs().max()) > 0


LEARNING = [
    *((OURS, method) for method in pto.METHODS if method != "identity"),
    *((THEIRS, method) for method in pto_pyepo.METHODS if method != "identity"),
]


@pytest.mark.parametrize(("by", "method"), LEARNING)
def test_training_lowers_the_regret(by, method):
    settings = replace(TINY, train=160, test=100, epochs=6, learning_rate=5e-2)
    labels = {"problem": "shortest path", "degree": 4, "noise": 0.0, "seed": 0}
    run = {**labels, "by": by, "method": method, "tau": 1.0 if method.startswith("LPGD") else None}
    points = []
    result = pto.train(run, settings, lambda step, values: points.append(values))
    assert len(points) == 1 + settings.epochs
    assert result["test_regret"] == points[-1]["test_regret"]
    assert result["test_regret"] < 0.5 * points[0]["test_regret"]
    assert result["train_regret"] < 0.5 * points[0]["train_regret"]


def test_all_methods_of_a_seed_start_from_the_same_predictor():
    starts = []
    for by, method in ((OURS, "two-stage"), (OURS, "identity"), (THEIRS, "identity")):
        labels = {"problem": "assignment", "degree": 1, "noise": 0.5, "seed": 3, "tau": None}
        points = []
        pto.train(
            {**labels, "by": by, "method": method},
            replace(TINY, epochs=1),
            lambda step, values, points=points: points.append(values["test_regret"]),
        )
        starts.append(points[0])
    assert starts[0] == starts[1] == starts[2]


def test_plan_has_the_same_budget_for_both_packages():
    plan = pto.plan(pto.FULL)
    assert len(plan) == len({tuple(run.items()) for run in plan})
    cases = len(pto.FULL.problems) * 3 * 2 * 5
    for method in pto_pyepo.METHODS:
        for by in (OURS, THEIRS):
            assert sum((r["by"], r["method"]) == (by, method) for r in plan) == cases


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pto, "QUICK", TINY)
    whole = check_command(
        pto, "pto", tmp_path, monkeypatch, capsys, "--problems", "shortest path,assignment"
    )
    assert len(whole) == 2 * 4
    text = (tmp_path / "whole" / "pto.md").read_text()
    assert "A step of PyEPO (scipy linear_sum_assignment) over one of ours: SPO+" in text
    assert "| method | ms | degree 4, noise 0.5 |" in text
