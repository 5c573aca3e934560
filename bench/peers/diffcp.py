"""diffcp 1.1.9 used directly, Clarabel below: LPGD, the only other released implementation.

Dense arrays to lists of scipy CSC matrices and back are part of the time: a layer needs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = Any


MODES = {
    "diffcp-lpgd-average": "lpgd",
    "diffcp-lpgd-lower": "lpgd_right",
    "diffcp-lpgd-upper": "lpgd_left",
}


class Peer:
    packages = ("diffcp", "clarabel", "scipy", "numpy")

    def __init__(self, threads: int, device: str, tau: float) -> None:
        self.diffcp = importlib.import_module("diffcp")
        self.sparse = importlib.import_module("scipy.sparse")
        self.threads, self.tau = threads, tau

    def load(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        return dict(arrays)

    def _cone_program(self, data: dict[str, Array]) -> tuple[dict[str, list[Any]], dict[str, int]]:
        count, n = data["q"].shape
        csc = self.sparse.csc_matrix
        if "P" in data:
            m = data["h"].shape[1]
            rows = np.concatenate([data["A"], data["G"]], axis=1)
            right = np.concatenate([data["b"], data["h"]], axis=1)
            lists = {
                "As": [csc(a) for a in rows],
                "bs": list(right),
                "cs": list(data["q"]),
                "Ps": [csc(np.triu(p)) for p in data["P"]],  # Clarabel reads the upper triangle
            }
        else:
            m = n
            matrix = csc(np.vstack([data["A"], -np.eye(n)]))
            right = np.concatenate([data["b"], np.zeros(n)])
            lists = {
                "As": [matrix.copy() for _ in range(count)],  # it edits its argument
                "bs": [right] * count,
                "cs": list(data["q"]),
            }
        return lists, {"z": data["b"].shape[-1], "l": m}

    def run(
        self, method: str, data: dict[str, Array], gradient: bool
    ) -> tuple[Array, dict[str, Array]]:
        lists, cones = self._cone_program(data)
        count = len(lists["cs"])
        options = {
            "solve_method": "Clarabel",
            "n_jobs_forward": self.threads,
            "tol_gap_abs": 1e-6,
            "tol_gap_rel": 1e-6,
            "tol_feas": 1e-6,
        }
        if not gradient:
            xs, _, _ = self.diffcp.solve_only_batch(**lists, cone_dicts=[cones] * count, **options)
            return np.stack(xs), {}
        xs, ys, ss, _, adjoint = self.diffcp.solve_and_derivative_batch(
            **lists,
            cone_dicts=[cones] * count,
            mode=MODES[method],
            n_jobs_backward=self.threads,
            derivative_kwargs={"tau": self.tau, "rho": 0.0},
            **options,
        )
        is_qp = "Ps" in lists
        zeros_y, zeros_s = [np.zeros_like(y) for y in ys], [np.zeros_like(s) for s in ss]
        out = adjoint(list(data["c"]), zeros_y, zeros_s, return_dP=is_qp)
        grads = {"q": np.stack(out[2])}
        if is_qp:
            p = data["b"].shape[1]
            rows = np.stack([d.toarray() for d in out[0]])
            right = np.stack(out[1])
            grads |= {"A": rows[:, :p], "G": rows[:, p:], "b": right[:, :p], "h": right[:, p:]}
            grads["P"] = np.stack([d.toarray() for d in out[3]])
        return np.stack(xs), grads
