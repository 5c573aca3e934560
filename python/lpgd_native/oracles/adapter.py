"""Any function as an oracle: per item or batched, numpy or torch, threads or processes."""

from __future__ import annotations

import concurrent.futures
import math
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lpgd_native._batching import flatten_batch
from lpgd_native.oracles.protocol import OracleSolution
from lpgd_native.status import Status

__all__ = ["FunctionOracle"]

_CHUNKS_A_WORKER = 4
_Answer = tuple[Any, int, BaseException | None]  # x or None, status, what was raised


class FunctionOracle:
    """argmin_x <c, x> over x in X by a function of yours, ``fn(c, **instance) -> x``.

    The function may return x, or None where there is no solution (status ``PRIMAL_INFEASIBLE``). An
    exception, or an x that is not finite, makes that item ``NUMERICAL_ERROR`` and leaves the others
    alone; the first exception is kept in `first_error` and told in a warning. To maximise, negate
    the costs.

    Args:
        fn: one cost [*shape] -> x [*shape]; with `batched`, costs [N, *shape] -> x [N, *shape], or
            (x, status [N] with values of `Status`). No gradient flows through it.
        event_dim: how many dimensions make one cost.
        batched: whether fn takes a batch. If it raises, the batch is halved until the items at
            fault are found. Default False.
        workers: of a pool that shares out items (batched: parts of the batch). Default 0: none.
        executor: ``"thread"`` for functions that release the GIL (most solvers in C++),
            ``"process"`` for Python ones; fn and the instance must then be picklable, the workers
            are started anew (spawn) and live until `close`.
        numpy: hand over numpy arrays (default) or, with False, CPU tensors as they are; what comes
            back may be either.
        instance_dims: how many trailing dimensions make one item of each argument of the instance:
            ``{"weights": 1}`` makes weights [..., k] batched. Others go to fn whole.

    Raises:
        TypeError: fn can't be called. ValueError: settings out of range.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        event_dim: int = 1,
        *,
        batched: bool = False,
        workers: int = 0,
        executor: Literal["thread", "process"] = "thread",
        numpy: bool = True,
        instance_dims: dict[str, int] | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"FunctionOracle: fn must be a function, got {type(fn).__name__}")
        if isinstance(event_dim, bool) or not isinstance(event_dim, int) or event_dim < 1:
            raise ValueError(f"FunctionOracle: event_dim must be at least 1, got {event_dim!r}")
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
            raise ValueError(f"FunctionOracle: workers must be at least 0, got {workers!r}")
        if executor not in ("thread", "process"):
            raise ValueError(
                f'FunctionOracle: executor must be "thread" or "process", got {executor!r}'
            )
        self.fn = fn
        self.event_dim = event_dim
        self.batched = batched
        self.workers = workers
        self.executor = executor
        self.numpy = numpy
        self.instance_dims = dict(instance_dims or {})
        #: the first exception of the last call, or None
        self.first_error: BaseException | None = None
        self._pool: concurrent.futures.Executor | None = None

    def solve(self, c: Tensor, **instance: Any) -> OracleSolution:
        """The minimisers for costs c [..., *shape]."""
        lead = c.shape[: c.dim() - self.event_dim]
        event = c.shape[c.dim() - self.event_dim :]
        count = math.prod(lead)
        costs = c.detach().reshape(count, *event)
        split, shared = self._instance(instance, lead)
        finite = torch.isfinite(costs).flatten(1).all(1)
        items = finite.nonzero().flatten().tolist()
        rows = self._host(costs)
        answers = self._answers(rows, items, split, shared)
        x = np.zeros(costs.shape, rows.dtype if self.numpy else _numpy_type(costs))
        status = np.full(count, int(Status.NUMERICAL_ERROR), np.int32)
        errors: list[BaseException] = []
        for item, (value, code, error) in zip(items, answers, strict=True):
            if error is not None:
                errors.append(error)
            elif code == Status.OK:
                array = _array(value)
                if array.shape != tuple(event):
                    raise ValueError(
                        f"FunctionOracle: fn must return x of the shape of a cost, {list(event)}, "
                        f"got {list(array.shape)}"
                    )
                if np.isfinite(array).all():
                    x[item] = array
                    status[item] = code
            else:
                status[item] = code
        self._tell(errors, count)
        points = torch.from_numpy(x).to(c).reshape(c.shape)
        codes = torch.from_numpy(status).to(c.device).reshape(lead)
        value = (c.detach() * points).flatten(-self.event_dim).sum(-1)
        return OracleSolution(points, torch.where(codes == 0, value, torch.nan), codes)

    def close(self) -> None:
        """End the workers; a later call starts new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None, "first_error": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionOracle:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__getstate__())
        return twin

    def __repr__(self) -> str:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return f"FunctionOracle({name}, event_dim={self.event_dim})"

    def _host(self, tensor: Tensor) -> Any:
        tensor = tensor.detach().cpu()
        return tensor.numpy() if self.numpy else tensor

    def _instance(
        self, instance: dict[str, Any], lead: Sequence[int]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments [N, ...] to share out among the items, and those that go to fn whole."""
        split: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        for key, value in instance.items():
            if not isinstance(value, Tensor):
                shared[key] = value
                continue
            rank = self.instance_dims.get(key)
            if rank is None or value.dim() == rank:
                shared[key] = self._host(value)
                continue
            try:
                flat = flatten_batch(value.detach(), rank, lead)
            except RuntimeError:
                raise ValueError(
                    f"FunctionOracle: {key} must be [..., {rank} dimensions] with leading "
                    f"dimensions that broadcast to {list(lead)}, got {list(value.shape)}"
                ) from None
            (shared if flat.dim() == rank else split)[key] = self._host(flat)
        return split, shared

    def _answers(
        self, rows: Any, items: list[int], split: dict[str, Any], shared: dict[str, Any]
    ) -> list[_Answer]:
        if not items:
            return []
        work = _batch_work if self.batched else _item_work
        if self.workers == 0:
            return work(self.fn, *_part(rows, items, split), shared)
        chunks = min(len(items), self.workers * _CHUNKS_A_WORKER)
        parts = [list(part) for part in np.array_split(np.asarray(items), chunks)]
        pool = self._executor()
        futures = [pool.submit(work, self.fn, *_part(rows, part, split), shared) for part in parts]
        out: list[_Answer] = []
        for part, future in zip(parts, futures, strict=True):
            try:
                out += future.result()
            except BrokenProcessPool as error:  # a worker died: its items failed, the pool is gone
                self.close()
                out += [(None, int(Status.NUMERICAL_ERROR), error)] * len(part)
        return out

    def _executor(self) -> concurrent.futures.Executor:
        if self._pool is None:
            if self.executor == "thread":
                self._pool = concurrent.futures.ThreadPoolExecutor(self.workers)
            else:
                # a fork would copy torch's threads in the middle of what they do
                context = multiprocessing.get_context("spawn")
                self._pool = concurrent.futures.ProcessPoolExecutor(self.workers, context)
        return self._pool

    def _tell(self, errors: list[BaseException], count: int) -> None:
        self.first_error = errors[0] if errors else None
        if errors:
            warnings.warn(
                f"FunctionOracle: fn raised for {len(errors)} of {count} items, first "
                f"{type(errors[0]).__name__}: {errors[0]}",
                RuntimeWarning,
                stacklevel=3,
            )


def _numpy_type(tensor: Tensor) -> Any:
    return tensor.detach().cpu()[:0].numpy().dtype


def _array(value: Any) -> np.ndarray:
    out: np.ndarray = (
        value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    )
    return out


def _part(rows: Any, items: list[int], split: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if len(items) == len(rows):
        return rows, split
    return rows[items], {key: value[items] for key, value in split.items()}


def _item_work(
    fn: Callable[..., Any], rows: Any, split: dict[str, Any], shared: dict[str, Any]
) -> list[_Answer]:
    out: list[_Answer] = []
    for place, row in enumerate(rows):
        try:
            value = fn(row, **{key: part[place] for key, part in split.items()}, **shared)
        except Exception as error:
            out.append((None, int(Status.NUMERICAL_ERROR), error))
        else:
            code = Status.PRIMAL_INFEASIBLE if value is None else Status.OK
            out.append((value, int(code), None))
    return out


def _batch_work(
    fn: Callable[..., Any], rows: Any, split: dict[str, Any], shared: dict[str, Any]
) -> list[_Answer]:
    try:
        value = fn(rows, **split, **shared)
    except Exception as error:
        if len(rows) == 1:
            return [(None, int(Status.NUMERICAL_ERROR), error)]
        half = len(rows) // 2
        halves = [slice(None, half), slice(half, None)]
        return [
            answer
            for cut in halves
            for answer in _batch_work(
                fn, rows[cut], {key: part[cut] for key, part in split.items()}, shared
            )
        ]
    codes = [int(Status.OK)] * len(rows)
    if isinstance(value, tuple):
        value, given = value
        codes = [int(code) for code in _array(given)]
    x = _array(value)
    if x.shape != tuple(rows.shape) or len(codes) != len(rows):
        raise ValueError(
            f"FunctionOracle: fn must return x of the shape of the costs, {list(rows.shape)}, and "
            f"a status for each, got {list(x.shape)} and {len(codes)}"
        )
    return [(x[place], code, None) for place, code in enumerate(codes)]
