"""What the benchmarks need to run on CUDA as on the CPU."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

import lpgd_native


def add_option(parser: argparse.ArgumentParser) -> None:
    """--device"""
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])


def finish(device: str) -> None:
    """Waits for what was launched: a time that ends before it would be that of the launch."""
    if device == "cuda":
        torch.cuda.synchronize()


def about(device: str) -> dict[str, Any]:
    """What the numbers depend on."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    info = lpgd_native.build_info()
    return {
        "device": gpu or "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "lpgd_native": info["version"],
        "architectures": list(info["cuda_architectures"]),
        "isa": info["isa"],
        "load": round(os.getloadavg()[0], 1),
    }


def write(path: Path | None, device: str, rows: list[dict[str, Any]]) -> None:
    """The rows as JSON, beside what they depend on."""
    if path is not None:
        path.write_text(json.dumps({"about": about(device), "rows": rows}, indent=1) + "\n")
