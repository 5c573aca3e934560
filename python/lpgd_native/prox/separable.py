"""Separable proximal operators: out[i] depends on x[i] (and on its parameters) alone.

Parameters are numbers or tensors that broadcast against x; all derivatives, with respect to x and
to the parameters, are exact. Where a formula has a kink, the derivative named in the docstring is
returned. A nan in x stays in its place. A parameter out of range is a ValueError where it is a
number, and gives nan where it is an entry of a tensor. `dim` is checked and has no effect: it is
there so that all operators are called alike.
"""

from __future__ import annotations

from torch import Tensor

from lpgd_native._prox_checks import ANY, NONNEGATIVE, on_coordinates

__all__ = [
    "project_box",
    "project_linf_ball",
    "project_nonnegative",
    "prox_elastic_net",
    "prox_firm",
    "prox_hinge",
    "prox_huber",
    "prox_l0",
    "prox_l1",
    "prox_l_half",
    "prox_log_barrier",
    "prox_logistic",
    "prox_mcp",
    "prox_negative_entropy",
    "prox_poisson",
    "prox_scad",
    "prox_squared_l2",
]


def _more_than(name: str, arg: str, value: float | Tensor, least: float) -> None:
    # what is no number is refused with the other parameters
    if isinstance(value, (int, float)) and value <= least:
        raise ValueError(f"{name}: {arg} must be more than {least:g}, got {value!r}")


