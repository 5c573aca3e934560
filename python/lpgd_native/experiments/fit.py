"""The training loop of the studies of unrolled networks: Adam, snapshots, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lpgd_native.experiments import _files

__all__ = ["Report", "Schedule", "batch_of", "fit", "read_result"]

Report = Callable[[int, dict[str, float]], None]  # step, values


_LOST = 10
"""Steps in a row without a finite gradient, after which weights are given up."""


class Schedule(Protocol):
    """What the loop has to know of a study's settings."""

    @property
    def steps(self) -> int:
        """Steps of a run."""

    @property
    def evaluations(self) -> int:
        """How often the validation set is looked at."""

    @property
    def learning_rate(self) -> float:
        """Of Adam, at the start of its cosine."""

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's."""

    @property
    def clip(self) -> float:
        """Largest norm of a gradient."""


def read_result(file: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a finished run with these settings, if there is one."""
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        if found["settings"] == wanted:
            return found
    return None


def fit(
    network: nn.Module,
    loss_of: Callable[[int], Tensor],
    validate: Callable[[], float],
    settings: Schedule,
    wanted: dict[str, Any],
    state_file: Path,
    *,
    report: Report = lambda step, values: None,
    save_every: float = 60.0,
    saves: bool = True,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Train `network`, from its checkpoint on if there is one; it ends as the best snapshot.

    An unrolled network may overflow, and one step with a gradient that is not finite would leave
    nan in all weights. Such a step is left out; after ten of them in a row training goes on from
    the best snapshot so far, with Adam's moments at zero. Both are counted.

    Args:
        loss_of: the loss of a step, a function of the step's number, so that a resumed run goes on
            with the batches it would have had.
        validate: the error by which snapshots are compared.
        wanted: the settings as JSON gives them back; a checkpoint with others is not used.
        save_every: seconds between checkpoints.
        saves: False on all processes but the first.

    Returns:
        best, best_step, seconds of training, curve (step, training loss, validation error),
        left_out (steps), restarts (from the best snapshot).
    """
    # fused: the networks are many small tensors, over which a loop in Python takes longer than Adam
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(
        parameters, lr=settings.learning_rate, betas=settings.betas, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    kept = {k: v.clone() for k, v in network.state_dict().items()}
    state: dict[str, Any] = {"step": 0, "best": float("inf"), "best_step": 0, "curve": []}
    state |= {"seconds": 0.0, "loss": 0.0, "counted": 0}  # sum and number since the last evaluation
    state |= {"left_out": 0, "in_a_row": 0, "restarts": 0}
    if state_file.exists():
        stored = torch.load(state_file, map_location=device, weights_only=True)
        if stored["settings"] == wanted:
            network.load_state_dict(stored["model"])
            optimizer.load_state_dict(stored["optimizer"])
            schedule.load_state_dict(stored["schedule"])
            kept = stored["kept"]
            state |= stored["state"]

    def save() -> None:
        contents = {
            "settings": wanted,
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "kept": kept,
            "state": state,
        }
        _files.write(state_file, lambda file: torch.save(contents, file))

    every = max(1, settings.steps // settings.evaluations)
    last_saved = begun = time.perf_counter()
    before = state["seconds"]
    while state["step"] < settings.steps:
        loss = loss_of(state["step"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(nn.utils.clip_grad_norm_(parameters, settings.clip, foreach=True)):
            optimizer.step()
            state["loss"] += float(loss.detach())
            state["counted"] += 1
            state["in_a_row"] = 0
        else:
            state["left_out"] += 1
            state["in_a_row"] += 1
            optimizer.zero_grad(set_to_none=True)
            optimizer.step()  # nothing, but the schedule wants it called
        if state["in_a_row"] == _LOST:
            state["restarts"] += 1
            state["in_a_row"] = 0
            network.load_state_dict(kept)
            optimizer.state.clear()
        schedule.step()
        state["step"] = step = state["step"] + 1
        if step % every == 0 or step == settings.steps:
            error = validate()
            trained = state["loss"] / state["counted"] if state["counted"] else math.nan
            state["loss"], state["counted"] = 0.0, 0
            point = [value if math.isfinite(value) else None for value in (trained, error)]
            state["curve"].append([step, *point])  # JSON has no nan
            report(step, {"training": trained, "validation": error})
            if error < state["best"]:
                state["best"], state["best_step"] = error, step
                kept = {k: v.clone() for k, v in network.state_dict().items()}
        state["seconds"] = before + time.perf_counter() - begun
        if saves and time.perf_counter() - last_saved > save_every:
            save()
            last_saved = time.perf_counter()
    network.load_state_dict(kept)
    return state


def batch_of(step: int, count: int, batch: int, seed: int) -> Tensor:
    """Indices of the batch of a step: every pass over the data has an order of its own.

    A function of the step, so that a resumed run goes on with the batches it would have had. The
    same for all methods of a seed.
    """
    per_pass = max(1, count // batch)
    generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + step // per_pass)
    order = torch.randperm(count, generator=generator)
    at = step % per_pass * batch
    return order[at : at + batch]
