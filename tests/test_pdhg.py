"""The sparse first-order solver against HiGHS, the dense interior point and known solutions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from cases import NAMES, Data, parametrize_cases
from lpgd_native import LPGD, Implicit, QPSolution, SolverError, Status, solve_lp, solve_qp
from lpgd_native._pdhg import solve_pdhg
from lpgd_native._pdhg_autograd import Pattern
from lpgd_native._pdhg_columns import columns_of

pytestmark = [
    pytest.mark.on_device,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are:UserWarning"),
]
F64 = torch.float64
raw = torch.ops.lpgd.solve_sparse_qp


def csr(matrix: sp.spmatrix | np.ndarray, dtype: torch.dtype = F64) -> Tensor:
    m = sp.csr_matrix(matrix)
    m.sort_indices()
    return torch.sparse_csr_tensor(m.indptr, m.indices, m.data, size=m.shape, dtype=dtype)


def tensor(values: np.ndarray | None) -> Tensor | None:
    return None if values is None else torch.as_tensor(values, dtype=F64)


def transport(left: int, right: int, seed: int) -> dict[str, np.ndarray | sp.spmatrix]:
    r = np.random.default_rng(seed)
    A = sp.vstack(
        [sp.kron(sp.eye(left), np.ones((1, right))), sp.kron(np.ones((1, left)), sp.eye(right))]
    )
    a, b = r.random(left), r.random(right)
    n = left * right
    return {"c": r.random(n), "A": A, "b": np.r_[a / a.sum(), b / b.sum()], "lb": np.zeros(n)}


def assignment(size: int, seed: int) -> dict[str, np.ndarray | sp.spmatrix]:
    problem = transport(size, size, seed)
    return {**problem, "b": np.ones(2 * size), "ub": np.ones(size * size)}


def known(n: int, m: int, nnz: int, seed: int) -> dict[str, np.ndarray | sp.spmatrix]:
    """A random LP made around a strictly complementary solution."""
    r = np.random.default_rng(seed)
    G = sp.random(m, n, nnz / (m * n), random_state=r, data_rvs=r.standard_normal).tocsr()
    x, z = np.maximum(r.standard_normal(n), 0), np.maximum(r.standard_normal(m), 0)
    h = G @ x + np.where(z > 0, 0, 0.1 + r.random(m))
    c = -(G.T @ z) + np.where(x > 0, 0, 0.1 + r.random(n))
    return {"c": c, "G": G, "h": h, "lb": np.zeros(n)}


LPS = {
    "transport": transport(6, 8, 0),
    "transport_wide": transport(3, 40, 1),
    "assignment": assignment(9, 2),
    "known": known(60, 40, 300, 3),
    "known_tall": known(40, 70, 400, 4),
}


def optimum(problem: dict) -> float:
    n = len(problem["c"])
    free = np.full(n, np.inf)
    bounds = np.c_[problem.get("lb", -free), problem.get("ub", free)]
    rows = (problem.get(key) for key in ("G", "h", "A", "b"))
    return float(linprog(problem["c"], *rows, bounds=bounds, method="highs").fun)


def arguments(problem: dict) -> dict[str, Tensor | None]:
    return {
        key: csr(value) if sp.issparse(value) else tensor(value) for key, value in problem.items()
    }


def violation(problem: dict, x: np.ndarray) -> float:
    parts = [0.0]
    if "A" in problem:
        parts.append(np.abs(problem["A"] @ x - problem["b"]).max())
    if "G" in problem:
        parts.append((problem["G"] @ x - problem["h"]).max())
    if "lb" in problem:
        parts.append((problem["lb"] - x).max())
    if "ub" in problem:
        parts.append((x - problem["ub"]).max())
    return float(max(parts))


@pytest.mark.cpu_only("HiGHS is a library for the CPU")
@pytest.mark.parametrize("name", LPS)
def test_lp_against_highs(name):
    problem = LPS[name]
    solution = solve_lp(**arguments(problem))
    x = solution.x.numpy()
    expected = optimum(problem)
    assert solution.status == Status.OK
    assert abs(problem["c"] @ x - expected) < 1e-5 * (1 + abs(expected))
    assert violation(problem, x) < 1e-5
    # the residuals reported are those of the point
    assert abs(violation(problem, x) - float(solution.primal_residual)) < 1e-9
    assert solution.gap < 1e-5 * (1 + abs(expected))


@pytest.mark.parametrize("count", [1, 2, 3, 9, 17])
def test_batch_of_costs_with_shared_matrices(count):
    """Alone, in pairs, in packs that are full and not: the same solutions."""
    problem = arguments(LPS["assignment"])
    r = np.random.default_rng(count)
    costs = r.random((count, len(LPS["assignment"]["c"])))
    problem["c"] = tensor(costs)
    solution = solve_lp(**problem)
    assert solution.x.shape == costs.shape
    assert bool((solution.status == Status.OK).all())
    for c, x in zip(costs, solution.x.numpy(), strict=True):
        expected = optimum({**LPS["assignment"], "c": c})
        assert abs(c @ x - expected) < 1e-5 * (1 + abs(expected))


def test_items_do_not_depend_on_their_neighbours():
    c = torch.rand(11, 81, generator=torch.Generator().manual_seed(0), dtype=F64)
    problem = arguments(LPS["assignment"])
    whole = solve_lp(**{**problem, "c": c})
    turned = solve_lp(**{**problem, "c": c.flip(0)})
    for a, b in zip(whole, turned, strict=True):
        assert torch.equal(a, b.flip(0))


@parametrize_cases(lambda case: not case.large)
def test_dense_cases_as_sparse(case):
    """The table of the dense solver, with matrices made sparse, in batches and shared."""
    data = case.build().flat()
    expected = solve_qp(*data)
    sparse = [to_csr(t) if k in (0, 2, 4) else t for k, t in enumerate(data)]
    solution = solve_qp(*sparse, eps=1e-8, method="pdhg")
    assert torch.equal(solution.status, expected.status)
    for part in ("primal_residual", "dual_residual", "gap"):
        assert bool((getattr(solution, part) < 1e-4).all()), part
    if case.unique:
        torch.testing.assert_close(solution.x, expected.x, rtol=1e-4, atol=1e-4)
    if case.unique_duals:
        for part in ("y", "z", "z_lb", "z_ub"):
            torch.testing.assert_close(
                getattr(solution, part), getattr(expected, part), rtol=1e-3, atol=1e-3
            )


def to_csr(matrix: Tensor | None) -> Tensor | None:
    """[m, n] or [B, m, n] to CSR, in a batch on the union of the patterns."""
    if matrix is None:
        return None
    if matrix.dim() == 2:
        return matrix.to_sparse_csr()
    used = matrix.ne(0).any(0)
    pattern = used.to(F64).to_sparse_csr()
    count = len(matrix)
    return torch.sparse_csr_tensor(
        pattern.crow_indices().repeat(count, 1),
        pattern.col_indices().repeat(count, 1),
        matrix[:, used],
        size=matrix.shape,
    )


def portfolio(n: int, factors: int, count: int) -> Data:
    """min 1/2 x'Dx + 1/2 f'f - mu'x, F'x = f, sum x = 1, x >= 0: the factors are variables."""
    g = torch.Generator().manual_seed(n)
    size = n + factors
    P = torch.zeros(size, size, dtype=F64)
    P.diagonal()[:n] = 0.1 + torch.rand(n, generator=g, dtype=F64)
    P.diagonal()[n:] = 1.0
    F = torch.randn(factors, n, generator=g, dtype=F64) * (
        torch.rand(factors, n, generator=g) < 0.5
    )
    A = torch.zeros(factors + 1, size, dtype=F64)
    A[:factors, :n], A[:factors, n:], A[factors, :n] = F, -torch.eye(factors), 1.0
    q = torch.zeros(count, size, dtype=F64)
    q[:, :n] = -torch.randn(count, n, generator=g, dtype=F64)
    b = torch.zeros(factors + 1, dtype=F64)
    b[-1] = 1.0
    lb = torch.full((size,), -math.inf, dtype=F64)
    lb[:n] = 0.0
    return Data(P, q, None, None, A, b, lb, None)


def lasso(n: int, rows: int, weight: float) -> Data:
    """min 1/2 r'r + weight 1't, r = M x - y, -t <= x <= t, in x, t and r."""
    g = torch.Generator().manual_seed(rows)
    M = torch.randn(rows, n, generator=g, dtype=F64) * (torch.rand(rows, n, generator=g) < 0.3)
    y = torch.randn(rows, generator=g, dtype=F64)
    size, eye = 2 * n + rows, torch.eye(n, dtype=F64)
    P = torch.zeros(size, size, dtype=F64)
    P.diagonal()[2 * n :] = 1.0
    q = torch.zeros(size, dtype=F64)
    q[n : 2 * n] = weight
    G = torch.zeros(2 * n, size, dtype=F64)
    G[:n, :n], G[n:, :n] = eye, -eye
    G[:n, n : 2 * n] = G[n:, n : 2 * n] = -eye
    A = torch.zeros(rows, size, dtype=F64)
    A[:, :n], A[:, 2 * n :] = M, -torch.eye(rows)
    return Data(P, q, G, torch.zeros(2 * n, dtype=F64), A, y)


@pytest.mark.parametrize(
    "data", [portfolio(40, 4, 5), lasso(15, 25, 0.7)], ids=["portfolio", "lasso"]
)
def test_sparse_qp_against_the_interior_point(data):
    expected = solve_qp(*data)
    sparse = [to_csr(t) if k in (0, 2, 4) else t for k, t in enumerate(data)]
    solution = solve_qp(*sparse, eps=1e-8)
    assert torch.equal(solution.status, expected.status)
    torch.testing.assert_close(solution.x, expected.x, rtol=1e-5, atol=1e-5)
    assert bool((solution.gap < 1e-6).all())


def test_bounds_alone_and_rows_without_entries():
    c, zero = torch.tensor([1.0, -2.0, 0.5], dtype=F64), torch.zeros(3, dtype=F64)
    box = solve_lp(c, lb=zero - 1, ub=zero + 3, method="pdhg")
    assert box.status == Status.OK
    torch.testing.assert_close(box.x, torch.tensor([-1.0, 3.0, -1.0], dtype=F64))
    assert solve_lp(c, lb=zero, method="pdhg").status == Status.DUAL_INFEASIBLE
    empty = torch.zeros(2, 3, dtype=F64).to_sparse_csr()
    h = torch.tensor([[1.0, 0.0], [1.0, -1.0]], dtype=F64)
    status = solve_lp(c, empty, h, lb=zero, ub=zero + 1).status
    assert status.tolist() == [Status.OK, Status.PRIMAL_INFEASIBLE]


def test_empty_batch_and_matrices_that_are_not_finite():
    problem = arguments(LPS["known"])
    none = solve_lp(**{**problem, "c": problem["c"].expand(0, -1)})
    assert none.x.shape == (0, 60)
    assert none.status.shape == (0,)
    G = problem["G"].clone()
    G.values()[7] = math.nan
    broken = solve_lp(**{**problem, "G": G, "c": problem["c"].expand(3, -1)})
    assert broken.status.tolist() == [Status.NUMERICAL_ERROR] * 3
    assert torch.equal(broken.x, torch.zeros(3, 60, dtype=F64))


def test_gradients_of_failed_items_are_zero_and_nan_is_handed_on():
    problem = arguments(LPS["transport"])
    c = torch.stack([problem["c"]] * 3)
    c[1, 0] = math.nan
    problem["c"] = c.requires_grad_()
    problem["A"].requires_grad_()  # 32-bit indices, as scipy has them
    solution = solve_lp(**problem)
    weights = torch.ones(3, 48, dtype=F64).cumsum(1)
    weights[1:] *= math.nan
    (solution.x * weights).sum().backward()
    assert bool(c.grad[0].isfinite().all())
    assert torch.equal(c.grad[1], torch.zeros(48, dtype=F64))
    assert bool(c.grad[2].isnan().all())
    assert problem["A"].grad.layout == torch.sparse_csr


def test_only_the_symmetric_part_of_P_counts():
    P = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.5, 0.0, 1.0]], dtype=F64)
    q = torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    lb = torch.full((3,), -0.4, dtype=F64)
    expected = solve_qp(P, q, lb=lb)
    solution = solve_qp(P.to_sparse_csr(), q, lb=lb, eps=1e-9)
    torch.testing.assert_close(solution.x, expected.x, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(solution.z_lb, expected.z_lb, rtol=1e-7, atol=1e-7)


def test_statuses_of_a_mixed_batch():
    """Solved, infeasible, unbounded, crossed bounds and nan, side by side, each its own."""
    G = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=F64).to_sparse_csr()
    h = torch.tensor([[1.0, 1.0], [1.0, -2.0], [math.inf, 1.0], [1.0, 1.0], [1.0, 1.0]], dtype=F64)
    c = torch.tensor([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.0], [1.0, 1.0], [math.nan, 1.0]], dtype=F64)
    lb = torch.tensor([[0.0, 0.0]] * 3 + [[2.0, 0.0]] + [[0.0, 0.0]], dtype=F64)
    ub = torch.tensor([[math.inf, math.inf]] * 3 + [[1.0, 1.0]] + [[1.0, 1.0]], dtype=F64)
    solution = solve_lp(c, G, h, lb=lb, ub=ub)
    assert solution.status.tolist() == [
        Status.OK,
        Status.PRIMAL_INFEASIBLE,
        Status.DUAL_INFEASIBLE,
        Status.PRIMAL_INFEASIBLE,
        Status.NUMERICAL_ERROR,
    ]
    assert bool(solution.x.isfinite().all())
    assert torch.equal(solution.x[3:], torch.zeros(2, 2, dtype=F64))
    for k in range(5):  # alone as in the batch
        alone = solve_lp(c[k], G, h[k], lb=lb[k], ub=ub[k])
        assert alone.status == solution.status[k]
    with pytest.raises(SolverError, match="4 of 5 items failed"):
        solve_lp(c, G, h, lb=lb, ub=ub, throw=True)


@pytest.mark.parametrize("seed", range(8))
def test_infeasible_and_unbounded_sparse_lps(seed):
    problem = known(60, 40, 300, seed)
    r = np.random.default_rng(seed)
    a = r.standard_normal(60) * (r.random(60) < 0.2)
    a[0] = 1.0
    G = sp.vstack([problem["G"], a, -a]).tocsr()
    h = np.r_[problem["h"], 1.0, -1.5]  # a'x <= 1 and a'x >= 1.5
    solution = solve_lp(**arguments({**problem, "G": G, "h": h}))
    assert solution.status == Status.PRIMAL_INFEASIBLE
    # its dual, min h'z over G'z >= -c, z >= 0, has a feasible point and so no lower bound
    dual = {"c": h, "G": -G.T.tocsr(), "h": problem["c"], "lb": np.zeros(42)}
    assert solve_lp(**arguments(dual)).status == Status.DUAL_INFEASIBLE
    # side by side with one that is solved
    both = arguments({**problem, "G": G, "h": h})
    both["h"] = torch.stack([both["h"], tensor(np.r_[problem["h"], 100.0, 100.0])])
    assert solve_lp(**both).status.tolist() == [Status.PRIMAL_INFEASIBLE, Status.OK]


def test_P_that_is_not_convex_is_found_out():
    P = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=F64).to_sparse_csr()
    q = torch.tensor([0.1, 0.2], dtype=F64)
    assert solve_qp(P, q).status == Status.NUMERICAL_ERROR


def test_max_iter_returns_what_is_there():
    solution = solve_lp(**arguments(LPS["transport"]), max_iter=40)
    assert solution.status == Status.MAX_ITERATIONS
    assert solution.iterations == 40
    assert bool(solution.x.isfinite().all())
    assert solution.primal_residual > 0


def test_float32():
    problem = LPS["assignment"]
    given = {k: None if v is None else v.to(torch.float32) for k, v in arguments(problem).items()}
    solution = solve_lp(**given)
    assert solution.x.dtype == torch.float32
    assert solution.status == Status.OK
    expected = optimum(problem)
    assert abs(problem["c"] @ solution.x.double().numpy() - expected) < 1e-3 * (1 + abs(expected))


def pdhg(problem: dict, start: QPSolution | None = None):
    keys = ("c", "G", "h", "A", "b", "lb", "ub")
    given = arguments(problem)
    return solve_pdhg("solve_lp", (None, *(given.get(k) for k in keys)), warm_start=start)


@pytest.mark.parametrize("name", LPS)
def test_warm_start_takes_fewer_steps(name):
    problem = LPS[name]
    cold = solve_lp(**arguments(problem))
    again = pdhg(problem, cold)
    assert again.status == Status.OK
    assert again.iterations == 32  # the first look
    r = np.random.default_rng(0)
    near = {**problem, "c": problem["c"] * (1 + 1e-4 * r.standard_normal(len(problem["c"])))}
    assert pdhg(near, cold).iterations <= pdhg(near).iterations
    torch.testing.assert_close(
        pdhg(near, cold).point[0] @ tensor(near["c"]),
        torch.tensor(optimum(near), dtype=F64),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_start_that_is_not_finite_is_none():
    problem = LPS["transport"]
    cold = solve_lp(**arguments(problem))
    broken = cold._replace(x=torch.full_like(cold.x, math.nan), y=torch.full_like(cold.y, math.inf))
    assert torch.equal(pdhg(problem, broken).point[0], cold.x)


STRATEGIES = [
    LPGD(0.2),
    LPGD(0.2, envelope="lower"),
    LPGD(0.2, envelope="upper", rho_over_tau=0.5),
    LPGD(1.0, rho=0.2, relative=True),
]


@pytest.mark.filterwarnings("ignore:.*perturbed problems had no solution:RuntimeWarning")
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: f"{s.envelope}-{s.rho}")
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "batched"])
@pytest.mark.parametrize("linear", [True, False], ids=["lp", "qp"])
def test_gradients_are_those_of_the_dense_path(strategy, shared, linear):
    g = torch.Generator().manual_seed(5)
    count, n, m, p = 4, 9, 6, 2

    def sparse_normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=F64) * (
            torch.rand(shape[-2:], generator=g) < 0.6
        )

    lead = () if shared else (count,)
    M = sparse_normal(*lead, n, n)
    P = M @ M.mT + torch.eye(n, dtype=F64)
    P = 0.5 * (P + P.mT)
    G, A = sparse_normal(*lead, m, n), sparse_normal(*lead, p, n)
    x = torch.rand(count, n, generator=g, dtype=F64)
    h = (G @ x[..., None])[..., 0] + 0.2
    b = (A @ x[..., None])[..., 0]
    q = torch.randn(count, n, generator=g, dtype=F64)
    data = Data(None if linear else P, q, G, h, A, b, torch.full((n,), -1.0, dtype=F64), x + 1.0)
    weights = torch.randn(count, n, generator=g, dtype=F64)
    found = []
    for sparse in (False, True):
        given = [to_csr(t) if sparse and k in (0, 2, 4) else t for k, t in enumerate(data)]
        leaves = [None if t is None else t.clone().requires_grad_() for t in given]
        solution = solve_qp(*leaves, gradient=strategy, eps=1e-10 if sparse else None)
        loss = (weights * solution.x).sum() + 0.1 * solution.z.sum() + 0.1 * solution.z_ub.sum()
        loss.backward()
        found.append([None if leaf is None else leaf.grad for leaf in leaves])
    for name, expected, grad, leaf in zip(NAMES, *found, given, strict=True):
        if leaf is None:
            continue
        if leaf.layout == torch.sparse_csr:
            assert grad.layout == torch.sparse_csr
            assert torch.equal(grad.col_indices(), leaf.col_indices())
            # P = MM' has all entries; of a pattern the dense gradient is cut out
            kept = leaf.to_dense() != 0
            grad, expected = grad.to_dense()[kept], expected[kept]
        torch.testing.assert_close(
            grad, expected, rtol=1e-5, atol=1e-5, msg=lambda t, n=name: f"{n}: {t}"
        )


def test_gradient_of_values_and_of_a_dense_matrix():
    """CSR made from a tensor of values; the same matrices dense, with all entries."""
    G = torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=F64)
    h, c = torch.tensor([4.0, 5.0], dtype=F64), torch.tensor([-1.0, -1.2], dtype=F64)
    zero = torch.zeros(2, dtype=F64)
    values = G.flatten().clone().requires_grad_()
    made = torch.sparse_csr_tensor(
        torch.tensor([0, 2, 4]), torch.tensor([0, 1, 0, 1]), values, (2, 2)
    )
    solve_lp(c, made, h, lb=zero, gradient=LPGD(0.3, rho=1.0)).x[0].backward()
    dense = G.clone().requires_grad_()
    solve_lp(c, dense, h, lb=zero, gradient=LPGD(0.3, rho=1.0), method="pdhg").x[0].backward()
    torch.testing.assert_close(values.grad, dense.grad.flatten(), rtol=0, atol=0)
    exact = G.clone().requires_grad_()
    solve_lp(c, exact, h, lb=zero, gradient=LPGD(0.3, rho=1.0)).x[0].backward()
    torch.testing.assert_close(dense.grad, exact.grad, rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_units_do_not_matter(seed, cost_unit, size_unit):
    problem = known(12, 8, 40, seed)
    scaled = {**problem, "c": cost_unit * problem["c"], "h": size_unit * problem["h"]}
    solution = solve_lp(**arguments(scaled), eps=1e-8)
    assert solution.status == Status.OK
    expected = optimum(scaled)
    assert abs(scaled["c"] @ solution.x.numpy() - expected) < 1e-6 * (1 + abs(expected))


def raw_inputs(count: int | None, dtype: torch.dtype = F64) -> tuple:
    problem = arguments(LPS["known"])
    G = problem["G"].to(dtype)
    c = problem["c"].to(dtype)
    if count is not None:
        c = c * torch.linspace(0.9, 1.1, count, dtype=dtype)[:, None]
    # copies: tracing can't follow views of a sparse tensor
    parts = (G.crow_indices().long(), G.col_indices().long(), G.values())
    pattern = (*(torch.tensor(t.tolist(), dtype=t.dtype) for t in parts), problem["h"].to(dtype))
    bounds = (problem["lb"].to(dtype), None, None)
    return (None, None, None, c, *pattern, *(None,) * 4, *bounds, *(None,) * 4, 1e-4, 64)


@pytest.mark.parametrize("seed", range(3))
def test_columns_are_those_of_scipy(seed):
    """What CUDA takes C'y by, for A and G together and for P, with empty rows and columns."""
    r = np.random.default_rng(seed)
    P, G, A = (sp.random(rows, 9, 0.2, "csr", random_state=r) for rows in (9, 12, 4))
    given = [None if m is A and seed == 1 else m for m in (P, G, A)]
    if seed == 2:
        given[0] = None
    nothing = Pattern(None, None, 0, 0)
    patterns = tuple(
        nothing
        if m is None
        else Pattern(torch.tensor(m.indptr).long(), torch.tensor(m.indices).long(), *m.shape)
        for m in given
    )
    found = columns_of(patterns, 9, torch.device("cpu"))
    assert found.dtype == torch.int32
    C = sp.vstack([m for m in (given[2], given[1]) if m is not None]).tocsr()
    left = found.tolist()
    for matrix in (C, given[0]):
        if matrix is None:
            continue
        places = sp.csr_matrix((np.arange(1, matrix.nnz + 1), matrix.indices, matrix.indptr))
        places.resize(matrix.shape)
        columns = places.tocsc()
        columns.sort_indices()
        for part in (columns.indptr, columns.indices, columns.data - 1):
            assert left[: len(part)] == part.tolist()
            left = left[len(part) :]
    assert left == []


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_opcheck(count, dtype):
    torch.library.opcheck(raw.default, raw_inputs(count, dtype))


