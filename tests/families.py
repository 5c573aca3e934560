"""Families of programs, as batches: each function gives solve_qp's arguments.

QPs: those of the OSQP paper (Stellato et al., Math. Prog. Comp. 2020, appendix A), and small ones
like those of Maros & Meszaros. LPs: textbook degeneracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from cases import Data, assignment, rows, transport


@dataclass(frozen=True)
class Family:
    """`build(seed)` is a batch, solvable throughout."""

    name: str
    build: Callable[[int], Data]
    #: optimal value of every item, where it is known
    value: Callable[[Data], Tensor] | None = None

    def __str__(self) -> str:
        return self.name


class _Random:
    def __init__(self, seed: int, batch: int):
        self.generator, self.batch = torch.Generator().manual_seed(seed), batch

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.batch, *shape, dtype=torch.float64, generator=self.generator)

    def normal(self, *shape: int, density: float = 1.0) -> Tensor:
        values = torch.randn(self.batch, *shape, dtype=torch.float64, generator=self.generator)
        return values if density == 1 else values * (self.uniform(*shape) < density)


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def _full(value: float, *shape: int) -> Tensor:
    return torch.full(shape, value, dtype=torch.float64)


def _block_diagonal(*blocks: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(*(b.shape[:-2] for b in blocks))
    size = [b.shape[-1] for b in blocks]
    out, k = _full(0.0, *batch, sum(size), sum(size)), 0
    for b, n in zip(blocks, size, strict=True):
        out[..., k : k + n, k : k + n] = b
        k += n
    return out


def _beside(*blocks: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(*(b.shape[:-2] for b in blocks))
    return torch.cat([b.expand(*batch, *b.shape[-2:]) for b in blocks], -1)


def random_rows(seed: int, n: int = 10, batch: int = 6) -> Data:
    """OSQP's random QPs: 10 n two-sided rows, of which few are active."""
    r = _Random(seed, batch)
    M, A = r.normal(n, n, density=0.5), r.normal(10 * n, n, density=0.5)
    upper, lower = r.uniform(10 * n), -r.uniform(10 * n)
    P = M @ M.mT + 1e-2 * _eye(n)
    return Data(P, r.normal(n), torch.cat([A, -A], 1), torch.cat([upper, -lower], 1))


