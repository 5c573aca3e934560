"""Any linear or mixed-integer program, by HiGHS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lpgd_native import _highs
from lpgd_native._batching import flatten_batch
from lpgd_native._oracle_ops import answer, check_costs
from lpgd_native._qp_highs import MAX_ITER
from lpgd_native._qp_highs_program import program_of
from lpgd_native.oracles.protocol import OracleSolution
from lpgd_native.status import Status

__all__ = ["HighsOracle"]

_RANKS = {"G": 2, "h": 1, "A": 2, "b": 1, "lb": 1, "ub": 1}
_NAME = "HighsOracle"


def _numbers(arg: str, value: Any) -> Tensor:
    """As float64 in memory of the CPU."""
    out = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    if out.dtype == torch.bool or out.dtype.is_complex:
        raise TypeError(f"{_NAME}: {arg} must hold real numbers, got {out.dtype}")
    return out.detach().to("cpu", torch.float64)


def _whole(integrality: bool | Sequence[int] | Tensor | None, n: int) -> tuple[int, ...]:
    """The numbers of the integer variables."""
    if integrality is None or integrality is False:
        return ()
    if integrality is True:
        return tuple(range(n))
    given = torch.as_tensor(integrality)
    if given.dtype == torch.bool:
        if given.shape != (n,):
            raise ValueError(
                f"{_NAME}: integrality must be [n] with n = {n}, got {list(given.shape)}"
            )
        return tuple(given.nonzero()[:, 0].tolist())
    if given.numel() == 0:
        return ()
    if given.dtype.is_floating_point or given.dim() != 1:
        raise TypeError(f"{_NAME}: integrality must be a bool, a mask [n] or indices")
    if int(given.min()) < 0 or int(given.max()) >= n:
        raise ValueError(f"{_NAME}: integrality has an index outside 0 to {n - 1}")
    return tuple(sorted(set(given.tolist())))


class HighsOracle:
    """argmin_x <c, x> over ``G x <= h, A x = b, lb <= x <= ub``, some x_i whole numbers: any linear
    or mixed-integer program, given once and solved again for a batch of costs.

    G: [m, n], h: [m], A: [p, n], b: [p], lb, ub: [n] or a number; +-inf is no bound. A bound left
    out is none, also below zero. integrality: True (all variables), a mask [n], or indices. Each of
    the data may also be given to `solve`, for one call, with leading dimensions [...] of its own.

    The items of a batch are solved by HiGHS on `threads` threads (torch's number by default), in
    chunks whose size does not depend on it. Within a chunk an LP starts from the basis of the item
    before, an integer program with its solution as incumbent where only the costs differ: which of
    several equally good solutions is found can hang on the neighbours. ``warm_start=False`` solves
    each item from nothing. `eps` is the tolerance of feasibility and of optimality; integer
    programs are solved to a gap of zero within it. `options` are further ones of HiGHS, by name:
    ``{"presolve": "off"}`` pays for small integer programs.

    Statuses: PRIMAL_INFEASIBLE, DUAL_INFEASIBLE (unbounded below), NUMERICAL_ERROR (also for costs
    that are not finite), MAX_ITERATIONS after `max_iter` simplex iterations of an LP; x is zero
    there. No gradient: `OracleLayer` gives one. Nothing is printed.

    Raises:
        ImportError: highspy is not installed (``pip install 'lpgd-native[highs]'``).
        TypeError, ValueError: data that are no numbers, or of shapes that do not fit.
    """

    event_dim = 1
    instance_dims: ClassVar[dict[str, int]] = _RANKS

    def __init__(
        self,
        G: Any = None,
        h: Any = None,
        A: Any = None,
        b: Any = None,
        lb: Any = None,
        ub: Any = None,
        integrality: bool | Sequence[int] | Tensor | None = None,
        *,
        threads: int | None = None,
        warm_start: bool = True,
        eps: float = 1e-9,
        max_iter: int = MAX_ITER,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        _highs.load(_NAME)
        given = {"G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub}
        self.data = {k: _numbers(k, value) for k, value in given.items() if value is not None}
        self.integrality = integrality
        if threads is not None and (isinstance(threads, bool) or threads < 1):
            raise ValueError(f"{_NAME}: threads must be positive, got {threads!r}")
        if not eps > 0 or max_iter < 0:
            raise ValueError(
                f"{_NAME}: eps must be positive and max_iter not negative, "
                f"got {eps!r}, {max_iter!r}"
            )
        self.threads, self.warm_start = threads, warm_start
        self.eps, self.max_iter = eps, max_iter
        self.options = dict(options or {})
        _highs.check_options(_NAME, self.options)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in self.data.items())
        return f"HighsOracle({shapes})"

    def _together(
        self, c: Tensor, instance: dict[str, Any]
    ) -> tuple[dict[str, Tensor], tuple[int, ...]]:
        """The data of this call, checked, and the leading dimensions of all."""
        unknown = sorted(set(instance) - set(_RANKS))
        if unknown:
            raise TypeError(f"{_NAME}.solve: unknown data {', '.join(unknown)}")
        data = {**self.data}
        for name, value in instance.items():
            if value is None:
                data.pop(name, None)
            else:
                data[name] = _numbers(name, value)
        n = c.shape[-1]
        for matrix, side in (("G", "h"), ("A", "b")):
            if (matrix in data) != (side in data):
                raise ValueError(f"{_NAME}: {matrix} and {side} go together")
        for name in ("lb", "ub"):
            if name in data and data[name].dim() == 0:
                data[name] = data[name].expand(n)
        leads = [c.shape[:-1]]
        for name, value in data.items():
            rank = _RANKS[name]
            partner = {"h": "G", "b": "A"}.get(name)
            wanted = n if partner is None else data[partner].shape[-2]
            if value.dim() < rank or value.shape[-1] != wanted:
                shape = f"[..., rows, {n}]" if rank == 2 else f"[..., {wanted}]"
                raise ValueError(f"{_NAME}: {name} must be {shape}, got {list(value.shape)}")
            leads.append(value.shape[: value.dim() - rank])
        try:
            lead = torch.broadcast_shapes(*leads)  # type: ignore[no-untyped-call]
        except RuntimeError:
            shown = ", ".join(f"{name} {list(value.shape)}" for name, value in data.items())
            raise ValueError(
                f"{_NAME}: leading dimensions must broadcast, got costs {list(c.shape)}, {shown}"
            ) from None
        return data, tuple(lead)

    def solve(self, c: Tensor, *, throw: bool = False, **instance: Any) -> OracleSolution:
        """The solutions of least cost; c [..., n]."""
        c = check_costs(_NAME, c, 1)
        data, lead = self._together(c, instance)
        n, batch = c.shape[-1], math.prod(lead)
        flat = {k: flatten_batch(value, _RANKS[k], lead) for k, value in data.items()}
        costs = c.to("cpu", torch.float64).expand(*lead, n).reshape(batch, n).contiguous()
        program = program_of(
            (None, costs, *(flat.get(k) for k in _RANKS)),
            batch,
            _whole(self.integrality, n),
            self.warm_start,
            tuple(self.options.items()),
        )
        threads = torch.get_num_threads() if self.threads is None else self.threads
        with np.errstate(all="ignore"):
            found = _highs.solve_programs(
                program, self.eps, self.max_iter, threads, warm_start=self.warm_start
            )
            solved = found.status == Status.OK
            x = np.where(solved[:, None], found.x, 0.0)
            objective = np.where(solved, (costs.numpy() * x).sum(-1), np.nan)
        out = [torch.from_numpy(part) for part in (x, objective, found.status)]
        return answer(_NAME, c, lead, out, throw)
