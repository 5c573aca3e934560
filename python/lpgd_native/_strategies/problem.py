"""An oracle with its instance, as strategies see it: batches of costs in, solutions out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpgd_native._strategies.base import largest_entries
from lpgd_native.status import GradientStatus, Status

__all__ = ["Problem", "Quotient", "quotient"]

_SHRINK_ROUNDS = 3  # as the native solvers


class Problem:
    """Solves many costs of one batch at once, and of them only the items asked for.

    Items are picked where the instance allows it: where every tensor in it is listed in the
    oracle's ``instance_dims`` (how many trailing dimensions make one item), or there is none.
    """

    def __init__(
        self, oracle: Any, instance: dict[str, Any], extras: dict[str, Any] | None = None
    ) -> None:
        self.oracle = oracle
        self.instance = instance
        #: what the call brought for the strategy (`OracleStrategy.call_arguments`)
        self.extras: dict[str, Any] = extras or {}
        self.event_dim: int = oracle.event_dim
        self._ranks: dict[str, int] = getattr(oracle, "instance_dims", {})
        tensors = [key for key, value in instance.items() if isinstance(value, Tensor)]
        self._picks = all(key in self._ranks for key in tensors)
        #: [*batch] the oracle's objective, where `forward` returns a solution of the oracle itself
        self.objective: Tensor | None = None
        self._objective: Tensor | None = None
        #: GradientStatus of the last `quotient`, [*lead, *batch]
        self.gradient_status: Tensor | None = None

    def over(self, mask: Tensor) -> Tensor:
        """[*batch] -> [*batch, 1, ...]: to broadcast with costs."""
        return mask.reshape(*mask.shape, *(1,) * self.event_dim)

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """[*batch] inner products."""
        dims = self.event_dim
        out: Tensor = torch.linalg.vecdot(a.flatten(-dims), b.flatten(-dims))
        return out

    def only(self, mask: Tensor, value: Tensor, other: Tensor | float = 0.0) -> Tensor:
        """`value` where the mask [*batch] is set, else `other`; `value` itself if all is set."""
        return value if bool(mask.all()) else torch.where(self.over(mask), value, other)

    def solve(
        self,
        costs: Tensor,
        mask: Tensor | None = None,
        call: Callable[..., Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Solve for costs [k, *batch, *shape] in one call: x, of that shape, status [k, *batch].

        `mask` [*batch]: the items that matter; others may come back as zeros. `call` takes the
        place of the oracle's `solve`.
        """
        call = self.oracle.solve if call is None else call
        if mask is None or not self._picks or bool(mask.all()):
            return self._checked(call(costs, **self.instance), costs)
        index = mask.flatten().nonzero().squeeze(-1)
        event = costs.shape[costs.dim() - self.event_dim :]
        flat = costs.reshape(costs.shape[0], -1, *event)
        chosen = flat[:, index]
        instance = {
            key: self._pick(key, value, mask.shape, index) for key, value in self.instance.items()
        }
        some, code = self._checked(call(chosen, **instance), chosen)
        x = torch.zeros_like(flat)
        x[:, index] = some
        status = code.new_full(flat.shape[:2], int(Status.NUMERICAL_ERROR))
        status[:, index] = code
        return x.reshape(costs.shape), status.reshape(costs.shape[0], *mask.shape)

    def solve_once(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for costs [*batch, *shape]: x and status [*batch]; `objective` goes with them."""
        x, status = self.solve(c.unsqueeze(0))
        self.objective = None if self._objective is None else self._objective[0]
        return x[0], status[0]

    def _pick(self, key: str, value: Any, batch: Sequence[int], index: Tensor) -> Any:
        if not isinstance(value, Tensor) or value.dim() <= self._ranks[key]:
            return value
        lead = value.dim() - self._ranks[key]
        if math.prod(value.shape[:lead]) == 1:
            return value.reshape(value.shape[lead:])
        core = value.shape[lead:]
        return value.expand(*batch, *core).reshape(-1, *core)[index]

    def _checked(self, solution: Any, costs: Tensor) -> tuple[Tensor, Tensor]:
        name = type(self.oracle).__name__
        try:
            x, status, self._objective = solution.x, solution.status, solution.objective
        except AttributeError:
            raise TypeError(
                f"{name}.solve must return an OracleSolution(x, objective, status), got "
                f"{type(solution).__name__}"
            ) from None
        if x.shape != costs.shape:
            raise ValueError(
                f"{name}: solutions must have the shape of the costs, {list(costs.shape)}, got "
                f"{list(x.shape)}; batched tensors of an instance must be named in the oracle's "
                "instance_dims"
            )
        lead = costs.shape[: costs.dim() - self.event_dim]
        if status.shape != lead:
            raise ValueError(f"{name}: status must be {list(lead)}, got {list(status.shape)}")
        return x, status


class Quotient(NamedTuple):
    """What a difference of perturbed solutions gave."""

    direction: Tensor
    """[*lead, *batch, *shape]: (x_+ - x_-) / width; zero where nothing was solved."""
    ends: tuple[Tensor, Tensor]
    """x_+ and x_-; x where nothing was solved."""

    def moved(self, x: Tensor, dims: int) -> Tensor:
        """[*lead, *batch]: whether a perturbed solution differs from x."""
        apart = [largest_entries(end - x, dims) for end in self.ends if end is not x]
        return torch.stack(apart).amax(0) > 1e-6 * (1 + largest_entries(x, dims))


def quotient(
    problem: Problem,
    costs: Tensor,
    x: Tensor,
    shift: Tensor,
    tau: Tensor,
    envelope: str,
    live: Tensor,
    call: Callable[..., Any] | None = None,
) -> Quotient:
    """(x*(costs + tau shift) - x) / tau for the lower side, its mirror image for the upper one.

    Args:
        problem: where to solve; its `gradient_status` is set.
        costs, x: [*batch, *shape].
        shift: [*batch, *shape], or what broadcasts to it.
        tau: [*batch], > 0.
        envelope: which sides.
        live: [*batch], items to look at. Where no side has a solution the other one stands in,
            then tau is made ten, a hundred and a thousand times smaller.
        call: in place of the oracle's `solve`.
    """
    sides = {"lower": (1.0,), "upper": (-1.0,), "average": (1.0, -1.0)}[envelope]
    found = {1.0: x, -1.0: x}
    ok = {1.0: torch.zeros_like(live), -1.0: torch.zeros_like(live)}

    def solve(mask: Tensor | None, signs: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        step = problem.over(tau) * shift
        there = torch.empty((len(signs), *costs.shape), dtype=costs.dtype, device=costs.device)
        for place, sign in enumerate(signs):
            torch.add(costs, step, alpha=sign, out=there[place])
        return problem.solve(there, mask, call)

    def keep(mask: Tensor, signs: tuple[float, ...], solved: tuple[Tensor, Tensor]) -> None:
        for sign, point, code in zip(signs, *solved, strict=True):
            good = mask & (code == Status.OK)
            found[sign] = problem.only(good, point, found[sign])
            ok[sign] = ok[sign] | good

    every = bool(live.all())
    solved = solve(None if every else live, sides)
    if every and not bool(solved[1].any()):  # what nearly always happens, in few operations
        found.update(zip(sides, solved[0], strict=True))
        problem.gradient_status = solved[1][0]
        direction = (found[1.0] - found[-1.0]) / problem.over(tau * len(sides))
        return Quotient(direction, (found[1.0], found[-1.0]))

    keep(live, sides, solved)
    missing = live & ~(ok[1.0] | ok[-1.0])
    shrunk = torch.zeros_like(live)
    others = tuple(sign for sign in (1.0, -1.0) if sign not in sides)
    if others and bool(missing.any()):
        keep(missing, others, solve(missing, others))
    for _ in range(_SHRINK_ROUNDS):
        missing = live & ~(ok[1.0] | ok[-1.0])
        if not bool(missing.any()):
            break
        tau = torch.where(missing, 0.1 * tau, tau)
        shrunk = shrunk | missing
        keep(missing, sides, solve(missing, sides))
    any_side = ok[1.0] | ok[-1.0]
    width = tau * (ok[1.0].to(tau) + ok[-1.0].to(tau)).clamp(min=1)
    direction = (found[1.0] - found[-1.0]) / problem.over(width)
    direction = problem.only(live & any_side, direction)
    wanted = torch.stack([ok[sign] for sign in sides]).all(0)
    code = torch.zeros(live.shape, dtype=torch.int32, device=live.device)
    code[live & ~wanted] = GradientStatus.OTHER_SIDE
    code[live & any_side & shrunk] = GradientStatus.SHRUNK
    code[live & ~any_side] = GradientStatus.ZERO
    problem.gradient_status = code
    return Quotient(direction, (found[1.0], found[-1.0]))
