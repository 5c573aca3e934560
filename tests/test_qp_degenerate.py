"""Implicit() where rows depend on each other or are weakly active: least squares, always finite.

The convention: a row is active where slack < multiplier, as the solver measures both; D is the
least-squares solution of least norm of K D = -g, K the KKT matrix of the active rows.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from cases import CASES, Data, assignment, random_qp
from losses import gradients, weights_for
from lpgd_native import Implicit, solve_qp

F64 = torch.float64


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def duplicate_row() -> Data:
    """(x_1 - 2)^2 / 2 + x_2^2 / 2, x_1 <= 1 written twice."""
    G = tensor(1.0, 0.0).expand(2, 2).contiguous()
    return Data(torch.eye(2, dtype=F64), tensor(-2.0, 0.5), G, tensor(1.0, 1.0))


def redundant_equality() -> Data:
    """x_1 + x_2 = 1 and twice that."""
    A = tensor(1.0, 1.0, 2.0, 2.0).reshape(2, 2)
    return Data(torch.eye(2, dtype=F64), tensor(0.3, -0.1), A=A, b=tensor(1.0, 2.0))


def corner_of_three_rows() -> Data:
    """Three rows of the plane meet in the solution."""
    G = tensor(1.0, 0.0, 0.0, 1.0, 1.0, 1.0).reshape(3, 2)
    return Data(torch.eye(2, dtype=F64), tensor(-3.0, -3.0), G, tensor(1.0, 1.0, 2.0))


def row_and_bound() -> Data:
    """x_1 <= 1 as a row and as a bound."""
    return duplicate_row()._replace(
        G=tensor(1.0, 0.0).reshape(1, 2), h=tensor(1.0), ub=tensor(1.0, 9.0)
    )


def face_of_minimisers() -> Data:
    """No curvature and no cost in x_2: any value between the bounds."""
    P = torch.diag(tensor(1.0, 0.0))
    return Data(P, tensor(-0.5, 0.0), lb=tensor(-1.0, -1.0), ub=tensor(1.0, 1.0))


def weakly_active() -> Data:
    """x_1 <= 1 holds with equality at the minimiser without it: slack and multiplier are 0."""
    G = tensor(1.0, 0.0).reshape(1, 2)
    return Data(torch.eye(2, dtype=F64), tensor(-1.0, 0.5), G, tensor(1.0))


def large_scale_duplicate() -> Data:
    """The same row in units a thousand times larger."""
    G = tensor(1.0, 0.0, 1000.0, 0.0).reshape(2, 2)
    return duplicate_row()._replace(G=G, h=tensor(1.0, 1000.0))


PROBLEMS = {
    f.__name__: f
    for f in (
        duplicate_row,
        redundant_equality,
        corner_of_three_rows,
        row_and_bound,
        face_of_minimisers,
        weakly_active,
        large_scale_duplicate,
    )
}
each_problem = pytest.mark.parametrize("name", PROBLEMS)


def direction(data: Data, g: torch.Tensor):
    """D of the raw op for a loss gradient in x, and the solution's x, duals and active rows."""
    flat = data.map(lambda t: t.unsqueeze(0))
    *point, solved, _, _ = torch.ops.lpgd.solve_qp(*flat, 1e-9, 60)
    none = [torch.zeros_like(part) for part in point[1:]]
    *d, status = torch.ops.lpgd.implicit_qp(*flat, *point, solved, g.unsqueeze(0), *none)
    assert not solved.any()
    assert not status.any()
    return [part[0] for part in d], [part[0] for part in point]


def in_order(d, kept) -> torch.Tensor:
    """Multipliers of D in the order of K."""
    return torch.cat([d[1], *(v[mask] for v, mask in zip(d[2:], kept, strict=True) if len(mask))])


def kkt(data: Data, point) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """K of the active rows, in the order A, G, lb, ub, and which rows of each block are in it."""
    x, _, z, z_lb, z_ub = point
    n, eye = len(x), torch.eye(len(x), dtype=F64)
    blocks, kept = [], []
    for matrix, right, dual in (
        (data.G, data.h, z),
        (-eye if data.lb is not None else None, None if data.lb is None else -data.lb, z_lb),
        (eye if data.ub is not None else None, data.ub, z_ub),
    ):
        if matrix is None:
            kept.append(torch.zeros(0, dtype=torch.bool))
            continue
        active = right - matrix @ x < dual
        blocks.append(matrix[active])
        kept.append(active)
    equalities = [] if data.A is None else [data.A]
    C = torch.cat([*equalities, *blocks, torch.zeros(0, n, dtype=F64)])
    K = torch.cat([torch.cat([data.P, C.T], 1), torch.cat([C, torch.zeros(len(C), len(C))], 1)])
    return K, kept


@each_problem
def test_gradients_are_finite(name):
    for grad in gradients(PROBLEMS[name](), Implicit()).values():
        assert torch.isfinite(grad).all()


