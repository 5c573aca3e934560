"""Arguments that hypothesis makes up: a function returns, or names what is wrong (all of them
many times over: `make reliability`).
"""

from __future__ import annotations

import re

import pytest
import torch

from lpgd_native import (
    gru_momentum_step,
    lstm_momentum_step,
    prox_l1,
    prox_total_variation,
    solve_qp,
)
from momentum_cases import Case
from reliability import hostile


@pytest.mark.parametrize("kind", hostile.CALLS)
def test_hostile_arguments(kind):
    hostile.search(kind, 60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", hostile.CALLS)
def test_many_hostile_arguments(kind):
    hostile.search(kind, 1500)


def test_a_gradient_without_dimensions_is_refused():
    gradient, states, weights = Case("lstm", 2, 3, 2, 1, 3).split(
        Case("lstm", 2, 3, 2, 1, 3).build()
    )
    with pytest.raises(ValueError, match=re.escape("gradient must be [..., n], got []")):
        lstm_momentum_step(gradient[0, 0], states, weights)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_sparse_tensors_are_refused_by_name(place):
    case = Case("gru", 2, 3, 2, 1, 3)
    tensors = case.build()
    tensors[place] = tensors[place].to_sparse()
    gradient, states, weights = case.split(tensors)
    name = ("gradient", "state", "weights")[place]
    with pytest.raises(TypeError, match=f"gru_momentum_step: {name} must be dense, got layout"):
        gru_momentum_step(gradient, states[0], weights)
    with pytest.raises(TypeError, match="prox_l1: weight must be dense, got layout"):
        prox_l1(torch.ones(3), torch.ones(3).to_sparse())
    with pytest.raises(TypeError, match="prox_total_variation: weight must be dense, got layout"):
        prox_total_variation(torch.ones(2, 4), torch.ones(2, 3).to_sparse())


def test_a_device_without_autocast():
    x = torch.ones(3, device="meta")
    assert prox_l1(x.half(), 0.5).shape == (3,)
    assert solve_qp(None, x, lb=torch.zeros_like(x)).x.shape == (3,)
    case = Case("lstm", 2, 3, 2, 1, 3)
    gradient, states, weights = case.split([t.to("meta") for t in case.build()])
    assert lstm_momentum_step(gradient, states, weights)[0].shape == (2, 3)
