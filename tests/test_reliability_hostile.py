"""Arguments that hypothesis makes up: a function returns, or names what is wrong (all of them
many times over: `make reliability`).
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from lpgd_native import (
    algorithms,
    gru_momentum_step,
    losses,
    lstm_momentum_step,
    nn,
    operators,
    oracles,
    prox_l1,
    prox_total_variation,
    proximal,
    solve_qp,
    solve_qp_numpy,
)
from lpgd_native.convolution import conv_prelu
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


def test_convolutions_name_what_does_not_fit():
    x, slope, weight, bias = (
        torch.ones(2, 3, 7),
        torch.ones(1),
        torch.ones(4, 3, 3),
        torch.ones(4),
    )
    shapes = "got [2, 3, 7], [4, 3, 3], [3]"
    with pytest.raises(ValueError, match=re.escape(shapes)):
        conv_prelu(x, slope, weight, bias[:3])
    with pytest.raises(TypeError, match=r"conv_prelu: weight must be torch\.float32 as x is"):
        conv_prelu(x, slope, weight.double(), bias)
    with pytest.raises(TypeError, match="conv_prelu: bias must be a dense"):
        conv_prelu(x, slope, weight, None)
    with pytest.raises(ValueError, match="conv_prelu: slope must be"):
        conv_prelu(x, torch.ones(2), weight, bias)


@pytest.mark.parametrize(
    "operator",
    [
        operators.LinearOperator(torch.ones(3, 5)),
        operators.VolterraDeconvolution.random(1.0, dtype=torch.float32),
        operators.TorchOperator(lambda x: x[..., :3].square(), (5,)),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_operators_name_what_does_not_fit(operator):
    x, y = torch.ones(2, *operator.domain), torch.ones(3, *operator.range)
    with pytest.raises(TypeError, match=r"x must be dense, got layout torch\.sparse_coo"):
        operator(x.to_sparse())
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        operator(x.long())
    with pytest.raises(ValueError, match="leading dimensions of x and dy must broadcast"):
        operator.vjp(x, y)
    with pytest.raises(TypeError, match=r"x and y must have one dtype|y must be torch\.float32"):
        operator.gradient(x, y[:2].double())


def test_networks_and_losses_name_what_is_missing():
    network = nn.LearnedProximalGradient(operators.LinearOperator(torch.ones(3, 5)), iterations=1)
    with pytest.raises(TypeError, match="y must be a dense tensor, got NoneType"):
        network(None)
    with pytest.raises(TypeError, match=r"c_true must be a torch\.Tensor, got NoneType"):
        losses.spo_plus(torch.ones(2, 4), None, oracles.TopK(2))
    with pytest.raises(TypeError, match="c must be dense"):
        oracles.OracleLayer(oracles.TopK(2))(torch.ones(2, 4).to_sparse())


def test_oracles_refuse_by_name():
    c = torch.ones(2, 4)
    with pytest.raises(ValueError, match="ranking: values must be finite"):
        oracles.ranking(c, torch.tensor([1.0, torch.nan, 2.0, 3.0]))
    with pytest.raises(TypeError, match="ranking: values must be a dense floating-point tensor"):
        oracles.ranking(c, torch.arange(4))
    for nodes in (0.5, "x", None):
        with pytest.raises(TypeError, match="edges must be pairs of integers"):
            oracles.spanning_tree(c[:, :1], [(0, nodes)])
    with pytest.raises(ValueError, match="nodes must be at most"):
        oracles.spanning_tree(c[:, :1], [(0, 1)], 2**40)
    for most in (0, -1, 2**70):
        with pytest.raises(ValueError, match="max_nodes must be between"):
            oracles.binary_knapsack(c, [1.0, 2.0, 3.0, 4.0], 5.0, max_nodes=most)
    with pytest.raises(ValueError, match="method must be one of"):
        oracles.binary_knapsack(c, [1.0, 2.0, 3.0, 4.0], 5.0, method=["table"])
    wide = oracles.time_warping(torch.ones(3, 4), window=2**70)
    assert torch.equal(wide.x, oracles.time_warping(torch.ones(3, 4)).x)


def test_a_table_of_a_fractional_capacity_is_the_item_s_own():
    """A capacity of 5.5 has six states; an item alone was refused one that beside others it had."""
    weights = torch.tensor([[2.0, 3.0, 1.0, 4.0, 2.0]], dtype=torch.float64)
    costs = -torch.ones(2, 5, dtype=torch.float64)
    room = torch.tensor([[5.5], [6.0]], dtype=torch.float64)
    both = oracles.binary_knapsack(costs, weights, room, method="table")
    alone = oracles.binary_knapsack(costs[:1], weights, room[:1], method="table")
    assert alone.status.tolist() == [0]
    assert torch.equal(both.x[:1], alone.x)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "x", torch.ones(2, 3)])
def test_algorithms_name_a_step_that_is_none(value):
    with pytest.raises((TypeError, ValueError), match="fista: step must be"):
        algorithms.fista(lambda x: x, proximal.L1(0.1), torch.ones(2, 5), value)
    with pytest.raises((TypeError, ValueError), match="admm: rho must be"):
        algorithms.admm(proximal.L1(0.1), proximal.L1(0.1), torch.ones(2, 5), value)


def test_more_threads_than_items():
    x = np.ones(3)
    assert solve_qp_numpy(np.eye(3), x, num_threads=2**40).status == 0
