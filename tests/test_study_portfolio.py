"""The portfolio study walked forward: folds without look-ahead, one long test stretch."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from lpgd_native.experiments import portfolio_data, portfolio_folds, runs
from lpgd_native.experiments.portfolio import METHODS, Candidate
from lpgd_native.experiments.portfolio import Settings as Training
from lpgd_native.experiments.runs import Options
from studies import check_command
from test_portfolio import make_prices

TINY = portfolio_folds.Settings(
    training=Training(
        seeds=2, epochs=1, batch=32, candidates=(Candidate(1e-2, 0.0),), hidden=4, cap=0.5
    ),
    first_test_year=2008,
    test_years=1,
    validation_years=1,
    last_year=2011,
    folds=3,
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weeks():
    return portfolio_data.make_weeks(*make_prices(first="2004-01-01", last="2012-01-31"))


@pytest.fixture
def study(monkeypatch, weeks):
    monkeypatch.setattr(portfolio_folds, "QUICK", TINY)
    monkeypatch.setattr(portfolio_folds, "_weeks", lambda: weeks)
    return portfolio_folds


def test_folds_look_only_back_and_test_years_are_one_stretch(weeks):
    folds = portfolio_folds.folds(weeks, TINY)
    assert len(folds) == 3
    for fold in folds:
        assert fold.train.dates[-1] <= fold.validation.traded[0]
        assert fold.validation.dates[-1] <= fold.test.traded[0]
        assert fold.train.traded[0] == weeks.traded[0]
        assert len(fold.test) > 45
    years = [str(fold.test.traded[0])[:4] for fold in folds]
    assert years == ["2009", "2010", "2011"]
    for before, after in itertools.pairwise(folds):
        assert len(after.train) > len(before.train)
        gap = after.test.traded[0] - before.test.dates[-1]
        assert gap.astype(int) <= 7  # a week that spans the new year belongs to neither


def test_options_choose_the_latest_folds():
    make = portfolio_folds.make_settings
    options = Options(out=None, mode="full", extra={"folds": 2, "epochs": None})
    plan = portfolio_folds.plan(make(options))
    assert [run["test_from"] for run in plan] == [2019, 2021]
    everything = portfolio_folds.plan(make(replace(options, extra={})))
    assert [run["test_from"] for run in everything] == list(range(2003, 2023, 2))
    with pytest.raises(ValueError, match="at most 10 folds, got 11"):
        make(replace(options, extra={"folds": 11}))
    assert make(replace(options, seeds=4)).training.seeds == 4


def test_a_fold_is_the_portfolio_study(study, weeks):
    run = portfolio_folds.plan(TINY)[0]
    result = portfolio_folds.train(run, TINY, lambda step, values: None)
    assert result["status_not_ok"] == 0
    assert set(result["policies"]) == set(portfolio_folds.POLICIES)
    fold = portfolio_folds.fold(weeks, run["test_from"], TINY)
    assert result["dates"] == [str(day) for day in fold.test.dates]
    for name in METHODS:
        policy = result["policies"][name]
        assert len(policy["utility"]) == len(fold.test)
        each = policy["utility_of_each_seed"]
        assert len(each) == 2
        assert np.mean(each) == pytest.approx(52 * np.mean(policy["utility"]))


def test_the_command(study, tmp_path, monkeypatch, capsys):
    whole = check_command(study, "portfolio", tmp_path, monkeypatch, capsys)
    assert len(whole) == 3
    text = (tmp_path / "whole" / "portfolio.md").read_text()
    assert "Test years 2009 to 2011 in 3 folds of 1 years" in text
    assert "| policy | 2009 | 2010 | 2011 |" in text
    results = runs.Results.read(tmp_path / "whole", TINY)
    stretch = portfolio_folds._series(results, METHODS[0], "utility")
    assert len(stretch) == sum(run["result"]["test_weeks"] for run in results.runs)
    assert f"{52 * stretch.mean():.2f} [" in text
