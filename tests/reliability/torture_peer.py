"""One of the peers of bench/.venvs on programs from stdin, in an environment without lpgd_native.

Numpy's archive of P, q, G, h, A, b, lb, ub comes in, x and statuses go out. Neither peer tells
infeasible from unsolved: what they do not solve has the status 1.
"""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

import numpy as np

_FAR = 1e6  # qpth knows no infinite right-hand sides


def _bounds(data: dict[str, Any], k: int) -> tuple[Any, Any]:
    """Rows C x <= d of item k, bounds among them, without those that are infinite."""
    n = data["q"].shape[1]
    left, right = [np.zeros((0, n))], [np.zeros(0)]
    if "G" in data:
        left.append(data["G"][k])
        right.append(data["h"][k])
    for name, sign in (("lb", -1.0), ("ub", 1.0)):
        if name in data:
            left.append(sign * np.eye(n))
            right.append(sign * data[name][k])
    C, d = np.concatenate(left), np.concatenate(right)
    return C[np.isfinite(d)], d[np.isfinite(d)]


def proxsuite(data: dict[str, Any], k: int) -> tuple[Any, int]:
    """ProxQP, dense."""
    import proxsuite as package

    C, d = _bounds(data, k)
    n, A = data["q"].shape[1], data.get("A")
    P = data["P"][k] if "P" in data else np.zeros((n, n))
    qp = package.proxqp.dense.QP(n, 0 if A is None else A.shape[1], len(d))
    qp.settings.eps_abs = 1e-9
    qp.init(P, data["q"][k], None if A is None else A[k], None if A is None else data["b"][k],
            C, np.full(len(d), -1e20), d)  # fmt: skip
    qp.solve()
    codes = package.proxqp.QPSolverOutput
    said = {
        codes.PROXQP_SOLVED: 0,
        codes.PROXQP_PRIMAL_INFEASIBLE: 2,
        codes.PROXQP_DUAL_INFEASIBLE: 3,
    }
    return np.array(qp.results.x), said.get(qp.results.info.status, 1)


def qpth(data: dict[str, Any], k: int) -> tuple[Any, int]:
    """OptNet's interior point; P must be positive definite, so an LP has 1e-9 on its diagonal."""
    import torch
    from qpth.qp import QPFunction

    C, d = _bounds(data, k)
    n = data["q"].shape[1]
    P = data["P"][k] if "P" in data else 1e-9 * np.eye(n)
    empty = torch.zeros(0, dtype=torch.float64)
    A, b = (torch.from_numpy(data[s][k]) for s in "Ab") if "A" in data else (empty, empty)
    layer = QPFunction(eps=1e-9, verbose=-1, check_Q_spd=False)
    x = layer(*(torch.from_numpy(v) for v in (P, data["q"][k], C, np.minimum(d, _FAR))), A, b)
    found = x.reshape(-1).numpy()
    return found, 0 if np.isfinite(found).all() else 1


def main() -> None:
    """Answer them all."""
    warnings.simplefilter("ignore")
    solve = {"proxsuite": proxsuite, "qpth": qpth}[sys.argv[1]]
    data = dict(np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False))
    x, said = np.zeros(data["q"].shape), np.ones(len(data["q"]), np.int64)
    for k in range(len(x)):
        try:
            x[k], said[k] = solve(data, k)
        except (RuntimeError, ValueError, np.linalg.LinAlgError):
            x[k] = 0.0  # a singular factor: not solved
    packed = io.BytesIO()
    np.savez(packed, x=x, said=said)
    sys.stdout.buffer.write(packed.getvalue())


if __name__ == "__main__":
    main()
