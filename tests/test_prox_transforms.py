"""The proximal operators under torch's transforms: opcheck, compile, torch.func, vmap."""

from __future__ import annotations

import pytest
import torch

import lpgd_native.prox as prox
from lpgd_native import _prox_ops as ops
from prox_cases import ALL_CASES, parametrize, uniform
from transforms import assert_all_close, compiles, forward_mode


def gradients(case, arguments):
    leaves = [a.clone().requires_grad_() for a in arguments]
    return torch.autograd.grad(case.run(*leaves).square().sum(), leaves)


def raw_parameters(name, rows, n):
    """Valid parameters of a raw op, [1 | rows, 1 | n] in turn."""
    count = {
        **dict.fromkeys(("elastic_net", "huber", "box", "poisson", "mcp", "scad", "firm"), 2),
        **dict.fromkeys(("weighted_l1_ball", "hyperplane", "halfspace"), 2),
        **dict.fromkeys(("nonnegative", "soc", "isotonic", "exponential_cone"), 0),
        "box_hyperplane": 4,
    }.get(name, 1)
    if name == "box_hyperplane":
        one = torch.ones(1, 1, dtype=torch.float64)
        return [0 * one, one, one, n / 2 * one.expand(rows, 1).contiguous()]
    second = uniform(rows, 1, seed=9) + 2
    first = uniform(1, n) if name in ops.SEPARABLE or name == "weighted_l1_ball" else uniform(1, 1)
    return [first, second][:count]


@pytest.mark.parametrize("name", ops.SEPARABLE)
def test_opcheck_separable(name):
    x = torch.randn(3, 5, dtype=torch.float64)
    a, b = (*raw_parameters(name, 3, 5), None, None)[:2]
    kind = ops.SEPARABLE[name]
    torch.library.opcheck(torch.ops.lpgd.prox_separable.default, (x, a, b, kind))
    needs = (a is not None) + 2 * (b is not None)
    for wanted in (0, needs):
        inputs = (x, a, b, torch.randn_like(x), kind, wanted)
        torch.library.opcheck(torch.ops.lpgd.prox_separable_backward.default, inputs)


@pytest.mark.parametrize("name", ops.ROWWISE)
def test_opcheck_rows(name):
    x = torch.randn(3, 3, dtype=torch.float64)
    parameters = (*raw_parameters(name, 3, 3), None, None, None, None)[:4]
    index = None
    if name == "group_l2":
        index = torch.tensor([0, 2, 1, 0, 2, 3], dtype=torch.int32)
    kind = ops.ROWWISE[name]
    inputs = (x, *parameters, index, None, kind)
    torch.library.opcheck(torch.ops.lpgd.prox_rows.default, inputs)
    out, order = torch.ops.lpgd.prox_rows(*inputs)
    needs = sum(1 << k for k, p in enumerate(parameters) if p is not None)
    for wanted in (0, needs):
        inputs = (x, *parameters, index, out, order, torch.randn_like(x), kind, wanted)
        torch.library.opcheck(torch.ops.lpgd.prox_rows_backward.default, inputs)


# a case of each kind of argument is compiled in the fast suite
QUICK = ("prox_l1", "project_simplex", "prox_group_l2", "prox_sorted_l1")
each_slowly = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=() if str(case) in QUICK else pytest.mark.slow)
        for case in ALL_CASES
    ],
)


@compiles
@each_slowly
def test_compile_fullgraph_dynamic(case):
    compiled = torch.compile(case.run, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows in (3, 5):
        arguments = case.arguments(rows, case.width or 6)
        leaves = [a.clone().requires_grad_() for a in arguments]
        out = compiled(*leaves)
        torch.testing.assert_close(out, case.run(*arguments), rtol=1e-12, atol=1e-12)
        assert_all_close(
            torch.autograd.grad(out.square().sum(), leaves), gradients(case, arguments)
        )


@compiles
@pytest.mark.parametrize("function", [prox.prox_l1, prox.project_simplex, prox.project_isotonic])
def test_compile_of_a_number_that_changes(function):
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    x = torch.randn(3, 6, dtype=torch.float64)
    for number in (0.5, 0.7):
        torch.testing.assert_close(compiled(x, number), function(x, number))


@pytest.mark.slow
@compiles
def test_compile_with_inductor():
    def loss(x, w):
        return (prox.project_simplex(prox.prox_l1(2 * x, w)) * x).sum()

    x, w = torch.randn(8, 6).requires_grad_(), torch.rand(6).requires_grad_()
    left = torch.autograd.grad(torch.compile(loss, fullgraph=True)(x, w), (x, w))
    assert_all_close(left, torch.autograd.grad(loss(x, w), (x, w)), 1e-5)


@parametrize()
def test_vmap(case):
    """Over x alone, and over x and the parameters of rows, in front and at the end."""
    x, *parameters = case.arguments(4, case.width or 6)
    expected = case.run(x, *parameters)
    by_row = [0 if p.dim() == 2 and len(p) == 4 else None for p in parameters]
    given = [
        p if d == 0 else p.reshape(p.shape[-1:]) for p, d in zip(parameters, by_row, strict=True)
    ]
    out = torch.func.vmap(case.run, in_dims=(0, *by_row))(x, *given)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    out = torch.func.vmap(case.run, in_dims=(1, *by_row), out_dims=1)(x.T, *given)
    torch.testing.assert_close(out.T, expected, rtol=1e-12, atol=1e-12)
    many = torch.stack([x, -x, x + 1])
    out = torch.func.vmap(lambda v: case.run(v, *parameters))(many)
    torch.testing.assert_close(out[2], case.run(x + 1, *parameters), rtol=1e-12, atol=1e-12)


@parametrize()
def test_func_grad_and_vmap_of_grad(case):
    arguments = case.arguments(4, case.width or 6)
    expected = gradients(case, arguments)
    places = tuple(range(len(arguments)))
    grad = torch.func.grad(lambda *a: case.run(*a).square().sum(), argnums=places)
    assert_all_close(grad(*arguments), expected)
    x, *parameters = arguments
    by_row = [0 if p.dim() == 2 and len(p) == 4 else None for p in parameters]
    given = [
        p if d == 0 else p.reshape(p.shape[-1:]) for p, d in zip(parameters, by_row, strict=True)
    ]
    rows = torch.func.vmap(grad, in_dims=(0, *by_row))(x, *given)
    torch.testing.assert_close(rows[0], expected[0], rtol=1e-12, atol=1e-12)


@forward_mode
@parametrize()
def test_jvp_agrees_with_the_transpose(case):
    """<v, J t> = <J'v, t>, in x and in the parameters together."""
    arguments = case.arguments(3, case.width or 6)
    generator = torch.Generator().manual_seed(3)
    tangents = [torch.randn(a.shape, dtype=a.dtype, generator=generator) for a in arguments]
    out, moved = torch.func.jvp(case.run, arguments, tuple(tangents))
    v = torch.randn(out.shape, dtype=out.dtype, generator=generator)
    _, pull = torch.func.vjp(case.run, *arguments)
    right = sum((g * t).sum() for g, t in zip(pull(v), tangents, strict=True))
    torch.testing.assert_close((v * moved).sum(), right, rtol=1e-9, atol=1e-9)
    jacobian = torch.func.jacfwd(case.run)(*arguments)
    torch.testing.assert_close(jacobian, torch.func.jacrev(case.run)(*arguments))