def test_raw_op_under_vmap():
    inputs = list(raw_inputs(4))
    expected = raw(*inputs)
    found = torch.vmap(lambda c: raw(*inputs[:3], c, *inputs[4:]))(inputs[3])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.squeeze(1), b)


@pytest.mark.parametrize(
    ("place", "bad", "message"),
    [
        (4, torch.tensor([1, 2, 3]), "crow must go from 0 to nnz"),
        (5, torch.tensor([99]), "crow must go from 0 to nnz"),
        (5, "too large", "a column index is out of range"),
        (4, "falls", "crow must not decrease"),
        (7, torch.zeros(3, dtype=F64), "h must be"),
        (12, torch.zeros(3, dtype=torch.float32), "lb must have the dtype"),
    ],
)
def test_raw_op_keeps_memory_safe(place, bad, message):
    inputs = list(raw_inputs(None))
    if isinstance(bad, str):
        changed = inputs[place].clone()
        changed[1] = 60 if bad == "too large" else 10**6
        bad = changed
    inputs[place] = bad
    with pytest.raises(RuntimeError, match=message):
        raw(*inputs)


def bad_inputs():
    c, lb = torch.ones(3, dtype=F64), torch.zeros(3, dtype=F64)
    G, h = torch.eye(3, dtype=F64).to_sparse_csr(), torch.ones(3, dtype=F64)
    two = torch.sparse_csr_tensor(
        torch.tensor([[0, 1, 1], [0, 0, 1]]),
        torch.tensor([[0], [0]]),
        torch.ones(2, 1, dtype=F64),
        (2, 2, 3),
    )
    yield (
        {"c": c, "G": G.to_dense().to_sparse_coo(), "h": h},
        TypeError,
        r"G must be dense .*to_sparse_csr.* got layout",
    )
    yield {"c": c.to_sparse(), "G": G, "h": h}, TypeError, "c must be dense, got layout"
    yield {"c": c, "G": two, "h": h[:2]}, ValueError, "all items of G must have one pattern"
    yield {"c": c, "G": G, "h": h[:2]}, ValueError, r"h must be \[..., m\] with m = 3"
    yield {"c": c, "G": G}, ValueError, "G is given without h"
    yield {"c": c[:2], "G": G, "h": h}, ValueError, r"G must be \[..., m, n\] with n = 2"
    yield {"c": c, "G": G.float(), "h": h}, TypeError, "G must have the dtype of c"
    yield {"c": c, "G": G, "h": h, "gradient": Implicit()}, ValueError, "differentiates with LPGD"
    yield {"c": c, "G": G, "h": h, "method": "ipm"}, TypeError, "G must be dense"
    yield {"c": c, "lb": lb, "method": "simplex"}, ValueError, "method must be one of"
    whole = torch.tensor([True, False, False])
    yield (
        {"c": c, "lb": lb, "method": "pdhg", "integrality": whole},
        ValueError,
        'needs method="highs"',
    )
    yield {"c": c, "G": G, "h": h, "eps": 0.0}, ValueError, "eps must be finite and positive"


