"""Which of torch's features every differentiable op goes with: the table of docs/torch.md.

A cell is a test. What an op does not do is in `MISSING`, with the error that says so. What other
files test for every case of an op (opcheck, compile, vmap: `test_transforms`, `test_registration`,
`test_prox_transforms`, `test_momentum_transforms`) is done here once for each, in the same way.
"""

from __future__ import annotations

import copy
import functools
import pickle
import re

import pytest
import torch
from torch import Tensor

from _build_tree import ROOT
from lpgd_native import LPGD, nn, operators
from torch_ops import BATCH, OPS, Op
from transforms import compiles, forward_mode

COLUMNS = (
    "compile",
    "export",
    "grad",
    "vmap",
    "jvp",
    "jacrev",
    "autocast",
    "deterministic",
    "workers",
)
# what an op does not do, and the error that says so
_NO_FUNC = (RuntimeError, "must override the setup_context")
_NO_FORWARD_MODE = (NotImplementedError, "no forward-mode derivative")
MISSING: dict[tuple[str, str], tuple[type[Exception], str]] = {
    ("solve_qp, pdhg", "compile"): (Exception, "torch.compiler.disable"),
    **{("solve_qp, pdhg", column): _NO_FUNC for column in ("grad", "vmap", "jvp", "jacrev")},
    **{(name, "jvp"): _NO_FORWARD_MODE for name in OPS if "lstm" in name or "gru" in name},
}
# compiled and started in the fast suite; the others take seconds each
QUICK = ("prox_l1", "conv_prelu", "gru_momentum_step")


def cells(column: str, quick: tuple[str, ...] = tuple(OPS)):
    """The test of a column for every op; where an op lacks it, its error is the test."""

    def decorate(test):
        @functools.wraps(test)
        def run(name):
            missing = MISSING.get((name, column))
            if missing is None:
                return test(name)
            with pytest.raises(missing[0], match=missing[1]):
                test(name)
            return None

        marked = [
            pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in OPS
        ]
        return pytest.mark.parametrize("name", marked)(run)

    return decorate


def _weights(out: Tensor) -> Tensor:
    return torch.linspace(0.3, 1.7, out.numel(), dtype=out.dtype).view_as(out)


def loss(op: Op, *arguments: Tensor) -> Tensor:
    out = op.call(*arguments)
    return (_weights(out) * out).sum()


