"""One table of problems for each op: every property is tested on all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

NAMES = ("P", "q", "G", "h", "A", "b", "lb", "ub")
RANKS = (2, 1, 2, 1, 2, 1, 1, 1)
INF = math.inf


class Data(NamedTuple):
    """Arguments of solve_qp."""

    P: Tensor | None
    q: Tensor
    G: Tensor | None = None
    h: Tensor | None = None
    A: Tensor | None = None
    b: Tensor | None = None
    lb: Tensor | None = None
    ub: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Data:
        return Data(*(None if t is None else change(t) for t in self))

    def to(self, dtype: torch.dtype) -> Data:
        return self.map(lambda t: t.to(dtype))

    @property
    def batch(self) -> torch.Size:
        leads = (t.shape[: t.dim() - r] for t, r in zip(self, RANKS, strict=True) if t is not None)
        return torch.broadcast_shapes(*leads)

    def flat(self) -> Data:
        """As the raw ops take it: [count, core...], or [core...] for what the batch shares."""
        count = math.prod(self.batch)

        def flatten(t: Tensor | None, rank: int) -> Tensor | None:
            if t is None or t.dim() == rank:
                return t
            core = t.shape[t.dim() - rank :]
            return t.expand(*self.batch, *core).reshape(count, *core).contiguous()

        return Data(*(flatten(t, r) for t, r in zip(self, RANKS, strict=True)))

    def item(self, k: int) -> Data:
        """Item k of the flattened batch, without batch dimensions."""
        pairs = zip(self.flat(), RANKS, strict=True)
        return Data(*(t if t is None or t.dim() == r else t[k] for t, r in pairs))

    def items(self) -> Iterator[Data]:
        return (self.item(k) for k in range(math.prod(self.batch)))


@dataclass(frozen=True)
class Case:
    """A batch of problems, all solvable, and what is known of their solutions."""

    name: str
    build: Callable[[], Data]
    #: exactly one minimiser
    unique: bool = True
    #: exactly one set of multipliers
    unique_duals: bool = True
    #: differentiable: independent active rows, strict complementarity
    smooth: bool = True
    #: arguments on the edge of what is allowed (P singular, lb = ub): not to be moved at will
    edge: tuple[str, ...] = ()
    #: too many numbers for tests that cost a solve for each
    large: bool = False

    def __str__(self) -> str:
        return self.name


def rows(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def random_qp(
    seed: int,
    *batch: int,
    n: int = 5,
    m: int = 0,
    p: int = 0,
    lower: bool = False,
    upper: bool = False,
    rank: int | None = None,
    shift: float = 0.3,
) -> Data:
    """Feasible, with P = L L' + shift I, L ~ N(0, 1) / sqrt(n); rank: P = L L' of that rank."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*batch, *shape, dtype=torch.float64, generator=generator)

    factor = normal(n, n if rank is None else rank) / n**0.5
    P = factor @ factor.mT + (shift * torch.eye(n, dtype=torch.float64) if rank is None else 0.0)
    q, x = normal(n), normal(n)
    G, A = normal(m, n), normal(p, n)
    return Data(
        P,
        q,
        G if m else None,
        rows(G, x) + uniform(m) if m else None,
        A if p else None,
        rows(A, x) if p else None,
        x - uniform(n) if lower else None,
        x + uniform(n) if upper else None,
    )


def random_lp(seed: int, *batch: int, n: int = 5, m: int = 4, p: int = 0) -> Data:
    """A bounded LP with one nondegenerate vertex as its solution."""
    return random_qp(seed, *batch, n=n, m=m, p=p, lower=True, upper=True)._replace(P=None)


def _tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _fixed() -> Data:
    data = random_qp(5, 3, n=6, m=4, lower=True, upper=True)
    ub = data.ub.clone()
    ub[:, ::3] = data.lb[:, ::3]
    return data._replace(ub=ub)


