"""Training of one network of the EIT study on one training set with one seed: resumable."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lpgd_native.experiments import _files
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
from lpgd_native.experiments.fit import Report, batch_of, fit, read_result
from lpgd_native.operators import EIT

__all__ = ["measures", "predict", "run_name", "train"]


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
    del wanted["sizes"]  # which runs there are, and not what a run does
    if (found := read_result(result_file, wanted)) is not None:
        return found
    torch.manual_seed(seed)
    model = spec.build(operator)
    x, y, starts = data.train.x[:size], data.train.y[:size], spec.starts(data.train)[:size]
    batch = min(settings.batch, size)

    def loss_of(step: int) -> Tensor:
        at = batch_of(step, size, batch, seed)
        loss: Tensor = (model(y[at], starts[at]) - x[at]).square().mean()
        return loss

    state = fit(
        model,
        loss_of,
        lambda: float(mse(predict(model, spec, data.validation), data.validation.x).mean()),
        settings,
        wanted,
        state_file,
        report=report,
        save_every=save_every,
    )
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
        "left_out": state["left_out"],
        "restarts": state["restarts"],
        "curve": state["curve"],
    }
    if seed == 0:
        contents = {
            "network": spec.name,
            "settings": wanted,
            "size": size,
            "elements": operator.domain[0],
            "voltages": operator.range[0],
            "weights": model.state_dict(),
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
