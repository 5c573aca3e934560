"""Forward operators: exact derivatives, adjoints, shapes."""

from __future__ import annotations

import pytest
import torch

from lpgd_native.operators import LinearOperator, Operator, TorchOperator, VolterraDeconvolution
from transforms import forward_mode


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def cubic(x: torch.Tensor) -> torch.Tensor:
    return x[..., :3] ** 3 + x[..., 2:5].sin()


OPERATORS: dict[str, Operator] = {
    "dense": LinearOperator(normal(4, 6)),
    "dense_shaped": LinearOperator(normal(4, 6), domain=(2, 3), range=(2, 2)),
    "sparse_coo": LinearOperator(normal(4, 6).relu().to_sparse()),
    "convolution": LinearOperator.convolution(normal(3), (11,), stride=2, padding=1),
    "convolution_rest": LinearOperator.convolution(normal(3), (12,), stride=2),
    "convolution_2d": LinearOperator.convolution(normal(3, 2), (7, 6), padding=1),
    "volterra": VolterraDeconvolution.random(2.0, dtype=torch.float64),
    "volterra_linear": VolterraDeconvolution.random(0.0, dtype=torch.float64),
    "volterra_2d": VolterraDeconvolution.random(
        1.5, domain=(7, 9), window=3, stride=2, dtype=torch.float64
    ),
    "torch": TorchOperator(cubic, domain=(5,)),
}
each = pytest.mark.parametrize("name", OPERATORS)


@each
@forward_mode
def test_jacobian_against_finite_differences(name):
    operator = OPERATORS[name]
    x, dx = normal(3, *operator.domain, seed=1), normal(3, *operator.domain, seed=2)
    eps = 1e-6
    difference = (operator(x + eps * dx) - operator(x - eps * dx)) / (2 * eps)
    forward = operator.jvp(x, dx)
    assert (forward - difference).abs().max() <= 1e-6 * (1 + difference.abs().max())
    # the adjoint is that of the derivative: <J dx, dy> = <dx, J' dy>
    dy = normal(3, *operator.range, seed=3)
    left = (forward * dy).flatten(1).sum(1)
    right = (dx * operator.vjp(x, dy)).flatten(1).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@each
def test_gradient_is_that_of_the_data_term(name):
    operator = OPERATORS[name]
    x = normal(2, *operator.domain, seed=1).requires_grad_()
    y = normal(2, *operator.range, seed=2)
    (expected,) = torch.autograd.grad(0.5 * (operator(x) - y).square().sum(), x)
    g = operator.gradient(x, y)
    torch.testing.assert_close(g, expected, rtol=1e-12, atol=1e-12)
    assert not g.requires_grad
    # the full gradient passes through F and J
    through = operator.gradient(x, y, differentiable=True)
    torch.testing.assert_close(through, expected, rtol=1e-12, atol=1e-12)
    leaf = x[0].detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: operator.gradient(x, y[0], differentiable=True), (leaf,)
    )


@each
def test_any_batch_dimensions(name):
    operator = OPERATORS[name]
    x = normal(2, 3, *operator.domain)
    flat = x.flatten(0, 1)
    y = operator(x)
    assert y.shape == (2, 3, *operator.range)
    torch.testing.assert_close(y.flatten(0, 1), operator(flat), rtol=1e-13, atol=1e-13)
    assert operator(x[0, 0]).shape == operator.range
    assert operator.gradient(x[0, 0], y[0, 0]).abs().max() < 1e-12
    assert operator(x[:0]).shape == (0, 3, *operator.range)
    # one y for all x
    torch.testing.assert_close(
        operator.gradient(x, y[0, 0])[1, 2], operator.gradient(x[1, 2], y[0, 0])
    )


def test_the_paper_s_problem():
    """53 to 12, windows of 9 around 4, 8, ..., 48; the formulas entry by entry."""
    operator = VolterraDeconvolution.random(2.0, seed=3, dtype=torch.float64)
    assert (operator.domain, operator.range) == ((53,), (12,))
    W, w = operator.quadratic, operator.linear
    assert torch.equal(W, W.triu())
    assert float(W.sum()) == pytest.approx(1)
    assert float(w.sum()) == pytest.approx(1)
    x = normal(53)
    for i, y in enumerate(operator(x)):
        window = x[4 * (i + 1) - 4 : 4 * (i + 1) + 5]
        assert float(y) == pytest.approx(float(2.0 * window @ W @ window + w @ window))
    other = VolterraDeconvolution.random(0.5, seed=3, dtype=torch.float64)
    assert torch.equal(other.quadratic, W)
    assert torch.equal(other.linear, w)


def test_the_authors_jacobian_is_not_the_derivative():
    exact = VolterraDeconvolution.random(2.0, dtype=torch.float64)
    theirs = VolterraDeconvolution.random(2.0, dtype=torch.float64, symmetric_jacobian=False)
    x, dx = normal(53), normal(53, seed=1)
    assert torch.equal(exact(x), theirs(x))
    relative = (theirs.jvp(x, dx) - exact.jvp(x, dx)).norm() / exact.jvp(x, dx).norm()
    assert 0.05 < relative < 2
    dy = normal(12, seed=2)
    adjoint = float(dx @ theirs.vjp(x, dy))
    assert float(theirs.jvp(x, dx) @ dy) == pytest.approx(adjoint)


