"""Calls of convolutions, operators, unrolled networks and proximal algorithms."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from eit_cases import small_mesh
from lpgd_native import algorithms, nn, operators, proximal
from lpgd_native.convolution import conv_chain, conv_prelu
from reliability.hostile_values import Call, hostile, options, some_hostile


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@st.composite
def convolution_call(draw: st.DrawFn) -> Call:
    """`conv_prelu`."""
    tensors = [_normal(2, 3, 7), _normal(1), _normal(4, 3, 3), _normal(4)]
    given = draw(some_hostile(tensors))
    return ["x", "slope", "weight", "bias"], conv_prelu, tuple(given), {}


@st.composite
def chain_call(draw: st.DrawFn) -> Call:
    """`conv_chain`."""
    tensors = [
        _normal(2, 3, 7),
        _normal(4, 3, 3),
        _normal(4),
        _normal(1),
        _normal(2, 4, 3),
        _normal(2),
    ]
    given = draw(some_hostile(tensors))

    def call(x: Any, w1: Any, b1: Any, slope: Any, w2: Any, b2: Any) -> Tensor:
        return conv_chain(x, [(None, w1, b1), (slope, w2, b2)])

    return ["x", "weight", "bias", "slope", "weight", "bias"], call, tuple(given), {}


@cache
def _operators() -> tuple[operators.Operator, ...]:
    mesh = small_mesh(2, 6)
    return (
        operators.LinearOperator(_normal(3, 5)),
        operators.LinearOperator(_normal(3, 5).to_sparse()),
        operators.LinearOperator.convolution(_normal(3), (8,), stride=2, padding=1),
        operators.VolterraDeconvolution.random(1.0).double(),
        operators.TorchOperator(lambda x: x[..., :3].square(), (5,)),
        operators.EIT(mesh),
        operators.EIT(mesh, validate=False),
        operators.EIT(mesh, minimum=0.1),
        operators.EIT(mesh, contact=0.3),
        operators.Preconditioned(operators.EIT(mesh, minimum=0.1), "gauss-newton"),
    )


@st.composite
def operator_call(draw: st.DrawFn) -> Call:
    """What a user calls of an operator."""
    operator = draw(st.sampled_from(_operators()))
    x, dx = (_normal(2, *operator.domain).abs() + 0.1 for _ in range(2))
    y = _normal(2, *operator.range)
    kinds = ["forward", "jvp", "vjp", "gradient", "differentiable"]
    if isinstance(operator, operators.EIT):
        kinds += ["solve", "jacobian", "gauss_newton"]
    kind = draw(st.sampled_from(kinds))
    names = {
        "forward": ["x"], "solve": ["x"], "jacobian": ["x"], "jvp": ["x", "dx"], "vjp": ["x", "dy"],
        "gradient": ["x", "y"], "differentiable": ["x", "y"], "gauss_newton": ["y"],
    }[kind]  # fmt: skip
    tensors = {"x": x, "dx": dx, "dy": y, "y": y}
    given = draw(some_hostile([tensors[n] for n in names], meta=kind != "gauss_newton"))

    def call(*arguments: Any) -> Any:
        if kind == "differentiable":
            return operator.gradient(*arguments, differentiable=True)
        if kind == "gauss_newton":
            return operator.gauss_newton(*arguments, iterations=2)  # type: ignore[operator]
        return getattr(operator, kind)(*arguments)

    return [*names, "conductivity", "regularisation", "x0"], call, tuple(given), {}


@cache
def _networks() -> tuple[torch.nn.Module, ...]:
    torch.manual_seed(0)
    linear = operators.LinearOperator(_normal(3, 5))
    block = nn.ConvBlock(width=3, depth=2)
    slots = (
        nn.NoMomentum(),
        nn.HeavyBall(),
        nn.RecurrentMomentum(hidden=3, layers=1),
        nn.RecurrentMomentum("gru", hidden=3, layers=1, per_coordinate=True),
        nn.DenseMap(3),
        nn.ConvolutionalMemory(2, nn.ConvBlock(width=3, depth=2)),
    )
    made = [
        nn.LearnedProximalGradient(linear, iterations=2, momentum=slot, block=block)
        for slot in slots
    ]
    prox = nn.LearnedProximalGradient(linear, iterations=2, block=nn.ProxBlock(torch.relu, 0.1))
    dual = nn.LearnedPrimalDual(
        linear, iterations=2, block=block, dual_block=block, channels=2, dual_channels=2
    )
    return tuple(network.double() for network in (*made, prox, dual))


@st.composite
def network_call(draw: st.DrawFn) -> Call:
    """Unrolled networks, for y and a start."""
    network = draw(st.sampled_from(_networks()))
    given = draw(some_hostile([_normal(2, 3), _normal(2, 5)]))

    def call(y: Any, x0: Any) -> Any:
        return network(y, x0)

    return ["y", "x0"], call, tuple(given), {}


@st.composite
def algorithm_call(draw: st.DrawFn) -> Call:
    """Proximal algorithms, with steps and settings of all kinds."""
    kind = draw(st.sampled_from(["proximal_gradient", "fista", "admm", "chambolle_pock"]))
    (x0,) = draw(some_hostile([_normal(2, 5)], meta=False))
    step = draw(st.sampled_from([0.05, 0.05, 1e300, 0.0, -1.0, math.nan, math.inf, "x", None]))
    if draw(st.integers(0, 3)) == 0:
        step = draw(hostile(torch.full((2, 1), 0.05, dtype=torch.float64), meta=False))
    more = draw(
        options(
            {
                "eps": [1e-6, 0.0, -1.0, math.nan, "x", None],
                "max_iter": [1, 20, 0, -1, 1.5, "x", None, True],
            }
        )
    )
    more.setdefault("max_iter", 20)

    def call(x0: Any, step: Any) -> Any:
        g = proximal.L1(0.1)
        if kind == "admm":
            return algorithms.admm(proximal.SquaredL2(1.0), g, x0, step, **more)
        if kind == "chambolle_pock":
            return algorithms.chambolle_pock(
                g, proximal.L2(1.0), lambda x: 2 * x, lambda y: 2 * y, x0, step, step, **more
            )
        return getattr(algorithms, kind)(lambda x: x - 1, g, x0, step, **more)

    names = ["x0", "step", "eps", "max_iter", "rho", "tau", "sigma"]
    return names, call, (x0, step), {}
