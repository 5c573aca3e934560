"""Arguments that a proximal operator refuses, and those whose result is stated."""

from __future__ import annotations

import pytest
import torch

import lpgd_native.prox as prox
from prox_cases import parametrize

X = torch.randn(3, 4, dtype=torch.float64)


@parametrize()
def test_integers_lists_and_dims(case):
    x, *parameters = case.arguments(3, case.width or 4)
    with pytest.raises(TypeError, match=f"{case.name}: x must be float"):
        case.run(x.long(), *parameters)
    with pytest.raises(TypeError, match=r"must be a torch\.Tensor"):
        case.run(x.tolist(), *parameters)
    with pytest.raises(TypeError, match="dense"):
        case.run(x.to_sparse(), *parameters)
    for dim in (2, -3):
        with pytest.raises(ValueError, match=f"dim = {dim} is out of range"):
            case.run(x, *parameters, dim=dim)
    with pytest.raises(TypeError, match="dim must be an int"):
        case.run(x, *parameters, dim=1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prox.prox_l1(X, -0.5), "prox_l1: weight must not be negative, got -0.5"),
        (lambda: prox.prox_l1(X, float("nan")), "weight must not be negative, got nan"),
        (lambda: prox.project_simplex(X, -1.0), "radius must not be negative"),
        (lambda: prox.prox_total_variation(X, -1.0), "weight must not be negative"),
        (lambda: prox.project_isotonic(X, 0.0), "weight must be positive, got 0.0"),
        (lambda: prox.project_isotonic(X, -1.0, increasing=False), "weight must not be negative"),
        (lambda: prox.prox_mcp(X, 1.0, 0.9), "gamma must be more than 1"),
        (lambda: prox.prox_scad(X, 1.0, 2.0), "a must be more than 2"),
        (lambda: prox.prox_firm(X, 1.0, 1.0), "upper must be more than 1"),
        (lambda: prox.project_box(X, 1.0, 0.0), "lower must not exceed upper"),
        (lambda: prox.prox_l1(X, torch.ones(3)), r"weight must broadcast .*got \[3\]"),
        (lambda: prox.project_simplex(X, torch.ones(4)), r"radius is one number a row.*got \[4\]"),
        (lambda: prox.project_simplex(torch.ones(3, 0)), "at least 1 entries along dim"),
        (lambda: prox.prox_linf(torch.ones(3, 0), 1.0), "at least 1 entries along dim"),
        (lambda: prox.project_exponential_cone(X), r"size 3 along dim = 1"),
        (lambda: prox.prox_group_l2(X, 1.0, 3), "divides n = 4"),
        (lambda: prox.prox_group_l2(X, 1.0, torch.ones(4)), "integer vector"),
        (lambda: prox.prox_group_l2(X, 1.0, torch.ones(3).long()), r"\[n\] with n = 4"),
        (lambda: prox.prox_total_variation(X, torch.ones(2)), "n - 1 = 3"),
        (lambda: prox.prox_fused_lasso(X, torch.ones(4), 1.0), "weight_l1 must have size 1"),
        (lambda: prox.prox_sum_largest(X, 1.0, 5), "from 0 to the size 4"),
        (lambda: prox.prox_l2(torch.ones(()), 1.0), "at least 1 dimension"),
    ],
)
def test_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("value", ["1", None, True, [0.5]])
def test_types(value):
    with pytest.raises(TypeError, match="weight must be a number or a tensor"):
        prox.prox_l1(X, value)
    with pytest.raises(TypeError, match="floating-point"):
        prox.prox_l1(X, torch.ones(4).long())


def test_entries_out_of_range_are_nan_where_they_are_used():
    w = torch.tensor([0.5, -0.5, 0.5, float("nan")])
    out = prox.prox_l1(X, w)
    assert out.isnan().all(0).tolist() == [False, True, False, True]
    assert torch.equal(out[:, [0, 2]], prox.prox_l1(X, 0.5)[:, [0, 2]])
    r = torch.tensor([[1.0], [-1.0], [2.0]])
    for function in (prox.project_simplex, prox.project_l1_ball, prox.prox_linf, prox.prox_l2):
        out = function(X, r)
        assert out[1].isnan().all()
        assert not out[[0, 2]].isnan().any()
    rising = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert prox.prox_sorted_l1(X, rising).isnan().all()
    assert prox.project_capped_simplex(X, 5.0, 1.0).isnan().all()
    assert prox.project_hyperplane(X, 0.0, 1.0).isnan().all()
    assert prox.prox_total_variation(X, r)[1].isnan().all()
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        weight = torch.ones_like(X)
        weight[1, 2] = bad
        out = prox.project_isotonic(X, weight)
        assert out[1].isnan().all()
        torch.testing.assert_close(out[[0, 2]], prox.project_isotonic(X)[[0, 2]])


