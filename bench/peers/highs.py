"""HiGHS through highspy: LPGD by hand, each solve warm-started from the basis of the one before.

The batch is split over the threads, a model each; HiGHS runs outside Python's lock.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Array = Any


class Peer:
    packages = ("highspy", "numpy")

    def __init__(self, threads: int, device: str, tau: float) -> None:
        self.highspy = importlib.import_module("highspy")
        self.pool, self.threads, self.tau = ThreadPoolExecutor(threads), threads, tau

    def load(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        data = dict(arrays)
        data["models"] = [self._model(data) for _ in range(self.threads)]
        return data

    def _model(self, data: dict[str, Any]) -> Any:
        rows, n = data["A"].shape
        lp = self.highspy.HighsLp()
        lp.num_col_, lp.num_row_ = n, rows
        lp.col_cost_ = data["q"][0]
        lp.col_lower_, lp.col_upper_ = np.zeros(n), np.full(n, self.highspy.kHighsInf)
        lp.row_lower_ = lp.row_upper_ = data["b"]
        columns, index = np.nonzero(data["A"].T)
        lp.a_matrix_.start_ = np.searchsorted(columns, np.arange(n + 1))
        lp.a_matrix_.index_ = index
        lp.a_matrix_.value_ = data["A"].T[columns, index]
        model = self.highspy.Highs()
        for option, value in (("output_flag", False), ("threads", 1), ("presolve", "off")):
            model.setOptionValue(option, value)
        model.passModel(lp)
        return model

    def run(
        self, method: str, data: dict[str, Any], gradient: bool
    ) -> tuple[Array, dict[str, Array]]:
        count, n = data["q"].shape
        x, grad = np.empty_like(data["q"]), np.empty_like(data["q"])
        columns = np.arange(n, dtype=np.int32)

        def part(model: Any, items: range) -> None:
            def vertex(cost: Array) -> Array:
                model.changeColsCost(n, columns, cost)
                model.run()
                return np.array(model.getSolution().col_value)

            for i in items:
                cost, shift = data["q"][i], self.tau * data["c"][i]
                x[i] = vertex(cost)
                if gradient:
                    grad[i] = (vertex(cost + shift) - vertex(cost - shift)) / (2 * self.tau)

        parts = [range(start, count, self.threads) for start in range(self.threads)]
        list(self.pool.map(part, data["models"], parts))
        return x, {"q": grad} if gradient else {}