@pytest.mark.parametrize("index", range(12))
def test_bad_input(index):
    call, error, message = list(bad_inputs())[index]
    with pytest.raises(error, match=message):
        solve_lp(**call)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        ({"x": torch.zeros(2, dtype=F64)}, ValueError, r"warm_start.x must be \[..., 48\]"),
        ({"y": torch.zeros(7, 14, dtype=F64)}, ValueError, "warm_start.y must fit the batch"),
        ({"z": None}, TypeError, "warm_start must have tensors"),
    ],
)
def test_bad_warm_start(start, error, message):
    problem = LPS["transport"]
    cold = solve_lp(**arguments(problem))
    with pytest.raises(error, match=message):
        pdhg(problem, cold._replace(**start))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compile_breaks_the_graph_and_goes_on():
    torch.compiler.reset()
    problem = arguments(LPS["transport"])
    rows = {key: problem[key] for key in ("A", "b", "lb")}
    compiled = torch.compile(lambda c: solve_lp(2 * c, **rows).x + 1, backend="eager")
    expected = solve_lp(2 * problem["c"], **rows).x + 1
    assert torch.equal(compiled(problem["c"]), expected)
    torch.compiler.reset()


def test_no_second_derivative():
    problem = arguments(LPS["transport"])
    problem["c"].requires_grad_()
    (g,) = torch.autograd.grad(
        solve_lp(**problem).x.square().sum(), problem["c"], create_graph=True
    )
    with pytest.raises(RuntimeError, match="differentiate twice"):
        g.sum().backward()
