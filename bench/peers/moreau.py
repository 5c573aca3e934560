"""moreau 0.4.1 through its torch Solver: dual active set or interior point, implicit gradient.

The solver object, which holds the sparsity pattern, is made outside the timed part. "moreau-lpgd"
is LPGD written by hand on it: two more solves at shifted costs, LP only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from .torch_batch import Answer, TorchBatch


def _dense_pattern(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = torch.arange(rows + 1, dtype=torch.int64) * columns
    return offsets, torch.arange(columns, dtype=torch.int64).repeat(rows)


class Peer:
    packages = ("moreau", "moreau-cpu", "torch", "numpy")

    def __init__(self, threads: int, device: str, tau: float) -> None:
        self.moreau = importlib.import_module("moreau")
        self.solver_class = importlib.import_module("moreau.torch").Solver
        self.tau = tau

    def load(self, arrays: Mapping[str, Any]) -> TorchBatch:
        batch = TorchBatch(arrays)
        count, n = batch["q"].shape
        p = batch["b"].shape[-1]
        if batch.is_qp:
            m = batch["h"].shape[-1]
            patterns = [*_dense_pattern(n, n), *_dense_pattern(p + m, n)]
        else:  # A x + s = b with s = 0, then -x + s = 0 with s >= 0
            m = n
            rows = torch.cat([batch["A"], -torch.eye(n, dtype=torch.float64)])
            batch.extra["rows"] = rows.to_sparse_csr()
            batch.extra["P"] = torch.zeros(0, dtype=torch.float64)
            batch.extra["b"] = torch.cat([batch["b"], torch.zeros(n, dtype=torch.float64)])
            batch.extra["b"] = batch.extra["b"].expand(count, -1).contiguous()
            none = torch.zeros(0, dtype=torch.int64)
            csr = batch.extra["rows"]
            offsets = torch.zeros(n + 1, dtype=torch.int64)
            patterns = [offsets, none, csr.crow_indices(), csr.col_indices()]
        ipm = self.moreau.IPMSettings(tol_gap_abs=1e-6, tol_gap_rel=1e-6, tol_feas=1e-6)
        settings = self.moreau.Settings(
            device="cpu", batch_size=count, enable_grad=True, ipm_settings=ipm
        )
        cones = self.moreau.Cones(num_zero_cones=p, num_nonneg_cones=m)
        batch.extra["solver"] = self.solver_class(n, p + m, *patterns, cones, settings)
        return batch

    def run(self, method: str, batch: TorchBatch, gradient: bool) -> Answer:
        solver = batch.extra["solver"]

        def solve_qp() -> torch.Tensor:
            P, q, G, h, A, b = (batch[name] for name in "PqGhAb")
            rows = torch.cat([A, G], dim=1).flatten(1)
            return solver.solve(P.flatten(1), rows, q, torch.cat([b, h], dim=1)).x  # type: ignore

        def solve_lp(q: torch.Tensor) -> torch.Tensor:
            extra = batch.extra
            return solver.solve(extra["P"], extra["rows"].values(), q, extra["b"]).x  # type: ignore

        if batch.is_qp:
            return batch.run(solve_qp, gradient)
        if method == "moreau":
            return batch.run(lambda: solve_lp(batch["q"]), gradient)
        with torch.no_grad():
            x = solve_lp(batch["q"])
            if not gradient:
                return x, {}
            shift = self.tau * batch.c
            high, low = solve_lp(batch["q"] + shift), solve_lp(batch["q"] - shift)
            return x, {"q": (high - low) / (2 * self.tau)}
