"""One table of proximal operators: every property is tested on all of them.

A case gives the function, its twin, arguments, and, for convex ones, the objective for CVXPY.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import lpgd_native.prox as prox
from lpgd_native.reference import prox as twins

N = 7
GROUPS = torch.tensor([0, 2, 1, 0, 2, 2, 1])


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator)


def uniform(*shape: int, seed: int = 1, low: float = 0.2, high: float = 1.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=generator)


@dataclass(frozen=True)
class Case:
    name: str
    #: parameters for x of shape [rows, n]: tensors that broadcast against it
    parameters: Callable[[int, int], tuple[Any, ...]] = lambda rows, n: ()
    #: objective(cp, p, *parameters of one row) -> (expression, constraints), besides the distance
    objective: Callable[..., Any] | None = None
    convex: bool = True
    projection: bool = False
    separable: bool = False
    #: size along dim that the operator asks for, and of the results of positive x alone
    width: int | None = None
    scale: float = 1.5
    #: further keyword arguments, of the function and of its twin
    options: dict[str, Any] = field(default_factory=dict)
    twin_options: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def __str__(self) -> str:
        return self.label or self.name

    def run(self, x: Tensor, *parameters: Any, **more: Any) -> Tensor:
        return getattr(prox, self.name)(x, *parameters, **self.options, **more)

    def twin(self, x: Tensor, *parameters: Any) -> Tensor:
        return getattr(twins, self.name)(x, *parameters, **self.twin_options)

    def x(self, rows: int = 4, n: int = N, seed: int = 0) -> Tensor:
        return normal(rows, self.width or n, seed=seed, scale=self.scale)

    def arguments(self, rows: int = 4, n: int = N, seed: int = 0) -> tuple[Any, ...]:
        n = self.width or n
        return (self.x(rows, n, seed), *self.parameters(rows, n))


def each_weight(rows: int, n: int) -> tuple[Tensor]:
    return (uniform(rows, n),)


def row_weight(rows: int, n: int) -> tuple[Tensor]:
    return (uniform(rows, 1),)


def two_weights(rows: int, n: int) -> tuple[Tensor, Tensor]:
    return uniform(rows, n), uniform(1, n, seed=2)


def falling(rows: int, n: int) -> tuple[Tensor]:
    return (uniform(n, low=0.0).sort(descending=True).values,)


def _box(rows: int, n: int) -> tuple[Tensor, Tensor]:
    lower = normal(rows, n, seed=5) - 0.5
    return lower, lower + uniform(1, n)


def _box_plane(rows: int, n: int) -> tuple[Tensor, ...]:
    lower, upper = _box(rows, n)
    a = normal(1, n, seed=6)
    inside = lower + (upper - lower) * uniform(rows, n, seed=7, low=0.1, high=0.9)
    return lower, upper, a, (a * inside).sum(-1, keepdim=True)


def _huber(cp, p, w, delta):
    terms = [w[i] / 2 * cp.huber(p[i], delta[i]) for i in range(p.size)]
    return sum(terms), []


SEPARABLE_CASES = (
    Case("prox_l1", each_weight, lambda cp, p, w: (w @ cp.abs(p), []), separable=True),
    Case("prox_l0", each_weight, convex=False, separable=True),
    Case("prox_squared_l2", each_weight, lambda cp, p, w: (w @ cp.square(p) / 2, [])),
    Case(
        "prox_elastic_net",
        two_weights,
        lambda cp, p, w, v: (w @ cp.abs(p) + v @ cp.square(p) / 2, []),
    ),
    Case("prox_huber", two_weights, _huber),
    Case("prox_hinge", each_weight, lambda cp, p, w: (w @ cp.pos(1 - p), [])),
    Case("project_box", _box, lambda cp, p, lo, hi: (0, [p >= lo, p <= hi]), projection=True),
    Case("project_nonnegative", objective=lambda cp, p: (0, [p >= 0]), projection=True),
    Case(
        "project_linf_ball",
        each_weight,
        lambda cp, p, r: (0, [cp.abs(p) <= r]),
        projection=True,
    ),
    Case("prox_log_barrier", each_weight, lambda cp, p, w: (-w @ cp.log(p), [])),
    Case("prox_negative_entropy", each_weight, lambda cp, p, w: (-w @ cp.entr(p), [])),
    Case("prox_logistic", each_weight, lambda cp, p, w: (w @ cp.logistic(-p), [])),
    Case(
        "prox_poisson",
        two_weights,
        lambda cp, p, y, w: (w @ p - (w * y) @ cp.log(p), []),
    ),
    Case("prox_l_half", each_weight, convex=False, scale=3.0),
    Case("prox_mcp", lambda r, n: (uniform(r, n), uniform(1, n, seed=3) + 1.5), convex=False),
    Case("prox_scad", lambda r, n: (uniform(r, n), uniform(1, n, seed=3) + 2.5), convex=False),
    Case("prox_firm", lambda r, n: (uniform(r, n), uniform(r, n) + 0.7), convex=False),
)

ROW_CASES = (
    Case("prox_l2", row_weight, lambda cp, p, w: (w[0] * cp.norm2(p), [])),
    Case(
        "project_l2_ball", row_weight, lambda cp, p, r: (0, [cp.norm2(p) <= r[0]]), projection=True
    ),
    Case(
        "prox_group_l2",
        lambda r, n: (uniform(r, 1),),
        lambda cp, p, w: (
            w[0] * sum(cp.norm2(p[(k == GROUPS).nonzero()[:, 0].numpy()]) for k in range(3)),
            [],
        ),
        width=N,
        options={"groups": GROUPS},
        twin_options={"groups": GROUPS},
    ),
    Case(
        "prox_sparse_group",
        lambda r, n: (uniform(r, n, high=0.6), uniform(r, 1)),
        lambda cp, p, v, w: (
            v @ cp.abs(p)
            + w[0] * sum(cp.norm2(p[(k == GROUPS).nonzero()[:, 0].numpy()]) for k in range(3)),
            [],
        ),
        width=N,
        options={"groups": GROUPS},
        twin_options={"groups": GROUPS},
    ),
    Case("prox_linf", row_weight, lambda cp, p, w: (w[0] * cp.norm_inf(p), [])),
    Case("prox_max", row_weight, lambda cp, p, w: (w[0] * cp.max(p), [])),
    Case(
        "prox_sum_largest",
        row_weight,
        lambda cp, p, w: (w[0] * cp.sum_largest(p, 3), []),
        width=N,
        options={"k": 3},
        twin_options={"k": 3},
    ),
    Case(
        "project_simplex",
        row_weight,
        lambda cp, p, r: (0, [p >= 0, cp.sum(p) == r[0]]),
        projection=True,
    ),
    Case(
        "project_simplex",
        lambda r, n: (uniform(r, 1, low=3.0, high=6.0),),
        lambda cp, p, r: (0, [p >= 0, cp.sum(p) == r[0]]),
        projection=True,
        label="project_simplex-large",
    ),
    Case(
        "project_capped_simplex",
        lambda r, n: (uniform(r, 1, high=1.0) * n / 3, uniform(1, n, low=0.4, high=0.9)),
        lambda cp, p, s, cap: (0, [p >= 0, p <= cap, cp.sum(p) == s[0]]),
        projection=True,
    ),
    Case(
        "project_l1_ball",
        lambda r, n: (uniform(r, 1, low=0.5, high=3.0),),
        lambda cp, p, r: (0, [cp.norm1(p) <= r[0]]),
        projection=True,
    ),
    Case(
        "project_weighted_l1_ball",
        lambda r, n: (uniform(1, n), uniform(r, 1, low=0.5, high=3.0)),
        lambda cp, p, w, r: (0, [w @ cp.abs(p) <= r[0]]),
        projection=True,
    ),
    Case(
        "project_hyperplane",
        lambda r, n: (normal(r, n, seed=4), normal(r, 1, seed=5)),
        lambda cp, p, a, b: (0, [a @ p == b[0]]),
        projection=True,
    ),
    Case(
        "project_halfspace",
        lambda r, n: (normal(r, n, seed=4), normal(r, 1, seed=5)),
        lambda cp, p, a, b: (0, [a @ p <= b[0]]),
        projection=True,
    ),
    Case(
        "project_box_hyperplane",
        _box_plane,
        lambda cp, p, lo, hi, a, b: (0, [p >= lo, p <= hi, a @ p == b[0]]),
        projection=True,
    ),
    Case(
        "project_second_order_cone",
        objective=lambda cp, p: (0, [cp.norm2(p[1:]) <= p[0]]),
        projection=True,
    ),
    Case(
        "project_exponential_cone",
        objective=lambda cp, p: (0, [cp.ExpCone(p[0], p[1], p[2])]),
        projection=True,
        width=3,
    ),
    Case("project_isotonic", objective=lambda cp, p: (0, [cp.diff(p) >= 0]), projection=True),
    # a projection in another norm: its objective is that of test_weighted_isotonic
    Case("project_isotonic", each_weight, convex=False, label="project_isotonic-weighted"),
    Case(
        "prox_sorted_l1",
        falling,
        lambda cp, p, w: (
            sum(
                (w[k] - (w[k + 1] if k + 1 < p.size else 0)) * cp.sum_largest(cp.abs(p), k + 1)
                for k in range(p.size)
            ),
            [],
        ),
    ),
    Case(
        "project_permutahedron",
        lambda r, n: (normal(n, seed=8).sort(descending=True).values,),
        lambda cp, p, w: (
            0,
            [cp.sum_largest(p, k) <= w[:k].sum() for k in range(1, p.size)]
            + [cp.sum(p) == w.sum()],
        ),
        projection=True,
    ),
    Case(
        "prox_total_variation",
        lambda r, n: (uniform(r, max(n - 1, 1)),),
        lambda cp, p, w: (w @ cp.abs(cp.diff(p)), []),
    ),
    Case(
        "prox_total_variation",
        row_weight,
        lambda cp, p, w: (w[0] * cp.norm1(cp.diff(p)), []),
        label="prox_total_variation-row",
    ),
    Case(
        "prox_fused_lasso",
        lambda r, n: (uniform(r, 1, high=0.5), uniform(r, 1)),
        lambda cp, p, v, w: (v[0] * cp.norm1(p) + w[0] * cp.norm1(cp.diff(p)), []),
    ),
)

ALL_CASES = SEPARABLE_CASES + ROW_CASES


def parametrize(cases=ALL_CASES, wanted: Callable[[Case], bool] = lambda case: True):
    return pytest.mark.parametrize("case", [c for c in cases if wanted(c)], ids=str)