@parametrize()
def test_a_row_of_no_entries(case):
    """n = 0 is empty where the operator has something to say of it, else refused."""
    if case.width is not None or case.name == "project_permutahedron":
        return
    x = torch.zeros(3, 0, dtype=torch.float64)
    parameters = [p[..., :0] if p.dim() and p.shape[-1] > 1 else p for p in case.parameters(3, 4)]
    if case.name.startswith("prox_total"):
        parameters = [torch.ones(3, 1, dtype=torch.float64)]
    try:
        assert case.run(x, *parameters).shape == (3, 0)
    except ValueError as error:
        assert "at least 1 entries" in str(error)  # noqa: PT017


def test_masked_and_huge_entries():
    """-inf masks an entry of the simplex; lengths do not overflow."""
    x = torch.tensor([1.0, -torch.inf, 0.5, -torch.inf])
    assert torch.equal(prox.project_simplex(x), torch.tensor([0.75, 0, 0.25, 0]))
    assert prox.project_simplex(torch.tensor([torch.inf, 0.0])).isnan().all()
    big = torch.full((4,), 1e30)
    torch.testing.assert_close(prox.project_l2_ball(big), torch.full((4,), 0.5))
    tiny = torch.full((4,), 1e-30)
    torch.testing.assert_close(prox.prox_l2(tiny, 0.5e-30) / 1e-30, torch.full((4,), 0.75))
    assert prox.prox_negative_entropy(torch.tensor([-1e6, 0.0, 1e6]), 1.0).isfinite().all()
    assert prox.prox_logistic(torch.tensor([-1e6, 0.0, 1e6]), 1e5).isfinite().all()


def test_total_variation_of_a_row_that_goes_back_and_forth():
    """Rows on which the direct algorithm is quadratic are the taut string's."""
    n = 3000
    x = torch.linspace(0, 1, n, dtype=torch.float64).square().repeat(4, 1)
    x[:, -1] -= 1e3
    w = torch.full((4, 1), 500.0, dtype=torch.float64)
    per_edge = w.expand(4, n - 1).contiguous()
    out, string = prox.prox_total_variation(x, w), prox.prox_total_variation(x, per_edge)
    torch.testing.assert_close(out, string, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exponential_cone_far_beyond_its_edge(dtype):
    """r > 0 small, s < 0: e^(1 - s / r) is huge, and what a difference left was multiplied by it."""  # noqa: E501
    x = torch.tensor([0.0108021712, -1.7930998802, 0.6279866695], dtype=dtype, requires_grad=True)
    out = prox.project_exponential_cone(x)
    torch.testing.assert_close(out.detach(), torch.tensor([0.0, 0.0, 0.6279866695], dtype=dtype))
    (grad,) = torch.autograd.grad(out.sin().sum(), x)
    torch.testing.assert_close(
        grad, torch.tensor([0.0, 0.0, 0.809212], dtype=dtype), rtol=0, atol=1e-4
    )
    r = torch.logspace(-6, 0, 25, dtype=torch.float64)
    rays = torch.stack([r, torch.full_like(r, -1.5), torch.full_like(r, 0.7)], 1).to(dtype)
    on_it = prox.project_exponential_cone(rays)
    assert torch.isfinite(on_it).all()
    assert ((rays - on_it) * on_it).sum(-1).abs().max() < 1e-5  # what is left is orthogonal


@pytest.mark.parametrize("value", [None, "x", [1.0]])
def test_bounds_that_are_no_numbers(value):
    for call in (
        lambda: prox.prox_mcp(X, 1.0, value),
        lambda: prox.prox_scad(X, 1.0, value),
        lambda: prox.prox_firm(X, 1.0, value),
        lambda: prox.project_box(X, 0.0, value),
    ):
        with pytest.raises(TypeError, match="must be a number or a tensor"):
            call()