def equality(seed: int, n: int = 40, batch: int = 6) -> Data:
    r = _Random(seed, batch)
    M, A = r.normal(n, n, density=0.3), r.normal(n // 2, n, density=0.3)
    return Data(M @ M.mT + 1e-2 * _eye(n), r.normal(n), A=A, b=rows(A, r.normal(n)))


def portfolio(seed: int, n: int = 60, k: int = 6, batch: int = 6) -> Data:
    """Max mu'x - x'(F F' + D)x on the simplex, the factors F'x as variables of their own."""
    r = _Random(seed, batch)
    F, D, mu = r.normal(n, k, density=0.5), r.uniform(n) * k**0.5, r.normal(n)
    P = 2 * _block_diagonal(torch.diag_embed(D), _eye(k))
    sums = torch.cat([_full(1.0, batch, 1, n), _full(0.0, batch, 1, k)], -1)
    A = torch.cat([_beside(F.mT, -_eye(k)), sums], 1)
    b, lb = torch.cat([_full(0.0, k), _full(1.0, 1)]), torch.cat([_full(0.0, n), _full(-np.inf, k)])
    return Data(P, torch.cat([-mu, _full(0.0, batch, k)], -1), A=A, b=b, lb=lb)


def lasso(seed: int, n: int = 15, m: int = 50, batch: int = 6) -> Data:
    """Min |A x - b|^2 + lambda |x|_1 in (x, y, t): y = A x - b, -t <= x <= t."""
    r = _Random(seed, batch)
    A = r.normal(m, n, density=0.5)
    truth = r.normal(n, density=0.5) / n**0.5
    b = rows(A, truth) + r.normal(m)
    weight = rows(A.mT, b).abs().amax(-1, keepdim=True) / 5
    P = _block_diagonal(_full(0.0, n, n), 2 * _eye(m), _full(0.0, n, n))
    zero, eye = _full(0.0, n, m), _eye(n)
    G = torch.cat([torch.cat([eye, zero, -eye], 1), torch.cat([-eye, zero, -eye], 1)])
    q = torch.cat([_full(0.0, batch, n + m), weight.expand(-1, n)], -1)
    return Data(P, q, G, _full(0.0, 2 * n), _beside(A, -_eye(m), _full(0.0, m, n)), b)


def svm(seed: int, n: int = 10, m: int = 60, batch: int = 6) -> Data:
    """Min |x|^2 + lambda 1't, t >= diag(labels) A x + 1, t >= 0, in (x, t)."""
    r = _Random(seed, batch)
    labels = torch.where(torch.arange(m) < m // 2, 1.0, -1.0).double()
    A = (labels[:, None] / n + r.normal(m, n) / n**0.5) * (r.uniform(m, n) < 0.5)
    P = _block_diagonal(2 * _eye(n), _full(0.0, m, m))
    G = _beside(labels[:, None] * A, -_eye(m))
    q = torch.cat([_full(0.0, batch, n), _full(1.0, batch, m)], -1)
    lb = torch.cat([_full(-np.inf, n), _full(0.0, m)])
    return Data(P, q, G, _full(-1.0, m), lb=lb)


def huber(seed: int, n: int = 8, m: int = 40, batch: int = 4) -> Data:
    """Min sum of Huber(a'x - b), in (x, u, r, s): A x - b - u = r - s."""
    r = _Random(seed, batch)
    A = r.normal(m, n, density=0.5)
    noise = torch.where(r.uniform(m) < 0.95, r.normal(m) / 4, 10 * r.uniform(m))
    b = rows(A, r.normal(n) / n**0.5) + noise
    P = _block_diagonal(_full(0.0, n, n), 2 * _eye(m), _full(0.0, 2 * m, 2 * m))
    q = torch.cat([_full(0.0, batch, n + m), _full(2.0, batch, 2 * m)], -1)
    lb = torch.cat([_full(-np.inf, n + m), _full(0.0, 2 * m)])
    return Data(P, q, A=_beside(A, -_eye(m), -_eye(m), _eye(m)), b=b, lb=lb)


def control(seed: int, nx: int = 6, steps: int = 8, batch: int = 6) -> Data:
    """Model predictive control: one plant, all initial states of the batch at once."""
    random = np.random.default_rng(seed)
    nu = nx // 2
    A = np.eye(nx) + 0.1 * random.standard_normal((nx, nx))
    A /= max(1.0, np.abs(np.linalg.eigvals(A)).max())
    B = random.standard_normal((nx, nu))
    Q = np.diag(10 * random.random(nx) * (random.random(nx) < 0.7))
    R = 0.1 * np.eye(nu)
    last = scipy.linalg.solve_discrete_are(A, B, Q + 1e-6 * np.eye(nx), R)
    x_max, u_max = 1 + random.random(nx), 0.1 * random.random(nu)
    start = x_max * (random.random((batch, nx)) - 0.5)
    P = scipy.linalg.block_diag(*[Q] * steps, last, *[R] * steps) * 2
    dynamics = np.kron(np.eye(steps + 1), -np.eye(nx)) + np.kron(np.eye(steps + 1, k=-1), A)
    inputs = np.kron(np.eye(steps + 1, steps, k=-1), B)
    b = np.concatenate([-start, np.zeros((batch, steps * nx))], 1)
    bound = np.concatenate([np.tile(x_max, steps + 1), np.tile(u_max, steps)])
    P, A, b, bound = (torch.tensor(t) for t in (P, np.hstack([dynamics, inputs]), b, bound))
    return Data(P, torch.zeros_like(bound), A=A, b=b, lb=-bound, ub=bound)


def dual_simplex(seed: int, n: int = 60, rank: int = 30, batch: int = 6) -> Data:
    """Like DUAL1 to DUAL4 of Maros & Meszaros: P of low rank, the simplex, upper bounds."""
    r = _Random(seed, batch)
    L = r.normal(n, rank)
    P = L @ L.mT
    return Data(
        P, r.normal(n), None, None, _full(1.0, 1, n), _full(1.0, 1), _full(0.0, n), _full(0.2, n)
    )


def primal_free(seed: int, n: int = 60, m: int = 15, batch: int = 6) -> Data:
    """Like PRIMAL1 to PRIMAL4: a norm over a polyhedron, and one variable without curvature."""
    r = _Random(seed, batch)
    P = _block_diagonal(_eye(n), _full(0.0, 1, 1))
    G = torch.cat([r.normal(m, n), _full(1.0, batch, m, 1)], -1)
    q = torch.cat([_full(0.0, batch, n), _full(-1.0, batch, 1)], -1)
    return Data(P, q, G, r.normal(m))


def isotonic(seed: int, n: int = 60, batch: int = 6) -> Data:
    """The nearest increasing sequence: long chains of active rows."""
    r = _Random(seed, batch)
    target = torch.linspace(0, 1, n, dtype=torch.float64) + r.normal(n)
    return Data(_eye(n), -target, _eye(n)[:-1] - _eye(n)[1:], _full(0.0, n - 1))


def convex_fit(seed: int, n: int = 50, batch: int = 6) -> Data:
    """Like LISWET: the nearest convex sequence; badly conditioned rows of second differences."""
    r = _Random(seed, batch)
    t = torch.linspace(-1, 1, n, dtype=torch.float64)
    second = _eye(n)[:-2] - 2 * _eye(n)[1:-1] + _eye(n)[2:]
    return Data(_eye(n), -(t.square() + 0.1 * r.normal(n)), -second, _full(0.0, n - 2))


def obstacle(seed: int, side: int = 9, batch: int = 6) -> Data:
    """Like OBSTCLAE and TORSION: a membrane under load over an obstacle; a 5-point Laplacian."""
    r = _Random(seed, batch)
    second = 2 * _eye(side) - _eye(side).roll(1, 0).tril(-1) - _eye(side).roll(-1, 0).triu(1)
    P = torch.kron(_eye(side), second) + torch.kron(second, _eye(side))
    lower = -0.3 * r.uniform(side * side)
    return Data(P, _full(0.05, batch, side * side), lb=lower, ub=lower + 1)


QPS = tuple(
    Family(build.__name__, build)
    for build in (
        random_rows,
        equality,
        portfolio,
        lasso,
        svm,
        huber,
        control,
        dual_simplex,
        primal_free,
        isotonic,
        convex_fit,
        obstacle,
    )
)


def whole_costs(data: Data, levels: int = 4) -> Data:
    """Costs of a few whole numbers: many minimisers."""
    return data._replace(q=(levels * data.q).floor())


def knapsack(seed: int, n: int = 40, batch: int = 8) -> Data:
    """Of the fractional knapsack, with ties among the ratios."""
    r = _Random(seed, batch)
    weight = (1 + 4 * r.uniform(n)).floor()
    return Data(
        None,
        -weight * (1 + 3 * r.uniform(n)).floor(),
        weight[:, None],
        weight.sum(-1, keepdim=True) / 3,
        lb=_full(0.0, n),
        ub=_full(1.0, n),
    )


def knapsack_value(data: Data) -> Tensor:
    """Greedy: the best ratios first, the last one in part."""
    weight = data.G[:, 0]
    order = (data.q / weight).argsort(-1)
    q, w = data.q.gather(-1, order), weight.gather(-1, order)
    before = w.cumsum(-1) - w
    return (q * ((data.h - before) / w).clamp(0, 1)).sum(-1)


def shortest_path(seed: int, side: int = 5, batch: int = 6) -> Data:
    """From corner to corner of a grid with edges both ways; whole lengths, a redundant row."""
    r = _Random(seed, batch)
    node = torch.arange(side * side).reshape(side, side)
    pairs = torch.cat(
        [
            torch.stack([node[:, :-1].flatten(), node[:, 1:].flatten()], 1),
            torch.stack([node[:-1].flatten(), node[1:].flatten()], 1),
        ]
    )
    pairs = torch.cat([pairs, pairs.flip(1)])
    count = len(pairs)
    A = _full(0.0, side * side, count)
    A[pairs[:, 0], torch.arange(count)], A[pairs[:, 1], torch.arange(count)] = 1.0, -1.0
    b = _full(0.0, side * side)
    b[0], b[-1] = 1.0, -1.0
    return Data(None, (1 + 3 * r.uniform(count)).floor(), A=A, b=b, lb=_full(0.0, count))


def max_flow(seed: int, layers: int = 4, width: int = 4, batch: int = 6) -> Data:
    """Source, full layers, sink; whole capacities, some of them zero."""
    r = _Random(seed, batch)
    sizes = [1, *[width] * layers, 1]
    starts = np.cumsum([0, *sizes])
    pairs = [
        (starts[k] + i, starts[k + 1] + j)
        for k in range(len(sizes) - 1)
        for i in range(sizes[k])
        for j in range(sizes[k + 1])
    ]
    A = _full(0.0, sum(sizes), len(pairs))
    for e, (i, j) in enumerate(pairs):
        A[i, e], A[j, e] = 1.0, -1.0
    q = -A[:1].expand(batch, -1, -1)[:, 0]
    capacity = (4 * r.uniform(len(pairs))).floor()
    return Data(None, q, A=A[1:-1], b=_full(0.0, len(A) - 2), lb=0 * capacity, ub=capacity)


def least_absolute(seed: int, n: int = 6, m: int = 30, batch: int = 6) -> Data:
    """Min |A x - b|_1, with exact fits among the rows; x is free."""
    r = _Random(seed, batch)
    A = r.normal(m, n)
    b = rows(A, r.normal(n)) + r.normal(m) * (r.uniform(m) < 0.5)
    G = torch.cat([_beside(A, -_eye(m)), _beside(-A, -_eye(m))], 1)
    q = torch.cat([_full(0.0, batch, n), _full(1.0, batch, m)], -1)
    return Data(None, q, G, torch.cat([b, -b], -1))


def chebyshev_fit(seed: int, n: int = 6, m: int = 40, batch: int = 6) -> Data:
    """Min max |A x - b| for polynomials."""
    r = _Random(seed, batch)
    t = torch.linspace(-1, 1, m, dtype=torch.float64)
    A = t[:, None] ** torch.arange(n)
    b = (3 * t + 6 * r.uniform(1)).sin() + 0.1 * r.normal(m)
    one = _full(1.0, m, 1)
    G = torch.cat([torch.cat([A, -one], 1), torch.cat([-A, -one], 1)])
    q = torch.cat([_full(0.0, batch, n), _full(1.0, batch, 1)], -1)
    return Data(None, q, G, torch.cat([b, -b], -1))


def matrix_game(seed: int, n: int = 9, batch: int = 6) -> Data:
    """Mixed strategies of an antisymmetric game of whole numbers, each row five times over."""
    r = _Random(seed, batch)
    M = (3 * r.normal(n, n)).floor()
    M = (M - M.mT).repeat(1, 5, 1)
    G = _beside(-M, _full(1.0, 5 * n, 1))
    q = torch.cat([_full(0.0, batch, n), _full(-1.0, batch, 1)], -1)
    A = torch.cat([_full(1.0, 1, n), _full(0.0, 1, 1)], 1)
    lb = torch.cat([_full(0.0, n), _full(-np.inf, 1)])
    return Data(None, q, G, _full(0.0, 5 * n), A, _full(1.0, 1), lb)


def magic_square(seed: int, n: int = 3, batch: int = 4) -> Data:
    """The relaxation of scipy's own tests: which number is where; rank deficient, degenerate."""
    r = _Random(seed, batch)
    M = n * (n * n + 1) / 2
    numbers = torch.arange(1, n * n + 1, dtype=torch.float64)
    place = _eye(n * n).reshape(n * n, n, n)
    lines = [*place.sum(0, keepdim=True)]
    line = [torch.zeros(n, n, dtype=torch.float64) for _ in range(2 * n + 2)]
    for k in range(n):
        line[k][k], line[n + k][:, k] = 1, 1
    line[-2], line[-1] = _eye(n), _eye(n).flip(1)
    lines = torch.stack([torch.kron(numbers, t.reshape(-1)) for t in line])
    A = torch.cat(
        [
            torch.kron(_eye(n * n), _full(1.0, 1, n * n)),
            torch.kron(_full(1.0, 1, n * n), _eye(n * n)),
            lines,
        ]
    )
    b = torch.cat([_full(1.0, 2 * n * n), _full(M, len(lines))])
    count = n**4
    return Data(None, r.uniform(count), A=A, b=b, lb=_full(0.0, count), ub=_full(1.0, count))


LPS = (
    Family("assignment", lambda seed: assignment(8, 8, seed=seed)),
    Family("assignment_ties", lambda seed: whole_costs(assignment(7, 8, seed=seed))),
    Family("transport", lambda seed: transport(6, 9, 8, seed=seed)),
    Family("transport_ties", lambda seed: whole_costs(transport(6, 6, 8, seed=seed))),
    Family("knapsack", knapsack, knapsack_value),
    Family("shortest_path", shortest_path),
    Family("max_flow", max_flow),
    Family("least_absolute", least_absolute),
    Family("chebyshev_fit", chebyshev_fit),
    Family("matrix_game", matrix_game, lambda data: torch.zeros(data.batch, dtype=torch.float64)),
    Family("magic_square", magic_square),
)
