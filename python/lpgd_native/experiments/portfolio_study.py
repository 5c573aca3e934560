"""The portfolio study: train on the early years, choose on the middle, report on the last.

The test years are touched once, by `study`'s last step, with one candidate and one epoch for each
method, chosen by the mean validation utility of its seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpgd_native.experiments.portfolio import (
    METHODS,
    Candidate,
    MeanVariance,
    Policy,
    Rolled,
    Settings,
    Training,
    drift,
    roll,
    train,
)
from lpgd_native.experiments.portfolio_data import Splits, Weeks

EQUAL_WEIGHT = "equal weight"
NO_FORECAST = "QP with mu = 0"
WEEKS_PER_YEAR = 52

Track = Callable[[str, int], Callable[[], None]]  # (what, steps) -> advance by one step


def silent(what: str, steps: int) -> Callable[[], None]:
    """Track nothing."""
    return lambda: None


@dataclass
class Outcome:
    """What became of one method or yardstick; tensors over S seeds (one for a yardstick)."""

    name: str
    test: Rolled  # [S, T_test]
    validation_utility: float  # percent a year, mean over seeds, at the choice
    training: Training | None = None
    candidate: Candidate | None = None
    epoch: int | None = None
    training_utility: Tensor | None = None  # [epochs + 1, S], percent a year, first candidate


@dataclass
class Study:
    """What was run, on what, and what came out."""

    settings: Settings
    splits: Splits
    outcomes: list[Outcome]  # the yardsticks first, then the methods
    failed: int
    solved: int


def forecast(
    states: list[dict[str, Tensor]], weeks: Weeks, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Forecasts of stored policies: mu [len(states) * S, T, n] and gamma [len(states) * S, T]."""
    policy = Policy(range(settings.seeds), settings, weeks.returns.dtype)
    parts = []
    with torch.no_grad():
        for state in states:
            policy.load_state_dict(state)
            parts.append(policy(weeks.features.unsqueeze(0), weeks.context.unsqueeze(0)))
    mu, gamma = zip(*parts, strict=True)
    return torch.cat(mu), torch.cat(gamma)


def roll_equal_weight(weeks: Weeks, settings: Settings) -> Rolled:
    """Back to equal weights every week, paying the same cost."""
    n, dtype = weeks.returns.shape[1], weeks.returns.dtype
    equal = torch.full((n,), 1 / n, dtype=dtype)
    previous = torch.cat([equal.unsqueeze(0), drift(equal, weeks.returns[:-1])])
    problem = MeanVariance(n, settings, dtype)
    utility, net, turnover = problem.realise(equal, previous, weeks.returns)
    weights = equal.expand_as(weeks.returns)
    return Rolled(weights[None], utility[None], net[None], turnover[None])


def roll_no_forecast(weeks: Weeks, settings: Settings, advance: Callable[[], None]) -> Rolled:
    """The same QP with mu = 0: what the covariance and the cost do by themselves."""
    length, n = weeks.returns.shape
    mu = weeks.returns.new_zeros(1, length, n)
    gamma = weeks.returns.new_full((1, length), settings.risk_aversion)
    return roll(mu, gamma, weeks, settings, advance)


def yearly(weekly: Tensor) -> Tensor:
    """Mean over the weeks (last dimension), times 52."""
    return WEEKS_PER_YEAR * weekly.mean(-1)


def study(
    splits: Splits,
    settings: Settings,
    methods: tuple[str, ...] = METHODS,
    track: Track = silent,
) -> Study:
    """Train all methods, choose on ``splits.validation``, report on ``splits.test``."""
    first = splits.train[: settings.batch]
    for method in methods:  # lazy imports and thread pools are nobody's training time
        train(method, first, replace(settings, epochs=1))
    trainings = [
        train(method, splits.train, settings, track(f"train: {method}", settings.epochs))
        for method in methods
    ]
    epochs, seeds, offered = settings.epochs + 1, settings.seeds, settings.candidates

    # choose: every epoch, candidate, seed and method in one batch, week after week
    states = [state for t in trainings for snapshot in t.snapshots for state in snapshot]
    advance = track("choose on the validation years", len(splits.validation))
    mu, gamma = forecast(states, splits.validation, settings)
    validation = roll(mu, gamma, splits.validation, settings, advance)
    scores = yearly(validation.utility).reshape(len(methods), epochs, len(offered), seeds).mean(-1)
    best = [divmod(int(score.argmax()), len(offered)) for score in scores]

    # training curves: every epoch and seed of the first candidate, so that methods compare
    advance = track("utility on the training years", len(splits.train))
    states = [snapshot[0] for training in trainings for snapshot in training.snapshots]
    curves = roll(*forecast(states, splits.train, settings), splits.train, settings, advance)
    curve = yearly(curves.utility).reshape(len(methods), epochs, seeds)

    # test: the chosen ones only
    advance = track("test years", 2 * len(splits.test))
    states = [
        training.snapshots[epoch][which]
        for training, (epoch, which) in zip(trainings, best, strict=True)
    ]
    test = roll(*forecast(states, splits.test, settings), splits.test, settings, advance)
    baseline = roll_no_forecast(splits.test, settings, advance)
    equal = roll_equal_weight(splits.validation, settings)
    quiet = roll_no_forecast(splits.validation, settings, lambda: None)
    outcomes = [
        Outcome(
            EQUAL_WEIGHT,
            roll_equal_weight(splits.test, settings),
            float(yearly(equal.utility)),
        ),
        Outcome(NO_FORECAST, baseline, float(yearly(quiet.utility))),
    ]
    for m, (training, (epoch, which)) in enumerate(zip(trainings, best, strict=True)):
        outcomes.append(
            Outcome(
                training.method,
                test[m * seeds : (m + 1) * seeds],
                float(scores[m, epoch, which]),
                training,
                offered[which],
                epoch,
                curve[m],
            )
        )
    counted: tuple[Training | Rolled, ...] = (*trainings, validation, curves, test, baseline, quiet)
    return Study(
        settings,
        splits,
        outcomes,
        sum(part.failed for part in counted),
        sum(part.solved for part in counted),
    )
