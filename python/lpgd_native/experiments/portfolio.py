"""Learning a portfolio policy through a QP layer, on real weekly data.

Policy: features of past returns -> a small network, shared by the assets -> expected returns mu
and a risk aversion gamma -> the weights w of

    min_{w, b}  gamma/2 w'Sw - mu'w + 2c 1'b
    s.t.        1'w = 1,   0 <= w <= cap,   b >= 0,   w - b <= w_previous

with S the covariance of past returns and c the cost of one unit traded. Both w and w_previous sum
to one, so buys equal sells and ``c ||w - w_previous||_1 = 2c 1'b``: one split variable an asset.
The realised utility of a week with returns r is

    u = r'w - c ||w - w_previous||_1 - gamma_0/2 (r'w)^2

Four ways to train the same network from the same start on the same batches: on the squared error
of mu ("two-stage"), or on -u through the QP with implicit gradients, LPGD lower or LPGD average.

Previous weights. A batch holds many weeks and is solved in one call, so the weights before week t
are not computed in sequence: they are the policy's own decision for week t - 1 from the last time
that week was in a batch (at first: equal weights), drifted by that week's returns, as data without
a gradient. Evaluation is sequential, with the true drifted weights, all candidates in one batch.

Returns are in percent; gamma is for returns as fractions, hence the factor 1/100 in percent units.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lpgd_native.experiments.portfolio_data import ASSET_FEATURES, CONTEXT_FEATURES, Weeks
from lpgd_native.gradients import LPGD, GradientStrategy, Implicit
from lpgd_native.nn import QPLayer

TWO_STAGE = "two-stage (MSE)"
IMPLICIT = "implicit"
LPGD_LOWER = "LPGD lower"
LPGD_AVERAGE = "LPGD average"
NO_TRADE = 1e-7  # of the portfolio
METHODS = (TWO_STAGE, IMPLICIT, LPGD_LOWER, LPGD_AVERAGE)


class Candidate(NamedTuple):
    """AdamW settings, the same ones on offer to every method."""

    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Settings:
    """Everything that defines a run; written to portfolio.json."""

    seeds: int = 3
    first_seed: int = 0
    epochs: int = 12
    batch: int = 64  # weeks in a step, for each seed and candidate
    candidates: tuple[Candidate, ...] = (
        Candidate(3e-3, 0.0),
        Candidate(1e-3, 1.0),
        Candidate(3e-3, 1.0),
        Candidate(3e-3, 3.0),
    )
    hidden: int = 16
    risk_aversion: float = 5.0
    cost: float = 0.1  # percent of the amount traded
    cap: float = 0.2
    tau: float = 1.0  # LPGD, relative: the norm of the shift of mu, in percent


QUICK = Settings(seeds=1, epochs=2, candidates=Settings.candidates[:1])


class Policy(nn.Module):
    """R independent small networks with one set of stacked weights, one for each seed.

    ``forward(features [R or 1, T, n, F], context [R or 1, T, C])`` gives the expected returns
    [R, T, n] in percent and the risk aversion [R, T].
    """

    def __init__(self, seeds: Sequence[int], settings: Settings, dtype: torch.dtype) -> None:
        super().__init__()
        inputs, hidden = len(ASSET_FEATURES) + len(CONTEXT_FEATURES), settings.hidden
        shapes = {
            "w1": (inputs, hidden),
            "b1": (1, hidden),
            "w2": (hidden, 1),
            "b2": (1, 1),
            "v": (len(CONTEXT_FEATURES), 1),
            "v0": (1, 1),
        }
        zero = {"b1", "b2", "v", "v0"}  # the risk aversion starts at the investor's own
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for name, shape in shapes.items():
            draws = [torch.randn(shape, generator=g, dtype=torch.float64) for g in generators]
            scale = 0.0 if name in zero else shape[0] ** -0.5
            self.register_parameter(name, nn.Parameter((scale * torch.stack(draws)).to(dtype)))
        self.risk_aversion = settings.risk_aversion

    def forward(self, features: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Expected returns and risk aversion, as the class says."""
        p = dict(self.named_parameters())
        split = features.shape[-1]
        hidden = torch.einsum("rtaf,rfh->rtah", features, p["w1"][:, :split])
        hidden = hidden + torch.einsum("rtc,rch->rth", context, p["w1"][:, split:]).unsqueeze(2)
        hidden = torch.tanh(hidden + p["b1"].unsqueeze(1))
        mu = torch.einsum("rtah,rhi->rtai", hidden, p["w2"]) + p["b2"].unsqueeze(1)
        tilt = torch.einsum("rtc,rci->rti", context, p["v"]) + p["v0"]
        return 0.3 * mu.squeeze(-1), self.risk_aversion * tilt.squeeze(-1).clamp(-2.0, 2.0).exp()


