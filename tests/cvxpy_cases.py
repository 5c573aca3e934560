"""cvxpy problems for the layers: the examples of cvxpylayers' pages, and every kind of leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor


class Case(NamedTuple):
    name: str
    make: Callable[[], tuple[Any, list[Any], list[Any]]]
    """problem, parameters, variables"""
    draw: Callable[[int], list[Tensor]]
    """a value of each parameter, batched or shared, for a batch of so many"""
    diffcp: bool = True
    """cvxpylayers with diffcp can take it, and its derivative exists"""


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * seed + len(shape) + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def tutorial():
    """README of cvxpylayers."""
    x, A, b = cp.Variable(2), cp.Parameter((3, 2)), cp.Parameter(3)
    return cp.Problem(cp.Minimize(0.5 * cp.pnorm(A @ x - b, p=1)), [x >= 0]), [A, b], [x]


def relu():
    x, a = cp.Variable(5), cp.Parameter(5)
    constraint = x >= 0
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - a)), [constraint])
    return problem, [a], [x, constraint.dual_variables[0]]


def sudoku():
    """OptNet on 2 x 2 boxes: learned equalities A z = A z0, shared by the batch."""
    z, A, b, p = cp.Variable(16), cp.Parameter((6, 16)), cp.Parameter(6), cp.Parameter(16)
    objective = cp.Minimize(0.05 * cp.sum_squares(z) + p @ z)
    return cp.Problem(objective, [A @ z == b, z >= 0]), [A, b, p], [z]


def sudoku_values(batch: int) -> list[Tensor]:
    A = randn(6, 16, seed=1)
    return [A, A @ torch.rand(16, dtype=torch.float64), randn(batch, 16, seed=2)]


def markowitz():
    """Tuning of a policy: expected returns, risk by a factor, the price of trading."""
    w, trade, mu, factor = cp.Variable(6), cp.Variable(6), cp.Parameter(6), cp.Parameter((3, 6))
    before, price = cp.Parameter(6), cp.Parameter(nonneg=True)
    objective = mu @ w - cp.sum_squares(factor @ w) - 0.1 * cp.sum_squares(w)
    budget = cp.sum(w) == 1
    problem = cp.Problem(
        cp.Maximize(objective - price * cp.norm1(trade)),
        [budget, w >= 0, w <= 0.5, trade == w - before],
    )
    return problem, [mu, factor, before, price], [w, budget.dual_variables[0]]


def markowitz_values(batch: int) -> list[Tensor]:
    before = torch.softmax(randn(batch, 6, seed=3), -1)
    price = torch.tensor(0.05, dtype=torch.float64)
    return [randn(batch, 6, seed=4), randn(3, 6, seed=5), before, price]


def mpc():
    """A double integrator: steer to the origin with bounded controls, the weight is learned."""
    steps = 5
    x, u = cp.Variable((steps + 1, 2)), cp.Variable((steps, 1))
    start, gain, weight = cp.Parameter(2), cp.Parameter((1, 2)), cp.Parameter(nonneg=True)
    A, B = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([[0.1], [0.5]])
    constraints = [x[0] == start, cp.abs(u) <= 1]
    constraints += [x[t + 1] == A @ x[t] + B @ u[t] for t in range(steps)]
    cost = cp.sum_squares(x) + 0.5 * cp.sum_squares(u) + weight * cp.sum(cp.abs(u))
    cost += cp.sum_squares(x[:steps] @ gain.T + u)
    return cp.Problem(cp.Minimize(cost), constraints), [start, gain, weight], [u, x]


def mpc_values(batch: int) -> list[Tensor]:
    weight = torch.rand(batch, dtype=torch.float64)
    return [3 * randn(batch, 2, seed=6), randn(1, 2, seed=7), weight]


def quadratic_form():
    x, P, q = cp.Variable(4), cp.Parameter((4, 4), PSD=True), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, P) + q @ x), [x >= -1, cp.sum(x) <= 1])
    return problem, [P, q], [x]


def quadratic_form_values(batch: int) -> list[Tensor]:
    factor = randn(batch, 4, 4, seed=8)
    return [factor @ factor.mT + torch.eye(4, dtype=torch.float64), randn(batch, 4, seed=9)]


def leaves():
    """Attributes of variables, a scalar parameter, matrices column by column, maximisation."""
    X = cp.Variable((2, 3), nonneg=True)
    S = cp.Variable((3, 3), symmetric=True)
    D = cp.Variable((2, 2), diag=True)
    y = cp.Variable(2, bounds=[-1, 2])
    C, level, T = cp.Parameter((2, 3)), cp.Parameter(), cp.Parameter((3, 3), symmetric=True)
    row = X[0] + X[1] == level * np.array([1.0, 2.0, 3.0])
    distance = cp.sum_squares(X - C) + cp.sum_squares(S - T) + cp.sum_squares(D - C[:, :2])
    problem = cp.Problem(
        cp.Maximize(level * cp.sum(y) - distance - cp.sum_squares(y)),
        [row, S[0, 1] >= 0.3, 2 * y[0] <= 1, -y[1] <= 0.5, cp.trace(S) <= level],
    )
    return problem, [C, level, T], [X, S, D, y, row.dual_variables[0]]


def leaves_values(batch: int) -> list[Tensor]:
    T = randn(batch, 3, 3, seed=11)
    return [randn(batch, 2, 3, seed=10), torch.tensor(0.7, dtype=torch.float64), T + T.mT]


def bounds_with_parameters():
    """Several rows on one side of a variable; coefficients that move are rows, not bounds."""
    x, low, scale = cp.Variable(3), cp.Parameter(3), cp.Parameter(3)
    first, second = 2 * x >= low, x >= -0.2
    moving = cp.multiply(scale, x) <= 1
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x + 1)), [first, second, moving])
    return problem, [low, scale], [x, first.dual_variables[0], second.dual_variables[0]]


def bounds_values(batch: int) -> list[Tensor]:
    return [0.5 * randn(batch, 3, seed=12), 0.5 + torch.rand(batch, 3, dtype=torch.float64)]


def put_in():
    """Variables that one equality gives: in the objective, and for the output alone."""
    x, y, out = cp.Variable(3), cp.Variable(2), cp.Variable(4)
    F, g, c = cp.Parameter((2, 3)), cp.Parameter(4), cp.Parameter(2)
    link, read = F @ x - 3 * y == g[:2], out - cp.hstack([x, 1.0]) == g
    objective = cp.sum_squares(x) + c @ y + 0.5 * cp.sum_squares(F @ x - 1)
    problem = cp.Problem(cp.Minimize(objective), [link, read, x >= -0.3])
    return problem, [F, g, c], [x, y, out, link.dual_variables[0], read.dual_variables[0]]


def put_in_values(batch: int) -> list[Tensor]:
    return [randn(2, 3, seed=13), randn(batch, 4, seed=14), randn(2, seed=15)]


CASES = (
    Case("tutorial", tutorial, lambda b: [randn(b, 3, 2, seed=20), randn(b, 3, seed=21)]),
    Case("relu", relu, lambda b: [randn(b, 5, seed=22)]),
    Case("sudoku", sudoku, sudoku_values),
    Case("markowitz", markowitz, markowitz_values),
    Case("mpc", mpc, mpc_values),
    Case("quadratic form", quadratic_form, quadratic_form_values, diffcp=False),
    Case("leaves", leaves, leaves_values, diffcp=False),  # diffcp has no diag, no symmetric
    Case("put in", put_in, put_in_values),
    Case("bounds", bounds_with_parameters, bounds_values),
)
