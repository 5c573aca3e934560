"""Matrix operators: values by formula and by CVXPY, derivatives also where eigenvalues meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpgd_native.prox import (
    AffineSet,
    project_affine,
    project_birkhoff,
    project_psd,
    project_spectral_ball,
    prox_nuclear,
    prox_total_variation_2d,
)
from prox_cases import normal
from transforms import compiles, forward_mode

cp = pytest.importorskip("cvxpy")

A = normal(3, 2, 5, seed=20)
B = normal(3, 2, seed=21)
CASES = {
    "psd": (lambda x: project_psd(x), (3, 4, 4), lambda p, x: (0, [p >> 0])),
    "nuclear": (lambda x: prox_nuclear(x, 0.7), (3, 4, 3), lambda p, x: (0.7 * cp.normNuc(p), [])),
    "nuclear_wide": (lambda x: prox_nuclear(x, 0.7), (2, 3, 5), None),
    "spectral": (
        lambda x: project_spectral_ball(x, 0.8),
        (3, 3, 4),
        lambda p, x: (0, [cp.sigma_max(p) <= 0.8]),
    ),
    "affine": (lambda x: project_affine(x, A, B), (3, 5), None),
    "birkhoff": (
        lambda x: project_birkhoff(x),
        (2, 4, 4),
        lambda p, x: (0, [p >= 0, cp.sum(p, axis=0) == 1, cp.sum(p, axis=1) == 1]),
    ),
    "tv_2d": (
        lambda x: prox_total_variation_2d(x, 0.4, eps=1e-17, max_iter=4000),
        (2, 4, 5),
        None,
    ),
}
each = pytest.mark.parametrize("name", CASES)


def solve(shape, x, objective, **variable):
    p = cp.Variable(shape, **variable)
    value, constraints = objective(p, x)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(p - x) / 2 + value), constraints)
    settings = {f"tol_{k}": 1e-13 for k in ("gap_abs", "gap_rel", "feas")}
    last = {f"reduced_tol_{k}": 1.0 for k in ("gap_abs", "gap_rel", "feas", "ktratio")}
    problem.solve(solver=cp.CLARABEL, **settings, **last)
    return torch.from_numpy(p.value)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")
@pytest.mark.parametrize("name", ["psd", "nuclear", "spectral", "birkhoff"])
def test_independent_solver(name):
    run, shape, objective = CASES[name]
    x = normal(*shape, seed=3)
    options = {"symmetric": True} if name == "psd" else {}
    out = run(x)
    for k in range(len(x)):
        given = (x[k] + x[k].mT) / 2 if name == "psd" else x[k]
        solution = solve(shape[1:], given.numpy(), objective, **options)
        torch.testing.assert_close(out[k], solution, rtol=1e-7, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")
@pytest.mark.parametrize("isotropic", [True, False])
def test_total_variation_2d(isotropic):
    x = normal(2, 5, 6, seed=4)

    def objective(p, _):
        down = cp.vstack([p[1:] - p[:-1], np.zeros((1, 6))])
        right = cp.hstack([p[:, 1:] - p[:, :-1], np.zeros((5, 1))])
        if isotropic:
            lengths = cp.norm(cp.vstack([cp.vec(down, "C"), cp.vec(right, "C")]), axis=0)
            return 0.4 * cp.sum(lengths), []
        return 0.4 * (cp.norm1(cp.vec(down, "C")) + cp.norm1(cp.vec(right, "C"))), []

    out = prox_total_variation_2d(x, 0.4, isotropic=isotropic, max_iter=20000, eps=1e-15)
    for k in range(2):
        solution = solve((5, 6), x[k].numpy(), objective)
        torch.testing.assert_close(out[k], solution, rtol=1e-6, atol=1e-6)
    coarse = prox_total_variation_2d(x, 0.4, isotropic=isotropic)
    # strong convexity: half the squared distance is at most the gap
    assert ((coarse - out).square().sum((-2, -1)) / 2 <= 1e-8 * 30 + 1e-12).all()


def test_affine():
    x = normal(3, 5)
    out = project_affine(x, A, B)
    torch.testing.assert_close((A @ out.unsqueeze(-1)).squeeze(-1), B)
    back = (x - out).unsqueeze(-1)  # in the span of the rows
    torch.testing.assert_close(A.mT @ torch.linalg.lstsq(A.mT, back).solution, back)
    torch.testing.assert_close(project_affine(x, AffineSet.of(A), B), out)
    singular = A.clone()
    singular[1, 1] = singular[1, 0]
    again = project_affine(x, singular, B)
    assert again[1].isnan().all()
    torch.testing.assert_close(again[::2], out[::2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("rows", "n"), [(2, 5), (3, 40), (20, 700)])
def test_affine_sets_with_dependent_rows(rows, n, dtype):
    """Whatever rounding leaves of the pivot: many draws, the last row a combination of others."""
    matrices, x, b = normal(64, rows, n), normal(64, n), normal(64, rows)
    matrices[::2, -1] = matrices[::2, 0] if rows == 2 else matrices[::2, :2].sum(1)
    matrices[1, -1] = 0
    matrices[3, -1] = matrices[3, 0] + 0.05 * matrices[3, -1]  # near another, and not on it
    matrices[3] *= 1e-3
    matrices, x, b = matrices.to(dtype), x.to(dtype), b.to(dtype)
    for out in (project_affine(x, matrices, b), AffineSet.of(matrices).project(x, b)):
        assert out[::2].isnan().all()
        assert out[1].isnan().all()
        fine = torch.arange(64) % 2 == 1
        fine[1] = False
        left = (matrices[fine] @ out[fine].unsqueeze(-1)).squeeze(-1)
        tolerance = 1e-9 if dtype == torch.float64 else 2e-2
        torch.testing.assert_close(left, b[fine], atol=tolerance, rtol=tolerance)


@forward_mode
@each
def test_gradcheck(name):
    run, shape, _ = CASES[name]
    if name == "tv_2d":
        shape, run = (1, 3, 3), lambda x: prox_total_variation_2d(x, 0.4, max_iter=60)
    x = normal(*shape, seed=5).requires_grad_()
    if name == "birkhoff":  # differences of what is converged to rounding
        run = lambda x: project_birkhoff(x, max_iter=20000, eps=1e-14)  # noqa: E731
    assert torch.autograd.gradcheck(run, x, atol=1e-5, check_forward_ad=True)


@forward_mode
def test_gradcheck_of_parameters():
    x = normal(2, 3, 4)
    t = torch.tensor([0.5, 0.9], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: prox_nuclear(x, v), t, check_forward_ad=True)
    assert torch.autograd.gradcheck(lambda v: project_spectral_ball(x, v), t, check_forward_ad=True)
    leaves = [v.clone().requires_grad_() for v in (normal(3, 5), A, B)]
    assert torch.autograd.gradcheck(project_affine, leaves)


@pytest.mark.parametrize(
    "run", [lambda x: prox_nuclear(x, 0.25), lambda x: project_spectral_ball(x, 0.5)]
)
def test_equal_singular_values(run):
    """Where torch's own derivative of the singular vectors is infinite."""
    x = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    x[1, 2] = 0  # and a zero one
    x.requires_grad_()
    assert torch.autograd.gradcheck(run, x, atol=1e-5)


