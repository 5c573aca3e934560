"""Any function as an oracle: per item or batched, numpy or torch, threads or processes."""

from __future__ import annotations

import concurrent.futures
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lpgd_native._batching import flatten_batch
from lpgd_native._strategies.base import largest_entries
from lpgd_native._warning import warn
from lpgd_native.oracles.protocol import OracleSolution
from lpgd_native.status import Status

__all__ = ["FunctionOracle"]

_CHUNKS_A_WORKER = 4


class _Answers(NamedTuple):
    """What became of some items."""

    x: Tensor
    status: Tensor
    errors: list[BaseException]


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
            ``"process"`` for Python ones; fn and the instance must then be picklable (a function
            at the top of a module, no lambda), the script's own work stand behind ``if __name__ ==
            "__main__":`` as always with spawn, and the workers live until `close`.
        numpy: hand over numpy arrays (default) or, with False, CPU tensors as they are; what comes
            back may be either.
        instance_dims: how many trailing dimensions make one item of each argument of the instance:
            ``{"weights": 1}`` makes weights [..., k] batched. Others go to fn whole.

    Raises:
        TypeError: fn can't be called.
        ValueError: settings out of range; in the call, fn returns something that has not the shape
            of what it was given.

    Example::

        def assignment(c):                           # numpy [n, n] in, 0/1 numpy [n, n] out
            x = np.zeros_like(c)
            x[scipy.optimize.linear_sum_assignment(c)] = 1
            return x
        layer = OracleLayer(FunctionOracle(assignment, event_dim=2, workers=4))
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
        dims = self.event_dim
        lead, event = c.shape[: c.dim() - dims], c.shape[c.dim() - dims :]
        count = math.prod(lead)
        costs = c.detach().reshape(count, *event)
        split, shared = self._instance(instance, lead)
        finite = largest_entries(costs, dims) < torch.inf
        whole = bool(finite.all())
        items = list(range(count)) if whole else finite.nonzero().flatten().tolist()
        points: Tensor | None = None
        status = torch.full((count,), int(Status.NUMERICAL_ERROR), dtype=torch.int32)
        errors: list[BaseException] = []
        for part, answer in self._answers(self._host(costs), items, split, shared):
            errors += answer.errors
            if len(part) == count and len(answer.x):
                # a copy: fn may return its own argument, or an array that it uses again
                points = answer.x.to(c.dtype, copy=self.batched)
                status = answer.status
            elif len(answer.x):
                points = torch.zeros(costs.shape, dtype=c.dtype) if points is None else points
                points[part], status[part] = answer.x.to(c.dtype), answer.status
        points = torch.zeros(costs.shape, dtype=c.dtype) if points is None else points
        good = (status == Status.OK) & (largest_entries(points, dims) < torch.inf)
        failed = not bool(good.all())
        if failed:
            status = torch.where((status == Status.OK) & ~good, int(Status.NUMERICAL_ERROR), status)
            points = torch.where(good.reshape(count, *(1,) * dims), points, 0.0)
        self._tell(errors, count, event)
        points, status = points.to(c.device), status.to(c.device)
        value = torch.linalg.vecdot(costs.flatten(-dims), points.flatten(-dims))
        value = torch.where(status == Status.OK, value, torch.nan) if failed else value
        return OracleSolution(points.reshape(c.shape), value.reshape(lead), status.reshape(lead))

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
        # a copy, since fn may write into its arguments
        tensor = tensor.detach().to("cpu", copy=True)
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
    ) -> Iterator[tuple[list[int], _Answers]]:
        """Numbers of items, and what became of them."""
        if not items:
            return
        work = _batch_work if self.batched else _item_work
        if self.workers == 0:
            yield items, work(self.fn, *_part(rows, items, split), shared)
            return
        chunks = min(len(items), self.workers * _CHUNKS_A_WORKER)
        parts = [part.tolist() for part in np.array_split(np.asarray(items), chunks)]
        pool = self._executor()
        futures = [pool.submit(work, self.fn, *_part(rows, part, split), shared) for part in parts]
        for part, future in zip(parts, futures, strict=True):
            try:
                yield part, future.result()
            except BrokenProcessPool as error:  # a worker died: its items failed, the pool is gone
                self.close()
                nothing = torch.zeros(0, dtype=torch.int32)
                yield part, _Answers(nothing, nothing, [error] * len(part))

    def _executor(self) -> concurrent.futures.Executor:
        if self._pool is None:
            if self.executor == "thread":
                self._pool = concurrent.futures.ThreadPoolExecutor(self.workers)
            else:
                # a fork would copy torch's threads in the middle of what they do
                context = multiprocessing.get_context("spawn")
                self._pool = concurrent.futures.ProcessPoolExecutor(self.workers, context)
        return self._pool

    def _tell(self, errors: list[BaseException], count: int, event: Sequence[int]) -> None:
        self.first_error = errors[0] if errors else None
        if errors:
            sizes = ", ".join(map(str, event))
            given = f"a batch of costs [N, {sizes}]" if self.batched else f"a cost [{sizes}]"
            warn(
                f"FunctionOracle: fn raised for {len(errors)} of {count} items, first "
                f"{type(errors[0]).__name__}: {errors[0]} (fn was given {given}; event_dim = "
                f"{self.event_dim})"
            )