def _infinite() -> Data:
    """Each kind of bound on some variable of some item; rows of G that are off."""
    data = random_qp(6, 4, n=6, m=5, p=1, lower=True, upper=True)
    lb, ub, h = data.lb.clone(), data.ub.clone(), data.h.clone()
    lb[:, 0], ub[:, 1], lb[:, 2], ub[:, 2] = -INF, INF, -INF, INF
    lb[1], ub[2] = -INF, INF
    lb[3], ub[3], h[3] = -INF, INF, INF
    h[:, 1], h[0, 2] = INF, INF
    return data._replace(h=h, lb=lb, ub=ub)


def _mixed_upper() -> Data:
    """Upper bounds on some variables alone, and no rows."""
    data = random_qp(7, 3, n=5, lower=True, upper=True)
    ub = data.ub.clone()
    ub[:, 1::2] = INF
    return data._replace(ub=ub)


def _shared_matrices() -> Data:
    data, one = random_qp(8, 5, n=5, m=4, p=2), random_qp(9, n=5, m=4, p=2)
    x = rows(torch.linalg.pinv(one.A), data.b)
    return data._replace(P=one.P, G=one.G, A=one.A, h=rows(one.G, x) + 0.5)


def _shared_but_q() -> Data:
    data = random_qp(10, n=5, m=3, p=1, lower=True, upper=True)
    return data._replace(q=random_qp(11, 6, n=5).q)


def _shared_q() -> Data:
    data = random_qp(12, 3, n=4, m=3)
    return data._replace(q=data.q[0], h=data.h.amin(0) + 2.0)


def _broadcast() -> Data:
    data = random_qp(13, 2, 3, n=4, m=3, p=1, lower=True, upper=True)
    return data._replace(P=data.P[:1], q=data.q[:, :1], G=data.G[0, 0], h=data.h + 2.0)


def _unsymmetric() -> Data:
    """What counts is the symmetric part of P."""
    data = random_qp(14, 2, n=4, m=3)
    skew = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(14))
    return data._replace(P=data.P + skew - skew.T)


def _redundant_equalities() -> Data:
    data = random_qp(15, 3, n=6, m=4, p=2)
    A, b = data.A, data.b
    again = A[:, :1] - 2.0 * A[:, 1:2]
    return data._replace(
        A=torch.cat([A, A, again], 1), b=torch.cat([b, b, b[:, :1] - 2.0 * b[:, 1:2]], 1)
    )


def _duplicate_rows() -> Data:
    data = random_qp(16, 3, n=5, m=6)
    return data._replace(G=torch.cat([data.G, data.G], 1), h=torch.cat([data.h, data.h], 1))


def _rows_without_variables() -> Data:
    data = random_qp(17, 2, n=4)
    return data._replace(
        G=data.q.new_zeros(2, 0, 4),
        h=data.q.new_zeros(2, 0),
        A=data.q.new_zeros(0, 4),
        b=data.q.new_zeros(0),
    )


def _one_variable() -> Data:
    """Free, at an upper bound, at a row, fixed by an equality's neighbour."""
    return Data(
        P=_tensor(2.0, 1.0, 0.5, 3.0).reshape(4, 1, 1),
        q=_tensor(-1.0, -4.0, 2.0, 1.0).reshape(4, 1),
        G=_tensor(-1.0).reshape(1, 1),
        h=_tensor(1.5).reshape(1),
        ub=_tensor(2.0).reshape(1),
    )


def assignment(size: int, *batch: int, seed: int = 0) -> Data:
    """Permutations as a linear program: degenerate vertices, one redundant row."""
    generator = torch.Generator().manual_seed(seed)
    eye, ones = torch.eye(size, dtype=torch.float64), torch.ones(1, size, dtype=torch.float64)
    return Data(
        P=None,
        q=torch.rand(*batch, size * size, dtype=torch.float64, generator=generator),
        A=torch.cat([torch.kron(eye, ones), torch.kron(ones, eye)]),
        b=torch.ones(2 * size, dtype=torch.float64),
        lb=torch.zeros(size * size, dtype=torch.float64),
    )


