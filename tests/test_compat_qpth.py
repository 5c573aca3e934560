"""qpth's call: values and gradients against a few lines of torch, its conventions."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from lpgd_native import LPGD
from lpgd_native.compat.qpth import QPFunction, QPSolvers

EMPTY = torch.empty(0, dtype=torch.float64)


def problem(batch: int = 5, n: int = 6, m: int = 7, p: int = 2) -> list[Tensor]:
    root = torch.randn(n, n, dtype=torch.float64)
    Q = root @ root.mT + torch.eye(n, dtype=torch.float64)
    q = torch.randn(batch, n, dtype=torch.float64)
    G, A = torch.randn(m, n, dtype=torch.float64), torch.randn(p, n, dtype=torch.float64)
    inside = torch.randn(n, dtype=torch.float64)
    h, b = G @ inside + torch.rand(m, dtype=torch.float64), A @ inside
    return [Q, q, G, h, A, b]


def replica(data: list[Tensor], z: Tensor) -> Tensor:
    """The KKT system of the active set of z, item by item: what qpth differentiates."""
    Q, q, G, h, A, b = data
    rows = []
    for item, point in zip(q, z, strict=True):
        active = (h - G @ point).abs() < 1e-7
        C = torch.cat([G[active], A]) if A.numel() else G[active]
        d = torch.cat([h[active], b]) if A.numel() else h[active]
        zero = torch.zeros(len(C), len(C), dtype=Q.dtype)
        K = torch.cat([torch.cat([Q, C.mT], 1), torch.cat([C, zero], 1)])
        rows.append(torch.linalg.solve(K, torch.cat([-item, d]))[: Q.shape[-1]])
    return torch.stack(rows)


@pytest.mark.parametrize("equalities", [0, 2])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_value_and_gradient(equalities: int, reduction: str) -> None:
    data = problem(p=equalities)
    if not equalities:
        data[4:] = [EMPTY, EMPTY]
    moved = [t.clone().requires_grad_() for t in data]
    z = QPFunction(verbose=-1, reduction=reduction)(*moved)
    again = [t.clone().requires_grad_() for t in data]
    y = replica(again, z.detach())
    torch.testing.assert_close(z, y, atol=1e-9, rtol=1e-9)
    weights = torch.randn_like(z)
    present = 6 if equalities else 4
    ours = torch.autograd.grad((z * weights).sum(), moved[:present])
    theirs = list(torch.autograd.grad((y * weights).sum(), again[:present]))
    theirs[0] = 0.5 * (theirs[0] + theirs[0].mT)  # the gradient of Q is symmetric, as qpth's
    for k, (left, right) in enumerate(zip(ours, theirs, strict=True)):
        shared = data[k].dim() == (2 if k in (0, 2, 4) else 1)
        scale = 1 / 5 if reduction == "mean" and shared else 1
        torch.testing.assert_close(left, scale * right, atol=1e-7, rtol=1e-7)


def test_published_numbers() -> None:
    """min z1^2 + z2^2/2 - z1 - 2 z2 over z1 + z2 <= 1, z >= 0: by hand z = (0, 1)."""
    Q = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    p = torch.tensor([-1.0, -2.0], dtype=torch.float64)
    G = torch.tensor([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    h = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    z = QPFunction()(Q, p, G, h, EMPTY, EMPTY)
    assert z.shape == (1, 2)  # a batch of one where nothing is batched
    torch.testing.assert_close(z, torch.tensor([[0.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("batched", range(6))
def test_any_argument_may_be_batched(batched: int) -> None:
    data = problem()
    data[1] = data[1][0]
    wanted = QPFunction(verbose=-1)(*data)[0]
    data[batched] = data[batched].expand(3, *data[batched].shape).clone()
    z = QPFunction(verbose=-1)(*data)
    assert z.shape == (3, 6)
    for row in z:
        torch.testing.assert_close(row, wanted, atol=1e-9, rtol=1e-9)


def test_an_infeasible_item_warns_and_has_no_gradient() -> None:
    Q, q, G, h, A, b = problem()
    h = h.expand(5, -1).clone()
    G = torch.cat([G, -G[:1]])
    h = torch.cat([h, 1 - h[:, :1]], -1)
    h[2, -1] = -h[2, 0] - 1.0  # G0 z <= h0 and G0 z >= h0 + 1
    q.requires_grad_()
    function = QPFunction()
    with pytest.warns(RuntimeWarning, match="1 of 5 problems have no solution"):
        z = function(Q, q, G, h, A, b)
    assert function.last is not None
    assert function.last.status.tolist() == [0, 0, 2, 0, 0]
    z.sum().backward()
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()
    assert torch.equal(q.grad[2], torch.zeros(6, dtype=torch.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        QPFunction(verbose=-1)(Q, q, G, h, A, b)


def test_signature_of_qpth() -> None:
    data = problem()
    z = QPFunction(eps=1e-12, verbose=-1, notImprovedLim=3, maxIter=20, check_Q_spd=True,
                   solver=QPSolvers.PDIPM_BATCHED)(*data)  # fmt: skip
    torch.testing.assert_close(z, QPFunction(verbose=-1)(*data))
    single = [t.float() for t in data]
    assert QPFunction(eps=1e-12, verbose=-1)(*single).dtype == torch.float32
    with pytest.raises(RuntimeError, match="Q is not SPD"):
        QPFunction(check_Q_spd=True)(0 * data[0], *data[1:])
    with pytest.raises(ValueError, match="reduction must be"):
        QPFunction(reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"G must have 2 dimensions.*got \[6\]"):
        QPFunction()(data[0], data[1], data[2][0], *data[3:])
    with pytest.raises(TypeError, match=r"A must be a torch\.Tensor \(an empty one"):
        QPFunction()(*data[:4], None, None)  # type: ignore[arg-type]


def test_lpgd_goes_with_it() -> None:
    """A linear program: Q = 0 has no gradient in qpth."""
    p = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    eye, ones = torch.eye(3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    function = QPFunction(gradient=LPGD(tau=10.0))
    z = function(torch.zeros(3, 3, dtype=torch.float64), p, -eye, zero, ones, one)
    assert torch.equal(z.argmax(-1), p.argmin(-1))
    z[:, 0].sum().backward()
    assert p.grad is not None
    assert float(p.grad.abs().sum()) > 0.1


def test_training_an_optnet_layer() -> None:
    """The use it is made for: learned constraints, a loss that falls."""
    target = torch.rand(16, 4, dtype=torch.float64).softmax(-1)
    A = torch.nn.Parameter(torch.randn(1, 4, dtype=torch.float64))
    eye, zero = torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    optimizer = torch.optim.Adam([A], lr=0.05)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        z = QPFunction(verbose=-1)(eye, -target, -eye, zero, A, one)
        loss = (z - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]
    assert sum(b < a for a, b in pairwise(losses)) > 40
