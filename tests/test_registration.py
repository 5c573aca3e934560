"""The ops under torch's transforms: opcheck, compile, torch.func, autocast, second derivatives."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from cases import OUTER_CASES, Data, parametrize_cases
from losses import QP, STRATEGIES, each_strategy, eager, loss_of, weights_for
from lpgd_native import LPGD, nn, reference, solve_lp, solve_qp
from transforms import assert_all_close, compiles


def raw_inputs(data: Data):
    """Arguments of the ops, by name."""
    flat = data.flat()
    *point, status, _, _ = torch.ops.lpgd.solve_qp(*flat, 1e-9, 60)
    g = weights_for(point)
    tau, rho = (torch.full((len(status),), v, dtype=torch.float64) for v in (0.3, 0.1))
    return {
        "solve_qp": (*flat, 1e-9, 60),
        "solve_qp_from": (*flat, *point, 1e-9, 60),
        "implicit_qp": (*flat, *point, status, *g),
        "resolve_qp": (*flat, *point, status, *g, tau, rho, 3, 1e-9, 60),
    }


@parametrize_cases(lambda case: not case.large)
@pytest.mark.parametrize("name", ["solve_qp", "solve_qp_from", "implicit_qp", "resolve_qp"])
def test_opcheck(case, name):
    inputs = raw_inputs(case.build())[name]
    torch.library.opcheck(getattr(torch.ops.lpgd, name).default, inputs)


@pytest.mark.parametrize("name", ["implicit_qp", "resolve_qp"])
def test_opcheck_without_some_gradients(name):
    inputs = list(raw_inputs(QP)[name])
    inputs[13] = inputs[15] = inputs[18] = None  # status, g_y, g_z_ub
    torch.library.opcheck(getattr(torch.ops.lpgd, name).default, tuple(inputs))


@pytest.mark.parametrize(("batch", "rows", "cols"), OUTER_CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_opcheck_of_outer_sum_and_its_twin(batch, rows, cols, dtype):
    shapes = ((batch, rows), (batch, cols)) * 2
    inputs = tuple(w.to(dtype) for w in weights_for([torch.empty(s) for s in shapes]))
    torch.library.opcheck(torch.ops.lpgd.outer_sum.default, inputs)
    torch.testing.assert_close(torch.ops.lpgd.outer_sum(*inputs), reference.outer_sum(*inputs))


@compiles
@each_strategy
@pytest.mark.parametrize("backend", ["aot_eager"])
def test_compile_agrees_with_eager(strategy, backend):
    (weights,) = weights_for([QP.q])
    compiled = torch.compile(loss_of(strategy, weights), fullgraph=True, backend=backend)
    leaves = QP.map(lambda t: t.clone().requires_grad_())
    loss = compiled(*leaves)
    torch.testing.assert_close(loss, loss_of(strategy, weights)(*QP), rtol=1e-12, atol=1e-12)
    assert_all_close(torch.autograd.grad(loss, list(leaves)), eager(strategy, QP, weights))


@compiles
def test_compile_without_gradients():
    """No argument asks for a gradient, or none is recorded: as in evaluation."""

    def solve(*data: torch.Tensor) -> torch.Tensor:
        return solve_qp(*data).x

    compiled = torch.compile(solve, fullgraph=True, backend="aot_eager")
    expected = solve(*QP)
    torch.testing.assert_close(compiled(*QP), expected, rtol=0, atol=0)
    leaves = QP.map(lambda t: t.clone().requires_grad_())
    with torch.no_grad():
        torch.testing.assert_close(compiled(*leaves), expected, rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(*QP), expected, rtol=0, atol=0)


@compiles
def test_compile_with_inductor_and_a_module():
    layer = nn.QPLayer(P=torch.eye(3), lb=torch.full((3,), -0.2), gradient=LPGD(0.1))
    network = torch.nn.Linear(2, 3)

    def loss(features: torch.Tensor) -> torch.Tensor:
        return (layer(q=network(features)).x - 1.0).square().sum()

    features = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    left = torch.compile(loss, fullgraph=True)(features)
    (g,) = torch.autograd.grad(left, network.weight)
    right = loss(features)
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(g, torch.autograd.grad(right, network.weight)[0])


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_computes_in_float32(half):
    """What autocast made half precision goes up; float64 stays."""
    data = QP.to(half)
    q = data.q.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        solution = solve_qp(data.P, q, *data[2:])
    expected = solve_qp(*data.to(torch.float32))
    for left, right in zip(solution, expected, strict=True):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
    (g,) = torch.autograd.grad(solution.x.square().sum(), q)
    assert g.dtype == half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert solve_qp(*QP).x.dtype == torch.float64


def test_autocast_in_a_network():
    network = torch.nn.Linear(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        c = network(torch.ones(6, 3))
        assert c.dtype == torch.bfloat16
        zero = torch.zeros(4)
        solution = solve_lp(c, lb=zero, ub=zero + 1)
    assert solution.x.dtype == torch.float32
    solution.x.sum().backward()
    assert network.weight.grad.dtype == torch.float32


def test_raw_ops_under_autocast():
    data = QP.to(torch.bfloat16).flat()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = torch.ops.lpgd.solve_qp(*data, 1e-4, 60)
    assert out[0].dtype == torch.float32


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_layers_and_strategies_can_be_copied(copier):
    for strategy in STRATEGIES:
        assert copier(strategy) == strategy
        assert hash(copier(strategy)) == hash(strategy)
    layer = nn.QPLayer(
        P=torch.nn.Parameter(QP.P[0].clone()), lb=QP.lb[0], gradient=LPGD(0.2), eps=1e-8
    )
    other = copier(layer)
    assert other.gradient == layer.gradient
    assert torch.equal(other(q=QP.q).x, layer(q=QP.q).x)
    assert other.P is not layer.P
    linear = nn.LPLayer(lb=QP.lb[0], ub=QP.ub[0])
    assert torch.equal(copier(linear)(c=QP.q).x, linear(c=QP.q).x)
    solution = copier(solve_qp(*QP))
    assert torch.equal(solution.x, solve_qp(*QP).x)


def test_gradients_survive_a_second_backward_of_the_same_graph():
    leaves = QP.map(lambda t: t.clone().requires_grad_())
    x = solve_qp(*leaves).x
    first = torch.autograd.grad(x.sum(), list(leaves), retain_graph=True)
    second = torch.autograd.grad(x.sum(), list(leaves))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_arguments_changed_in_place_are_noticed():
    q = QP.q.clone().requires_grad_()
    h = QP.h.clone()
    x = solve_qp(QP.P, q, QP.G, h).x
    h += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()
