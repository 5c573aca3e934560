"""The training loop of the studies: what it does with steps that overflow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lpgd_native.experiments.fit import fit


@dataclass
class Settings:
    steps: int = 60
    evaluations: int = 6
    learning_rate: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))


def run(folder: Path, broken: Any) -> tuple[Line, dict[str, Any]]:
    """Learn the slope 1; `broken(step, slope)` says where the loss overflows."""
    model = Line()

    def loss_of(step: int) -> Tensor:
        loss = (model.slope - 1).square()
        return loss * math.inf if broken(step, float(model.slope.detach())) else loss

    def validate() -> float:
        return float((model.slope.detach() - 1).square())

    return model, fit(model, loss_of, validate, Settings(), {}, folder / "state.pt")


def test_a_step_that_overflows_is_left_out(tmp_path):
    plain, nothing = run(tmp_path, lambda step, slope: False)
    model, state = run(tmp_path, lambda step, slope: step % 7 == 3)
    assert (nothing["left_out"], nothing["restarts"]) == (0, 0)
    assert (state["left_out"], state["restarts"]) == (9, 0)
    assert all(math.isfinite(value) for row in state["curve"] for value in row)
    assert state["best"] < 1e-2
    assert state["best"] == pytest.approx(float((model.slope.detach() - 1).square()))
    assert not torch.equal(plain.slope, model.slope)


def test_weights_that_always_overflow_are_given_up(tmp_path):
    """Beyond 0.7 every loss overflows: back to the best snapshot, which is below."""
    model, state = run(tmp_path, lambda step, slope: slope > 0.7)
    assert state["restarts"] >= 1
    assert state["left_out"] >= 10 * state["restarts"]
    assert 0.3 < float(model.slope.detach()) <= 0.75
    assert math.isfinite(state["best"])


def test_a_stretch_without_a_finite_step_has_no_training_error(tmp_path):
    _, state = run(tmp_path, lambda step, slope: 10 <= step < 20)
    assert state["curve"][1][1] is None
    assert math.isfinite(state["curve"][1][2])
    assert state["restarts"] == 1
