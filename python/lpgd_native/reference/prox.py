"""The proximal operators in plain torch, along the last dimension.

Written from the formulas, by other methods than the kernels': sorts, bisection, min-max formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Weight = float | Tensor


def _tensor(value: Weight, x: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


# --- separable -----------------------------------------------------------------------------------


def prox_l1(x: Tensor, weight: Weight) -> Tensor:
    return x.sign() * (x.abs() - weight).clamp(min=0)


def prox_l0(x: Tensor, weight: Weight) -> Tensor:
    return torch.where(x.square() > 2 * _tensor(weight, x), x, 0)


def prox_squared_l2(x: Tensor, weight: Weight) -> Tensor:
    return x / (1 + weight)


def prox_elastic_net(x: Tensor, weight_l1: Weight, weight_l2: Weight) -> Tensor:
    return prox_l1(x, weight_l1) / (1 + weight_l2)


def prox_huber(x: Tensor, weight: Weight, delta: Weight) -> Tensor:
    far = x.abs() > delta * (1 + _tensor(weight, x))
    return torch.where(far, x - weight * delta * x.sign(), x / (1 + weight))


def prox_hinge(x: Tensor, weight: Weight) -> Tensor:
    return torch.where(x >= 1, x, (x + weight).clamp(max=1))


def project_box(x: Tensor, lower: Weight, upper: Weight) -> Tensor:
    return torch.minimum(torch.maximum(x, _tensor(lower, x)), _tensor(upper, x))


def project_nonnegative(x: Tensor) -> Tensor:
    return x.relu()


def project_linf_ball(x: Tensor, radius: Weight) -> Tensor:
    return project_box(x, -_tensor(radius, x), radius)


def prox_log_barrier(x: Tensor, weight: Weight) -> Tensor:
    return (x + (x.square() + 4 * weight).sqrt()) / 2


def prox_poisson(x: Tensor, counts: Weight, weight: Weight) -> Tensor:
    return prox_log_barrier(x - weight, weight * counts)


def _bisect(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, steps: int = 200) -> Tensor:
    """The root of an increasing f between low and high."""
    for _ in range(steps):
        middle = (low + high) / 2
        above = f(middle) > 0
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def prox_negative_entropy(x: Tensor, weight: Weight) -> Tensor:
    """P + weight (log p + 1) = x, in u = log p."""
    high = (x.abs() + 1).log() + 1
    low = torch.full_like(x, -700.0)
    return _bisect(lambda u: u.exp() + weight * (u + 1) - x, low, high).exp()


def prox_logistic(x: Tensor, weight: Weight) -> Tensor:
    return _bisect(lambda p: p - x - weight * torch.sigmoid(-p), x, x + weight)


def prox_l_half(x: Tensor, weight: Weight) -> Tensor:
    """The trigonometric root of the cubic (Xu et al. 2012)."""
    size, w = x.abs(), _tensor(weight, x)
    on = size > 1.5 * w ** (2 / 3)
    phi = torch.arccos((w / 4 * (torch.where(on, size, 1) / 3) ** -1.5).clamp(max=1))
    p = 2 / 3 * size * (1 + torch.cos(2 * math.pi / 3 - 2 / 3 * phi))
    return torch.where(on, x.sign() * p, 0)


def prox_mcp(x: Tensor, weight: Weight, gamma: Weight) -> Tensor:
    return torch.where(
        x.abs() > gamma * _tensor(weight, x), x, prox_l1(x, weight) * gamma / (gamma - 1)
    )


def prox_scad(x: Tensor, weight: Weight, a: Weight) -> Tensor:
    w = _tensor(weight, x)
    middle = ((a - 1) * x - x.sign() * a * w) / (a - 2)
    near = torch.where(x.abs() > 2 * w, middle, prox_l1(x, w))
    return torch.where(x.abs() > a * w, x, near)


def prox_firm(x: Tensor, lower: Weight, upper: Weight) -> Tensor:
    line = prox_l1(x, lower) * upper / (upper - lower)
    return torch.where(x.abs() > upper, x, line)


# --- rows ----------------------------------------------------------------------------------------


def prox_l2(x: Tensor, weight: Weight) -> Tensor:
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > weight, x * (1 - weight / length), 0)


def project_l2_ball(x: Tensor, radius: Weight) -> Tensor:
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > radius, x * (radius / length), x)


def prox_group_l2(x: Tensor, weight: Weight, groups: Tensor) -> Tensor:
    squares = x.new_zeros(*x.shape[:-1], int(groups.max()) + 1).index_add(-1, groups, x.square())
    length = squares.sqrt()[..., groups]
    return torch.where(length > weight, x * (1 - weight / length), 0)


def prox_sparse_group(x: Tensor, weight_l1: Weight, weight_l2: Weight, groups: Tensor) -> Tensor:
    return prox_group_l2(prox_l1(x, weight_l1), weight_l2, groups)


def project_simplex(x: Tensor, radius: Weight) -> Tensor:
    """By a sort (Held, Wolfe & Crowder 1974)."""
    s = x.sort(-1, descending=True).values
    k = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    tau = (s.cumsum(-1) - radius) / k
    last = (s > tau).sum(-1, keepdim=True).clamp(min=1) - 1
    return (x - tau.gather(-1, last)).clamp(min=0)


def project_l1_ball(x: Tensor, radius: Weight) -> Tensor:
    outside = x.abs().sum(-1, keepdim=True) > radius
    return torch.where(outside, x.sign() * project_simplex(x.abs(), radius), x)


def prox_linf(x: Tensor, weight: Weight) -> Tensor:
    return x - project_l1_ball(x, weight)


def prox_max(x: Tensor, weight: Weight) -> Tensor:
    return x - project_simplex(x, weight)


def project_weighted_l1_ball(x: Tensor, weight: Weight, radius: Weight) -> Tensor:
    w = _tensor(weight, x).expand_as(x)
    ratio, order = (x.abs() / w).sort(-1, descending=True)
    sums = ((w * x.abs()).gather(-1, order).cumsum(-1) - radius) / w.square().gather(
        -1, order
    ).cumsum(-1)
    last = (ratio > sums).sum(-1, keepdim=True).clamp(min=1) - 1
    inside = (w * x.abs()).sum(-1, keepdim=True) <= radius
    return torch.where(inside, x, prox_l1(x, sums.gather(-1, last) * w))


def project_hyperplane(x: Tensor, a: Weight, b: Weight) -> Tensor:
    a = _tensor(a, x).expand_as(x)
    return x - a * ((a * x).sum(-1, keepdim=True) - b) / a.square().sum(-1, keepdim=True)


def project_halfspace(x: Tensor, a: Weight, b: Weight) -> Tensor:
    inside = (_tensor(a, x) * x).sum(-1, keepdim=True) <= b
    return torch.where(inside, x, project_hyperplane(x, a, b))


def project_box_hyperplane(x: Tensor, lower: Weight, upper: Weight, a: Weight, b: Weight) -> Tensor:
    a = _tensor(a, x).expand_as(x)
    reach = (2 * x.abs().amax(-1, keepdim=True) + 1e3) / a.abs().amin(-1, keepdim=True)
    tau = _bisect(
        lambda t: b - (a * project_box(x - t * a, lower, upper)).sum(-1, keepdim=True),
        -reach,
        reach,
    )
    return project_box(x - tau * a, lower, upper)


def project_capped_simplex(x: Tensor, total: Weight, cap: Weight) -> Tensor:
    return project_box_hyperplane(x, 0.0, cap, 1.0, total)


def prox_sum_largest(x: Tensor, weight: Weight, k: Weight) -> Tensor:
    return x - project_capped_simplex(x, k * weight, weight)


def project_second_order_cone(x: Tensor) -> Tensor:
    t, v = x[..., :1], x[..., 1:]
    length = v.norm(dim=-1, keepdim=True)
    edge = (t + length) / 2 * torch.cat([torch.ones_like(t), v / length], -1)
    return torch.where(length <= t, x, torch.where(length <= -t, 0, edge))


def project_exponential_cone(x: Tensor) -> Tensor:
    """By bisection on rho = r / s (Friberg 2023), row by row."""
    out = torch.empty_like(x.reshape(-1, 3))
    for k, (r, s, t) in enumerate(x.reshape(-1, 3).tolist()):
        if s > 0 and s * math.exp(min(r / s, 700)) <= t:
            out[k] = x.new_tensor([r, s, t])
        elif r > 0 and r * math.exp(min(s / r - 1, 700)) <= -t:
            out[k] = 0
        elif r <= 0 and s <= 0:
            out[k] = x.new_tensor([r, 0, max(t, 0)])
        else:
            low = 1 - s / r if r > 0 else r / s - 50
            high = r / s if s > 0 else 1 - s / r + 50
            for _ in range(200):
                rho = (low + high) / 2
                a, b, q = (rho - 1) * r + s, r - rho * s, rho * rho - rho + 1
                above = (a * math.exp(rho) - b * math.exp(-rho)) / q > t
                low, high = (low, rho) if above else (rho, high)
            out[k] = a / q * x.new_tensor([rho, 1, math.exp(rho)])
    return out.reshape(x.shape)


def project_isotonic(x: Tensor, weight: Weight = 1.0) -> Tensor:
    """The largest over starts of the smallest over ends of the weighted mean between them."""
    k = torch.arange(x.shape[-1], device=x.device)
    w = weight * torch.ones_like(x)

    def between(v: Tensor) -> Tensor:  # [..., start, end]
        sums = torch.nn.functional.pad(v.cumsum(-1), (1, 0))
        return sums[..., None, 1:] - sums[..., :-1, None]

    mean = between(w * x) / torch.where(k[None, :] < k[:, None], 1.0, between(w))
    least = mean.masked_fill(k[None, :] < k[:, None], math.inf).flip(-1).cummin(-1).values.flip(-1)
    return least.masked_fill(k[:, None] > k[None, :], -math.inf).amax(-2)


def prox_sorted_l1(x: Tensor, weights: Weight) -> Tensor:
    size, order = x.abs().sort(-1, descending=True)
    fit = -project_isotonic(weights - size)
    return x.sign() * torch.zeros_like(x).scatter(-1, order, fit.clamp(min=0))


def project_permutahedron(x: Tensor, weights: Weight) -> Tensor:
    size, order = x.sort(-1, descending=True)
    return x + torch.zeros_like(x).scatter(-1, order, project_isotonic(weights - size))


def prox_total_variation(x: Tensor, weight: Weight) -> Tensor:
    """The dual, min ||x - D'u|| over |u| <= weight, by primal-dual active sets."""
    n = x.shape[-1]
    if n == 1:
        return x.clone()
    out = x.clone().reshape(-1, n)
    bounds = _tensor(weight, x).expand(*x.shape[:-1], n - 1).reshape(-1, n - 1)
    D = torch.eye(n, dtype=x.dtype, device=x.device).diff(dim=0)
    for row, w in zip(out, bounds, strict=True):
        u, slope = torch.zeros_like(w), torch.zeros_like(w)
        for _ in range(20 * n):
            high, low = u + slope > w, u + slope < -w
            held = high | low
            u = torch.where(high, w, torch.where(low, -w, 0))
            free = ~held
            right = D @ row - D @ (D.T @ u)
            u[free] = torch.linalg.solve((D @ D.T)[free][:, free], right[free])
            slope = torch.where(held, D @ (row - D.T @ u), 0)
            if torch.equal(u + slope > w, high) and torch.equal(u + slope < -w, low):
                break
        row -= D.T @ u
    return out.reshape(x.shape)


def prox_fused_lasso(x: Tensor, weight_l1: Weight, weight_tv: Weight) -> Tensor:
    return prox_l1(prox_total_variation(x, weight_tv), weight_l1)
