"""Runs one package in its own environment, driven by JSON lines: one request in, one reply out.

Requests and replies:
    {"op": "load", "file": "cell.npz"} -> {}
    {"op": "solve", "method": "qpth", "file": "answer.npz"} -> {"forward": s, "both": s}
    {"op": "time", "method": "qpth", "gradient": true, "seconds": 0.3, "calls": 200}
        -> {"times": [s, ...]}

The first line out says what is here; closing the pipe ends it. Times are measured in here, so the
pipe costs nothing. A cell's file holds one item more than the batch: calls go to items [0, B) and
[1, B + 1) in turn, so no package gains by seeing the same numbers twice. An error is a reply
{"error": text}.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

#: arrays with no batch dimension
SHARED = {"lp": ("A", "b"), "qp": ()}


class Worker:
    """The state between requests: one package, one loaded cell."""

    def __init__(self, module: str, threads: int, device: str, tau: float) -> None:
        self.device = device
        self.torch: Any = None
        if module not in ("diffcp", "highs"):
            self.torch = importlib.import_module("torch")
            self.torch.set_num_threads(threads)
        self.peer: Any = importlib.import_module(f"peers.{module}").Peer(threads, device, tau)
        self.batches: list[Any] = []
        self.turn = 0

    def about(self) -> dict[str, Any]:
        versions = {name: _version(name) for name in self.peer.packages}
        info = self.peer.about() if hasattr(self.peer, "about") else {}
        threads = self.torch.get_num_threads() if self.torch else None
        gpu = self.torch.cuda.get_device_name() if self.device == "cuda" else None
        return {
            "python": platform.python_version(),
            "versions": versions,
            "torch_threads": threads,
            "gpu": gpu,
            "info": {key: str(value) for key, value in info.items()},
        }

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        with np.load(request["file"]) as archive:
            arrays = dict(archive)
        shared = SHARED["qp" if "P" in arrays else "lp"]
        self.batches = [
            self.peer.load({k: v if k in shared else v[part].copy() for k, v in arrays.items()})
            for part in (slice(None, -1), slice(1, None))
        ]
        return {}

    def solve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer and gradients of the first batch, into a file; both calls are cold."""
        self.turn = 0
        forward = self._call(request["method"], False)[0]
        self.turn = 0
        both, (x, grads) = self._call(request["method"], True)
        answer = {"x": x, **{f"grad_{name}": value for name, value in grads.items()}}
        np.savez(request["file"], **{name: _numpy(value) for name, value in answer.items()})
        return {"forward": forward, "both": both}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """Times of calls, for `seconds` and at most `calls`; the first warms up, if not alone."""
        method, gradient = request["method"], request["gradient"]
        times: list[float] = []
        while len(times) < 1 + request["calls"]:
            times.append(self._call(method, gradient)[0])
            if sum(times) > request["seconds"]:
                break
        return {"times": times[1:] if len(times) > 1 else times}

    def _call(self, method: str, gradient: bool) -> tuple[float, Any]:
        batch = self.batches[self.turn % 2]
        self.turn += 1
        start = time.perf_counter()
        answer = self.peer.run(method, batch, gradient)
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return time.perf_counter() - start, answer


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _numpy(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def serve(start: Callable[[], Worker], requests: TextIO, replies: TextIO) -> None:
    """Answer requests until the pipe closes; the first reply is `about`."""

    def reply(make: Callable[[], dict[str, Any]]) -> None:
        try:
            message = make()
        except Exception as error:  # any failure of a package is data for the report
            traceback.print_exc()
            message = {"error": f"{type(error).__name__}: {error}"[:300]}
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    worker: Any = None

    def begin() -> dict[str, Any]:
        nonlocal worker
        worker = start()
        return dict(worker.about())

    reply(begin)
    for line in requests if worker else ():
        request = json.loads(line)
        handler = getattr(worker, request["op"])
        reply(lambda handler=handler, request=request: handler(request))  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tau", type=float, default=0.1)
    args = parser.parse_args()
    # libraries print to stdout: keep the pipe for replies, send the rest to stderr
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start = lambda: Worker(args.module, args.threads, args.device, args.tau)  # noqa: E731
    serve(start, sys.stdin, replies)


if __name__ == "__main__":
    main()
