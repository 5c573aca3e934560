"""Random costs: perturbed optimisers and I-MLE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lpgd_native._strategies.base import Envelope, OracleStrategy, choice, count, number
from lpgd_native._strategies.lpgd import AutoTau, _check_tau, item_tau
from lpgd_native._strategies.problem import Problem, quotient
from lpgd_native.status import Status

__all__ = ["IMLE", "Noise", "Perturbed"]

_EULER = 0.5772156649015329


@dataclass
class Noise:
    """A stream of noise: draw number `calls` depends on the seed and that number alone."""

    seed: int
    calls: int = 0

    def next(self, generator: torch.Generator | None) -> torch.Generator:
        """A generator for one draw; the caller's own, if there is one."""
        if generator is not None:
            return generator
        state = np.random.SeedSequence([self.seed, self.calls]).generate_state(1, np.uint64)
        self.calls += 1
        return torch.Generator().manual_seed(int(state[0]) >> 1)


def _check_noise(name: str, strategy: Any) -> None:
    number(name, "sigma", strategy.sigma, positive=True)
    count(name, "samples", strategy.samples)
    if isinstance(strategy.seed, bool) or not isinstance(strategy.seed, int):
        raise TypeError(f"{name}: seed must be a whole number, got {type(strategy.seed).__name__}")
    if strategy.seed < 0:
        raise ValueError(f"{name}: seed must be at least 0, got {strategy.seed}")
    if strategy.generator is not None and not isinstance(strategy.generator, torch.Generator):
        raise TypeError(
            f"{name}: generator must be a torch.Generator, got {type(strategy.generator).__name__}"
        )
    if strategy.antithetic and strategy.samples % 2:
        raise ValueError(
            f"{name}: antithetic noise comes in pairs; samples must be even, got {strategy.samples}"
        )


def _uniform(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """In the open interval, float64 for the tails."""
    u = torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device)
    return u.clamp(2.0**-53, 1 - 2.0**-53)


def _draw(
    kind: str,
    samples: int,
    antithetic: bool,
    like: Tensor,
    generator: torch.Generator,
    k: int = 1,
    terms: int = 10,
) -> tuple[Tensor, Tensor]:
    """Noise [samples, *like] of mean zero, and its score: -d log p / dz (gamma: none, zeros)."""
    half = samples // 2 if antithetic else samples
    shape = torch.Size((half, *like.shape))
    if kind == "gaussian":
        z = torch.randn(shape, dtype=like.dtype, generator=generator, device=generator.device)
        z = torch.cat([z, -z]) if antithetic else z
        score = z
    elif kind == "gumbel":
        u = _uniform(shape, like, generator)
        u = torch.cat([u, 1 - u]) if antithetic else u
        exponential = -u.log()
        # minus a Gumbel variable: minimisers of c + sigma z are then distributed as softmax(-c)
        z, score = exponential.log() + _EULER, exponential - 1
    else:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        scale = k / np.arange(1, terms + 1)
        drawn = np.random.default_rng(seed).gamma(1 / k, scale, (*shape, terms)).sum(-1)
        z = torch.from_numpy(((1 / np.arange(1, terms + 1)).sum() - drawn) / k)
        score = torch.zeros_like(z)
    return z.to(like), score.to(like)