def transport(sources: int, sinks: int, *batch: int, seed: int = 0) -> Data:
    """Supplies to demands at least cost; whole numbers, so that vertices are degenerate."""
    generator = torch.Generator().manual_seed(seed)
    supply = torch.full((sources,), float(sinks), dtype=torch.float64)
    demand = torch.full((sinks,), float(sources), dtype=torch.float64)
    ones = torch.ones(1, max(sources, sinks), dtype=torch.float64)
    eyes = [torch.eye(k, dtype=torch.float64) for k in (sources, sinks)]
    return Data(
        P=None,
        q=torch.rand(*batch, sources * sinks, dtype=torch.float64, generator=generator),
        G=torch.kron(eyes[0], ones[:, :sinks]),
        h=supply,
        A=torch.kron(ones[:, :sources], eyes[1]),
        b=demand,
        lb=torch.zeros(sources * sinks, dtype=torch.float64),
    )


def _zero_P() -> Data:
    data = random_lp(28, 3, p=1)
    return data._replace(P=torch.zeros(5, 5, dtype=torch.float64))


def _transport_ties() -> Data:
    """Costs of a few whole numbers: many minimisers."""
    data = transport(3, 4, 2, seed=3)
    return data._replace(q=(3 * data.q).ceil())


QP_CASES = (
    Case("strictly_convex", lambda: random_qp(0, 4, m=5, p=2)),
    Case("everything", lambda: random_qp(1, 3, n=6, m=4, p=2, lower=True, upper=True)),
    Case(
        "semidefinite",
        lambda: random_qp(2, 3, n=6, m=3, lower=True, upper=True, rank=2),
        edge=("P",),
    ),
    Case("no_batch", lambda: random_qp(3, n=4, m=3, p=1, lower=True)),
    Case("box", lambda: random_qp(4, 3, n=5, lower=True, upper=True)),
    Case("lower_bounds", lambda: random_qp(18, 2, n=5, lower=True)),
    Case("upper_bounds", lambda: random_qp(19, 2, n=5, upper=True)),
    Case("equalities", lambda: random_qp(20, 3, n=5, p=2)),
    Case("inequalities", lambda: random_qp(21, 5, n=3, m=4)),
    Case("unconstrained", lambda: random_qp(22, 3, n=4)),
    Case("fixed_variables", _fixed, edge=("lb", "ub")),
    Case("infinite", _infinite),
    Case("mixed_upper_bounds", _mixed_upper),
    Case("shared_matrices", _shared_matrices),
    Case("shared_but_q", _shared_but_q),
    Case("shared_q", _shared_q),
    Case("broadcast", _broadcast),
    Case("unsymmetric", _unsymmetric),
    Case("redundant_equalities", _redundant_equalities, smooth=False, unique_duals=False),
    Case("duplicate_rows", _duplicate_rows, smooth=False, unique_duals=False),
    Case("zero_rows", _rows_without_variables),
    Case("one_variable", _one_variable),
    Case("batch_37", lambda: random_qp(23, 37, n=6, m=5, p=2), large=True),
    Case("n_30", lambda: random_qp(24, 3, n=30, m=30, p=15, lower=True), large=True),
    Case("lp", lambda: random_lp(25, 4)),
    Case("lp_equality", lambda: random_lp(26, 3, n=6, m=3, p=2)),
    Case("lp_box", lambda: random_qp(27, 3, lower=True, upper=True)._replace(P=None)),
    Case("lp_zero_P", _zero_P, edge=("P",)),
    Case(
        "assignment_4",
        lambda: assignment(4, 3),
        unique_duals=False,
        smooth=False,
        large=True,
    ),
    Case("assignment_10", lambda: assignment(10, 2), unique_duals=False, smooth=False, large=True),
    Case("transport", lambda: transport(5, 8, 2), unique_duals=False, smooth=False, large=True),
    Case("transport_ties", _transport_ties, unique=False, unique_duals=False, smooth=False),
)

CASES = {case.name: case for case in QP_CASES}

#: batch, rows, columns of outer_sum
OUTER_CASES = ((3, 4, 5), (1, 1, 1), (9, 7, 2), (0, 3, 3), (5, 0, 4))


def parametrize_cases(wanted: Callable[[Case], bool] = lambda case: True):
    """Run a test on every case of the QP table that `wanted` takes, as argument `case`."""
    return pytest.mark.parametrize("case", [c for c in QP_CASES if wanted(c)], ids=str)