def _tensor(value: Any) -> Tensor:
    """What fn returned; read-only arrays, which torch warns of, are copied."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        array = np.asarray(value)
        array = array if array.dtype.kind in "biuf" else array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            "FunctionOracle: fn must return x as an array, a tensor or numbers, got "
            f"{type(value).__name__}"
        ) from None
    plain = array.flags.writeable and all(step >= 0 for step in array.strides)
    return torch.from_numpy(array if plain else array.copy())


def _part(rows: Any, items: list[int], split: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if len(items) == len(rows):
        return rows, split
    return rows[items], {key: value[items] for key, value in split.items()}


def _item_work(
    fn: Callable[..., Any], rows: Any, split: dict[str, Any], shared: dict[str, Any]
) -> _Answers:
    points = torch.zeros(tuple(rows.shape), dtype=torch.as_tensor(rows[:0]).dtype)
    status = torch.full((len(rows),), int(Status.OK), dtype=torch.int32)
    errors: list[BaseException] = []
    for place, row in enumerate(rows):
        try:
            value = fn(row, **{key: part[place] for key, part in split.items()}, **shared)
        except Exception as error:
            errors.append(error)
            status[place] = int(Status.NUMERICAL_ERROR)
            continue
        if value is None:
            status[place] = int(Status.PRIMAL_INFEASIBLE)
            continue
        x = _tensor(value)
        if x.shape != points.shape[1:]:
            raise ValueError(
                f"FunctionOracle: fn must return x of the shape of a cost, "
                f"{list(points.shape[1:])}, got {list(x.shape)}"
            )
        points[place] = x
    return _Answers(points, status, errors)


def _batch_work(
    fn: Callable[..., Any], rows: Any, split: dict[str, Any], shared: dict[str, Any]
) -> _Answers:
    status = torch.full((len(rows),), int(Status.OK), dtype=torch.int32)
    try:
        value = fn(rows, **split, **shared)
    except Exception as error:
        if len(rows) == 1:
            status[:] = int(Status.NUMERICAL_ERROR)
            return _Answers(torch.zeros_like(torch.as_tensor(rows)), status, [error])
        half = len(rows) // 2
        left, right = (
            _batch_work(fn, rows[cut], {key: part[cut] for key, part in split.items()}, shared)
            for cut in (slice(None, half), slice(half, None))
        )
        return _Answers(
            torch.cat([left.x, right.x]),
            torch.cat([left.status, right.status]),
            left.errors + right.errors,
        )
    if isinstance(value, tuple):
        value, given = value
        status = _tensor(given).to(torch.int32)
    x = _tensor(value)
    if tuple(x.shape) != tuple(rows.shape) or status.shape != (len(rows),):
        raise ValueError(
            f"FunctionOracle: fn must return x of the shape of the costs, {list(rows.shape)}, and "
            f"a status for each, got {list(x.shape)} and {list(status.shape)}"
        )
    return _Answers(x, status, [])
