"""Hard programs with known answers: what each solver says of them, family by family.

python -m reliability.torture                   ours, Clarabel and HiGHS; also proxsuite and qpth
                                                where bench/setup_peers.sh has made bench/.venvs
python -m reliability.torture --peers FOLDER    with those of another folder
"""

from __future__ import annotations

import argparse
import io
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cases import INF, NAMES, RANKS, Data, assignment, random_lp, random_qp, rows
from lpgd_native import LPGD, Implicit, Status, solve_qp

_PEERS = Path(__file__).resolve().parents[2] / "bench" / ".venvs"
_ACCURATE = 1e-5  # of objective and constraints, in good units and relative to 1 + their terms
_CLAIMED = 1e-6  # what status OK must hold in the units given, relative to 1 + the terms: 1000 eps


@dataclass(frozen=True)
class Family:
    """Programs of one difficulty; status and optimal value of each item are known."""

    name: str
    #: count -> data, status [B], optimal value [B]; with bad units, the same in good ones after them:  # noqa: E501
    #: data, and what a solution is multiplied by
    build: Callable[[int], tuple[Data, Tensor, Tensor] | tuple[Data, Tensor, Tensor, Data, Tensor]]
    #: an item that comes back unsolved, and says so, is no fault
    may_fail: bool = False


