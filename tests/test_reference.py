"""The twins are right by themselves: they are what the ops are measured by."""

from __future__ import annotations

import ast
import inspect

import pytest
import torch

from cases import parametrize_cases, random_lp, random_qp
from lpgd_native import reference
from lpgd_native.reference import qp as module
from oracles import kkt_violations, stacked


@parametrize_cases(lambda case: case.unique and not case.large)
def test_the_twin_meets_the_optimality_conditions(case):
    for item in case.build().items():
        P, q, C, d, A, b = stacked(item)
        x, y, z = reference.solve_qp(P, q, C, d, A, b)
        scale = 1 + max(float(t.abs().max()) for t in (P, q, x, z, y) if t.numel())
        assert (P @ x + q + A.T @ y + C.T @ z).abs().max() < 1e-9 * scale
        if len(b):
            assert (A @ x - b).abs().max() < 1e-9 * scale
        if len(d):
            assert (C @ x - d).max() < 1e-9 * scale
            assert z.min() > -1e-12
            assert (z * (d - C @ x)).abs().max() < 1e-9 * scale


def test_the_twin_of_implicit_is_the_derivative():
    item = random_qp(130, n=4, m=3, p=1)
    P, q, C, d, A, b = stacked(item)
    x, _, z = reference.solve_qp(P, q, C, d, A, b)
    g, move = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    active = d - C @ x < z
    d_x, _, _ = reference.implicit_qp(P, C, A, active, g, 0 * b, 0 * d)
    eps = 1e-6
    ends = [g @ reference.solve_qp(P, q + s * move, C, d, A, b)[0] for s in (eps, -eps)]
    assert float(d_x @ move) == pytest.approx(float(ends[0] - ends[1]) / (2 * eps), rel=1e-5)


def test_the_twin_of_resolve_is_a_shifted_solve():
    P, q, C, d, A, b = stacked(random_lp(131, n=4, m=3, p=1))
    x, y, z = reference.solve_qp(P, q, C, d, A, b)
    zero = (0 * x, 0 * y, 0 * z)
    for left, right in zip(
        reference.resolve_qp((P, q, C, d, A, b), x, zero, 0.7, 0.0), (x, y, z), strict=True
    ):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
    g = torch.ones_like(x)
    at, far = (
        reference.resolve_qp((P, q, C, d, A, b), x, (g, *zero[1:]), 0.1, rho)[0]
        for rho in (1e6, 1e-6)
    )
    torch.testing.assert_close(at, x, rtol=0, atol=1e-5)
    assert torch.isfinite(far).all()


def test_the_twins_know_nothing_of_the_native_code():
    imported = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported <= {"__future__", "torch"}
    assert "torch.ops" not in inspect.getsource(module)


def test_violations_see_what_is_wrong():
    """The measure of all value tests itself: a wrong sign or a wrong point is not let through."""
    data = random_qp(132, 2, n=4, m=3, p=1, lower=True, upper=True)
    import lpgd_native

    s = lpgd_native.solve_qp(*data)
    right = list(s[:5])
    assert all(v.max() < 1e-12 for v in kkt_violations(data, right).values())
    for k in range(5):
        for change in (1e-3, -1e-3):
            wrong = [p + change * (j == k) for j, p in enumerate(right)]
            assert max(float(v.max()) for v in kkt_violations(data, wrong).values()) > 1e-5