def _solve_samples(
    problem: Problem, c: Tensor, z: Tensor, sigma: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean solution, its status, all solutions [samples, *batch, *shape], and which there are."""
    points, status = problem.solve(c + sigma * z)
    ok = status == Status.OK
    number_ok = ok.sum(0)
    points = problem.only(ok, points)
    mean = points.sum(0) / problem.over(number_ok.clamp(min=1))
    # an item counts as solved if any of its samples is
    return mean, torch.where(number_ok > 0, 0, status[0]).to(torch.int32), points, ok


def _item_first(samples: Tensor, problem: Problem, lead: int) -> Tensor:
    """[samples, *batch, ...] -> [*batch, samples, ...]: tensors kept for backward start so."""
    return samples.movedim(0, lead)


@dataclass(frozen=True)
class Perturbed(OracleStrategy):
    """E[x*(c + sigma Z)], the mean over random costs, with its own derivative.

    Smoothing by noise: the layer returns the mean of `samples` solutions, a point inside the convex
    hull of the feasible set. Its derivative comes from the same samples, without a further solve::

        J = 1/sigma E[ x*(c + sigma Z) s(Z)' ],    s = -d log p / dz  (Gaussian: s(Z) = Z)

    unbiased for the smoothed solution. What the other samples give on average is subtracted
    first (a baseline from outside the pair or sample itself, so it adds no bias).

    Args:
        sigma: size of the noise, > 0, in units of the costs.
        samples: n, the solves of a forward pass. Default 10. The variance of the gradient falls as
            1/n and grows with the dimension.
        noise: ``"gaussian"``, or ``"gumbel"`` (minus a centred Gumbel variable: over the
            simplex the mean is softmax(-c / sigma)).
        antithetic: draw in pairs (Z, -Z; Gumbel: quantiles u, 1 - u), which takes out what is even
            in Z. Default True; samples must be even then.
        seed: of the noise, which changes with every call in a fixed order; how many calls there
            were is kept with the object, in pickles and in the ``state_dict`` of an `OracleLayer`.
        generator: draw from this one instead; its state is the caller's affair.

    Samples without a solution are left out of the mean; the item's status is OK if one has one.

    Raises:
        TypeError, ValueError: settings out of range, an odd number of antithetic samples.

    Source: Berthet, Blondel, Teboul, Cuturi, Vert & Bach, Learning with Differentiable Perturbed
    Optimizers, NeurIPS 2020, Proposition 3.1.
    """

    sigma: float = 1.0
    samples: int = 10
    noise: Literal["gaussian", "gumbel"] = "gaussian"
    antithetic: bool = True
    seed: int = 0
    generator: torch.Generator | None = field(default=None, compare=False)
    stream: Noise = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_noise("Perturbed", self)
        choice("Perturbed", "noise", self.noise, ("gaussian", "gumbel"))
        object.__setattr__(self, "stream", Noise(self.seed))

    def draw(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next noise [samples, *c] and its score."""
        generator = self.stream.next(self.generator)
        return _draw(self.noise, self.samples, self.antithetic, c, generator)

    def forward(self, problem: Problem, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The mean solution; kept: all solutions, scores, and which there are."""
        z, score = self.draw(c)
        mean, status, points, ok = _solve_samples(problem, c, z, self.sigma)
        lead = ok.dim() - 1
        kept = tuple(_item_first(t, problem, lead) for t in (points, score, ok))
        return mean, status, kept

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """1/sigma mean_k s_k (<x_k, g> - baseline_k)."""
        points, score, ok = kept
        lead = ok.dim() - 1
        value = problem.inner(points, g.unsqueeze(lead))  # [*batch, samples], 0 where not ok
        weight = ok.to(value.dtype)
        groups = (2, self.samples // 2) if self.antithetic else (1, self.samples)

        def of_group(t: Tensor) -> Tensor:
            total: Tensor = t.reshape(*t.shape[:-1], *groups).sum(-2)
            return total.repeat(*(1,) * lead, groups[0])

        others = weight.sum(-1, keepdim=True) - of_group(weight)
        rest = value.sum(-1, keepdim=True) - of_group(value)
        value = weight * (value - rest / others.clamp(min=1))
        total = (problem.over(value) * score).sum(lead)
        return total / problem.over(self.sigma * weight.sum(-1).clamp(min=1)), {}

    def state(self) -> dict[str, float]:
        """How many draws there were."""
        return {"calls": self.stream.calls}

    def load_state(self, state: dict[str, float]) -> None:
        """Go on after that many draws."""
        self.stream.calls = int(state.get("calls", self.stream.calls))


@dataclass(frozen=True)
class IMLE(OracleStrategy):
    """Implicit maximum likelihood: LPGD at costs with noise, averaged over the samples.

    The layer returns the mean of x*(c + sigma Z_k) (with one sample: a random solution, of {0, 1}
    where the oracle's are), and the gradient is the mean of LPGD's quotients there::

        1/n sum_k ( x*(c + sigma Z_k + tau g) - x*(c + sigma Z_k) ) / tau       (lower)

    Args:
        tau: step of the target distribution, the paper's lambda; a number, a tensor [...] per item,
            or ``"auto"`` as in `LPGD`: with ``envelope="average"`` that is AIMLE's symmetric,
            adaptive form. The share then counts samples.
        sigma: size of the noise, > 0 (the paper's temperature).
        samples: n. Default 1, as in the paper's experiments.
        noise: ``"gumbel"`` or ``"sum_of_gamma"``, which makes the total noise of a solution with
            `k` ones about Gumbel; or ``"gaussian"``. All are centred and enter with a minus sign
            (as the costs are minimised).
        k: of the sum of gammas: how many ones a solution has.
        terms: of its series. Default 10, as in the paper.
        envelope: ``"lower"`` (default, the paper's), ``"upper"`` or ``"average"``.
        relative: use ``tau / ||g||`` per item.
        share: with ``tau="auto"``, see `LPGD`.
        antithetic: noise in pairs (not for the sum of gammas). Default False.
        seed, generator: as in `Perturbed`.

    Raises:
        TypeError, ValueError: settings out of range.

    Source: Niepert, Minervini & Franceschi, Implicit MLE, NeurIPS 2021, Algorithm 1 and Lemma 1;
    Minervini, Franceschi & Niepert, AAAI 2023 (adaptive).
    """

    tau: float | Tensor | Literal["auto"] = 1.0
    sigma: float = 1.0
    samples: int = 1
    noise: Literal["gumbel", "sum_of_gamma", "gaussian"] = "gumbel"
    k: int = 1
    terms: int = 10
    envelope: Envelope = "lower"
    relative: bool = False
    share: float = 0.5
    antithetic: bool = False
    seed: int = 0
    generator: torch.Generator | None = field(default=None, compare=False)
    stream: Noise = field(init=False, compare=False, repr=False)
    auto_state: AutoTau | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_tau("IMLE", self.tau, self.relative, self.share)
        _check_noise("IMLE", self)
        choice("IMLE", "noise", self.noise, ("gumbel", "sum_of_gamma", "gaussian"))
        choice("IMLE", "envelope", self.envelope, ("average", "lower", "upper"))
        count("IMLE", "k", self.k)
        count("IMLE", "terms", self.terms)
        if self.antithetic and self.noise == "sum_of_gamma":
            raise ValueError('IMLE: antithetic=True needs noise="gumbel" or "gaussian"')
        object.__setattr__(self, "stream", Noise(self.seed))
        if isinstance(self.tau, str):
            object.__setattr__(self, "auto_state", AutoTau(self.share))

    def forward(self, problem: Problem, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The mean solution; kept: all solutions, their noise, and which there are."""
        generator = self.stream.next(self.generator)
        settings = (self.noise, self.samples, self.antithetic, c, generator, self.k, self.terms)
        z, _ = _draw(*settings)
        mean, status, points, ok = _solve_samples(problem, c, z, self.sigma)
        lead = ok.dim() - 1
        return mean, status, tuple(_item_first(t, problem, lead) for t in (points, z, ok))

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """All sides of all samples in one call."""
        points, z, ok = (t.movedim(live.dim(), 0) for t in kept)
        tau = item_tau(self.tau, self.relative, self.auto_state, c, g, problem.event_dim)
        used = live & ok
        out = quotient(
            problem,
            c + self.sigma * z,
            points,
            g,
            tau.expand(used.shape),
            self.envelope,
            used,
        )
        if self.auto_state is not None:
            self.auto_state.update(out.moved(points, problem.event_dim), used)
        if problem.gradient_status is not None:
            problem.gradient_status = problem.gradient_status.amax(0)
        return out.direction.sum(0) / problem.over(used.sum(0).clamp(min=1)), {}

    def state(self) -> dict[str, float]:
        """How many draws there were, and the adaptive tau."""
        tau = {} if self.auto_state is None else {"tau": self.auto_state.value}
        return {"calls": self.stream.calls, **tau}

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from there."""
        self.stream.calls = int(state.get("calls", self.stream.calls))
        if self.auto_state is not None and "tau" in state:
            self.auto_state.value = float(state["tau"])
