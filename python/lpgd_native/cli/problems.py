"""Problem files: ``.npz`` with our blocks, and what HiGHS reads (``.mps``, ``.qps``, ``.lp``)."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MODEL_SUFFIXES", "Problem", "Triplets", "read_problem"]

BLOCKS = ("P", "q", "G", "h", "A", "b", "lb", "ub")
MODEL_SUFFIXES = (".mps", ".qps", ".lp")
_INFINITE = 1e20  # as HiGHS counts


@dataclass(frozen=True)
class Triplets:
    """A matrix by its entries, which may be repeated (then they add up)."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def entries(self) -> int:
        """Of the dense matrix."""
        return math.prod(self.shape)

    def tensor(self, dtype: torch.dtype, sparse: bool) -> Tensor:
        """Dense, or in compressed rows."""
        index = torch.from_numpy(np.stack([self.rows, self.columns]))
        values = torch.from_numpy(self.values).to(dtype)
        made = torch.sparse_coo_tensor(index, values, self.shape, check_invariants=True).coalesce()
        if not sparse:
            return made.to_dense()
        crow = torch.zeros(self.shape[0] + 1, dtype=torch.int64)
        crow[1:] = torch.bincount(made.indices()[0], minlength=self.shape[0]).cumsum(0)
        return _quiet_csr(crow, made.indices()[1], made.values(), self.shape)


def _quiet_csr(crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=True)


@dataclass(frozen=True)
class Problem:
    """min 1/2 x'Px + q'x + offset over the constraints of `solve_qp`; negated where `maximised`."""

    blocks: dict[str, NDArray[Any] | Triplets | None]
    offset: float = 0.0
    maximised: bool = False
    integral: NDArray[np.bool_] | None = None
    names: list[str] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """Entries of the matrices, stored densely."""
        sizes = (0 if m is None else m.entries if isinstance(m, Triplets) else m.size
                 for m in (self.blocks[name] for name in ("P", "G", "A")))  # fmt: skip
        return sum(sizes)

    def tensors(self, dtype: torch.dtype, device: torch.device, sparse: bool) -> dict[str, Any]:
        """The eight arguments of `solve_qp`; matrices of files sparse if wanted."""
        made: dict[str, Any] = {}
        for name, block in self.blocks.items():
            if block is None:
                made[name] = None
            elif isinstance(block, Triplets):
                made[name] = block.tensor(dtype, sparse).to(device)
            else:
                made[name] = torch.from_numpy(block).to(dtype).to(device)
        return made


def read_problem(path: Path) -> Problem:
    """Read a problem; the suffix says how.

    ``.npz``: arrays P, q (or c), G, h, A, b, lb, ub of `solve_qp`, batched or shared, and
    integrality; only q is required. ``.mps``, ``.qps``, ``.lp`` (also ``.gz``): through highspy.

    Raises:
        ValueError: an unknown suffix, a missing or unknown array, a file HiGHS can't read, what
            is neither an LP, a QP nor a MILP.
        ImportError: a model file without highspy.
    """
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes[-1:] == [".npz"]:
        return _read_npz(path)
    kind = (
        suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    )
    if kind not in MODEL_SUFFIXES:
        known = ", ".join((".npz", *MODEL_SUFFIXES))
        raise ValueError(f"{path}: the suffix must be one of {known}")
    return _read_model(path, kind)


def _read_npz(path: Path) -> Problem:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: not a .npz file of arrays ({error})") from error
    if "c" in arrays and "q" not in arrays:
        arrays["q"] = arrays.pop("c")
    unknown = sorted(set(arrays) - {*BLOCKS, "integrality"})
    if unknown or "q" not in arrays:
        what = f"unknown array {unknown[0]!r}" if unknown else "no array q"
        raise ValueError(f"{path}: {what}; known are {', '.join(BLOCKS)}, integrality, c for q")
    integral = arrays.pop("integrality", None)
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{path}: {name} must hold numbers, has dtype {array.dtype}")
    single = all(array.dtype == np.float32 for array in arrays.values())
    kind = np.float32 if single else np.float64
    return Problem(
        {name: arrays[name].astype(kind) if name in arrays else None for name in BLOCKS},
        integral=None if integral is None else integral.astype(bool),
    )