@each
@forward_mode
def test_gradcheck_passes(name):
    operator = OPERATORS[name]
    assert operator.gradcheck(normal(3, *operator.domain, seed=7))


def test_gradcheck_in_float32():
    operator = VolterraDeconvolution.random(2.0)
    assert operator.gradcheck(normal(53, seed=7).float())


class Wrong(Operator):
    """x cubed, with one of the derivatives off by a little."""

    def __init__(self, adjoint: float = 1.0, jacobian: float = 1.0) -> None:
        super().__init__((4,), (4,))
        self.factors = adjoint, jacobian

    def apply_operator(self, x):
        return x**3

    def apply_adjoint(self, x, dy):
        return self.factors[0] * 3 * x**2 * dy

    def apply_jacobian(self, x, dx):
        return self.factors[1] * 3 * x**2 * dx


def test_gradcheck_finds_mistakes():
    x = normal(4, seed=8)
    assert Wrong().gradcheck(x)
    with pytest.raises(ValueError, match="Wrong: vjp is not the transpose"):
        Wrong(adjoint=1.001).gradcheck(x)
    with pytest.raises(ValueError, match="Wrong: jvp is not the derivative"):
        Wrong(jacobian=1.001).gradcheck(x)


@each
@forward_mode
def test_norm(name):
    """Against the singular values of the Jacobian, made column by column."""
    operator = OPERATORS[name]
    x = normal(2, *operator.domain, seed=9)
    size = operator.domain.numel()
    columns = torch.eye(size, dtype=x.dtype).reshape(size, 1, *operator.domain)
    jacobian = (
        operator.jvp(x, columns.expand(size, 2, *operator.domain)).flatten(2).permute(1, 2, 0)
    )
    expected = torch.linalg.matrix_norm(jacobian, 2)
    found = operator.norm(x, eps=1e-10, max_iter=2000)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert (found <= expected * (1 + 1e-12)).all()


def test_norm_of_a_linear_operator_needs_no_point():
    matrix = normal(4, 6)
    operator = LinearOperator(matrix)
    expected = torch.linalg.matrix_norm(matrix, 2)
    torch.testing.assert_close(operator.norm(eps=1e-12), expected, rtol=1e-6, atol=0)
    assert LinearOperator(torch.zeros(2, 3)).norm() == 0
    assert operator.norm(torch.zeros(0, 6, dtype=torch.float64)).shape == (0,)


def test_a_module_as_operator():
    layer = torch.nn.Linear(4, 2)
    operator = TorchOperator(layer, domain=(4,))
    assert operator.range == (2,)
    assert set(dict(operator.named_parameters())) == {"function.weight", "function.bias"}
    dy = torch.randn(3, 2)
    torch.testing.assert_close(operator.vjp(torch.randn(3, 4), dy), dy @ layer.weight)


def test_operators_move_with_their_module():
    operator = VolterraDeconvolution.random(1.0)
    assert operator.double()(torch.zeros(53, dtype=torch.float64)).dtype == torch.float64
    assert set(operator.state_dict()) == {"quadratic", "linear"}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda o: o(normal(2, 5)), ValueError, r"x must be \[..., 53\], got \[2, 5\]"),
        (
            lambda o: o.gradient(normal(53), normal(11)),
            ValueError,
            r"y must be \[..., 12\], got \[11\]",
        ),
        (
            lambda o: o.vjp(normal(53), normal(53)),
            ValueError,
            r"dy must be \[..., 12\], got \[53\]",
        ),
        (
            lambda o: o.jvp(normal(53), normal(12)),
            ValueError,
            r"dx must be \[..., 53\], got \[12\]",
        ),
        (lambda o: o([1.0]), TypeError, "x must be a tensor, got list"),
        (
            lambda o: VolterraDeconvolution(normal(3, 3), normal(4), 1.0),
            ValueError,
            r"\[3, 3\] and \[4\]",
        ),
        (
            lambda o: VolterraDeconvolution(normal(9, 9), normal(9), 1.0, (8,)),
            ValueError,
            "larger than domain",
        ),
        (lambda o: LinearOperator(normal(3)), ValueError, r"matrix must be \[m, n\], got \[3\]"),
        (lambda o: LinearOperator(normal(3, 4), domain=(5,)), ValueError, r"\[5\].*\[3, 4\]"),
        (lambda o: LinearOperator.convolution(normal(5), (3,)), ValueError, r"\[5\].*\[3\]"),
        (
            lambda o: TorchOperator(cubic, (5,), (4,))(normal(5)),
            ValueError,
            r"gave \[3\].*not \[4\]",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call(OPERATORS["volterra"])
