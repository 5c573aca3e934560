"""Training of one network of the EIT study on one training set with one seed: resumable."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lpgd_native.experiments import _files
from lpgd_native.experiments.deconvolution_train import batch_of
from lpgd_native.experiments.eit import Network, Settings
from lpgd_native.experiments.eit_data import Data, Part
from lpgd_native.experiments.eit_metrics import (
    MeshSimilarity,
    dynamic_range,
    mse,
    psnr,
    relative_error,
    voltage_error,
)
from lpgd_native.operators import EIT

__all__ = ["measures", "predict", "run_name", "train"]

Report = Callable[[int, dict[str, float]], None]  # step, values


def run_name(spec: Network, settings: Settings, size: int, seed: int) -> str:
    """A file name for a run."""
    data = settings.data
    setting = "honest" if data.honest else "crime"
    text = f"{spec.name}-{data.shape}{data.inclusions}-{setting}-n={size}-seed={seed}"
    return re.sub(r"[^\w.=-]", "_", text)


def train(
    spec: Network,
    size: int,
    seed: int,
    operator: EIT,
    data: Data,
    settings: Settings,
    folder: Path,
    report: Report = lambda step, values: None,
    save_every: float = 60.0,
) -> dict[str, Any]:
    """Train on the first `size` samples, test the best snapshot; a finished run is only read.

    Writes ``<folder>/<run>.json``, and for seed 0 the network to ``<folder>/models/<run>.pt``.
    Seeds are paired: the same seed gives the same initial numbers, as far as shapes agree, and the
    same batches to every network.
    """
    name = run_name(spec, settings, size, seed)
    result_file, state_file = folder / f"{name}.json", folder / f"{name}.pt"
    wanted = json.loads(json.dumps(asdict(settings)))
    if result_file.exists():
        found: dict[str, Any] = json.loads(result_file.read_text())
        if found["settings"] == wanted:
            return found
    torch.manual_seed(seed)
    model = spec.build(operator)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, betas=settings.betas
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    x, y, starts = data.train.x[:size], data.train.y[:size], spec.starts(data.train)[:size]
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    state: dict[str, Any] = {"step": 0, "best": float("inf"), "best_step": 0, "curve": []}
    state |= {"seconds": 0.0, "loss": 0.0, "evaluated": 0}
    if state_file.exists():
        stored = torch.load(state_file, weights_only=True)
        if stored["settings"] == wanted:
            model.load_state_dict(stored["model"])
            optimizer.load_state_dict(stored["optimizer"])
            schedule.load_state_dict(stored["schedule"])
            kept, state = stored["kept"], stored["state"]

    def save() -> None:
        contents = {
            "settings": wanted,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "kept": kept,
            "state": state,
        }
        _files.write(state_file, lambda file: torch.save(contents, file))

    every = max(1, settings.steps // settings.evaluations)
    batch = min(settings.batch, size)
    last_saved = begun = time.perf_counter()
    before = state["seconds"]
    while state["step"] < settings.steps:
        step = state["step"]
        at = batch_of(step, size, batch, seed)
        loss = (model(y[at], starts[at]) - x[at]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        state["loss"] += float(loss.detach())
        state["step"] = step = step + 1
        if step % every == 0 or step == settings.steps:
            error = float(mse(predict(model, spec, data.validation), data.validation.x).mean())
            trained = state["loss"] / (step - state["evaluated"])
            state["loss"], state["evaluated"] = 0.0, step
            state["curve"].append([step, trained, error])
            report(step, {"training": trained, "validation": error})
            if error < state["best"]:
                state["best"], state["best_step"] = error, step
                kept = {k: v.clone() for k, v in model.state_dict().items()}
        state["seconds"] = before + time.perf_counter() - begun
        if time.perf_counter() - last_saved > save_every:
            save()
            last_saved = time.perf_counter()
    model.load_state_dict(kept)
    result = {
        "network": spec.name,
        "size": size,
        "seed": seed,
        "settings": wanted,
        "parameters": sum(p.numel() for p in model.parameters()),
        **measures(predict(model, spec, data.test), data.test, operator),
        "validation": state["best"],
        "best_step": state["best_step"],
        "seconds": round(state["seconds"], 1),
        "seconds_per_epoch": round(state["seconds"] * size / (settings.steps * batch), 3),
        "curve": state["curve"],
    }
    if seed == 0:
        contents = {
            "network": spec.name,
            "settings": wanted,
            "size": size,
            "elements": operator.domain[0],
            "voltages": operator.range[0],
            "weights": kept,
        }
        model_file = folder / "models" / f"{name}.pt"
        _files.write(model_file, lambda file: torch.save(contents, file))
    _files.write_text(result_file, json.dumps(result))
    state_file.unlink(missing_ok=True)
    return result


@torch.no_grad()
def predict(model: nn.Module, spec: Network, part: Part) -> Tensor:
    """[N, T]"""
    y, starts = torch.split(part.y, 50), torch.split(spec.starts(part), 50)
    return torch.cat([model(*pair) for pair in zip(y, starts, strict=True)])


def measures(x: Tensor, part: Part, operator: EIT) -> dict[str, float]:
    """Means over a set: MSE, PSNR in dB, mesh SSIM, relative errors, dynamic range in percent."""
    x, truth = x.double(), part.x.double()
    span = float(truth[0].max() - truth[0].min())
    values = {
        "mse": mse(x, truth),
        "psnr": psnr(x, truth, span),
        "ssim": MeshSimilarity(operator.mesh)(x, truth),
        "relative_error": relative_error(x, truth),
        "voltage_error": voltage_error(x, part.y.double(), operator),
        "dynamic_range": dynamic_range(x, truth),
    }
    return {name: float(value.mean()) for name, value in values.items()}