def known_qp(
    count: int,
    n: int,
    m: int,
    p: int,
    *,
    seed: int = 0,
    spectrum: tuple[float, float] = (0.0, 1.0),
    spread: float = 0.0,
    free: bool = False,
) -> tuple[Data, Tensor, Tensor, Data, Tensor]:
    """QPs made backwards from a solution: half of the rows active, multipliers of order one.

    Args:
        spectrum: powers of ten between which the eigenvalues of P are.
        spread: rows and variables are measured in units between 10**-spread and 10**spread.
        free: no bounds.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, dtype=torch.float64, generator=g)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, dtype=torch.float64, generator=g)

    basis = torch.linalg.qr(normal(n, n)).Q
    low, high = spectrum
    eigenvalues = 10 ** (low + (high - low) * uniform(n))
    P = basis * eigenvalues[:, None] @ basis.mT
    P = (P + P.mT) / 2
    G, A, x, y = normal(m, n), normal(p, n), normal(n), normal(p)
    active = (torch.arange(m) % 2 == 0).double()
    z = (0.5 + uniform(m)) * active
    h = rows(G, x) + (0.5 + uniform(m)) * (1 - active)
    b = rows(A, x)
    q = -(rows(P, x) + rows(G.mT, z) + rows(A.mT, y))
    lb, ub = (None, None) if free else (x - 0.5 - uniform(n), x + 0.5 + uniform(n))
    value = (q * x).sum(-1) + 0.5 * (x * rows(P, x)).sum(-1)

    def blocks() -> Data:
        return Data(
            P, q, G if m else None, h if m else None, A if p else None, b if p else None, lb, ub
        )  # fmt: skip

    good, units = blocks(), torch.ones_like(x)
    if spread:
        units = 10 ** (spread * (2 * uniform(n) - 1))
        of_G, of_A = (10 ** (spread * (2 * uniform(k) - 1)) for k in (m, p))
        P, q = P * units[:, None] * units[:, :, None], q * units
        G, h = G * units[:, None] * of_G[:, :, None], h * of_G
        A, b = A * units[:, None] * of_A[:, :, None], b * of_A
        if lb is not None and ub is not None:
            lb, ub = lb / units, ub / units
    return blocks(), torch.zeros(count, dtype=torch.int32), value, good, units


def _all(data: Data, status: Status) -> tuple[Data, Tensor, Tensor]:
    count = data.batch[0]
    value = torch.full((count,), math.nan, dtype=torch.float64)
    return data, torch.full((count,), int(status), dtype=torch.int32), value


def _by_highs(data: Data) -> tuple[Data, Tensor, Tensor]:
    from oracles import highs_objective

    value = torch.tensor([highs_objective(item) for item in data.items()], dtype=torch.float64)
    return data, torch.zeros(len(value), dtype=torch.int32), value


def contradicting(count: int, linear: bool = False, seed: int = 1) -> tuple[Data, Tensor, Tensor]:
    """Row 1 is the opposite of row 0, one unit beyond it."""
    data = random_qp(seed, count, n=6, m=5, p=2, lower=True, upper=True)
    G, h = data.G.clone(), data.h.clone()
    G[:, 1], h[:, 1] = -G[:, 0], -h[:, 0] - 1.0
    return _all(data._replace(G=G, h=h, P=None if linear else data.P), Status.PRIMAL_INFEASIBLE)


def equality_beyond_bounds(count: int) -> tuple[Data, Tensor, Tensor]:
    """A sum that the bounds cannot reach."""
    data = random_qp(2, count, n=6, m=4, p=2, lower=True, upper=True)
    A, b = data.A.clone(), data.b.clone()
    A[:, 0], b[:, 0] = 1.0, data.ub.sum(-1) + 0.5
    return _all(data._replace(A=A, b=b), Status.PRIMAL_INFEASIBLE)


def unbounded(count: int, linear: bool = False) -> tuple[Data, Tensor, Tensor]:
    """Variable 0 may grow for ever, and the objective falls with it."""
    data = random_qp(3, count, n=6, m=5, p=2, lower=True, upper=True)
    P, q, G, A, ub = (t.clone() for t in (data.P, data.q, data.G, data.A, data.ub))
    P[:, 0], P[..., 0], A[..., 0] = 0, 0, 0
    G[..., 0] = -G[..., 0].abs()
    q[:, 0], ub[:, 0] = -1.0, INF
    x = 0.5 * (data.lb + data.ub)
    h, b = torch.maximum(data.h, rows(G, x) + 0.5), rows(A, x)
    moved = Data(None if linear else P, q, G, h, A, b, data.lb, ub)
    return _all(moved, Status.DUAL_INFEASIBLE)


def redundant(count: int) -> tuple[Data, Tensor, Tensor]:
    """Every row twice, equalities thrice, one of them a combination of others."""
    data, status, value, *_ = known_qp(count, 8, 6, 3, seed=4)
    A, b = data.A, data.b
    mix = A.sum(1, keepdim=True), b.sum(1, keepdim=True)
    return (
        data._replace(
            G=torch.cat([data.G, data.G, 2 * data.G], 1),
            h=torch.cat([data.h, data.h, 2 * data.h], 1),
            A=torch.cat([A, -3 * A, mix[0]], 1),
            b=torch.cat([b, -3 * b, mix[1]], 1),
        ),
        status,
        value,
    )


def empty_interior(count: int) -> tuple[Data, Tensor, Tensor]:
    """Inequalities that hold as equalities alone: G x <= h and G x >= h."""
    data, status, value, *_ = known_qp(count, 8, 4, 0, seed=5)
    G, h = data.G[:, ::2], data.h[:, ::2]  # the active rows
    return data._replace(G=torch.cat([data.G, -G], 1), h=torch.cat([data.h, -h], 1)), status, value


def fixed(count: int) -> tuple[Data, Tensor, Tensor]:
    """lb = ub for half of the variables, at the solution."""
    data, status, value, *_ = known_qp(count, 8, 4, 0, seed=6)
    x = (data.lb + data.ub) / 2
    G, h = data.G, rows(data.G, x) + 1.0
    q = -rows(data.P, x)  # the centre is the minimiser, then
    half = torch.arange(8) % 2 == 0
    lb, ub = torch.where(half, x, data.lb), torch.where(half, x, data.ub)
    value = (q * x).sum(-1) + 0.5 * (x * rows(data.P, x)).sum(-1)
    return Data(data.P, q, G, h, None, None, lb, ub), status, value


def sprinkled(count: int) -> tuple[Data, Tensor, Tensor]:
    """One item in a hundred contradicts itself."""
    good = known_qp(count, 6, 5, 2, seed=7)
    bad = contradicting(count, seed=8)
    pick = torch.arange(count) % 100 == 37

    def mixed(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None or b is None:
            return None
        return torch.where(pick.reshape(-1, *[1] * (a.dim() - 1)), b, a)

    data = Data(*(mixed(a, b) for a, b in zip(good[0], bad[0], strict=True)))
    return data, torch.where(pick, bad[1], good[1]), torch.where(pick, bad[2], good[2])


def big_numbers(count: int) -> tuple[Data, Tensor, Tensor, Data, Tensor]:
    """Objectives of 1e-8 to 1e8, one factor an item."""
    data, status, value, *_ = known_qp(count, 8, 6, 2, seed=9)
    factor = 10.0 ** torch.linspace(-8, 8, count, dtype=torch.float64)
    moved = data._replace(P=data.P * factor[:, None, None], q=data.q * factor[:, None])
    return moved, status, value, data, torch.ones_like(data.q)


FAMILIES = (
    Family("well posed", lambda k: known_qp(k, 8, 6, 2)),
    Family("LP", lambda k: _by_highs(random_lp(10, k, n=8, m=6, p=2))),
    Family("degenerate LP (assignment)", lambda k: _by_highs(assignment(4, k, seed=11))),
    Family("infeasible rows", contradicting),
    Family("infeasible rows, LP", lambda k: contradicting(k, linear=True)),
    Family("equality beyond bounds", equality_beyond_bounds),
    Family("unbounded", unbounded),
    Family("unbounded, LP", lambda k: unbounded(k, linear=True)),
    Family("redundant rows", redundant),
    Family("empty interior", empty_interior),
    Family("fixed variables", fixed),
    Family("free variables", lambda k: known_qp(k, 8, 6, 2, seed=12, free=True)),
    Family("P nearly singular, 1e-8 to 1", lambda k: known_qp(k, 8, 6, 2, seed=13, spectrum=(-8, 0))),  # noqa: E501
    Family("P nearly singular, 1e-12 to 1e4", lambda k: known_qp(k, 8, 6, 2, seed=14, spectrum=(-12, 4))),  # noqa: E501
    Family("objective 1e-8 to 1e8", big_numbers),
    Family("units 1e-2 to 1e2", lambda k: known_qp(k, 8, 6, 2, seed=15, spread=2.0)),
    Family("units 1e-4 to 1e4", lambda k: known_qp(k, 8, 6, 2, seed=16, spread=4.0)),
    Family("units 1e-8 to 1e8", lambda k: known_qp(k, 8, 6, 2, seed=17, spread=8.0)),
    Family("1 % infeasible", sprinkled),
)  # fmt: skip


def violation(data: Data, x: Tensor) -> Tensor:
    """[B] largest violation of a constraint, relative to 1 + the size of its terms."""
    worst = x.new_zeros(x.shape[:-1])
    size = x.abs().unsqueeze(-1)

    def add(over: Tensor, terms: Tensor) -> None:
        nonlocal worst
        share = torch.where(torch.isfinite(over), over / (1 + terms), 0.0)
        worst = torch.maximum(worst, share.amax(-1))

    if data.G is not None:
        add(rows(data.G, x) - data.h, (data.G.abs() @ size).squeeze(-1))
    if data.A is not None:
        add((rows(data.A, x) - data.b).abs(), (data.A.abs() @ size).squeeze(-1))
    if data.lb is not None:
        add(data.lb - x, x.abs())
    if data.ub is not None:
        add(x - data.ub, x.abs())
    return worst


def answered(known: tuple, x: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
    """[B] answered rightly, and [B] claimed what is not so: a wrong proof, or OK far from solved."""  # noqa: E501
    data, status, value, *good = known
    if good:
        data, x = good[0], x * good[1]
    found = (data.q * x).sum(-1)
    if data.P is not None:
        found = found + 0.5 * (x * rows(data.P, x)).sum(-1)
    near = (found - value).abs() < _ACCURATE * (1 + value.abs())
    solved = (status == Status.OK) & (said == Status.OK) & near & (violation(data, x) < _ACCURATE)
    right = solved | ((status != Status.OK) & (said == status))
    claims = (
        (said == Status.OK) | (said == Status.PRIMAL_INFEASIBLE) | (said == Status.DUAL_INFEASIBLE)
    )
    return right, claims & ~right


def broken_promises(data: Data) -> int:
    """Items called OK that miss the tolerance, in the units they came in, a thousandfold."""
    from oracles import kkt_violations, objective

    solution = solve_qp(*data)
    checked = kkt_violations(data, solution)
    size = 1 + objective(data, solution.x).abs()
    shares = (
        violation(data, solution.x),
        checked["stationary"],
        checked["sign"],
        solution.gap / size,
    )
    worst = torch.stack(shares).amax(0)
    return int(((solution.status == Status.OK) & ~(worst < _CLAIMED)).sum())


def ours(data: Data) -> tuple[Tensor, Tensor]:
    """Points and statuses."""
    solution = solve_qp(*data)
    return solution.x, solution.status


def finite_gradients(data: Data) -> bool:
    """Gradients of all arguments are numbers, whatever became of the items."""
    for strategy in (Implicit(), LPGD(0.1, relative=True)):
        leaves = data.map(lambda t: t.clone().requires_grad_())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            x = solve_qp(*leaves, gradient=strategy).x
            given = [t for t in leaves if t is not None]
            grads = torch.autograd.grad(x.sum(), given)
        if not all(bool(torch.isfinite(g).all()) for g in grads):
            return False
    return True


def neighbours(data: Data, items: int = 16) -> int:
    """Items whose bits are others alone than in their batch (of so many, spread over it)."""
    whole, count, wrong = solve_qp(*data), data.batch[0], 0
    for k in range(0, count, max(1, count // items)):
        alone = solve_qp(*data.item(k))
        wrong += not all(torch.equal(a[k], b) for a, b in zip(whole, alone, strict=True))
    return wrong


def clarabel(data: Data) -> tuple[Tensor, Tensor]:
    """Clarabel's answers, at its own tolerances."""
    import clarabel as package
    import scipy.sparse

    from oracles import stacked

    names = {
        "Solved": Status.OK,
        "PrimalInfeasible": Status.PRIMAL_INFEASIBLE,
        "DualInfeasible": Status.DUAL_INFEASIBLE,
    }
    points, said = [], []
    settings = package.DefaultSettings()
    settings.verbose = False
    for item in data.items():
        P, q, C, d, A, b = (t.numpy() for t in stacked(item))
        cones = [package.ZeroConeT(len(b)), package.NonnegativeConeT(len(d))]
        upper = scipy.sparse.csc_matrix(np.triu(P))
        both = scipy.sparse.csc_matrix(np.vstack([A, C]))
        found = package.DefaultSolver(
            upper, q, both, np.concatenate([b, d]), cones, settings
        ).solve()
        said.append(names.get(str(found.status), Status.MAX_ITERATIONS))
        points.append(found.x)
    return torch.tensor(points, dtype=torch.float64), torch.tensor(said)


