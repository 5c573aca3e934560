"""Objects with a prox, combinators, and the algorithms that take them."""

from __future__ import annotations

import math

import pytest
import torch

from lpgd_native import Status, algorithms, project_birkhoff, proximal
from lpgd_native.operators import LinearOperator
from prox_cases import normal, uniform

FUNCTIONS = [
    proximal.Zero(),
    proximal.L1(uniform(5)),
    proximal.SquaredL2(uniform(5)),
    proximal.ElasticNet(0.3, 0.7),
    proximal.L2(0.8),
    proximal.LInf(0.6),
    proximal.TotalVariation(0.4),
    proximal.SortedL1(uniform(5).sort(descending=True).values),
    proximal.Box(-0.5, 0.7),
    proximal.Nonnegative(),
    proximal.Simplex(1.3),
    proximal.L1Ball(0.9),
    proximal.L2Ball(0.9),
]
IMAGES = [
    proximal.Nuclear(0.4),
    proximal.TotalVariation2D(0.4, eps=1e-16, max_iter=5000),
    proximal.TotalVariation2D(0.4, isotropic=False, eps=1e-16, max_iter=5000),
]
W = torch.linalg.qr(normal(5, 5, seed=30)).Q
COMBINED = [
    proximal.L1(0.5).translated(normal(5, seed=31)),
    proximal.L1(0.5).scaled(2.0, -0.7),
    proximal.TotalVariation(0.3).perturbed(0.6, normal(5, seed=32)),
    proximal.L1(0.5).composed(lambda v: v @ W.T, lambda v: v @ W),
    proximal.L1(0.5).composed(lambda v: v @ W[:3].T, lambda v: v @ W[:3]),
]
each = pytest.mark.parametrize("f", FUNCTIONS + COMBINED, ids=lambda f: type(f).__name__)


@each
@pytest.mark.parametrize("step", [0.3, 2.0])
def test_prox_minimises(f, step):
    """No point near the prox, nor any other, has a lower objective."""
    x = normal(1, 5, seed=33)
    p = f.prox(x, step)
    least = ((p - x).square().sum(-1) / 2 + step * f(p)).item()
    assert math.isfinite(least)
    for scale in (1e-4, 1e-2, 1.0):
        others = p + normal(300, 5, seed=34, scale=scale)
        if isinstance(f, proximal.Simplex):
            others = f.prox(others)
        values = (others - x).square().sum(-1) / 2 + step * f(others)
        assert values.min() >= least - 1e-12


