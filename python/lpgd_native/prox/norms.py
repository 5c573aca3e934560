"""Proxes of norms and of other functions of a row: what the vectors along `dim` are mapped to.

Parameters are numbers or tensors that broadcast against x; those of which a row has one have size 1
along `dim`. All derivatives are exact. A row with a nan, or with a parameter out of range in a
tensor, is nan; other rows are not touched.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lpgd_native._prox_checks import (
    NONNEGATIVE,
    check_dim,
    check_input,
    compute_dtype,
    on_rows,
    parameter,
    result_dtype,
)
from lpgd_native.prox.projections import project_capped_simplex
from lpgd_native.prox.separable import prox_l1

__all__ = [
    "prox_fused_lasso",
    "prox_group_l2",
    "prox_l2",
    "prox_linf",
    "prox_max",
    "prox_sorted_l1",
    "prox_sparse_group",
    "prox_sum_largest",
    "prox_total_variation",
]


def prox_l2(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight ||p||: the row shortened by `weight`.

    x: [..., n], vectors along `dim`.
    weight: one a row, [..., 1]. At the kink ||x|| = weight the derivative is 0.
    """
    given = ("weight", weight, NONNEGATIVE)
    return on_rows("l2", "prox_l2", x, dim, given, row_only=("weight",))


