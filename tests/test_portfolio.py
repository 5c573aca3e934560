"""The portfolio demo: no look-ahead, honest splits, right accounting, training that trains."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lpgd_native import cli, experiments
from lpgd_native.experiments import portfolio, portfolio_data, portfolio_report, portfolio_study
from lpgd_native.experiments.portfolio import METHODS, TWO_STAGE, Candidate, MeanVariance, Settings

TINY = Settings(
    seeds=2,
    epochs=2,
    batch=32,
    candidates=(Candidate(1e-2, 0.0), Candidate(1e-2, 1.0)),
    hidden=4,
    cap=0.5,
)


def make_prices(first="1998-01-01", last="2014-06-30", n=4, seed=0):
    """Daily prices whose trends persist for months: there is something to learn."""
    days = np.arange(np.datetime64(first), np.datetime64(last))
    days = days[np.is_busday(days)]
    rng = np.random.default_rng(seed)
    trend = rng.choice([-1.5e-3, 2e-3], size=(len(days) // 80 + 1, n)).repeat(80, axis=0)
    daily = trend[: len(days)] + 0.01 * rng.standard_normal((len(days), n))
    return days, tuple("ABCDEFGH"[:n]), 50 * np.cumprod(1 + daily, axis=0)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def prices():
    return make_prices()


@pytest.fixture(scope="module")
def weeks(prices):
    return portfolio_data.make_weeks(*prices)


@pytest.fixture(scope="module")
def splits(weeks):
    return portfolio_data.split(weeks)


@pytest.fixture(scope="module")
def tiny_study(splits):
    return portfolio_study.study(shorten(splits), TINY)


def shorten(splits, length=40):
    return portfolio_data.Splits(
        splits.train, splits.validation[:length], splits.test[: length + 5]
    )


# data


def test_trading_weeks_are_last_days_of_complete_weeks():
    days = np.array(
        ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-09", "2020-01-13"], "datetime64[D]"
    )
    assert portfolio_data.trading_weeks(days).tolist() == [1, 3]


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_no_decision_sees_its_future(prices, weeks, fraction):
    days, assets, values = prices
    now = int(fraction * len(weeks))
    # everything from the day of the trade on becomes something else; the day itself is unseen too
    future = days >= weeks.traded[now]
    rng = np.random.default_rng(1)
    changed = values.copy()
    changed[future] *= np.exp(rng.standard_normal(changed[future].shape))
    other = portfolio_data.make_weeks(days, assets, changed)

    for name in ("features", "context", "covariance"):
        mine, its = getattr(weeks, name), getattr(other, name)
        assert torch.equal(mine[: now + 1], its[: now + 1])
        assert not torch.equal(mine[now + 1], its[now + 1])
    assert torch.equal(weeks.returns[: now - 1], other.returns[: now - 1])
    assert not torch.equal(weeks.returns[now], other.returns[now])

    first = max(0, now - 20)
    decided = [
        portfolio.roll(
            *portfolio_study.forecast(
                [portfolio.Policy(range(2), TINY, torch.float64).state_dict()], part, TINY
            ),
            part,
            TINY,
        ).weights
        for part in (weeks[first : now + 1], other[first : now + 1])
    ]
    # the last trade's previous weights drift by returns that end on the trade's day
    assert torch.equal(decided[0][:, :-1], decided[1][:, :-1])


def test_returns_run_from_trade_to_trade(prices, weeks):
    days, _, values = prices
    t = 17
    begin, end = np.searchsorted(days, [weeks.traded[t], weeks.dates[t]])
    expected = 100 * (values[end] / values[begin] - 1)
    np.testing.assert_allclose(weeks.returns[t].numpy(), expected, rtol=1e-12)
    assert (weeks.dates[:-1] == weeks.traded[1:]).all()


def test_splits_follow_each_other(splits):
    assert splits.train.dates[-1] <= splits.validation.traded[0]
    assert splits.validation.dates[-1] <= splits.test.traded[0]
    for part in (splits.train, splits.validation, splits.test):
        assert len(part) > 50
    assert str(splits.train.dates[-1]) < "2006" <= str(splits.validation.traded[0])
    assert str(splits.validation.dates[-1]) < "2013" <= str(splits.test.traded[0])


def test_covariance_is_positive_definite_and_keeps_variances():
    daily = np.random.default_rng(0).standard_normal((252, 5)) * [1, 2, 3, 1, 1]
    covariance = portfolio_data.shrunk_covariance(daily)
    np.testing.assert_allclose(np.diag(covariance), 5 * daily.var(axis=0, ddof=1), rtol=1e-12)
    assert np.linalg.eigvalsh(covariance).min() > 0


# accounting


def test_realised_utility_by_hand():
    problem = MeanVariance(2, Settings(risk_aversion=5.0, cost=0.1, cap=1.0))
    w, previous, returns = (torch.tensor(x).double() for x in ([0.7, 0.3], [0.5, 0.5], [2.0, -1.0]))
    utility, net, turnover = problem.realise(w, previous, returns)
    # gross 0.7 * 2 - 0.3 = 1.1 %; 0.4 traded at 0.1 % = 0.04 %; 5/2 * 0.011^2 = 0.03025 %
    assert turnover.item() == pytest.approx(0.4)
    assert net.item() == pytest.approx(1.06)
    assert utility.item() == pytest.approx(1.06 - 0.03025)


def test_cost_gradient_where_nothing_is_traded_ignores_rounding():
    problem = MeanVariance(3, Settings(cost=0.1, risk_aversion=0.0))
    previous = torch.tensor([0.3, 0.3, 0.4]).double()
    for noise in (-1e-16, 0.0, 1e-10):
        w = (previous + torch.tensor([noise, 1e-3, -1e-3]).double()).requires_grad_()
        utility, _, _ = problem.realise(w, previous, torch.ones(3).double())
        (gradient,) = torch.autograd.grad(utility, w)
        torch.testing.assert_close(gradient, torch.tensor([1.0, 0.9, 1.1]).double())


def test_drift_by_hand():
    w = portfolio.drift(torch.tensor([0.5, 0.5]), torch.tensor([10.0, -10.0]))
    torch.testing.assert_close(w, torch.tensor([0.55, 0.45]))


def test_roll_pays_for_every_trade(splits):
    part = splits.validation[:30]
    torch.manual_seed(0)
    mu = 0.5 * torch.randn(3, 30, 4, dtype=torch.float64)
    rolled = portfolio.roll(mu, torch.full((3, 30), 5.0).double(), part, TINY)
    assert rolled.failed == 0
    assert rolled.solved == 90
    wealth, previous = torch.ones(3).double(), torch.full((3, 4), 0.25).double()
    for t in range(30):
        w = rolled.weights[:, t]
        traded = (w - previous).abs().sum(-1)
        torch.testing.assert_close(rolled.turnover[:, t], traded)
        money = w * (1 + part.returns[t] / 100)
        wealth = wealth * (money.sum(-1) - TINY.cost / 100 * traded)
        previous = money / money.sum(-1, keepdim=True)
    torch.testing.assert_close((1 + rolled.net / 100).prod(-1), wealth)


def test_equal_weight_pays_for_rebalancing(splits):
    part = splits.test[:20]
    rolled = portfolio_study.roll_equal_weight(part, TINY)
    gross = part.returns.mean(-1)
    torch.testing.assert_close(rolled.net[0], gross - TINY.cost * rolled.turnover[0])
    assert rolled.turnover[0, 0] == 0
    assert (rolled.turnover[0, 1:] > 0).all()


# the QP


def test_decisions_are_feasible_and_optimal(weeks):
    settings = replace(TINY, cap=0.4)
    problem, part = MeanVariance(4, settings), weeks[:50]
    generator = torch.Generator().manual_seed(0)

    def simplex(*shape):
        e = torch.rand(*shape, generator=generator, dtype=torch.float64).log()
        return e / e.sum(-1, keepdim=True)

    mu = 0.3 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    gamma = torch.full((50,), 5.0, dtype=torch.float64)
    previous = simplex(50, 4)
    w, status = problem(mu, gamma, part.covariance, previous)
    assert (status == 0).all()
    assert w.min() > -1e-9
    assert w.max() < 0.4 + 1e-9
    torch.testing.assert_close(w.sum(-1), torch.ones(50).double(), rtol=0, atol=1e-9)

    def objective(v):
        risk = torch.einsum("...i,...ij,...j->...", v, part.covariance, v)
        cost = settings.cost * (v - previous).abs().sum(-1)
        return gamma / 200 * risk - (mu * v).sum(-1) + cost

    others = simplex(5000, 50, 4)
    values = torch.where(others.amax(-1) <= 0.4, objective(others), torch.inf)
    assert torch.isfinite(values.amin(0)).all()
    assert (values >= objective(w) - 1e-9).all()


# training


@pytest.mark.parametrize("method", METHODS[1:])
def test_training_improves_training_utility(splits, method):
    settings = replace(TINY, seeds=3, epochs=10, candidates=(Candidate(1e-2, 0.0),), tau=0.1)
    training = portfolio.train(method, splits.train, settings)
    assert training.failed == 0
    states = [training.snapshots[0][0], training.snapshots[-1][0]]
    rolled = portfolio.roll(
        *portfolio_study.forecast(states, splits.train, settings), splits.train, settings
    )
    before, after = portfolio_study.yearly(rolled.utility).reshape(2, 3).mean(-1).tolist()
    assert after > before + 5  # percent a year


def test_two_stage_training_improves_the_forecast(splits):
    settings = replace(TINY, epochs=10)
    training = portfolio.train(TWO_STAGE, splits.train, settings)
    assert training.solved == 0
    states = [training.snapshots[0][0], training.snapshots[-1][0]]
    mu, gamma = portfolio_study.forecast(states, splits.train, settings)
    before, after = (mu - splits.train.returns).square().mean((-2, -1)).reshape(2, -1).unbind()
    assert (after < 0.98 * before).all()
    assert (gamma == settings.risk_aversion).all()


def test_seeds_are_reproducible_and_independent(splits):
    first, second = (portfolio.train(METHODS[-1], splits.train, TINY) for _ in range(2))
    alone = portfolio.train(METHODS[-1], splits.train, replace(TINY, seeds=1))
    for name, value in first.snapshots[-1][0].items():
        assert torch.equal(value, second.snapshots[-1][0][name])
        torch.testing.assert_close(value[:1], alone.snapshots[-1][0][name], rtol=1e-6, atol=1e-9)
    assert not torch.equal(*first.snapshots[-1][0]["w1"])


def test_methods_start_from_the_same_policy(tiny_study):
    starts = [o.training.snapshots[0][0] for o in tiny_study.outcomes if o.training]
    for start in starts[1:]:
        for name, value in starts[0].items():
            assert torch.equal(value, start[name])


def test_choice_does_not_see_the_test_years(splits, tiny_study):
    short = shorten(splits)
    scrambled = replace(short.test, returns=-3 * short.test.returns.flip(0))
    other = portfolio_study.study(replace(short, test=scrambled), TINY)
    for mine, its in zip(tiny_study.outcomes, other.outcomes, strict=True):
        assert (mine.candidate, mine.epoch) == (its.candidate, its.epoch)
        assert mine.validation_utility == its.validation_utility
        assert not torch.equal(mine.test.utility, its.test.utility)


# report


def test_block_bootstrap_keeps_neighbours():
    index = portfolio_report.block_bootstrap(100, resamples=50, block=10)
    assert index.shape == (50, 100)
    steps = np.diff(index.reshape(50, 10, 10), axis=-1) % 100
    assert (steps == 1).all()


def test_interval_of_known_series():
    index = portfolio_report.block_bootstrap(400)
    low, high = portfolio_report.interval(np.full(400, 0.5), index)
    assert low == pytest.approx(26)
    assert high == pytest.approx(26)
    noise = np.random.default_rng(0).standard_normal(400)
    low, high = portfolio_report.interval(noise, index)
    assert low < 52 * noise.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 52 / 20, rel=0.3)


def test_rows_agree_with_the_outcomes(tiny_study):
    rows = portfolio_report.summarise(tiny_study)
    by_name = {row.name: row for row in rows}
    assert [row.name for row in rows[2:]] == list(METHODS)
    assert by_name[TWO_STAGE].difference is None
    for row, outcome in zip(rows, tiny_study.outcomes, strict=True):
        assert row.utility == pytest.approx(52 * outcome.test.utility.mean().item())
        assert row.utility_interval[0] <= row.utility <= row.utility_interval[1]
        if row.difference is not None:
            assert row.difference == pytest.approx(row.utility - by_name[TWO_STAGE].utility)


def test_report_files(tiny_study, tmp_path):
    pytest.importorskip("matplotlib")
    rows = portfolio_report.summarise(tiny_study)
    portfolio_report.plot(tiny_study, tmp_path / "portfolio.png")
    portfolio_report.write_json(tiny_study, rows, tmp_path / "portfolio.json")
    assert (tmp_path / "portfolio.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads((tmp_path / "portfolio.json").read_text())
    assert document["settings"]["epochs"] == TINY.epochs
    assert [row["name"] for row in document["policies"]] == [row.name for row in rows]
    assert document["splits"]["test"]["weeks"] == len(tiny_study.splits.test)
    assert document["qps"]["status_not_ok"] == 0
    table = portfolio_report.markdown_table(rows).splitlines()
    assert len(table) == 2 + len(rows)
    assert len({line.count("|") for line in table}) == 1


# command line


def test_demo_command(monkeypatch, prices, tmp_path, capsys):
    for module in ("rich", "matplotlib", "skfolio"):
        pytest.importorskip(module)
    monkeypatch.setattr(portfolio_data, "load_prices", lambda: prices)
    monkeypatch.setattr(portfolio, "QUICK", TINY)
    assert cli.main(["demo", "--quick", "--seeds", "1", "--out", str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "eit.png",
        "portfolio.json",
        "portfolio.md",
        "portfolio.png",
    ]
    assert "a status other than ok" in capsys.readouterr().out


def test_bundled_prices_load_offline():
    pytest.importorskip("skfolio")
    days, assets, values = portfolio_data.load_prices()
    assert values.shape == (len(days), len(assets)) == (8313, 20)
    assert (values > 0).all()
    assert (np.diff(days) > np.timedelta64(0)).all()


def test_info_command(capsys):
    assert cli.main(["info"]) == 0
    assert "torch_running" in capsys.readouterr().out
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["torch_running"] == torch.__version__


def test_missing_extra_says_what_to_install(monkeypatch, capsys):
    found = experiments.importlib.import_module

    def missing(name):
        if name.startswith("lpgd_native"):
            return found(name)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(experiments.importlib, "import_module", missing)
    assert cli.main(["demo"]) == 1
    assert "pip install 'lpgd-native[experiments]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["demo", "--seeds", "0"], ["fly"]])
def test_bad_arguments_exit_with_usage(arguments, capsys):
    assert cli.main(arguments) == 2
    assert "Usage: lpgd-native" in capsys.readouterr().err
