"""Limited measurements: conductivities from 208 voltages by unrolled networks; what is compared.

684 elements, 16 point electrodes, adjacent patterns (`EIT`), phantoms of `eit_data`. From
DuNets-RMA (Zhou, Qian, Tang & Li, Inverse Problems 2024), section 4.2, with what they left to
chance fixed: fixed subsets of 50, 200 and 400 samples, disjoint validation and test sets, batches,
zero initial states, paired seeds, conductivities held at 0.05 or more before each F.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lpgd_native.experiments.eit_data import Data, DataSettings, Part
from lpgd_native.nn import (
    ConvolutionalMemory,
    DenseMap,
    HeavyBall,
    LearnedPrimalDual,
    LearnedProximalGradient,
    NoMomentum,
    RecurrentMomentum,
)
from lpgd_native.operators import EIT, Mesh, Preconditioned

__all__ = [
    "CONTROLS",
    "GRADIENTS",
    "QUICK",
    "SIX",
    "Network",
    "Settings",
    "gradient_scales",
    "make_operator",
    "network",
]

MINIMUM = 0.05
"""Least conductivity that F is taken of."""


@dataclass(frozen=True)
class Settings:
    """How every network is trained; the same for all."""

    steps: int = 500
    """The same for all sizes of the training set: its samples are gone over again"""
    batch: int = 10
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    evaluations: int = 20
    """On the validation set; the best of them is tested"""
    sizes: tuple[int, ...] = (50, 200, 400)
    """Training sets: heads of the largest"""
    data: DataSettings = field(default_factory=DataSettings)


QUICK = Settings(
    steps=2, batch=5, evaluations=1, sizes=(5, 10), data=DataSettings(sizes=(10, 3, 4))
)


def make_operator() -> EIT:
    """The operator of the study."""
    return EIT(Mesh.disc("coarse"), minimum=MINIMUM)


@dataclass(frozen=True)
class Network:
    """What the name of a network can say: ``LPD-RMA:hidden=32,precondition=norm``."""

    name: str
    dual: bool
    momentum: str = "none"
    iterations: int = 0  # 0: 10 with a dual, 20 without
    cell: str = "lstm"
    hidden: int = 64
    layers: int = 1
    downsample: int = 2
    precondition: str = "none"  # none, norm, gauss-newton
    start: str = "gauss-newton"  # or one

    def build(self, operator: EIT) -> nn.Module:
        """The network, untrained."""
        slots: dict[str, Callable[[], Any]] = {
            "none": NoMomentum,
            "heavy ball": HeavyBall,
            "learned heavy ball": lambda: HeavyBall(learned=True),
            "recurrent": lambda: self._recurrent(blind=False),
            "blind": lambda: self._recurrent(blind=True),
            "dense": lambda: DenseMap(self.hidden),
            "memory": ConvolutionalMemory,
        }
        kind = LearnedPrimalDual if self.dual else LearnedProximalGradient
        physics = (
            operator if self.precondition == "none" else Preconditioned(operator, self.precondition)
        )
        iterations = self.iterations or (10 if self.dual else 20)
        return kind(physics, iterations=iterations, momentum=slots[self.momentum]())

    def _recurrent(self, blind: bool) -> RecurrentMomentum:
        return RecurrentMomentum(
            self.cell, self.hidden, self.layers, downsample=self.downsample, blind=blind
        )

    def starts(self, part: Part) -> Tensor:
        """x_0 [N, T]."""
        return part.start if self.start == "gauss-newton" else torch.ones_like(part.x)


def _family(prefix: str, dual: bool) -> list[Network]:
    suffixes = {
        "": "none",
        "-MA": "heavy ball",
        "-RMA": "recurrent",
        "-MA-learned": "learned heavy ball",
        "-dense": "dense",
        "-blind": "blind",
        "-memory": "memory",
    }
    return [Network(prefix + suffix, dual, kind) for suffix, kind in suffixes.items()]


_BASES = {n.name: n for n in [*_family("LPGD", dual=False), *_family("LPD", dual=True)]}
SIX = ("LPGD", "LPGD-MA", "LPGD-RMA", "LPD", "LPD-MA", "LPD-RMA")
CONTROLS = (
    "LPD:iterations=22",  # at least the parameters of LPD-RMA
    "LPD-MA-learned",
    "LPD-dense",
    "LPD-blind",
    "LPD-memory",
)
GRADIENTS = tuple(
    f"{name}:precondition={kind},start={start}"
    for name in ("LPD", "LPD-RMA")
    for kind in ("none", "norm", "gauss-newton")
    for start in ("gauss-newton", "one")
    if (kind, start) != ("none", "gauss-newton")  # the base itself
)
_OPTIONS: dict[str, Callable[[str], Any]] = {
    "iterations": int,
    "cell": str,
    "hidden": int,
    "layers": int,
    "downsample": int,
    "precondition": str,
    "start": str,
}
_CHOICES = {"precondition": ("none", "norm", "gauss-newton"), "start": ("gauss-newton", "one")}


def network(text: str) -> Network:
    """A network from its name, ``base`` or ``base:key=value,...``."""
    base, _, options = text.partition(":")
    if base not in _BASES:
        raise ValueError(f"unknown network {base!r}, known are {', '.join(_BASES)}")
    changes: dict[str, Any] = {"name": text}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name not in _OPTIONS:
            raise ValueError(
                f"network {text!r}: unknown option {name!r}, known are {', '.join(_OPTIONS)}"
            )
        if value not in _CHOICES.get(name, (value,)):
            raise ValueError(f"network {text!r}: {name} must be one of {_CHOICES[name]}")
        changes[name] = _OPTIONS[name](value)
    return replace(_BASES[base], **changes)


@torch.no_grad()
def gradient_scales(operator: EIT, data: Data) -> dict[str, dict[str, float]]:
    """Root mean square of the gradient at the start, by preconditioner and start."""
    part = data.test
    out: dict[str, dict[str, float]] = {}
    for kind in _CHOICES["precondition"]:
        physics = Preconditioned(operator, kind)
        out[kind] = {
            start: float(
                physics.gradient(replace(_BASES["LPD"], start=start).starts(part), part.y)
                .square()
                .mean()
                .sqrt()
            )
            for start in _CHOICES["start"]
        }
    return out