def highs(data: Data) -> tuple[Tensor, Tensor]:
    """Answers of HiGHS: simplex for LPs, its active-set method for QPs."""
    import highspy

    kinds = highspy.HighsModelStatus
    names = {
        kinds.kOptimal: Status.OK,
        kinds.kInfeasible: Status.PRIMAL_INFEASIBLE,
        kinds.kUnbounded: Status.DUAL_INFEASIBLE,
    }
    points, said = [], []
    for item in data.items():
        n = item.q.shape[0]
        solver = highspy.Highs()
        for option, setting in (("output_flag", False), ("threads", 1), ("time_limit", 5.0)):
            solver.setOptionValue(option, setting)
        model = highspy.HighsModel()
        lp = model.lp_
        none = torch.zeros(0, n, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
        G, h = (item.G, item.h) if item.G is not None else none
        A, b = (item.A, item.b) if item.A is not None else none
        matrix = torch.cat([G, A]).numpy()
        lp.num_col_, lp.num_row_ = n, len(matrix)
        lp.col_cost_ = item.q.numpy()
        lp.col_lower_ = np.full(n, -np.inf) if item.lb is None else item.lb.numpy()
        lp.col_upper_ = np.full(n, np.inf) if item.ub is None else item.ub.numpy()
        lp.row_lower_ = np.concatenate([np.full(len(h), -np.inf), b.numpy()])
        lp.row_upper_ = np.concatenate([h.numpy(), b.numpy()])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(n + 1) * len(matrix)
        lp.a_matrix_.index_ = np.tile(np.arange(len(matrix)), n)
        lp.a_matrix_.value_ = matrix.T.ravel()
        if item.P is not None:
            lower = np.tril(item.P.numpy())
            columns, places = np.nonzero(lower.T)
            model.hessian_.dim_ = n
            model.hessian_.format_ = highspy.HessianFormat.kTriangular
            model.hessian_.start_ = np.searchsorted(columns, np.arange(n + 1))
            model.hessian_.index_ = places
            model.hessian_.value_ = lower.T[columns, places]
        solver.passModel(model)
        solver.run()
        said.append(names.get(solver.getModelStatus(), Status.MAX_ITERATIONS))
        x = list(solver.getSolution().col_value)
        points.append(x if len(x) == n else [0.0] * n)
    return torch.tensor(points, dtype=torch.float64), torch.tensor(said)


def peer(name: str, folder: Path) -> Callable[[Data], tuple[Tensor, Tensor]]:
    """A solver of an environment of its own, asked in a process of its own."""

    def ask(data: Data) -> tuple[Tensor, Tensor]:
        arrays = {
            name: t.expand(*data.batch, *t.shape[t.dim() - r :]).numpy()
            for name, t, r in zip(NAMES, data, RANKS, strict=True)
            if t is not None
        }
        packed = io.BytesIO()
        np.savez(packed, **arrays)
        python = folder / ("qpth" if name == "qpth" else "peers") / "bin" / "python"
        run = subprocess.run(
            [str(python), str(Path(__file__).with_name("torture_peer.py")), name],
            input=packed.getvalue(),
            capture_output=True,
            check=True,
            timeout=600,
            env={**os.environ, "PYTHONPATH": ""},
        )
        found = np.load(io.BytesIO(run.stdout), allow_pickle=False)
        return torch.from_numpy(found["x"]), torch.from_numpy(found["said"])

    return ask


def _first(part: Data | Tensor, few: int, count: int) -> Data | Tensor:
    if isinstance(part, Data):
        ranks = zip(part, RANKS, strict=True)
        return Data(*(t if t is None or t.dim() == r else t[:few] for t, r in ranks))
    return part[:few]


def main() -> None:
    """Print the table; fail where one of ours is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sprinkled", type=int, default=5000)
    parser.add_argument("--peers", type=Path, default=_PEERS if _PEERS.exists() else None)
    arguments = parser.parse_args()
    solvers = {"ours": ours, "Clarabel": clarabel, "HiGHS": highs}
    if arguments.peers:
        solvers |= {name: peer(name, arguments.peers) for name in ("proxsuite", "qpth")}
    print("| family | items | " + " | ".join(solvers) + " |")
    print("| --- | ---: |" + " ---: |" * len(solvers))
    faults = []
    for family in FAMILIES:
        count = arguments.sprinkled if family.name == "1 % infeasible" else arguments.count
        known = family.build(count)
        cells = []
        for name, solve in solvers.items():
            few = count if name == "ours" else min(count, 500)
            head = tuple(_first(part, few, count) for part in known)
            try:
                x, said = solve(head[0])
            except subprocess.CalledProcessError as error:
                cells.append(error.stderr.decode().strip().splitlines()[-1][:40])
                continue
            right, wrong = answered(head, x, said)
            share = f"{100 * float(right.double().mean()):.1f} %"
            cells.append(share + (f" ({int(wrong.sum())} wrong)" if wrong.any() else ""))
            if name == "ours" and not (family.may_fail or bool(right.all())):
                faults.append(f"{family.name}: {int((~right).sum())} not answered")
            if name == "ours" and bool((wrong & (said != Status.OK)).any()):
                faults.append(f"{family.name}: a proof of what is not so")
        if not family.may_fail and broken_promises(known[0]):
            faults.append(f"{family.name}: {broken_promises(known[0])} called OK that are not")
        if not finite_gradients(known[0]):
            faults.append(f"{family.name}: a gradient is not finite")
        if neighbours(known[0]):
            faults.append(f"{family.name}: items alone differ from items in the batch")
        print(f"| {family.name} | {count} | " + " | ".join(cells) + " |", flush=True)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
