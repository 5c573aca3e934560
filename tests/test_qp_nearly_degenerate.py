"""Exact where it is hard: pairs of multiplier and slack that are both nearly zero.

An interior point stops before it sees which of the two is zero, and a wrong guess moves x by far
more than the tolerance. The problems are made from their solutions, so no solver is trusted.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cases import Data, rows
from lpgd_native import LPGD, Implicit, Status, solve_qp


class Known(NamedTuple):
    data: Data
    x: Tensor
    z: Tensor
    active: Tensor


def problem_from_solution(seed: int, smallest: Tensor, n: int = 20, p: int = 5) -> Known:
    """One item for each entry of `smallest`: its first row of G has a slack of that size if it is
    positive, a multiplier of minus that if it is negative; the other rows are clear."""
    generator = torch.Generator().manual_seed(seed)
    batch, m = smallest.shape[0], n

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, dtype=torch.float64, generator=generator)

    factor = normal(n, n) / n**0.5
    P = factor @ factor.mT + 0.01 * torch.eye(n, dtype=torch.float64)
    G, A, x, y = normal(m, n) / n**0.5, normal(p, n) / n**0.5, normal(n), normal(p)
    size = 0.1 + torch.rand(batch, m, dtype=torch.float64, generator=generator)
    active = torch.rand(batch, m, generator=generator) < 0.3
    active[:, 0] = smallest < 0
    size[:, 0] = smallest.abs()
    z, s = torch.where(active, size, 0.0), torch.where(active, 0.0, size)
    q = -(rows(P, x) + rows(G.mT, z) + rows(A.mT, y))
    return Known(Data(P, q, G, rows(G, x) + s, A, rows(A, x)), x, z, active)


def _clear(size: float) -> Tensor:
    return torch.tensor([size, -size], dtype=torch.float64)


@pytest.mark.parametrize("exponent", range(1, 12))
def test_solution(exponent):
    known = problem_from_solution(exponent, _clear(10.0**-exponent).repeat(16))
    solution = solve_qp(*known.data)
    assert (solution.status == Status.OK).all()
    torch.testing.assert_close(solution.x, known.x, rtol=0, atol=1e-11)
    torch.testing.assert_close(solution.z, known.z, rtol=0, atol=1e-11)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31),
    smallest=st.lists(
        st.builds(
            lambda sign, exponent: sign * 10.0**exponent,
            st.sampled_from([-1.0, 1.0]),
            st.floats(-11.0, -1.0),
        ),
        min_size=1,
        max_size=9,
    ),
)
def test_solution_of_mixed_batches(seed, smallest):
    known = problem_from_solution(seed, torch.tensor(smallest, dtype=torch.float64), n=10, p=3)
    solution = solve_qp(*known.data)
    assert (solution.status == Status.OK).all()
    torch.testing.assert_close(solution.x, known.x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("exponent", range(1, 12))
def test_implicit_gradient(exponent):
    """Against the KKT system of the known active set, by dense linear algebra."""
    known = problem_from_solution(exponent, _clear(10.0**-exponent).repeat(8))
    q = known.data.q.clone().requires_grad_()
    upstream = torch.randn(q.shape, dtype=q.dtype, generator=torch.Generator().manual_seed(1))
    solution = solve_qp(*known.data._replace(q=q), gradient=Implicit())
    (grad,) = torch.autograd.grad(solution.x, q, upstream)
    for k in range(q.shape[0]):
        C = torch.cat([known.data.G[k][known.active[k]], known.data.A[k]])
        corner = C.new_zeros(C.shape[0], C.shape[0])
        kkt = torch.cat([torch.cat([known.data.P[k], C.T], 1), torch.cat([C, corner], 1)])
        right = torch.cat([upstream[k], C.new_zeros(C.shape[0])])
        exact = -torch.linalg.solve(kkt, right)[: q.shape[1]]
        torch.testing.assert_close(grad[k], exact, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("exponent", [3, 6, 9])
@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_lpgd_is_what_cold_solves_give(exponent, envelope):
    """The re-solve starts from the solution; a perturbed problem solved afresh is the measure."""
    tau = 0.05
    known = problem_from_solution(exponent, _clear(10.0**-exponent).repeat(8))
    q = known.data.q.clone().requires_grad_()
    upstream = torch.randn(q.shape, dtype=q.dtype, generator=torch.Generator().manual_seed(2))
    solution = solve_qp(*known.data._replace(q=q), gradient=LPGD(tau, envelope=envelope))
    (grad,) = torch.autograd.grad(solution.x, q, upstream)

    def at(t: float) -> Tensor:
        return solve_qp(*known.data._replace(q=known.data.q + t * upstream)).x

    low = at(-tau) if envelope != "lower" else known.x
    high = at(tau) if envelope != "upper" else known.x
    width = 2 * tau if envelope == "average" else tau
    torch.testing.assert_close(grad, (high - low) / width, rtol=0, atol=1e-8)