def _read_model(path: Path, kind: str) -> Problem:
    try:
        import highspy
    except ImportError as error:
        raise ImportError(f"{path}: needs pip install 'lpgd-native[highs]'") from error
    with tempfile.TemporaryDirectory() as folder:
        source = path
        if kind == ".qps":  # HiGHS goes by the suffix, and knows the format as .mps
            source = Path(folder) / ("model.mps" + (".gz" if path.suffix == ".gz" else ""))
            shutil.copyfile(path, source)
        with _silenced():
            solver = highspy.Highs()  # type: ignore[no-untyped-call]
            solver.setOptionValue("output_flag", False)
            status = solver.readModel(str(source))
    if status == highspy.HighsStatus.kError:
        raise ValueError(f"{path}: HiGHS can't read this file")
    model = solver.getModel()
    lp = model.lp_
    if lp.num_col_ == 0:
        raise ValueError(f"{path}: there are no variables")
    maximised = lp.sense_ == highspy.ObjSense.kMaximize
    sign = -1.0 if maximised else 1.0
    integral = None
    if len(lp.integrality_):
        kinds = list(lp.integrality_)
        allowed = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        if any(k not in allowed for k in kinds):
            raise ValueError(f"{path}: semi-continuous variables are not supported")
        integral = np.array([k == highspy.HighsVarType.kInteger for k in kinds])
        integral = integral if integral.any() else None
    blocks: dict[str, NDArray[Any] | Triplets | None] = dict.fromkeys(BLOCKS)
    blocks["q"] = sign * np.array(lp.col_cost_, dtype=np.float64)
    blocks |= _rows(highspy, lp)
    if model.hessian_.dim_:
        blocks["P"] = _hessian(highspy, model.hessian_, sign)
    lower, upper = (np.array(v, dtype=np.float64) for v in (lp.col_lower_, lp.col_upper_))
    if (lower > -_INFINITE).any():
        blocks["lb"] = lower
    if (upper < _INFINITE).any():
        blocks["ub"] = upper
    return Problem(blocks, float(lp.offset_), maximised, integral, list(lp.col_names_))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Nothing on the process's standard output: HiGHS greets there whatever its options say."""
    sys.stdout.flush()
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(1)
        try:
            os.dup2(nowhere.fileno(), 1)
            yield
        finally:
            ctypes.CDLL(None).fflush(None)  # its line waits in the buffer of C's own stdout
            os.dup2(kept, 1)
            os.close(kept)


def _entries(matrix: Any, lines: int) -> tuple[NDArray[np.int64], ...]:
    """Line and position of every entry of a compressed matrix with so many lines."""
    starts = np.array(matrix.start_, dtype=np.int64)[: lines + 1]
    return np.repeat(np.arange(lines), np.diff(starts)), np.array(matrix.index_, dtype=np.int64)


def _rows(highspy: Any, lp: Any) -> dict[str, NDArray[Any] | Triplets | None]:
    """G, h, A, b of rows with two sides."""
    by_column = lp.a_matrix_.format_ == highspy.MatrixFormat.kColwise
    lines, positions = _entries(lp.a_matrix_, lp.num_col_ if by_column else lp.num_row_)
    rows, columns = (positions, lines) if by_column else (lines, positions)
    values = np.array(lp.a_matrix_.value_, dtype=np.float64)
    lower, upper = (np.array(v, dtype=np.float64) for v in (lp.row_lower_, lp.row_upper_))
    equal = lower == upper
    sides = (equal, ~equal & (upper < _INFINITE), ~equal & (lower > -_INFINITE))
    made: dict[str, NDArray[Any] | Triplets | None] = {"A": None, "b": None, "G": None, "h": None}

    def part(chosen: NDArray[np.bool_], sign: float, first: int) -> tuple[NDArray[Any], ...]:
        number = np.cumsum(chosen) - 1 + first
        kept = chosen[rows]
        return number[rows[kept]], columns[kept], sign * values[kept]

    if equal.any():
        row, column, value = part(equal, 1.0, 0)
        made["A"] = Triplets(row, column, value, (int(equal.sum()), lp.num_col_))
        made["b"] = lower[equal]
    count = int(sides[1].sum())
    total = count + int(sides[2].sum())
    if total:
        both = (part(sides[1], 1.0, 0), part(sides[2], -1.0, count))
        row, column, value = (np.concatenate(x) for x in zip(*both, strict=True))
        made["G"] = Triplets(row, column, value, (total, lp.num_col_))
        made["h"] = np.concatenate([upper[sides[1]], -lower[sides[2]]])
    return made


def _hessian(highspy: Any, hessian: Any, sign: float) -> Triplets:
    columns, rows = _entries(hessian, hessian.dim_)
    values = sign * np.array(hessian.value_, dtype=np.float64)
    if hessian.format_ == highspy.HessianFormat.kTriangular:
        off = rows != columns
        rows, columns = np.append(rows, columns[off]), np.append(columns, rows[off])
        values = np.append(values, values[off])
    return Triplets(rows, columns, values, (hessian.dim_, hessian.dim_))
