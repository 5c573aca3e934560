"""What all strategies share: checks of their settings, and what a layer asks of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from lpgd_native.status import Status

if TYPE_CHECKING:
    from lpgd_native._strategies.problem import Problem

__all__ = [
    "Envelope",
    "OracleStrategy",
    "choice",
    "count",
    "filled",
    "largest_entries",
    "norms",
    "number",
    "per_item",
    "within_range",
]

Envelope = Literal["average", "lower", "upper"]


def number(name: str, field: str, value: Any, *, positive: bool) -> float:
    """A finite number >= 0 (`positive`: > 0), or what is wrong with it."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name}: {field} must be a number, got {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        wanted = "positive" if positive else "nonnegative"
        raise ValueError(f"{name}: {field} must be finite and {wanted}, got {value}")
    return float(value)


def filled(like: Tensor, shape: Sequence[int], value: float, what: str = "gradient: tau") -> Tensor:
    """`value` in the dtype of `like`, or by name what is beyond it."""
    if not -torch.finfo(like.dtype).max <= value <= torch.finfo(like.dtype).max:
        raise ValueError(f"{what} must be within the range of {like.dtype}, got {value:g}")
    return like.new_full(shape, value)


def within_range(name: str, strategy: Any, dtype: torch.dtype) -> None:
    """ValueError where tau or rho is a number beyond the dtype of the problem.

    Said before anything is solved, not by the backward pass.
    """
    tau, rho = (getattr(strategy, field, 0.0) for field in ("tau", "rho"))
    numbers = {"tau": tau, "rho": rho}
    if isinstance(tau, float) and not getattr(strategy, "relative", False):
        numbers["rho"] = rho + getattr(strategy, "rho_over_tau", 0.0) * tau
    for field, value in numbers.items():
        if isinstance(value, float) and value > torch.finfo(dtype).max:
            raise ValueError(
                f"{name}: gradient: {field} must be within the range of {dtype}, got {value:g}"
            )


def count(name: str, field: str, value: Any) -> int:
    """A whole number >= 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: {field} must be a whole number, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}: {field} must be at least 1, got {value}")
    return value


def choice(name: str, field: str, value: Any, known: tuple[str, ...]) -> None:
    """One of the words in `known`."""
    if value not in known:
        listed = ", ".join(f'"{word}"' for word in known[:-1])
        raise ValueError(f'{name}: {field} must be {listed} or "{known[-1]}", got {value!r}')


class OracleStrategy:
    """How `OracleLayer` differentiates ``x*(c) = argmin_x <c, x>``: derive from it for your own.

    Subclasses that are dataclasses of plain values can be pickled with the layer. What changes from
    call to call belongs into `state` and `load_state`, which the layer's ``state_dict`` holds.
    """

    def check_oracle(self, name: str, oracle: Any) -> None:
        """Raise a ValueError if this strategy can't serve the oracle (the layer's constructor)."""

    #: what a call of the layer brings for the strategy, not for the oracle
    call_arguments: ClassVar[tuple[str, ...]] = ()

    def delegate(self, oracle: Any) -> Callable[..., Any] | None:
        """The oracle's own differentiable ``(c, **instance) -> OracleSolution``, if it has one."""
        return None

    def usable(self, status: Tensor) -> Tensor:
        """[*batch] the items that have a gradient, by their status."""
        return status == Status.OK

    def serves(self, argument: str) -> bool:
        """Whether an argument of the instance may require a gradient."""
        return False

    def forward(self, problem: Problem, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """A triple: x [*batch, *shape], status [*batch], tensors [*batch, ...] for `backward`."""
        return *problem.solve_once(c), ()

    def backward(
        self,
        problem: Problem,
        c: Tensor,
        x: Tensor,
        live: Tensor,
        g: Tensor,
        kept: tuple[Tensor, ...],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient of c, and those of the arguments of the instance that `serves` names.

        Args:
            problem: the oracle with its instance.
            c, x: costs and solution, [*batch, *shape].
            live: [*batch], items that are `usable` and have a loss gradient that is finite and not
                zero. What is returned for others is not looked at.
            g: dl/dx, [*batch, *shape]; zero where an item is not live.
            kept: what `forward` kept.
        """
        raise NotImplementedError

    def state(self) -> dict[str, float]:
        """What changes from call to call."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Take over what `state` gave."""


def per_item(name: str, field: str, value: Tensor) -> None:
    """Raise unless a tensor of settings is real, finite and positive."""
    if not value.is_floating_point():
        raise TypeError(f"{name}: {field} must be a floating-point tensor, got {value.dtype}")
    if value.requires_grad:
        raise ValueError(f"{name}: {field} must not require a gradient; detach it")
    if torch.compiler.is_compiling():
        return  # a look at the numbers would break the graph
    if not bool((torch.isfinite(value) & (value > 0)).all()):
        raise ValueError(f"{name}: {field} must be finite and positive in every item")


def norms(value: Tensor, dims: int) -> Tensor:
    """[...] Euclidean norm over the last `dims` dimensions, without overflow of the squares."""
    flat = value.flatten(-dims)
    plain: Tensor = torch.linalg.vector_norm(flat, dim=-1)
    if bool(((plain > 1e-15) & (plain < 1e15)).all()):
        return plain
    largest = largest_entries(value, dims)
    unit = torch.where(largest > 0, largest, 1.0)
    scaled: Tensor = torch.linalg.vector_norm(flat / unit.unsqueeze(-1), dim=-1)
    return unit * scaled


def largest_entries(value: Tensor, dims: int) -> Tensor:
    """[...] the largest size of an entry, over the last `dims` dimensions; NaN if there is one."""
    flat = value.flatten(-dims)
    if not flat.shape[-1]:
        return flat.new_zeros(flat.shape[:-1])
    # faster than the norm of order infinity
    return flat.abs().amax(-1)
