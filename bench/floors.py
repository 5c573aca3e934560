"""What a device can do at best, for the kernels of lpgd_native to be judged against.

    python bench/floors.py                      the CPU
    python bench/floors.py --device cuda --json FILE

Copies (the floor of proximal operators), products of matrices (of momentum), and what a batched
interior point cannot do without: per iteration one normal matrix, one Cholesky factor and two
solves, by torch.linalg (cuSOLVER and MAGMA on CUDA). Medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import devices


def seconds(call: Callable[[], object], device: str, rounds: int) -> float:
    """The median over calls, each waited for."""
    call()
    devices.finish(device)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        devices.finish(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def copies(device: str, count: int, rounds: int) -> list[dict[str, Any]]:
    """GB/s read and written."""
    out = []
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(count, dtype=dtype, device=device)
        y = torch.empty_like(x)
        spent = seconds(lambda x=x, y=y: y.copy_(x), device, rounds)
        size = 2 * x.numel() * x.element_size()
        out.append({"floor": "copy", "dtype": str(dtype), "n": count, "GB/s": 1e-9 * size / spent})
    return out


def products(device: str, size: int, rounds: int) -> list[dict[str, Any]]:
    """TFLOP/s of a product of square matrices."""
    out = []
    for dtype in (torch.float32, torch.float64):
        a = torch.randn(size, size, dtype=dtype, device=device)
        spent = seconds(lambda a=a: a @ a, device, rounds)
        flops = 2e-12 * size**3 / spent
        out.append({"floor": "product", "dtype": str(dtype), "n": size, "TFLOP/s": flops})
    return out


def iterations(device: str, batch: int, n: int, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of what every iteration of a batched interior point does, m = n, p = n / 2."""
    out = []
    for dtype in (torch.float32, torch.float64):
        G = torch.randn(batch, n, n, dtype=dtype, device=device)
        P = torch.eye(n, dtype=dtype, device=device).expand(batch, n, n)
        weights = torch.rand(batch, n, 1, dtype=dtype, device=device)
        b = torch.randn(batch, n, 1, dtype=dtype, device=device)
        factor = torch.linalg.cholesky_ex(P + G.mT @ (weights * G)).L
        parts = {
            "normal matrix": lambda P=P, G=G, w=weights: P + G.mT @ (w * G),
            "cholesky": lambda P=P: torch.linalg.cholesky_ex(P).L,
            "solve": lambda b=b, f=factor: torch.cholesky_solve(b, f),
        }
        row: dict[str, Any] = {"floor": "iteration", "dtype": str(dtype), "n": n, "batch": batch}
        for name, call in parts.items():
            row[name + " ms"] = 1e3 * seconds(call, device, rounds)
        out.append(row)
    return out


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    devices.add_option(parser)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    args = parser.parse_args()
    rounds = 3 if args.quick else 9
    rows = copies(args.device, 1 << (20 if args.quick else 27), rounds)
    rows += products(args.device, 256 if args.quick else 4096, rounds)
    for batch, n in [(64, 10)] if args.quick else [(4096, 10), (4096, 50), (256, 200)]:
        rows += iterations(args.device, batch, n, rounds)
    for row in rows:
        shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print(", ".join(shown), flush=True)
    devices.write(args.json, args.device, rows)


if __name__ == "__main__":
    main()
