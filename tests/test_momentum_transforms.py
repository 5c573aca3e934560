"""The recurrent momentum under torch's transforms: opcheck, compile, torch.func, autocast."""

from __future__ import annotations

import re

import pytest
import torch
from torch.func import grad, jvp, vmap

from _build_tree import ROOT
from lpgd_native import lstm_momentum_step
from momentum_cases import Case, each_case, loss
from transforms import compiles, forward_mode

FEW = [
    Case(cell, batch, 5, 4, 2, 5, form, 2)
    for cell in ("lstm", "gru")
    for batch, form in ((2, "step"), (6, "step"), (2, "sequence"), (2, "coordinate"))
]
each_of_few = pytest.mark.parametrize("case", FEW, ids=str)


def raw(case: Case) -> dict[str, tuple]:
    """Arguments of the raw op and of its backward op."""
    gradient, states, weights = case.split(case.build())
    h, c = states[0], states[1] if case.cell == "lstm" else None
    name = f"{case.cell}_momentum_{case.form}"
    out = getattr(torch.ops.lpgd, name)(gradient, h, c, weights)
    d_v, d_h = torch.ones_like(out[0]), torch.ones_like(h)
    d_c = None if c is None else torch.ones_like(c)
    if case.form == "coordinate":
        backward = (d_v, d_h, d_c, gradient, h, c, weights)
    else:
        backward = (d_v, d_h, d_c, h, c, *out[1:], weights, True)
    if case.form == "step":
        totals = [torch.ones_like(w) for w in weights]
        seen = ([gradient] * 2, [h] * 2, [out[1]] * 2, [out[3]] * 2, [d_v, d_v.new_empty(0)])
        more = {f"{case.cell}_momentum_weight_gradients": (*seen, totals, True)}
    else:
        more = {}
    return more | {name: (gradient, h, c, weights), f"{name}_backward": backward}


@each_case
def test_opcheck(case):
    for name, args in raw(case).items():
        torch.library.opcheck(getattr(torch.ops.lpgd, name).default, args)


@pytest.mark.parametrize("form", ["step", "sequence", "coordinate"])
def test_opcheck_without_some_gradients(form):
    case = Case("lstm", 2, 5, 4, 2, 5, form, 2)
    args = list(raw(case)[f"lstm_momentum_{form}_backward"])
    args[0] = args[2] = None
    if form != "coordinate":
        args[-1] = False
    name = f"lstm_momentum_{form}_backward"
    torch.library.opcheck(getattr(torch.ops.lpgd, name).default, tuple(args))


@each_of_few
def test_vmap_of_the_gradient_is_a_loop(case):
    """Mapped gradients and states, with shared weights: they join the batch."""
    many = [case.build(seed=k) for k in range(3)]
    moving = 1 + case.states
    stacked = [
        torch.stack([m[k] for m in many]) if k < moving else many[0][k] for k in range(len(many[0]))
    ]
    dims = tuple(0 if k < moving else None for k in range(len(stacked)))
    out = vmap(case.ours, in_dims=dims)(*stacked)
    one_gradient = grad(lambda *tensors: loss(case.ours(*tensors)), tuple(range(len(stacked))))
    grads = vmap(one_gradient, in_dims=dims)(*stacked)
    for k, tensors in enumerate(many):
        leaves = [*tensors[:moving], *many[0][moving:]]
        for left, right in zip(out, case.twin(*leaves), strict=True):
            torch.testing.assert_close(left[k], right, rtol=1e-11, atol=1e-12)
        leaves = [t.clone().requires_grad_() for t in leaves]
        expected = torch.autograd.grad(loss(case.twin(*leaves)), leaves)
        for left, right in zip(grads, expected, strict=True):
            torch.testing.assert_close(left[k], right, rtol=1e-11, atol=1e-12)


