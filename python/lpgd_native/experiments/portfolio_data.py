"""Weekly portfolio decisions from daily prices: what is known at each, and what came of it.

A week's trade happens at the close of its last trading day. Everything a decision may look at
ends one trading day earlier, so no price is both an input and an execution price. Rounded or
bouncing closes would otherwise turn into "forecasts" of the very next return.

Returns are simple returns in percent. No statistic is fitted over the sample: every feature is
scaled by the asset's own past volatility, so there is nothing that could leak between the splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpgd_native.experiments import require

Array = np.ndarray[Any, np.dtype[Any]]

LOOKBACK = 252  # trading days of history behind every decision
WEEK = 5
HORIZONS = (5, 21, 63, 126, 252)
ASSET_FEATURES = (
    *(f"return over {days} days / volatility" for days in HORIZONS),
    "log volatility, 63 against 252 days",
    "distance from the 252-day high / volatility",
    "log volatility against the other assets",
)
CONTEXT_FEATURES = (
    *(f"mean of: {name}" for name in ASSET_FEATURES[:-1]),
    "log volatility of the equal-weight portfolio, 21 days",
    "log volatility of the equal-weight portfolio, 252 days",
)


@dataclass(frozen=True)
class Weeks:
    """T consecutive weekly decisions over n assets.

    ``returns[t]`` and ``dates[t]`` lie in the future of decision t: the return from its trade to
    the next one, and the day of that next trade.
    """

    traded: Array  # [T] day of the trade
    dates: Array  # [T] day on which the week's return is complete
    assets: tuple[str, ...]
    features: Tensor  # [T, n, len(ASSET_FEATURES)]
    context: Tensor  # [T, len(CONTEXT_FEATURES)]
    covariance: Tensor  # [T, n, n] of weekly returns, percent squared
    returns: Tensor  # [T, n] next week's returns, percent

    def __len__(self) -> int:
        return len(self.dates)

    def __getitem__(self, part: slice) -> Weeks:
        return Weeks(
            self.traded[part],
            self.dates[part],
            self.assets,
            self.features[part],
            self.context[part],
            self.covariance[part],
            self.returns[part],
        )

    def between(self, first: str, last: str) -> Weeks:
        """The weeks whose trade and outcome both fall into [first, last]."""
        begin = int(np.searchsorted(self.traded, np.datetime64(first)))
        end = int(np.searchsorted(self.dates, np.datetime64(last), side="right"))
        return self[begin:end]


@dataclass(frozen=True)
class Splits:
    """Three runs of weeks that follow each other without overlap."""

    train: Weeks
    validation: Weeks
    test: Weeks


def load_prices() -> tuple[Array, tuple[str, ...], Array]:
    """Dates [D], tickers [n] and adjusted closes [D, n] of skfolio's bundled S&P 500 sample."""
    frame = require("skfolio.datasets").load_sp500_dataset()
    dates = frame.index.to_numpy().astype("datetime64[D]")
    return dates, tuple(map(str, frame.columns)), frame.to_numpy(dtype=np.float64)


def trading_weeks(dates: Array) -> Array:
    """Index of the last trading day of every complete calendar week."""
    week = (dates.astype("datetime64[D]").astype(np.int64) + 3) // 7  # weeks begin on Monday
    return np.flatnonzero(week[:-1] != week[1:])


def shrunk_covariance(daily: Array, shrinkage: float = 0.3) -> Array:
    """Sample covariance of daily returns [D, n], shrunk to constant correlation, a week's worth."""
    sample = np.cov(daily, rowvar=False)
    deviation = np.sqrt(np.maximum(np.diag(sample), 1e-8))
    correlation = sample / np.outer(deviation, deviation)
    n = len(deviation)
    target = np.full((n, n), (correlation.sum() - np.trace(correlation)) / (n * (n - 1)))
    mixed = (1 - shrinkage) * correlation + shrinkage * target
    np.fill_diagonal(mixed, 1.0)
    return np.asarray(WEEK * mixed * np.outer(deviation, deviation))


def describe(prices: Array) -> tuple[Array, Array, Array]:
    """Features [n, F], context [C] and covariance [n, n] from the last ``LOOKBACK + 1`` closes."""
    window = prices[-(LOOKBACK + 1) :]
    log = np.log(window)
    daily = 100 * (window[1:] / window[:-1] - 1)
    long = np.maximum(daily.std(axis=0), 1e-2)
    short = np.maximum(daily[-63:].std(axis=0), 1e-2)
    columns = [100 * (log[-1] - log[-1 - k]) / (long * np.sqrt(k)) for k in HORIZONS]
    columns.append(np.log(short / long))
    columns.append(100 * (log[-1] - log.max(axis=0)) / (long * np.sqrt(LOOKBACK)))
    columns.append(np.log(long) - np.log(long).mean())
    features = np.clip(np.stack(columns, axis=-1), -4.0, 4.0)
    market = daily.mean(axis=1)
    volatility = np.log(np.maximum([market[-21:].std(), market.std()], 1e-2))
    context = np.concatenate([features[:, :-1].mean(axis=0), volatility])
    return features, context, shrunk_covariance(daily)


def make_weeks(
    dates: Array, assets: tuple[str, ...], prices: Array, dtype: torch.dtype = torch.float64
) -> Weeks:
    """All weekly decisions that have ``LOOKBACK`` days before them and a full week after them."""
    trades = trading_weeks(dates)
    trades = trades[trades > LOOKBACK]
    known = [describe(prices[:trade]) for trade in trades[:-1]]  # ends the day before the trade
    features, context, covariance = (np.stack(part) for part in zip(*known, strict=True))
    outcome = 100 * (prices[trades[1:]] / prices[trades[:-1]] - 1)
    tensors = (torch.as_tensor(x, dtype=dtype) for x in (features, context, covariance, outcome))
    return Weeks(dates[trades[:-1]], dates[trades[1:]], assets, *tensors)


def split(weeks: Weeks) -> Splits:
    """Train to 2005, validate on 2006-2012, test on 2013-2022."""
    return Splits(
        weeks.between("1990-01-01", "2005-12-31"),
        weeks.between("2006-01-01", "2012-12-31"),
        weeks.between("2013-01-01", "2022-12-31"),
    )