def test_equal_eigenvalues():
    x = torch.diag(torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(project_psd, x)


# all of the iterations of tv_2d are made inside a transform: fewer
SHORT = {
    **CASES,
    "tv_2d": (lambda x: prox_total_variation_2d(x, 0.4, max_iter=20), (2, 4, 5), None),
    "affine": (lambda x: project_affine(x, A[0], B[0]), (3, 5), None),
}


def gradient(run, x):
    leaf = x.clone().requires_grad_()
    (out,) = torch.autograd.grad(run(leaf).square().sum(), leaf)
    return out


@each
def test_transforms(name):
    run, shape, _ = SHORT[name]
    x = normal(*shape, seed=6)
    torch.testing.assert_close(torch.func.vmap(run)(x), run(x))
    torch.testing.assert_close(torch.func.vmap(run, in_dims=-1)(x.movedim(0, -1)), run(x))
    expected = gradient(run, x)
    grad = torch.func.grad(lambda v: run(v).square().sum())
    torch.testing.assert_close(grad(x), expected)
    torch.testing.assert_close(torch.func.vmap(grad)(x), expected)


@forward_mode
@each
def test_jvp_agrees_with_the_transpose(name):
    run, shape, _ = SHORT[name]
    x, t, v = (normal(*shape, seed=k) for k in (6, 7, 8))
    _, moved = torch.func.jvp(run, (x,), (t,))
    _, pull = torch.func.vjp(run, x)
    torch.testing.assert_close((v * moved).sum(), (pull(v)[0] * t).sum())


@pytest.mark.parametrize("name", ["psd", "nuclear", "spectral", "birkhoff"])
def test_second_derivative_raises(name):
    run, shape, _ = CASES[name]
    leaf = normal(*shape, seed=6).requires_grad_()
    (g,) = torch.autograd.grad(run(leaf).square().sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="no double backward"):
        g.sum().backward()


@compiles
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ("psd", "birkhoff") else pytest.mark.slow) for n in CASES],
)
def test_compile_fullgraph_dynamic(name):
    run, shape, _ = SHORT[name]
    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")
    for items in (3, 5):
        x = normal(items, *shape[1:], seed=6)
        leaf = x.clone().requires_grad_()
        out = compiled(leaf)
        torch.testing.assert_close(out, run(x))
        (g,) = torch.autograd.grad(out.square().sum(), leaf)
        torch.testing.assert_close(g, gradient(run, x))