def prox_l1(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + sum weight_i |p_i|: soft thresholding.

    x: [...], of any shape; `dim` has no effect.

    The weighted l1 norm is a `weight` with the shape of x, or of a row.
    At the kink |x| = weight the derivative is 0.
    """
    return on_coordinates("l1", "prox_l1", x, dim, ("weight", weight, NONNEGATIVE))


def prox_l0(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + sum weight_i [p_i != 0]: hard thresholding at sqrt(2 weight).

    x: [...], of any shape; `dim` has no effect.

    Not convex. At the jump x^2 = 2 weight the result and its derivative are 0; the derivative with
    respect to `weight` is 0 everywhere.
    """
    return on_coordinates("l0", "prox_l0", x, dim, ("weight", weight, NONNEGATIVE))


def prox_squared_l2(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight / 2 ||p||^2: x / (1 + weight).

    x: [...], of any shape; `dim` has no effect.
    """
    return on_coordinates("squared_l2", "prox_squared_l2", x, dim, ("weight", weight, NONNEGATIVE))


def prox_elastic_net(
    x: Tensor, weight_l1: float | Tensor, weight_l2: float | Tensor, *, dim: int = -1
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight_l1 ||p||_1 + weight_l2 / 2 ||p||^2.

    x: [...], of any shape; `dim` has no effect.

    At the kink |x| = weight_l1 the derivative is 0.
    """
    return on_coordinates(
        "elastic_net",
        "prox_elastic_net",
        x,
        dim,
        ("weight_l1", weight_l1, NONNEGATIVE),
        ("weight_l2", weight_l2, NONNEGATIVE),
    )


def prox_huber(
    x: Tensor, weight: float | Tensor, delta: float | Tensor = 1.0, *, dim: int = -1
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight sum h(p_i), h Huber's function.

    x: [...], of any shape; `dim` has no effect.

    h(p) = p^2 / 2 for |p| <= delta, delta (|p| - delta / 2) beyond. At the kink |x| = delta (1 +
    weight)
    the derivative is that of the quadratic part, 1 / (1 + weight).
    """
    return on_coordinates(
        "huber",
        "prox_huber",
        x,
        dim,
        ("weight", weight, NONNEGATIVE),
        ("delta", delta, NONNEGATIVE),
    )


def prox_hinge(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight sum max(0, 1 - p_i).

    x: [...], of any shape; `dim` has no effect.

    For labels y = +-1: y * prox_hinge(y * x, weight). At the kinks x = 1 and x = 1 - weight the
    derivative is 0.
    """
    return on_coordinates("hinge", "prox_hinge", x, dim, ("weight", weight, NONNEGATIVE))


def project_box(
    x: Tensor, lower: float | Tensor, upper: float | Tensor, *, dim: int = -1
) -> Tensor:
    """argmin_p ||p - x|| over lower <= p <= upper; infinite bounds are none.

    x: [...], of any shape; `dim` has no effect.

    At a bound the derivative with respect to x is 0, that with respect to the bound 1. lower >
    upper gives nan.
    """
    numbers = isinstance(lower, (int, float)) and isinstance(upper, (int, float))
    if numbers and lower > upper:
        raise ValueError(f"project_box: lower must not exceed upper, got {lower!r} > {upper!r}")
    return on_coordinates(
        "box", "project_box", x, dim, ("lower", lower, ANY), ("upper", upper, ANY)
    )


def project_nonnegative(x: Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over p >= 0. At 0 the derivative is 0.

    x: [...], of any shape; `dim` has no effect.
    """
    return on_coordinates("nonnegative", "project_nonnegative", x, dim)


def project_linf_ball(x: Tensor, radius: float | Tensor = 1.0, *, dim: int = -1) -> Tensor:
    """argmin_p ||p - x|| over max |p_i| <= radius.

    x: [...], of any shape; `dim` has no effect.

    At |x| = radius the derivative with respect to x is 0, that with respect to radius sign(x).
    """
    return on_coordinates("linf_ball", "project_linf_ball", x, dim, ("radius", radius, NONNEGATIVE))


def prox_log_barrier(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 - weight sum log p_i.

    x: [...], of any shape; `dim` has no effect.

    (x + sqrt(x^2 + 4 weight)) / 2, without cancellation.

    weight = 0 is the projection on p >= 0; its derivative at x = 0 is 0.
    """
    return on_coordinates(
        "log_barrier", "prox_log_barrier", x, dim, ("weight", weight, NONNEGATIVE)
    )


def prox_negative_entropy(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight sum p_i log p_i: weight W(exp(x / weight - 1) / weight).

    x: [...], of any shape; `dim` has no effect.

    W is Lambert's function, computed in logarithms, so that no exponential overflows. weight = 0
    is the projection on p >= 0. Results below the smallest normal number are 0.
    """
    return on_coordinates(
        "negative_entropy", "prox_negative_entropy", x, dim, ("weight", weight, NONNEGATIVE)
    )


def prox_logistic(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight sum log(1 + exp(-p_i)).

    x: [...], of any shape; `dim` has no effect.

    For labels y = +-1: y * prox_logistic(y * x, weight). By Newton's method from the side on which
    it is monotone, to rounding.
    """
    return on_coordinates("logistic", "prox_logistic", x, dim, ("weight", weight, NONNEGATIVE))


def prox_poisson(
    x: Tensor, counts: float | Tensor, weight: float | Tensor = 1.0, *, dim: int = -1
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight sum (p_i - counts_i log p_i): Poisson data.

    x: [...], of any shape; `dim` has no effect.

    The Kullback-Leibler divergence of `counts` from p, up to a constant. Where counts or weight is
    0 and x = weight, the derivative is 0.
    """
    return on_coordinates(
        "poisson",
        "prox_poisson",
        x,
        dim,
        ("weight", weight, NONNEGATIVE),
        ("counts", counts, NONNEGATIVE),
    )


def prox_l_half(x: Tensor, weight: float | Tensor, *, dim: int = -1) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + weight sum |p_i|^(1/2): half thresholding (Xu et al. 2012).

    x: [...], of any shape; `dim` has no effect.

    Not convex. At the jump |x| = 3/2 weight^(2/3) the result and its derivative are 0.
    """
    return on_coordinates("l_half", "prox_l_half", x, dim, ("weight", weight, NONNEGATIVE))


def prox_mcp(
    x: Tensor, weight: float | Tensor, gamma: float | Tensor = 3.0, *, dim: int = -1
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + sum m(p_i), the minimax concave penalty (Zhang 2010), gamma > 1.

    x: [...], of any shape; `dim` has no effect.

    m(p) = weight |p| - p^2 / (2 gamma) up to |p| = gamma weight, constant beyond. At the kink |x|
    = weight the derivative is 0, at |x| = gamma weight gamma / (gamma - 1).
    """
    _more_than("prox_mcp", "gamma", gamma, 1.0)
    return on_coordinates(
        "mcp", "prox_mcp", x, dim, ("weight", weight, NONNEGATIVE), ("gamma", gamma, NONNEGATIVE)
    )


def prox_scad(
    x: Tensor, weight: float | Tensor, a: float | Tensor = 3.7, *, dim: int = -1
) -> Tensor:
    """argmin_p 1/2 ||p - x||^2 + sum s(p_i): SCAD (Fan & Li 2001), a > 2.

    x: [...], of any shape; `dim` has no effect.

    At the kinks the derivative is that of the side nearer to 0: 0 at |x| = weight, 1 at 2 weight,
    (a - 1) / (a - 2) at a weight.
    """
    _more_than("prox_scad", "a", a, 2.0)
    return on_coordinates(
        "scad", "prox_scad", x, dim, ("weight", weight, NONNEGATIVE), ("a", a, NONNEGATIVE)
    )


def prox_firm(x: Tensor, lower: float | Tensor, upper: float | Tensor, *, dim: int = -1) -> Tensor:
    """Firm thresholding (Gao & Bruce 1997): 0 up to |x| = lower, x from upper on, a line between.

    x: [...], of any shape; `dim` has no effect.

    The prox of a concave penalty, lower < upper: prox_mcp(x, lower, upper / lower). At the kink
    |x| = lower the derivative is 0, at upper that of the line, upper / (upper - lower).
    """
    if isinstance(lower, (int, float)):
        _more_than("prox_firm", "upper", upper, lower)
    return on_coordinates(
        "firm", "prox_firm", x, dim, ("lower", lower, NONNEGATIVE), ("upper", upper, NONNEGATIVE)
    )