@each_of_few
def test_vmap_of_the_weights_is_a_loop(case):
    """An ensemble: every weight mapped, in another dimension than the first."""
    many = [case.build(seed=k) for k in range(2)]
    moving = 1 + case.states
    stacked = [
        many[0][k] if k < moving else torch.stack([m[k] for m in many], dim=-1)
        for k in range(len(many[0]))
    ]
    dims = tuple(None if k < moving else -1 for k in range(len(stacked)))
    out = vmap(case.ours, in_dims=dims)(*stacked)
    for k, tensors in enumerate(many):
        expected = case.twin(*many[0][:moving], *tensors[moving:])
        for left, right in zip(out, expected, strict=True):
            torch.testing.assert_close(left[k], right, rtol=1e-11, atol=1e-12)


@each_of_few
def test_gradient_of_vmap(case):
    tensors = case.build()
    doubled = [torch.stack([t, 2 * t]) if k == 0 else t for k, t in enumerate(tensors)]
    dims = tuple(0 if k == 0 else None for k in range(len(tensors)))

    def total(function):
        return lambda *leaves: loss(vmap(function, in_dims=dims)(*leaves))

    left = grad(total(case.ours), tuple(range(len(tensors))))(*doubled)
    leaves = [t.clone().requires_grad_() for t in doubled]
    outs = [case.twin(leaves[0][k], *leaves[1:]) for k in range(2)]
    right = torch.autograd.grad(loss(tuple(map(torch.stack, zip(*outs, strict=True)))), leaves)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@each_of_few
@forward_mode
def test_what_is_not_there_says_so(case):
    leaves = [t.requires_grad_() for t in case.build()]
    first = torch.autograd.grad(loss(case.ours(*leaves)), leaves, create_graph=True)
    with pytest.raises(NotImplementedError, match="no double backward"):
        torch.autograd.grad(first[0].sum(), leaves)
    tensors = [t.detach() for t in leaves]
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        jvp(case.ours, tuple(tensors), tuple(torch.ones_like(t) for t in tensors))


@compiles
@each_of_few
def test_compile_agrees_with_eager(case):
    compiled = torch.compile(
        lambda *leaves: loss(case.ours(*leaves)), fullgraph=True, backend="aot_eager"
    )
    leaves = [t.requires_grad_() for t in case.build()]
    value, expected = compiled(*leaves), loss(case.twin(*leaves))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    grads = zip(
        torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves), strict=True
    )
    for left, right in grads:
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-12)


def test_autocast_keeps_states_in_float32():
    """bf16 weights, or a bf16 gradient, beside states in float32."""
    case = Case("lstm", 6, 5, 4, 2, 5)
    gradient, states, weights = case.split(case.build(torch.float32))
    halves = [w.bfloat16().requires_grad_() for w in weights]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        v, (h, c) = lstm_momentum_step(gradient.bfloat16(), states, halves)
    assert {v.dtype, h.dtype, c.dtype} == {torch.float32}
    expected = lstm_momentum_step(
        gradient.bfloat16().float(), states, [w.detach().float() for w in halves]
    )
    assert torch.equal(v, expected[0])
    v.sum().backward()
    assert {w.grad.dtype for w in halves} == {torch.bfloat16}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw_v = torch.ops.lpgd.lstm_momentum_step(
            gradient.bfloat16(), *states, [w.detach() for w in halves]
        )[0]
        double = lstm_momentum_step(*case.split(case.build(torch.float64)))[0]
    assert torch.equal(raw_v, v.detach())
    assert double.dtype == torch.float64


def test_schemas_in_the_docs_are_those_of_the_operators():
    text = (ROOT / "docs" / "networks.md").read_text()
    quoted = {
        " ".join(block.split()).partition("(")[0]: " ".join(block.split())
        for block in re.findall(r"^```\n(\w+\(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    }
    assert len(quoted) == 9
    for name, schema in quoted.items():
        assert f"lpgd::{schema}" == str(getattr(torch.ops.lpgd, name).default._schema)
        if not name.startswith("lstm"):
            continue
        twin = str(getattr(torch.ops.lpgd, name.replace("lstm", "gru")).default._schema)
        assert twin == f"lpgd::{schema}".replace("lstm", "gru")
