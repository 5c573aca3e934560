"""Projections of the vectors along `dim` onto convex sets.

Parameters are numbers or tensors that broadcast against x; those of which a row has one have size 1
along `dim`. All derivatives are exact. A row with a nan, with a parameter out of range in a
tensor, or with an empty set is nan; other rows are not touched.
"""

from __future__ import annotations

from torch import Tensor

from lpgd_native._prox_checks import ANY, NONNEGATIVE, check_input, on_rows, parameter

__all__ = [
    "project_box_hyperplane",
    "project_capped_simplex",
    "project_exponential_cone",
    "project_halfspace",
    "project_hyperplane",
    "project_isotonic",
    "project_l1_ball",
    "project_l2_ball",
    "project_permutahedron",
    "project_second_order_cone",
    "project_simplex",
    "project_weighted_l1_ball",
]


def project_simplex(x: Tensor, radius: float | Tensor = 1.0, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over p >= 0, sum p_i = radius.

    x: [..., n], vectors along `dim`.
    radius: one a row, [..., 1]. Entries of x may be -inf: these get 0. Coordinates exactly at the
    threshold count as zero. O(n) expected: Newton's method on the threshold, no sort.
    """
    given = ("radius", radius, NONNEGATIVE)
    return on_rows("simplex", "project_simplex", x, dim, given, row_only=("radius",), least=1)


def project_capped_simplex(
    x: Tensor, total: float | Tensor = 1.0, cap: float | Tensor = 1.0, *, dim: int = -1
) -> Tensor:
    """argmin_p ||p - x|| over 0 <= p <= cap, sum p_i = total.

    x: [..., n], vectors along `dim`.
    cap: a number, [..., 1] or [..., n]; total: one a row, [..., 1]. A total above the sum of the
    caps gives nan. Coordinates at a bound count as held there.
    """
    return _box_hyperplane("project_capped_simplex", x, 0.0, cap, 1.0, total, dim, "cap", "total")


def project_box_hyperplane(
    x: Tensor,
    lower: float | Tensor,
    upper: float | Tensor,
    a: float | Tensor,
    b: float | Tensor,
    *,
    dim: int = -1,
) -> Tensor:
    """argmin_p ||p - x|| over lower <= p <= upper, <a, p> = b.

    x: [..., n], vectors along `dim`.
    lower, upper, a: numbers, [..., 1] or [..., n], infinite bounds are none; b: one a row, [...,
    1].
    Coordinates at a bound count as held there. By Newton's method in a bracket.
    """
    return _box_hyperplane("project_box_hyperplane", x, lower, upper, a, b, dim, "upper", "b")


def _box_hyperplane(
    name: str,
    x: Tensor,
    lower: float | Tensor,
    upper: float | Tensor,
    a: float | Tensor,
    b: float | Tensor,
    dim: int,
    upper_name: str,
    b_name: str,
) -> Tensor:
    simplex = b_name == "total"
    given = (
        ("lower", lower, ANY),
        (upper_name, upper, NONNEGATIVE if simplex else ANY),
        ("a", a, ANY),
        (b_name, b, NONNEGATIVE if simplex else ANY),
    )
    return on_rows("box_hyperplane", name, x, dim, *given, row_only=(b_name,), least=1)


def project_l1_ball(x: Tensor, radius: float | Tensor = 1.0, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over sum |p_i| <= radius.

    x: [..., n], vectors along `dim`.
    radius: one a row, [..., 1]. On the sphere itself the derivative is that of the inside, the
    identity; coordinates exactly at the threshold count as zero. O(n) expected: no sort.
    """
    given = ("radius", radius, NONNEGATIVE)
    return on_rows("l1_ball", "project_l1_ball", x, dim, given, row_only=("radius",))


def project_weighted_l1_ball(
    x: Tensor, weight: float | Tensor, radius: float | Tensor = 1.0, *, dim: int = -1
) -> Tensor:
    """argmin_p ||p - x|| over sum weight_i |p_i| <= radius; conventions as in `project_l1_ball`.

    x: [..., n], vectors along `dim`.
    weight: a number, [..., 1] or [..., n], not negative; radius: one a row, [..., 1].
    """
    given = (("weight", weight, NONNEGATIVE), ("radius", radius, NONNEGATIVE))
    name = "project_weighted_l1_ball"
    return on_rows("weighted_l1_ball", name, x, dim, *given, row_only=("radius",))


def project_l2_ball(x: Tensor, radius: float | Tensor = 1.0, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over ||p|| <= radius.

    x: [..., n], vectors along `dim`.
    radius: one a row, [..., 1]. On the sphere itself the derivative is the identity.
    """
    given = ("radius", radius, NONNEGATIVE)
    return on_rows("l2_ball", "project_l2_ball", x, dim, given, row_only=("radius",))


def project_hyperplane(x: Tensor, a: float | Tensor, b: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over <a, p> = b.

    x: [..., n], vectors along `dim`.
    a: a number, [..., 1] or [..., n]; b: one a row, [..., 1]. Where a = 0: x if b = 0, else nan.
    """
    given = (("a", a, ANY), ("b", b, ANY))
    return on_rows("hyperplane", "project_hyperplane", x, dim, *given, row_only=("b",))


def project_halfspace(x: Tensor, a: float | Tensor, b: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over <a, p> <= b; arguments as in `project_hyperplane`.

    x: [..., n], vectors along `dim`.

    On the plane itself the derivative is the identity.
    """
    given = (("a", a, ANY), ("b", b, ANY))
    return on_rows("halfspace", "project_halfspace", x, dim, *given, row_only=("b",))


def project_second_order_cone(x: Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over ||(p_1, ..., p_{n-1})|| <= p_0: the first entry is the height.

    x: [..., n], vectors along `dim`.

    On the boundary of the cone the derivative is the identity, on that of its polar 0.
    """
    return on_rows("soc", "project_second_order_cone", x, dim, least=1)


def project_exponential_cone(x: Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over the closure of {(r, s, t): s > 0, s exp(r / s) <= t}; n = 3.

    x: [..., n], vectors along `dim`.

    The order of entries is that of CVXPY's ExpCone. Newton's method in a bracket on an increasing
    function (Friberg 2023), in float64 inside. On the boundary the derivative is the identity, on
    that of the polar cone 0.
    """
    return on_rows("exponential_cone", "project_exponential_cone", x, dim, width=3)


def project_isotonic(
    x: Tensor, weight: float | Tensor = 1.0, *, increasing: bool = True, dim: int = -1
) -> Tensor:
    """argmin_p sum weight_i (p_i - x_i)^2 over p_0 <= p_1 <= ... (or >=): isotonic regression.

    x: [..., n], vectors along `dim`.
    weight: [..., 1] or [..., n], positive (rows where an entry is not are nan), differentiable;
    a number has no effect. By pooling adjacent violators, O(n), sums in float64. The derivative
    averages, with these weights, over runs of equal values, as returned: runs that meet count as
    one.
    """
    name = "project_isotonic"
    x = check_input(name, x)
    if not increasing:
        return -project_isotonic(-x, weight, dim=dim)
    if not isinstance(weight, Tensor):
        parameter(name, "weight", weight, x)
        if weight == 0:
            raise ValueError(f"{name}: weight must be positive, got {weight!r}")
        return on_rows("isotonic", name, x, dim)
    return on_rows("weighted_isotonic", name, x, dim, ("weight", weight, NONNEGATIVE))


def project_permutahedron(x: Tensor, weights: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over the convex hull of the permutations of `weights`: a soft ranking.

    weights: [..., n] along `dim`, not increasing (rows where they are not are nan). weights =
    (n, ..., 1) and x / eps: soft ranks of x (Blondel et al. 2020). O(n log n), by a radix sort.
    """
    return on_rows("permutahedron", "project_permutahedron", x, dim, ("weights", weights, ANY))