def test_opcheck():
    x = normal(2, 3, 3)
    torch.library.opcheck(torch.ops.lpgd.project_birkhoff.default, (x, 50, 1e-9))


@each
def test_sizes_and_layouts(name):
    """Strided, expanded, no items, one item without a batch, 1 x 1; in float32 and half."""
    run, shape, _ = SHORT[name]
    x = normal(*shape, seed=10)
    expected = run(x)
    wide = torch.zeros(*shape[:-1], 2 * shape[-1], dtype=x.dtype)
    wide[..., ::2] = x
    torch.testing.assert_close(run(wide[..., ::2]), expected)
    if len(shape) == 3:
        torch.testing.assert_close(run(x.mT.contiguous().mT), expected)
    torch.testing.assert_close(run(x.unsqueeze(1).expand(-1, 2, *shape[1:]))[:, 1], expected)
    torch.testing.assert_close(run(x[0]), expected[0])
    empty = x[:0].requires_grad_()
    assert run(empty).shape == empty.shape
    (g,) = torch.autograd.grad(run(empty).sum(), empty)
    assert g.shape == empty.shape
    if name != "affine":
        one = run(torch.full((1, 1, 1), 0.25, dtype=x.dtype))
        value = {"birkhoff": 1.0, "nuclear": 0.0, "nuclear_wide": 0.0}.get(name, 0.25)
        torch.testing.assert_close(one, torch.full_like(one, value))
        narrow = run(x.float())
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow.double(), expected, rtol=1e-3, atol=1e-3)
        assert run(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["psd", "spectral", "affine", "birkhoff"])
def test_projections_are_idempotent(name):
    run, shape, _ = CASES[name]
    once = run(normal(*shape, seed=12, scale=2.0))
    torch.testing.assert_close(run(once), once, rtol=1e-8, atol=1e-8)


def test_derivative_of_the_birkhoff_projection():
    """That of the limit: as many of the iterations as are made, and more, differ by rounding."""
    x = normal(2, 6, 6, seed=13, scale=2.0)
    g = gradient(project_birkhoff, x)
    long = gradient(lambda v: project_birkhoff(v, max_iter=20000, eps=1e-14), x)
    torch.testing.assert_close(g, long, rtol=1e-6, atol=1e-6)
    # a vertex: no direction is left
    vertex = 5.0 * torch.eye(4, dtype=x.dtype)
    assert torch.equal(project_birkhoff(vertex), torch.eye(4, dtype=x.dtype))
    torch.testing.assert_close(gradient(project_birkhoff, vertex), torch.zeros_like(vertex))
    # the inside: row and column means are taken off
    inside = torch.full((3, 3), 1 / 3, dtype=x.dtype)
    direction = normal(3, 3, seed=14)
    _, pull = torch.func.vjp(project_birkhoff, inside)
    centred = direction - direction.mean(-1, keepdim=True)
    centred = centred - centred.mean(-2, keepdim=True)
    torch.testing.assert_close(pull(direction)[0], centred)


@each
def test_one_nan(name):
    run, shape, _ = CASES[name]
    x = normal(*shape, seed=7)
    broken = x.clone()
    broken[1].view(-1)[0] = torch.nan
    out, expected = run(broken), run(x)
    assert out[1].isnan().any()
    torch.testing.assert_close(out[0], expected[0], rtol=1e-6, atol=1e-6)


@each
def test_firmly_nonexpansive(name):
    run, shape, _ = CASES[name]
    for scale in (0.1, 3.0):
        x, y = normal(*shape, seed=8, scale=scale), normal(*shape, seed=9, scale=scale)
        moved = run(x) - run(y)
        assert moved.square().sum() <= (moved * (x - y)).sum() + 1e-7


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: project_psd(torch.ones(2, 3)), ValueError, r"\[\.\.\., n, n\]"),
        (lambda: prox_nuclear(torch.ones(3), 1.0), ValueError, r"\[\.\.\., m, n\]"),
        (lambda: prox_nuclear(torch.ones(3, 3), -1.0), ValueError, "weight must not be negative"),
        (lambda: prox_nuclear(torch.ones(2, 3, 3), torch.ones(3)), ValueError, "broadcast"),
        (
            lambda: project_affine(torch.ones(3), torch.ones(2, 4), torch.ones(2)),
            ValueError,
            "n = 3",
        ),
        (
            lambda: project_affine(torch.ones(4), torch.ones(2, 4), torch.ones(3)),
            ValueError,
            "p = 2",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