def gradients(op: Op, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    leaves = [a.clone().requires_grad_() for a in arguments]
    return torch.autograd.grad(loss(op, *leaves), leaves)


def close(left, right, tolerance: float = 1e-9) -> None:
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@compiles
@cells("compile", QUICK)
def test_compile(name):
    op = OPS[name]
    compiled = torch.compile(op.call, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch in (BATCH, 2 * BATCH):
        first = torch.cat([op.arguments[0]] * (batch // BATCH))
        arguments = (first, *op.arguments[1:])
        leaves = [a.clone().requires_grad_() for a in arguments]
        out = compiled(*leaves)
        close([out], [op.call(*arguments)])
        found = torch.autograd.grad((_weights(out) * out).sum(), leaves)
        close(found, gradients(op, arguments))


class Wrapped(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *arguments):
        return self.call(*arguments)


@compiles
@cells("export")
def test_export(name):
    op = OPS[name]
    program = torch.export.export(Wrapped(op.call), op.arguments)
    again = tuple(1.1 * a if k == 0 else a for k, a in enumerate(op.arguments))
    close([program.module()(*again)], [op.call(*again)])


@cells("grad")
def test_func_grad(name):
    op = OPS[name]
    places = tuple(range(len(op.arguments)))
    found = torch.func.grad(lambda *a: loss(op, *a), argnums=places)(*op.arguments)
    close(found, gradients(op, op.arguments))


@cells("vmap")
def test_vmap(name):
    """Over the batch, with one problem in each call."""
    op = OPS[name]
    first, *others = op.arguments
    mapped = torch.func.vmap(lambda one: op.call(one.unsqueeze(0), *others).squeeze(0))
    close([mapped(first)], [op.call(*op.arguments)])


@forward_mode
@cells("jvp")
def test_jvp(name):
    op = OPS[name]
    generator = torch.Generator().manual_seed(1)
    tangents = [torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in op.arguments]
    _, moved = torch.func.jvp(op.call, op.arguments, tuple(tangents))
    step = 1e-6
    ahead, behind = (
        op.call(*(a + s * step * t for a, t in zip(op.arguments, tangents, strict=True)))
        for s in (1, -1)
    )
    close([moved], [(ahead - behind) / (2 * step)], 1e-3)


@cells("jacrev")
def test_jacrev(name):
    op = OPS[name]
    jacobian = torch.func.jacrev(op.call)(*op.arguments)
    first = op.arguments[0].clone().requires_grad_()
    out = op.call(first, *op.arguments[1:])
    rows = [
        torch.autograd.grad(entry, first, retain_graph=True)[0] for entry in out.flatten().unbind()
    ]
    close([jacobian.flatten(0, out.dim() - 1)], [torch.stack(rows)])


@cells("autocast")
def test_autocast(name):
    op = OPS[name]
    single = tuple(a.float() for a in op.arguments)
    half = (single[0].bfloat16(), *single[1:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = op.call(*half)
    assert torch.isfinite(out).all()
    wanted = op.call(half[0].float(), *single[1:])
    torch.testing.assert_close(out.float(), wanted, rtol=0.05, atol=0.05)
    if "momentum" not in name and name != "conv_prelu" and "coordinate" not in name:
        assert out.dtype == torch.float32


@cells("deterministic")
def test_deterministic(name):
    op = OPS[name]
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(op, op.arguments) for _ in range(2))
        assert torch.equal(op.call(*op.arguments), op.call(*op.arguments))
    finally:
        torch.use_deterministic_algorithms(was)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class Solved(torch.utils.data.Dataset):
    """Item k is what op k gives, with its gradient in the first argument."""

    def __len__(self):
        return len(OPS)

    def __getitem__(self, index):
        op = list(OPS.values())[index]
        return torch.cat(
            [op.call(*op.arguments).flatten(), gradients(op, op.arguments)[0].flatten()]
        )


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_loader(start):
    """All ops in worker processes, after this process has used its threads."""
    here = [Solved()[k] for k in range(len(OPS))]
    loader = torch.utils.data.DataLoader(
        Solved(), batch_size=None, num_workers=1, multiprocessing_context=start, timeout=120
    )
    for name, left, right in zip(OPS, loader, here, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9, msg=name)


# modules

OPERATOR = operators.LinearOperator(torch.eye(4))
MODULES = {
    "QPLayer": (
        lambda: nn.QPLayer(
            P=torch.nn.Parameter(torch.eye(4)), lb=torch.zeros(4), gradient=LPGD(0.1)
        ),
        lambda module, x: module(q=x).x,
        "P lb",
    ),
    "LPLayer": (
        lambda: nn.LPLayer(lb=torch.zeros(4), ub=torch.nn.Parameter(torch.ones(4))),
        lambda module, x: module(c=x).x,
        "ub lb",
    ),
    "LearnedProximalGradient": (
        lambda: nn.LearnedProximalGradient(
            OPERATOR,
            iterations=1,
            block=nn.ProxBlock(torch.nn.Identity(), learned=True),
            momentum=nn.RecurrentMomentum(hidden=3, layers=1),
        ),
        lambda module, x: module(x),
        "operator.matrix momentum.w_ih_0 momentum.w_hh_0 momentum.b_ih_0 momentum.b_hh_0 "
        "momentum.w_out momentum.b_out blocks.0.tau",
    ),
    "LearnedPrimalDual": (
        lambda: nn.LearnedPrimalDual(
            OPERATOR,
            iterations=1,
            block=nn.ConvBlock(width=4, depth=2),
            dual_block=nn.ConvBlock(width=4, depth=2),
            momentum=nn.HeavyBall(learned=True),
        ),
        lambda module, x: module(x),
        "operator.matrix momentum.gamma momentum.eta "
        + " ".join(
            f"{part}.{k}"
            for part in ("blocks.0.network", "dual_blocks.0")
            for k in ("0.weight", "0.bias", "1.weight", "2.weight", "2.bias")
        ),
    ),
}
each_module = pytest.mark.parametrize("name", MODULES)
X = torch.linspace(-1, 1, 12).reshape(3, 4)


@each_module
def test_state_dict(name):
    """The names are what checkpoints are made of: they don't change."""
    make, call, names = MODULES[name]
    module = make()
    assert sorted(module.state_dict()) == sorted(names.split())
    fresh = make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(call(fresh, X), call(module, X))


@each_module
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(name, copier):
    make, call, _ = MODULES[name]
    module = make()
    other = copier(module)
    assert torch.equal(call(other, X), call(module, X))
    assert not {p.data_ptr() for p in other.parameters()} & {
        p.data_ptr() for p in module.parameters()
    }


@each_module
def test_moves_to_double(name):
    make, call, _ = MODULES[name]
    assert call(make().double(), X.double()).dtype == torch.float64


# the table in the docs


def test_the_docs_show_this_table():
    page = (ROOT / "docs" / "torch.md").read_text()
    shown = {}
    for line in page.splitlines():
        entries = [entry.strip() for entry in line.strip("|").split("|")]
        if len(entries) == 1 + len(COLUMNS) and entries[0].strip("`") in OPS:
            shown[entries[0].strip("`")] = entries[1:]
    wanted = {
        name: ["no" if (name, column) in MISSING else "yes" for column in COLUMNS] for name in OPS
    }
    assert shown == wanted
    head = next(line for line in page.splitlines() if line.startswith("| op "))
    assert tuple(re.findall(r"`?(\w+)`? \|", head.partition("|")[2].partition("|")[2])) == COLUMNS
