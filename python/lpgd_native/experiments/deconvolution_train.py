"""Training of one network on one problem with one seed: resumable, on one process or several."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lpgd_native.experiments import _files
from lpgd_native.experiments.deconvolution import Data, Network, Settings, training_signals
from lpgd_native.experiments.fit import Report, batch_of, fit, read_result
from lpgd_native.operators import VolterraDeconvolution

__all__ = ["processes", "run_name", "train"]


class processes:
    """The processes of ``torchrun``, if it started us: rank, count, and a group while we are
    inside.

    gloo on the CPU, nccl where there are GPUs for all of them. `device` overrides the choice: the
    CPU, or a GPU of a single process.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.wanted = device

    def __enter__(self) -> processes:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = torch.device("cpu")
        if self.count > 1:
            local = int(os.environ.get("LOCAL_RANK", "0"))
            gpus = torch.cuda.is_available() and torch.cuda.device_count() > local
            gpus = gpus and (self.wanted is None or self.wanted.type == "cuda")
            if gpus:
                self.device = torch.device("cuda", local)
                torch.cuda.set_device(self.device)
            torch.distributed.init_process_group("nccl" if gpus else "gloo")
        elif self.wanted is not None:
            self.device = self.wanted
        elif torch.cuda.is_available():
            self.device = torch.device("cuda")
        return self

    def __exit__(self, *_: object) -> None:
        if self.count > 1:
            torch.distributed.destroy_process_group()


def run_name(spec: Network, a: float, seed: int) -> str:
    """A file name for a run."""
    return re.sub(r"[^\w.=-]", "_", f"{spec.name}-a={a:g}-seed={seed}")


def train(
    spec: Network,
    a: float,
    seed: int,
    data: Data,
    settings: Settings,
    folder: Path,
    group: processes,
    report: Report = lambda step, values: None,
    save_every: float = 60.0,
) -> dict[str, Any]:
    """Train, test the best snapshot, write ``<folder>/<run>.json``; a finished run is only read.

    Seeds are paired: the same seed gives the same initial numbers, as far as shapes agree, and the
    same batches to every network. Batches are shared out over the processes, so that gradients are
    those of one process up to the order of sums.

    The test error is None where the network overflows on a test signal; ``test_not_finite`` says
    on how many.
    """
    name = run_name(spec, a, seed)
    if spec.learning_rate is not None:
        settings = replace(settings, learning_rate=spec.learning_rate)
    result_file, state_file = folder / f"{name}.json", folder / f"{name}.pt"
    wanted = json.loads(json.dumps(asdict(settings)))
    if (found := read_result(result_file, wanted)) is not None:
        return found
    if settings.batch % group.count:
        raise ValueError(f"batch {settings.batch} can't be shared out over {group.count} processes")
    device = group.device
    operator = VolterraDeconvolution.random(a)
    torch.manual_seed(seed)
    plain = spec.build(operator).to(device)
    model: nn.Module = plain
    if group.count > 1:
        model = DistributedDataParallel(plain, broadcast_buffers=False)
    signals = training_signals(data, spec.share, settings.batch).to(device)
    validation = data.validation.to(device)

    def loss_of(step: int) -> Tensor:
        x = signals[batch_of(step, len(signals), settings.batch, seed)]
        x = x[group.rank :: group.count]
        with torch.no_grad():
            y = operator_on(plain, x)
        loss: Tensor = (model(y) - x).square().mean()
        return loss

    state = fit(
        plain,
        loss_of,
        lambda: float(errors(plain, validation).mean()),
        settings,
        wanted,
        state_file,
        report=report,
        save_every=save_every,
        saves=group.rank == 0,
        device=device,
    )
    tested = errors(plain, data.test.to(device))
    test = float(tested.mean())
    result = {
        "network": spec.name,
        "a": a,
        "seed": seed,
        "settings": wanted,
        "processes": group.count,
        "parameters": sum(p.numel() for p in plain.parameters()),
        "test": test if math.isfinite(test) else None,  # JSON has no nan
        "test_not_finite": int(tested.isfinite().logical_not().sum()),
        "validation": state["best"],
        "best_step": state["best_step"],
        "seconds": round(state["seconds"], 1),
        "left_out": state["left_out"],
        "restarts": state["restarts"],
        "curve": state["curve"],
    }
    if group.rank == 0:
        _files.write_text(result_file, json.dumps(result))
        state_file.unlink(missing_ok=True)
    return result


def operator_on(model: nn.Module, x: Tensor) -> Tensor:
    """The data of the model's own operator."""
    y: Tensor = model.operator(x)  # type: ignore[operator]
    return y


@torch.no_grad()
def errors(model: nn.Module, signals: Tensor) -> Tensor:
    """[N] mean squared errors of signals, float64."""
    parts = torch.split(signals, 500)
    found = [(model(operator_on(model, x)) - x).square().double().mean(dim=1) for x in parts]
    return torch.cat(found)
