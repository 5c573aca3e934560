"""Nonlinear deconvolution by unrolled networks: the problem, the data, the networks compared.

53 numbers are to be found from 12 (`VolterraDeconvolution`, window 9, stride 4, no noise). `a`
weighs the quadratic part of the map; W and w are the same for all a. Signals have a total-variation
prior: a walk with Laplace steps of scale 1/2 from N(0, 1), kept if all of it is positive, scaled to
[-1, 1]. Training, validation and test signals are disjoint and always the same.

From DuNets-RMA (Zhou, Qian, Tang & Li, Inverse Problems 2024), section 4.1, with what they left to
chance fixed: zero initial states, batches, the exact Jacobian, disjoint sets, paired seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lpgd_native.nn import (
    ConvolutionalMemory,
    DenseMap,
    HeavyBall,
    LearnedPrimalDual,
    LearnedProximalGradient,
    NoMomentum,
    RecurrentMomentum,
)
from lpgd_native.operators import VolterraDeconvolution

LENGTH = 53
SIZES = (10_000, 500, 1_500)  # training, validation, test
NONLINEARITIES = (0.0, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Settings:
    """How every network is trained; the same for all."""

    steps: int = 6_250  # 20 passes over 10,000 signals
    batch: int = 32
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    evaluations: int = 25  # on the validation set; the best of them is tested
    sizes: tuple[int, int, int] = SIZES


QUICK = Settings(steps=100, evaluations=4, sizes=(1_000, 100, 300))


class Data(NamedTuple):
    """Signals [N, 53]."""

    train: Tensor
    validation: Tensor
    test: Tensor


def make_signals(count: int, seed: int) -> Tensor:
    """[count, 53] float32 signals."""
    rng = np.random.default_rng(seed)
    kept: list[np.ndarray[Any, Any]] = []
    have = 0
    while have < count:
        steps = rng.laplace(scale=0.5, size=(20_000, LENGTH))
        steps[:, 0] = rng.standard_normal(20_000)
        walks = steps.cumsum(axis=1)
        walks = walks[walks.min(axis=1) > 0]
        low, high = walks.min(axis=1, keepdims=True), walks.max(axis=1, keepdims=True)
        kept.append(2 * (walks - low) / (high - low) - 1)
        have += len(walks)
    return torch.from_numpy(np.concatenate(kept)[:count].astype(np.float32))


def make_data(sizes: tuple[int, int, int] = SIZES, seed: int = 0) -> Data:
    """The three sets; a smaller one is the head of a larger one."""
    parts = [make_signals(size, seed=3 * seed + k) for k, size in enumerate(sizes)]
    return Data(*parts)


def training_signals(data: Data, share: float, batch: int) -> Tensor:
    """The head of the training set, at least a batch; with a share above 1 more signals of the same
    prior behind it.
    """
    count = max(batch, round(share * len(data.train)))
    if count <= len(data.train):
        return data.train[:count]
    signals = make_signals(count, seed=0)
    if not torch.equal(signals[: len(data.train)], data.train):
        raise ValueError("a share above 1 needs the training signals of make_data")
    return signals


def least_squares(operator: VolterraDeconvolution, data: Data, quadratic: bool) -> float:
    """Test error of x from [1, y] or [1, y, y_i y_j] by least squares: what a network must beat."""

    def features(x: Tensor) -> Tensor:
        y = operator(x).double()
        parts = [torch.ones(len(y), 1, dtype=torch.float64), y]
        if quadratic:
            rows, columns = torch.triu_indices(y.shape[1], y.shape[1])
            parts.append(y[:, rows] * y[:, columns])
        return torch.cat(parts, dim=1)

    # gelsd: with a = 0 some products are nearly dependent
    fit = torch.linalg.lstsq(features(data.train), data.train.double(), driver="gelsd")
    error = features(data.test) @ fit.solution - data.test.double()
    return float(error.square().mean())


@dataclass(frozen=True)
class Network:
    """What can be said in the name of a network: ``LPD-RMA:hidden=10,layers=1,share=0.25``."""

    name: str
    dual: bool
    momentum: str = "none"
    iterations: int = 0  # 0: 10 with a dual, 20 without
    cell: str = "lstm"
    hidden: int = 50
    layers: int = 2
    mode: str = "step"
    share: float = 1.0  # of the training signals; above 1, more of them
    learning_rate: float | None = None  # None: that of the settings

    def build(self, operator: VolterraDeconvolution) -> nn.Module:
        """The network, untrained."""
        slots: dict[str, Callable[[], Any]] = {
            "none": NoMomentum,
            "heavy ball": HeavyBall,
            "learned heavy ball": lambda: HeavyBall(learned=True),
            "recurrent": lambda: RecurrentMomentum(
                self.cell, self.hidden, self.layers, mode=self.mode
            ),
            "blind": lambda: RecurrentMomentum(self.cell, self.hidden, self.layers, blind=True),
            "residual": lambda: RecurrentMomentum(
                self.cell, self.hidden, self.layers, mode=self.mode, residual=True
            ),
            "dense": lambda: DenseMap(self.hidden),
            "memory": ConvolutionalMemory,
        }
        kind = LearnedPrimalDual if self.dual else LearnedProximalGradient
        iterations = self.iterations or (10 if self.dual else 20)
        return kind(operator, iterations=iterations, momentum=slots[self.momentum]())


def _family(prefix: str, dual: bool) -> list[Network]:
    suffixes = {
        "": "none",
        "-MA": "heavy ball",
        "-RMA": "recurrent",
        "-MA-learned": "learned heavy ball",
        "-dense": "dense",
        "-blind": "blind",
        "-RMA-residual": "residual",
        "-memory": "memory",
    }
    return [Network(prefix + suffix, dual, kind) for suffix, kind in suffixes.items()]


_BASES = {n.name: n for n in [*_family("LPGD", dual=False), *_family("LPD", dual=True)]}
SIX = ("LPGD", "LPGD-MA", "LPGD-RMA", "LPD", "LPD-MA", "LPD-RMA")
CONTROLS = (
    "LPD:iterations=15",  # at least the parameters of LPD-RMA
    "LPD-MA-learned",
    "LPD-dense",
    "LPD-blind",
    "LPD-memory",
    "LPD-RMA-residual",  # is it that the gradient has to pass the cells?
    "LPGD:learning_rate=0.0001",  # LPGD overflows: is it the step?
)
SENSITIVITY = (
    *(f"LPD-RMA:hidden={h}" for h in (10, 30, 70, 100)),
    *(f"LPD-RMA:layers={n}" for n in (1, 3)),
    *(f"LPD-RMA:cell={c}" for c in ("gru", "rnn")),
    *(f"{n}:share={s}" for n in ("LPD", "LPD-RMA") for s in (0.05, 0.1, 0.25, 0.5, 5)),
    *(f"{n}:iterations={t}" for n in ("LPD", "LPD-RMA") for t in (5, 20)),
    "LPD-RMA:mode=history",
)


def network(text: str) -> Network:
    """A network from its name, ``base`` or ``base:key=value,...``."""
    base, _, options = text.partition(":")
    if base not in _BASES:
        raise ValueError(f"unknown network {base!r}, known are {', '.join(_BASES)}")
    changes: dict[str, Any] = {"name": text}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        kinds = {"iterations": int, "cell": str, "hidden": int, "layers": int, "mode": str}
        convert = {**kinds, "share": float, "learning_rate": float}.get(key)
        if convert is None:
            raise ValueError(f"network {text!r}: unknown option {key!r}")
        changes[key] = convert(value)
    return replace(_BASES[base], **changes)