@pytest.mark.parametrize("f", IMAGES, ids=lambda f: type(f).__name__)
def test_prox_of_matrices_minimises(f):
    x, step = normal(1, 3, 4, seed=37), 0.7
    p = f.prox(x, step)
    least = ((p - x).square().sum((-2, -1)) / 2 + step * f(p)).item()
    for scale in (1e-4, 1e-2, 1.0):
        others = p + normal(300, 3, 4, seed=38, scale=scale)
        values = (others - x).square().sum((-2, -1)) / 2 + step * f(others)
        assert values.min() >= least - 1e-10
    steps = torch.tensor([0.7, 1.3], dtype=torch.float64)[:, None, None]
    both = f.prox(x.expand(2, 3, 4), steps)
    torch.testing.assert_close(both[0], p[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(both[1], f.prox(x[0], 1.3), rtol=0, atol=1e-7)


@each
def test_moreau(f):
    x, step = normal(4, 5, seed=35), 0.7
    conjugate = f.conjugate()
    total = f.prox(x, step) + step * conjugate.prox(x / step, 1 / step)
    torch.testing.assert_close(total, x)
    torch.testing.assert_close(conjugate.conjugate().prox(x, step), f.prox(x, step))


def test_conjugates_known_in_closed_form():
    """Of a norm the dual ball's indicator, of the indicator of x >= 0 that of x <= 0."""
    x = normal(4, 5, seed=36)
    close = torch.testing.assert_close
    close(proximal.L1(0.5).conjugate().prox(x, 3.0), x.clamp(-0.5, 0.5))
    close(proximal.LInf(0.5).conjugate().prox(x, 3.0), proximal.L1Ball(0.5).prox(x))
    close(proximal.Nonnegative().conjugate().prox(x, 3.0), x.clamp(max=0))
    close(proximal.SquaredL2(2.0).conjugate().prox(x, 3.0), proximal.SquaredL2(0.5).prox(x, 3.0))


def test_nonconvex():
    assert torch.equal(proximal.L0(2.0).prox(torch.tensor([1.9, 2.1])), torch.tensor([0.0, 2.1]))
    with pytest.raises(ValueError, match="not convex"):
        proximal.L0().conjugate()
    with pytest.raises(ValueError, match="inner"):
        proximal.L1().scaled(1.0, 0.0)
    with pytest.raises(ValueError, match="outer"):
        proximal.L1().scaled(-1.0)


def test_gradients_reach_the_weights():
    weight = uniform(5).requires_grad_()
    step = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    f = proximal.L1(weight)
    assert torch.autograd.gradcheck(
        lambda w, s: proximal.L1(w).prox(normal(3, 5), s), (weight, step)
    )
    f.prox(normal(3, 5)).sum().backward()
    assert weight.grad.abs().sum() > 0


def lasso(items: int = 6):
    matrix, b = normal(items, 12, 8, seed=40), normal(items, 12, seed=41, scale=3.0)
    f = proximal.L1(2.0)

    def grad(x):
        return (matrix.mT @ (matrix @ x.unsqueeze(-1) - b.unsqueeze(-1))).squeeze(-1)

    lipschitz = torch.linalg.matrix_norm(matrix, 2).square()[:, None]
    return matrix, b, f, grad, 1 / lipschitz


class LeastSquares(proximal.Function):
    def __init__(self, matrix, b):
        self.matrix, self.b = matrix, b

    def prox(self, x, step=1.0):
        eye = torch.eye(x.shape[-1], dtype=x.dtype)
        right = step * (self.matrix.mT @ self.b.unsqueeze(-1)) + x.unsqueeze(-1)
        return torch.linalg.solve(step * self.matrix.mT @ self.matrix + eye, right).squeeze(-1)


def optimal(x, grad):
    """-grad is in the subdifferential of 2 ||x||_1."""
    slope = grad(x)
    return torch.where(x != 0, slope + 2 * x.sign(), (slope.abs() - 2).clamp(min=0)).abs().max()


@pytest.mark.parametrize("name", ["proximal_gradient", "fista", "admm", "chambolle_pock"])
def test_lasso(name):
    matrix, b, f, grad, step = lasso()
    x0 = torch.zeros(6, 8, dtype=torch.float64)
    settings = {"eps": 1e-9, "max_iter": 20000}
    if name == "admm":
        result = algorithms.admm(LeastSquares(matrix, b), f, x0, 5.0, **settings)
    elif name == "chambolle_pock":
        root = step.sqrt()
        result = algorithms.chambolle_pock(
            f,
            proximal.SquaredL2().translated(b),
            lambda x: (matrix @ x.unsqueeze(-1)).squeeze(-1),
            lambda y: (matrix.mT @ y.unsqueeze(-1)).squeeze(-1),
            x0,
            root,
            root,
            **settings,
        )
    else:
        result = getattr(algorithms, name)(grad, f, x0, step, **settings)
    assert (result.status == Status.OK).all()
    assert (result.residual <= 1e-9).all()
    assert optimal(result.x, grad) < 1e-6


def test_an_item_does_not_depend_on_its_neighbours():
    matrix, b, f, grad, step = lasso()
    x0 = torch.zeros(6, 8, dtype=torch.float64)
    together = algorithms.fista(grad, f, x0, step)

    def one(x):
        m, right = matrix[2], b[2]
        return (m.T @ (m @ x.unsqueeze(-1) - right.unsqueeze(-1))).squeeze(-1)

    alone = algorithms.fista(one, f, x0[2], step[2])
    assert alone.iterations == together.iterations[2]
    torch.testing.assert_close(alone.x, together.x[2], rtol=1e-12, atol=1e-12)
    broken = b.clone()
    broken[1, 0] = torch.nan

    def with_nan(x):
        return (matrix.mT @ (matrix @ x.unsqueeze(-1) - broken.unsqueeze(-1))).squeeze(-1)

    result = algorithms.fista(with_nan, f, x0, step)
    assert result.status[1] == Status.NUMERICAL_ERROR
    assert torch.equal(result.x[2], together.x[2])
    few = algorithms.fista(grad, f, x0, step, max_iter=2)
    assert (few.status == Status.MAX_ITERATIONS).all()
    assert (few.iterations == 2).all()


@pytest.mark.parametrize("name", ["proximal_gradient", "fista", "admm", "chambolle_pock"])
def test_items_of_two_dimensions(name):
    """An image whose rows are coupled is one item: the same as the vector of its pixels."""
    matrix, b, f, _, step = lasso(3)
    right = b.unsqueeze(-1)

    def grad(x):
        return (matrix.mT @ (matrix @ x.flatten(-2).unsqueeze(-1) - right)).reshape(x.shape)

    class Pixels(LeastSquares):
        def prox(self, x, step=1.0):
            return super().prox(x.flatten(-2), step).reshape(x.shape)

    x0 = torch.zeros(3, 2, 4, dtype=torch.float64)
    settings = {"eps": 1e-9, "max_iter": 20000}
    if name == "admm":
        call = lambda x, **more: algorithms.admm(Pixels(matrix, b), f, x, 5.0, **more)  # noqa: E731
        flat = algorithms.admm(LeastSquares(matrix, b), f, x0.flatten(-2), 5.0, **settings)
        result = call(x0, event_dim=2, **settings)
    elif name == "chambolle_pock":
        root = float(step.min().sqrt())
        data = proximal.SquaredL2().translated(b)

        def solve(x, forward, adjoint, **more):
            return algorithms.chambolle_pock(f, data, forward, adjoint, x, root, root, **more)

        def forward(x):
            return (matrix @ x.unsqueeze(-1)).squeeze(-1)

        def adjoint(y):
            return (matrix.mT @ y.unsqueeze(-1)).squeeze(-1)

        flat = solve(x0.flatten(-2), forward, adjoint, **settings)
        result = solve(
            x0,
            lambda x: forward(x.flatten(-2)),
            lambda y: adjoint(y).reshape(x0.shape),
            event_dim=2,
            **settings,
        )
    else:
        run = getattr(algorithms, name)
        plain = lambda x: grad(x.unflatten(-1, (2, 4))).flatten(-2)  # noqa: E731
        flat = run(plain, f, x0.flatten(-2), step, **settings)
        result = run(grad, f, x0, step.unsqueeze(-1), event_dim=2, **settings)
    assert result.status.tolist() == [0, 0, 0]
    assert torch.equal(result.iterations, flat.iterations)
    torch.testing.assert_close(result.x.flatten(-2), flat.x, rtol=0, atol=1e-12)


def test_deblurring_with_total_variation():
    """The algorithms, an operator of images and the prox of an image's variation together."""
    blur = LinearOperator.convolution(torch.full((3, 3), 1 / 9.0).double(), (8, 8), padding=1)
    x = torch.zeros(2, 8, 8, dtype=torch.float64)
    x[0, 2:6, 3:7] = 1.0
    y = blur(x) + normal(2, 8, 8, seed=44, scale=0.01)
    g = proximal.TotalVariation2D(0.01)
    step = 1.0 / blur.norm().item() ** 2
    result = algorithms.fista(
        lambda p: blur.gradient(p, y), g, torch.zeros_like(y), step, event_dim=2, eps=1e-5
    )
    assert (result.status == Status.OK).all()

    def objective(p):
        return (blur(p) - y).square().sum((-2, -1)) / 2 + g(p)

    assert (objective(result.x) < objective(x)).all()
    assert ((result.x - x).norm(dim=(-2, -1)) < (y - x).norm(dim=(-2, -1)))[0]


def test_unrolled_gradient():
    """The loops are differentiable: a learned weight."""
    _, _, _, grad, step = lasso()
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x0 = torch.zeros(6, 8, dtype=torch.float64)

    def run(w):
        return algorithms.fista(grad, proximal.L1(w), x0, step, max_iter=20).x

    assert torch.autograd.gradcheck(run, weight)


def test_bad_settings():
    f, x = proximal.L1(), torch.zeros(3)
    for call, message in (
        (lambda: algorithms.fista(lambda v: v, f, torch.zeros(()), 1.0), "x0"),
        (lambda: algorithms.fista(lambda v: v, f, x, 1.0, eps=0.0), "eps"),
        (lambda: algorithms.fista(lambda v: v, f, x, 1.0, max_iter=0), "max_iter"),
        (lambda: algorithms.admm(f, f, x, relaxation=2.0), "relaxation"),
        (lambda: algorithms.fista(lambda v: v, f, x, 1.0, event_dim=0), "event_dim"),
        (lambda: algorithms.fista(lambda v: v, f, x, torch.ones(3)), r"\[\.\.\., 1\]"),
        (lambda: algorithms.admm(f, f, x[:, None], -torch.ones(3, 1), event_dim=2), r", 1, 1\]"),
        (lambda: algorithms.admm(f, f, x, 0.0), "rho"),
        (lambda: algorithms.fista(lambda v: v, f, x, 1.0, event_dim=2), "2 dimension"),
        (lambda: proximal.TotalVariation2D(1.0, eps=0.0).prox(torch.zeros(2, 2)), "eps"),
        (lambda: project_birkhoff(torch.zeros(2, 2), max_iter=0), "max_iter"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for call in (
        lambda: algorithms.fista(lambda v: v, lambda v: v, x, 1.0),
        lambda: algorithms.admm(f, torch.relu, x),
        lambda: algorithms.chambolle_pock(f, torch.relu, torch.relu, torch.relu, x, 1.0, 1.0),
    ):
        with pytest.raises(TypeError, match="must have prox"):
            call()