@each_problem
def test_the_direction_of_x_is_that_of_least_squares(name):
    data = PROBLEMS[name]()
    (g,) = weights_for([data.q])
    d, point = direction(data, g)
    K, kept = kkt(data, point)
    rhs = torch.cat([-g, g.new_zeros(len(K) - len(g))])
    expected = torch.linalg.pinv(K, hermitian=True) @ rhs
    torch.testing.assert_close(d[0], expected[: len(g)], rtol=1e-8, atol=1e-8)
    # multipliers: those of dependent rows are not determined, what they do to x is
    got = torch.cat([d[0], in_order(d, kept)])
    torch.testing.assert_close(K @ got, K @ expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "name",
    [
        "duplicate_row",
        "redundant_equality",
        "corner_of_three_rows",
        "row_and_bound",
        "large_scale_duplicate",
    ],
)
def test_multipliers_of_dependent_rows_are_of_least_norm(name):
    """In the units of the scaled problem: rows by powers of two near their largest entry."""
    data = PROBLEMS[name]()
    (g,) = weights_for([data.q])
    d, point = direction(data, g)
    K, kept = kkt(data, point)
    n = len(g)
    # scale as the solver does; bounds keep their units
    rows = K[n:, :n]
    bounds = sum(int(mask.sum()) for mask in kept[1:])
    factor = 2.0 ** -torch.floor(torch.log2(rows.abs().amax(1)))
    if bounds:
        factor[-bounds:] = 1.0
    largest = torch.maximum(data.q.abs().max(), data.P.diagonal().max())
    unit = 2.0 ** -torch.floor(torch.log2(largest))
    S = torch.cat([torch.ones(n, dtype=F64), factor])
    scaled = S[:, None] * K * S
    scaled[:n, :n] *= unit
    rhs = torch.cat([-g * unit, g.new_zeros(len(rows))])
    expected = torch.linalg.pinv(scaled, hermitian=True) @ rhs
    got = in_order(d, kept)
    torch.testing.assert_close(got, expected[n:] * factor / unit, rtol=1e-6, atol=1e-6)


def test_a_duplicate_row_does_not_change_the_gradient_of_q():
    twice, once = duplicate_row(), duplicate_row()
    once = once._replace(G=once.G[:1], h=once.h[:1])
    grads = [gradients(d, Implicit(), ["x"]) for d in (twice, once)]
    torch.testing.assert_close(grads[0]["q"], grads[1]["q"], rtol=1e-9, atol=1e-9)
    # both copies together move the solution as the one row did, each half of it
    torch.testing.assert_close(grads[0]["h"].sum(), grads[1]["h"].sum(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grads[0]["h"][0], grads[0]["h"][1], rtol=1e-6, atol=1e-6)


def test_a_weakly_active_row_gives_an_element_of_the_generalised_derivative():
    """dx_1/dq_1 is -1 with the row off, 0 with it on; rounding may not give anything between."""
    grads = []
    for shift in (0.0, 1e-13, -1e-13):
        data = weakly_active()
        data = data._replace(h=data.h + shift)
        q = data.q.clone().requires_grad_()
        x = solve_qp(data.P, q, *data[2:], gradient=Implicit()).x
        grads.append(float(torch.autograd.grad(x[0], q)[0][0]))
    for grad in grads:
        assert min(abs(grad + 1.0), abs(grad)) < 1e-8


@pytest.mark.parametrize("seed", range(12))
def test_rows_through_the_solution_give_the_direction_of_one_of_their_subsets(seed):
    """Four rows more than needed: of those with a multiplier of 0 rounding decides which count, and
    D fits one choice of them.
    """
    data = random_qp(seed, n=5, m=4, p=1, lower=True)
    G = torch.randn(4, 5, dtype=F64, generator=torch.Generator().manual_seed(seed))
    x = solve_qp(*data).x
    data = data._replace(G=torch.cat([data.G, G]), h=torch.cat([data.h, G @ x]))
    (g,) = weights_for([data.q])
    d, point = direction(data, g)
    rows = torch.cat([data.G, -torch.eye(5, dtype=F64)])
    slack = torch.cat([data.h, -data.lb]) - rows @ point[0]
    strong = torch.cat([point[2], point[3]]) > 1e-8
    weak = (~strong & (slack.abs() < 1e-8)).nonzero().flatten().tolist()
    assert slack[4:8].abs().max() < 1e-8
    errors = []
    for subset in itertools.chain(*(itertools.combinations(weak, k) for k in range(len(weak) + 1))):
        active = strong.clone()
        active[list(subset)] = True
        C = torch.cat([data.A, rows[active]])
        K = torch.cat([torch.cat([data.P, C.T], 1), torch.cat([C, C.new_zeros(len(C), len(C))], 1)])
        rhs = torch.cat([-g, g.new_zeros(len(C))])
        expected = torch.linalg.pinv(K, hermitian=True, rtol=1e-9) @ rhs
        errors.append(float((d[0] - expected[:5]).abs().max()))
    assert min(errors) < 1e-7


DEGENERATE = ("redundant_equalities", "duplicate_rows", "assignment_4", "transport")


@pytest.mark.parametrize("name", DEGENERATE)
def test_shared_degenerate_data_gets_the_sum(name):
    data = CASES[name].build()
    q = data.q.expand(*data.batch, -1).clone()
    one = data.item(0)._replace(q=q)
    each = one.map(lambda t: t.expand(*data.batch, *t.shape).clone())._replace(q=q)
    left, right = (gradients(d, Implicit(), ["x"]) for d in (one, each))
    for key, grad in left.items():
        assert torch.isfinite(grad).all()
        expected = right[key] if key == "q" else right[key].sum(0)
        torch.testing.assert_close(grad, expected, rtol=1e-10, atol=1e-10)


def test_a_degenerate_vertex_of_an_assignment_has_finite_gradients():
    data = assignment(5, 8, seed=5)
    grads = gradients(data, Implicit())
    assert all(torch.isfinite(g).all() for g in grads.values())
    assert gradients(data, Implicit(), ["x"])["q"].abs().max() < 1e-9


def test_float32_stays_finite():
    for build in PROBLEMS.values():
        for grad in gradients(build().to(torch.float32), Implicit()).values():
            assert torch.isfinite(grad).all()
    grads = gradients(random_qp(310, 4, n=4, m=9, p=2).to(torch.float32), Implicit())
    assert all(torch.isfinite(g).all() for g in grads.values())
