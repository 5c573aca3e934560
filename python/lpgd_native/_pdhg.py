"""The sparse first-order solver behind ``method="pdhg"``: checks of its arguments, its entry."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lpgd_native._batching import flatten_batch
from lpgd_native._pdhg_autograd import Pattern, PdhgOptions, solve
from lpgd_native._pdhg_columns import columns_of
from lpgd_native._qp_checks import DATA_RANKS, check_settings, check_shapes
from lpgd_native._qp_tensors import check_tensors
from lpgd_native._strategies.base import within_range
from lpgd_native._strategies.lpgd import with_batch
from lpgd_native.gradients import LPGD, GradientStrategy

__all__ = ["DEFAULT_PDHG_EPS", "DEFAULT_PDHG_MAX_ITER", "is_sparse", "solve_pdhg"]

# A first-order method pays for each digit: these are what practice asks of it, not what rounding
# allows.
DEFAULT_PDHG_EPS = {torch.float64: 1e-6, torch.float32: 1e-4}
DEFAULT_PDHG_MAX_ITER = 100_000
DEFAULT_PDHG_GRADIENT = LPGD(tau=1.0, relative=True)
_MATRICES = (0, 2, 4)  # P, G, A among the eight arguments


class PrimalDual(Protocol):
    """What a solve may begin from: a QPSolution, or anything with its x, y and z."""

    @property
    def x(self) -> Tensor: ...
    @property
    def y(self) -> Tensor: ...
    @property
    def z(self) -> Tensor: ...


class SparseSolution(NamedTuple):
    """The parts of a QPSolution, in its order."""

    point: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    status: Tensor
    iterations: Tensor
    residuals: tuple[Tensor, Tensor, Tensor]


_HAS_CUDA: bool = torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::solve_sparse_qp", "CUDA")


def _has_kernels(device: str) -> bool:
    return device == "cpu" or (device == "cuda" and _HAS_CUDA)


def is_sparse(value: object) -> bool:
    """A tensor in compressed rows; other sparse layouts are refused as not dense."""
    return isinstance(value, Tensor) and value.layout == torch.sparse_csr


@torch.compiler.disable  # type: ignore[untyped-decorator]
def solve_pdhg(
    name: str,
    data: tuple[Tensor | None, ...],
    gradient: GradientStrategy | None = None,
    eps: float | None = None,
    max_iter: int | None = None,
    warm_start: PrimalDual | None = None,
) -> SparseSolution:
    """Solve (P, q, G, h, A, b, lb, ub), matrices sparse CSR or dense, by restarted PDHG.

    A CSR matrix is [m, n], shared by the batch, or [B, m, n] with one pattern for all items. Its
    gradient is a CSR tensor of the same pattern. A dense matrix is taken with all its entries.

    Args:
        name: of the public function, for messages.
        data: the eight arguments of `solve_qp`.
        gradient: ``LPGD(...)``; None: ``LPGD(tau=1.0, relative=True)``, with P as well.
        eps: tolerance as in `solve_qp`; default 1e-6 in float64, 1e-4 in float32.
        max_iter: steps, default 100 000.
        warm_start: where to begin: x [..., n], y [..., p], z [..., m].

    Raises:
        TypeError: not a tensor, a wrong or mixed dtype, a gradient that is no strategy.
        ValueError: a layout other than strided and CSR, patterns that differ within a batch,
            shapes that don't fit, tensors on a device without kernels, Implicit().

    On CUDA the solve itself waits for nothing: a pattern that is none is found on the device and
    gives every item NUMERICAL_ERROR. Comparing the patterns of a batched CSR matrix does wait, and
    so does the gradient, which picks the items that need another solve.
    """
    names = ("P", "c" if name == "solve_lp" else "q", "G", "h", "A", "b", "lb", "ub")
    check_tensors(name, names, data, sparse=True)
    if data[1] is not None and not _has_kernels(data[1].device.type):
        raise ValueError(
            f'{name}: method="pdhg" has no kernels here for {names[1]} on {data[1].device}'
        )
    data, batch = check_shapes(name, names, data)
    check_settings(name, eps, max_iter)
    if data[1] is not None:
        within_range(name, gradient, data[1].dtype)
    if gradient is None:
        gradient = DEFAULT_PDHG_GRADIENT
    elif not isinstance(gradient, LPGD):
        raise ValueError(
            f'{name}: method="pdhg" differentiates with LPGD(...) alone, got {gradient!r}; '
            "LPGD(tau=0.1, relative=True) is near the implicit derivative of a QP"
        )
    else:
        gradient = with_batch(name, gradient, batch, data[0] is not None)
    q = data[1]
    assert q is not None
    patterns: list[Pattern] = []
    flat: list[Tensor | None] = []
    for index, (arg, tensor, rank) in enumerate(zip(names, data, DATA_RANKS, strict=True)):
        if index not in _MATRICES:
            flat.append(None if tensor is None else flatten_batch(tensor, rank, batch))
        elif tensor is None:
            patterns.append(Pattern(None, None, 0, 0))
            flat.append(None)
        else:
            pattern, values = _pattern_and_values(name, arg, tensor)
            patterns.append(pattern)
            flat.append(flatten_batch(values, 1, batch))
    eps = DEFAULT_PDHG_EPS[q.dtype] if eps is None else float(eps)
    max_iter = DEFAULT_PDHG_MAX_ITER if max_iter is None else max_iter
    start = _start(name, warm_start, batch, q, patterns)
    columns = None
    if q.device.type != "cpu":
        columns = columns_of(tuple(patterns), q.shape[-1], q.device)
    options = PdhgOptions(name, gradient, eps, max_iter, tuple(patterns), columns, start)
    *point, status, iterations, residuals = solve(tuple(flat), options)
    parts = [t.reshape(*batch, t.shape[-1]) for t in point]
    n = q.shape[-1]
    zero = q.new_zeros(()).expand(*batch, n)
    for place, bound in ((3, data[6]), (4, data[7])):
        if bound is None:
            parts[place] = zero
    facts = [t.reshape(batch) for t in residuals.unbind(-1)]
    return SparseSolution(
        (parts[0], parts[1], parts[2], parts[3], parts[4]),
        status.reshape(batch),
        iterations.reshape(batch),
        (facts[0], facts[1], facts[2]),
    )


def _pattern_and_values(name: str, arg: str, matrix: Tensor) -> tuple[Pattern, Tensor]:
    """The shared pattern of [*batch, rows, cols] and its values [*batch, nnz], differentiable."""
    rows, cols = matrix.shape[-2:]
    if matrix.layout == torch.strided:
        crow = torch.arange(0, rows * cols + 1, max(cols, 1), device=matrix.device)
        col = torch.arange(cols, device=matrix.device).repeat(rows)
        return Pattern(crow, col, rows, cols), matrix.flatten(-2)
    crow, col = matrix.crow_indices().long(), matrix.col_indices().long()
    if crow.dim() > 1:
        crow, col = crow.flatten(0, -2), col.flatten(0, -2)
        if len(crow) > 1 and not (bool((crow == crow[:1]).all()) and bool((col == col[:1]).all())):
            raise ValueError(
                f"{name}: all items of {arg} must have one pattern (crow_indices and col_indices); "
                "store explicit zeros where they differ"
            )
        if len(crow) == 0:
            raise ValueError(f"{name}: {arg} is an empty batch of sparse matrices")
        crow, col = crow[0], col[0]
    if matrix.dense_dim() != 0:
        raise ValueError(f"{name}: {arg} must have no dense dimensions")
    values: Tensor = matrix.values()
    return Pattern(crow.contiguous(), col.contiguous(), rows, cols), values


def _start(
    name: str,
    warm_start: PrimalDual | None,
    batch: tuple[int, ...],
    q: Tensor,
    patterns: list[Pattern],
) -> tuple[Tensor, Tensor, Tensor] | None:
    if warm_start is None:
        return None
    sizes = {"x": q.shape[-1], "y": patterns[2].rows, "z": patterns[1].rows}
    parts = []
    for part, size in sizes.items():
        tensor = getattr(warm_start, part, None)
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: warm_start must have tensors x, y and z, as a QPSolution has")
        if tensor.dim() < 1 or tensor.shape[-1] != size:
            raise ValueError(
                f"{name}: warm_start.{part} must be [..., {size}], got {list(tensor.shape)}"
            )
        try:
            full = tensor.detach().to(q).expand(*batch, size)
        except RuntimeError:
            raise ValueError(
                f"{name}: warm_start.{part} must fit the batch {list(batch)}, "
                f"got {list(tensor.shape)}"
            ) from None
        parts.append(full.reshape(math.prod(batch), size).contiguous())
    return parts[0], parts[1], parts[2]