class MeanVariance(nn.Module):
    """The QP of the module's docstring, for any leading batch dimensions."""

    def __init__(
        self,
        n: int,
        settings: Settings,
        dtype: torch.dtype = torch.float64,
        gradient: GradientStrategy | None = None,
    ) -> None:
        super().__init__()
        self.cost, self.risk_aversion = settings.cost, settings.risk_aversion
        eye, ones = torch.eye(n, dtype=dtype), torch.ones(n, dtype=dtype)
        self.layer = QPLayer(
            G=torch.cat([eye, -eye], dim=-1),
            A=torch.cat([ones, 0 * ones]).unsqueeze(0),
            b=torch.ones(1, dtype=dtype),
            lb=torch.zeros(2 * n, dtype=dtype),
            ub=torch.cat([settings.cap * ones, torch.inf * ones]),
            gradient=gradient,
        )

    def forward(
        self, mu: Tensor, gamma: Tensor, covariance: Tensor, previous: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weights [..., n] and the solver's status [...]."""
        n = mu.shape[-1]
        P = nn.functional.pad(gamma[..., None, None] / 100 * covariance, (0, n, 0, n))
        q = torch.cat([-mu, torch.full_like(mu, 2 * self.cost)], dim=-1)
        solution = self.layer(P=P, q=q, h=previous)
        return solution.x[..., :n], solution.status

    def realise(self, w: Tensor, previous: Tensor, returns: Tensor) -> tuple[Tensor, ...]:
        """Utility, net return (percent) and turnover, each [...], of holding w for one week."""
        traded = w - previous
        # most weights don't move at all; the cost's derivative there is 0 and not the sign of a
        # rounding error, on which whole trainings would come to depend
        turnover = traded.abs().where(traded.abs() > NO_TRADE, 0.0).sum(-1)
        gross = (w * returns).sum(-1)
        net = gross - self.cost * turnover
        return net - self.risk_aversion / 200 * gross.square(), net, turnover


def drift(w: Tensor, returns: Tensor) -> Tensor:
    """Weights after a week in which nothing was traded."""
    grown = w * (1 + returns / 100)
    return grown / grown.sum(-1, keepdim=True)


@dataclass
class Training:
    """Snapshots after 0, 1, ... epochs; ``snapshots[e][c]`` is the state of candidate c."""

    method: str
    snapshots: list[list[dict[str, Tensor]]]
    seconds: list[float]  # training time up to each snapshot, evaluation not included
    failed: int  # QPs with a status other than ok
    solved: int


def gradient_of(method: str, settings: Settings) -> GradientStrategy | None:
    """How a method differentiates through the QP; the two-stage one does not."""
    strategies: dict[str, GradientStrategy] = {
        IMPLICIT: Implicit(),
        LPGD_LOWER: LPGD(settings.tau, envelope="lower", relative=True),
        LPGD_AVERAGE: LPGD(settings.tau, envelope="average", relative=True),
    }
    return strategies.get(method)


def train(
    method: str, weeks: Weeks, settings: Settings, advance: Callable[[], None] = lambda: None
) -> Training:
    """Train every seed and candidate of one method side by side, one QP call a step."""
    dtype, (length, n) = weeks.returns.dtype, weeks.returns.shape
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    candidates = settings.candidates
    policies = [Policy(seeds, settings, dtype) for _ in candidates]
    optimizers = [
        torch.optim.AdamW(policy.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay)
        for policy, c in zip(policies, candidates, strict=True)
    ]
    problem = MeanVariance(n, settings, dtype, gradient_of(method, settings))
    orders = [torch.Generator().manual_seed(10_000 + seed) for seed in seeds]
    batch = min(settings.batch, length)
    steps = length // batch  # the few weeks left over are others in the next epoch
    rows = torch.arange(len(seeds)).unsqueeze(1)
    before = torch.full((len(candidates), len(seeds), length, n), 1 / n, dtype=dtype)

    def snapshot() -> list[dict[str, Tensor]]:
        return [
            {k: v.detach().clone() for k, v in policy.state_dict().items()} for policy in policies
        ]

    result = Training(method, [snapshot()], [0.0], 0, 0)
    for _ in range(settings.epochs):
        start = time.perf_counter()
        order = torch.stack([torch.randperm(length, generator=g) for g in orders])
        for index in order[:, : steps * batch].reshape(-1, steps, batch).unbind(1):
            features, context = weeks.features[index], weeks.context[index]
            outputs = [policy(features, context) for policy in policies]
            mu, gamma = (torch.stack(part) for part in zip(*outputs, strict=True))
            returns = weeks.returns[index]
            if method == TWO_STAGE:
                loss = (mu - returns).square().mean((-2, -1)).sum()
            else:
                previous = before[:, rows, index]
                w, status = problem(mu, gamma, weeks.covariance[index], previous)
                result.failed += int((status != 0).sum())
                result.solved += status.numel()
                loss = -problem.realise(w, previous, returns)[0].mean(-1).sum()
                after = index + 1  # the next week starts from this decision
                inside = after < length
                kept = drift(w.detach(), returns)
                for row in range(len(seeds)):
                    before[:, row, after[row][inside[row]]] = kept[:, row, inside[row]]
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            for optimizer in optimizers:
                optimizer.step()
        result.seconds.append(result.seconds[-1] + time.perf_counter() - start)
        result.snapshots.append(snapshot())
        advance()
    return result


@dataclass
class Rolled:
    """Sequential evaluation of R candidates over T weeks; tensors are [R, T, ...]."""

    weights: Tensor  # [R, T, n] after each trade
    utility: Tensor
    net: Tensor
    turnover: Tensor
    failed: int = 0
    solved: int = 0

    def __getitem__(self, runs: slice) -> Rolled:
        return Rolled(self.weights[runs], self.utility[runs], self.net[runs], self.turnover[runs])


@torch.no_grad()
def roll(
    mu: Tensor,
    gamma: Tensor,
    weeks: Weeks,
    settings: Settings,
    advance: Callable[[], None] = lambda: None,
) -> Rolled:
    """Walk through the weeks once, from equal weights, with true drifted previous weights.

    ``mu [R, T, n]`` and ``gamma [R, T]`` are known beforehand, since no feature depends on the
    weights held: so all candidates share one QP call a week.
    """
    runs, length, n = mu.shape
    problem = MeanVariance(n, settings, mu.dtype)
    previous = torch.full((runs, n), 1 / n, dtype=mu.dtype)
    held, realised, failed = [], [], 0
    for t in range(length):
        w, status = problem(mu[:, t], gamma[:, t], weeks.covariance[t], previous)
        failed += int((status != 0).sum())
        realised.append(problem.realise(w, previous, weeks.returns[t]))
        held.append(w)
        previous = drift(w, weeks.returns[t])
        advance()
    utility, net, turnover = (torch.stack(part, dim=-1) for part in zip(*realised, strict=True))
    return Rolled(torch.stack(held, dim=1), utility, net, turnover, failed, runs * length)