def prox_linf(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight max |p_i|.

    x: [..., n], vectors along `dim`.

    x less its projection on the l1 ball of radius weight.

    weight: one a row, [..., 1]. Coordinates exactly at the clipping level count as unclipped; where
    ||x||_1 = weight the derivative is 0. O(n) expected: no sort.
    """
    given = ("weight", weight, NONNEGATIVE)
    return on_rows("linf", "prox_linf", x, dim, given, row_only=("weight",), least=1)


def prox_max(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight max p_i: min(x, tau) with sum max(x - tau, 0) = weight.

    x: [..., n], vectors along `dim`.
    weight: one a row, [..., 1]. Coordinates exactly at tau count as unclipped. O(n) expected.
    """
    given = ("weight", weight, NONNEGATIVE)
    return on_rows("max", "prox_max", x, dim, given, row_only=("weight",), least=1)


def prox_sum_largest(
    x: Tensor, weight: float | Tensor, k: float | Tensor, *, dim: int = -1
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight (sum of the k largest p_i).

    x: [..., n], vectors along `dim`.

    x less its projection on a capped simplex.

    k: from 0 to n; weight, k: one a row, [..., 1]. k = 1 is `prox_max`.
    """
    x = check_input("prox_sum_largest", x)
    at = check_dim("prox_sum_largest", x, dim)
    if not isinstance(k, Tensor) and not 0 <= k <= x.shape[at]:
        raise ValueError(
            f"prox_sum_largest: k must be from 0 to the size {x.shape[at]} along dim, got {k!r}"
        )
    weight = parameter("prox_sum_largest", "weight", weight, x)
    total = parameter("prox_sum_largest", "k", k, x) * weight
    wide = x.to(compute_dtype(x))
    return (wide - project_capped_simplex(wide, total, weight, dim=dim)).to(result_dtype(x))


def prox_group_l2(
    x: Tensor,
    weight: float | Tensor,
    groups: int | Tensor | None = None,
    *,
    dim: int = -1,
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + sum over groups G of weight_G ||p_G||.

    x: [..., n], vectors along `dim`.
    groups: a size, for contiguous groups of that many entries; or a vector [n] of integers that
    tells the group of each entry (any integers, sorted where they lie; the device is not waited
    for). None: all of the row is one group, `prox_l2`.
    weight: a number, one a row [..., 1], or one an entry [..., n], where the first entry of a group
    (the one of the lowest index) counts. At the kink ||x_G|| = weight_G the derivative is 0.
    """
    name = "prox_group_l2"
    x = check_input(name, x)
    at = check_dim(name, x, dim)
    n = x.shape[at]
    if groups is None:
        return prox_l2(x, weight, dim=dim)
    labels = _labels(name, groups, n)

    def index(_: int) -> Tensor:
        ordered, members = labels.to(x.device).sort(stable=True)
        group = torch.nn.functional.pad((ordered.diff() != 0).cumsum(0), (1, 0))[:n]
        # as many groups as there could be, the last ones empty: their number is not asked for
        starts = torch.searchsorted(group, torch.arange(n + 1, device=x.device))
        return torch.cat([members, starts]).to(torch.int32)

    return on_rows("group_l2", name, x, dim, ("weight", weight, NONNEGATIVE), index=index)


def _labels(name: str, groups: int | Tensor, n: int) -> Tensor:
    if isinstance(groups, Tensor):
        if groups.dtype.is_floating_point or groups.dtype == torch.bool or groups.shape != (n,):
            raise ValueError(
                f"{name}: groups must be an integer vector [n] with n = {n}, "
                f"got {groups.dtype} {list(groups.shape)}"
            )
        return groups
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or n % groups:
        raise ValueError(
            f"{name}: groups must be a positive size that divides n = {n}, or a vector, "
            f"got {groups!r}"
        )
    return torch.arange(n) // groups


def prox_sparse_group(
    x: Tensor,
    weight_l1: float | Tensor,
    weight_l2: float | Tensor,
    groups: int | Tensor | None = None,
    *,
    dim: int = -1,
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight_l1 ||p||_1 + weight_l2 sum over groups ||p_G||.

    x: [..., n], vectors along `dim`.

    The group prox of the soft-thresholded x (Friedman, Hastie & Tibshirani 2010); arguments as in
    `prox_l1` and `prox_group_l2`.
    """
    x = check_input("prox_sparse_group", x)
    soft = prox_l1(x.to(compute_dtype(x)), weight_l1)
    return prox_group_l2(soft, weight_l2, groups, dim=dim).to(result_dtype(x))


def prox_total_variation(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + sum_i weight_i |p_{i+1} - p_i|, along `dim`.

    weight: a number, one a row [..., 1], or one a difference [..., n - 1]. By the taut string, O(n)
    whatever the data, in float64 inside. The derivative averages over the runs of equal values, as
    returned; neighbouring runs that happen to meet count as one.
    """
    name = "prox_total_variation"
    x = check_input(name, x)
    at = check_dim(name, x, dim)
    back, n = x.dim() - at, x.shape[at]
    if isinstance(weight, Tensor) and weight.layout != torch.strided:
        raise TypeError(f"{name}: weight must be dense, got layout {weight.layout}")
    if isinstance(weight, Tensor) and weight.dim() >= back and weight.shape[-back] != 1:
        if weight.shape[-back] != n - 1:
            raise ValueError(
                f"{name}: weight must have size 1 or n - 1 = {n - 1} along dim = {dim}, "
                f"got {list(weight.shape)}"
            )
        padded = torch.nn.functional.pad(weight.movedim(-back, -1), (0, 1))  # the last is not used
        weight = padded.movedim(-1, -back)
    elif isinstance(weight, Tensor) and weight.dim() >= back and n == 2:
        shape = list(weight.shape)
        shape[-back] = 2
        weight = weight.expand(shape)
    return on_rows("total_variation", name, x, dim, ("weight", weight, NONNEGATIVE))


def prox_fused_lasso(
    x: Tensor, weight_l1: float | Tensor, weight_tv: float | Tensor, *, dim: int = -1
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight_l1 ||p||_1 + weight_tv sum_i |p_{i+1} - p_i|.

    The soft-thresholded total variation prox (Friedman et al. 2007), which needs weight_l1 to be
    the same along `dim`: a number or [..., 1].
    """
    name = "prox_fused_lasso"
    x = check_input(name, x)
    back = x.dim() - check_dim(name, x, dim)
    if isinstance(weight_l1, Tensor) and weight_l1.dim() >= back and weight_l1.shape[-back] != 1:
        raise ValueError(
            f"{name}: weight_l1 must have size 1 along dim = {dim}, got {list(weight_l1.shape)}"
        )
    flat = prox_total_variation(x.to(compute_dtype(x)), weight_tv, dim=dim)
    return prox_l1(flat, weight_l1).to(result_dtype(x))


def prox_sorted_l1(x: Tensor, weights: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + sum_k weights_k |p|_(k), |p|_(1) >= |p|_(2) >= ...: OWL, SLOPE.

    weights: [..., n] along `dim`, not increasing and not negative (rows where they are not are
    nan), or a number (soft thresholding). The derivative averages over the pools of the fit; zeros
    have derivative 0. O(n log n), by a radix sort (Bogdan et al. 2015).
    """
    given = ("weights", weights, NONNEGATIVE)
    return on_rows("sorted_l1", "prox_sorted_l1", x, dim, given)
