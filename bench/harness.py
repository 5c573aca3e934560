"""Drives the workers, checks answers before timing them, times methods in turn.

Nothing here knows a package: `methods` names who runs what and in which environment.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from accuracy import Cell, Limits, Row, check
from methods import BENCH, ENVIRONMENTS, INSTALL, METHODS, Method


@dataclass(frozen=True)
class Plan:
    """How long to time: rounds over all methods, and seconds a method may use in a cell."""

    repeats: int = 5
    budget: float = 20.0
    burst: float = 0.3
    timeout: float = 600.0


class WorkerError(RuntimeError):
    """The package failed, died or did not answer in time."""


class WorkerClient:
    """The harness's end of a worker's pipe."""

    def __init__(self, command: list[str], threads: int, log: IO[str]) -> None:
        count = str(threads)
        names = ("OMP", "MKL", "OPENBLAS", "RAYON")
        environment = os.environ | {f"{name}_NUM_THREADS": count for name in names}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        self.replies: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            self.about = self._receive(120.0)
        except WorkerError:
            self.close()
            raise

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.replies.put(line)
        self.replies.put("")

    def _receive(self, timeout: float) -> dict[str, Any]:
        try:
            line = self.replies.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise WorkerError(f"no answer in {timeout:g} s") from None
        if not line:
            raise WorkerError(f"process ended, exit status {self.process.wait()}")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise WorkerError(message["error"])
        return message

    def ask(self, op: str, timeout: float, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        if self.process.poll() is not None:
            raise WorkerError(f"process ended, exit status {self.process.returncode}")
        self.process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self.process.stdin.flush()
        return self._receive(timeout)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Session:
    """All workers of a run; a worker that dies is restarted for the next cell."""

    def __init__(self, threads: int, device: str, tau: float, folder: Path) -> None:
        self.threads, self.device, self.tau, self.folder = threads, device, tau, folder
        self.workers: dict[str, WorkerClient] = {}
        self.abouts: dict[str, dict[str, Any]] = {}
        #: packages that hold the cell at work
        self.loaded: set[str] = set()
        self.log = (folder / "stderr.txt").open("a")

    def missing(self, method: Method) -> str:
        """Why a method cannot run here, or ''."""
        return "" if ENVIRONMENTS[method.environment].exists() else f"not installed: {INSTALL}"

    def worker(self, method: Method, cell_file: Path, timeout: float) -> WorkerClient:
        """The worker of a method's package, running and with the cell loaded."""
        client = self.workers.get(method.module)
        if client is not None and client.process.poll() is not None:
            client.close()
            client = None
        if client is None:
            python, script = str(ENVIRONMENTS[method.environment]), str(BENCH / "worker.py")
            options = {"threads": self.threads, "device": self.device, "tau": self.tau}
            flags = [f"--{name}={value}" for name, value in options.items()]
            client = WorkerClient([python, script, method.module, *flags], self.threads, self.log)
            self.workers[method.module] = client
            self.abouts[method.module] = client.about
            self.loaded.discard(method.module)
        if method.module not in self.loaded:
            client.ask("load", timeout, file=str(cell_file))
            self.loaded.add(method.module)
        return client

    def close(self) -> None:
        for client in self.workers.values():
            client.close()
        self.log.close()


def measure(
    session: Session,
    cell: Cell,
    names: list[str],
    plan: Plan,
    limits: Limits,
    say: Callable[[str], None],
) -> list[Row]:
    """Check every method on the cell, then time those that passed, in rounds over the methods."""
    rows = {name: Row(name) for name in names}
    file, answer_file = session.folder / "cell.npz", session.folder / "answer.npz"
    np.savez(file, **cell.data)  # type: ignore[arg-type]
    session.loaded.clear()
    used: dict[str, float] = {}
    for name in names:
        row, method = rows[name], METHODS[name]
        row.note = session.missing(method)
        if row.note:
            continue
        say(f"{cell.name}: check {name}")
        try:
            worker = session.worker(method, file, plan.timeout)
            times = worker.ask("solve", plan.timeout, method=name, file=str(answer_file))
            with np.load(answer_file) as archive:
                refusal = check(cell, method, archive, row, limits)
        except WorkerError as error:
            refusal = f"failed: {error}"
        if refusal:
            row.note = refusal
            continue
        row.forward, row.both, row.calls = 1e3 * times["forward"], 1e3 * times["both"], 1
        used[name] = times["forward"] + times["both"]
    samples: dict[str, dict[bool, list[float]]] = {n: {False: [], True: []} for n in used}
    for turn in range(plan.repeats):
        say(f"{cell.name}: round {turn + 1} of {plan.repeats}")
        for name, spent in list(used.items()):
            row, method = rows[name], METHODS[name]
            if spent + (row.forward + row.both) / 1e3 > plan.budget:
                continue
            request = {"method": name, "seconds": plan.burst, "calls": 200}
            try:
                for gradient in (False, True):
                    worker = session.worker(method, file, plan.timeout)
                    times = worker.ask("time", plan.timeout, gradient=gradient, **request)["times"]
                    samples[name][gradient] += times
                    used[name] += sum(times)
            except WorkerError as error:
                row.note, row.calls = f"failed while timed: {error}", 0
                del used[name]
    for name in used:
        _summarise(rows[name], samples[name])
    return list(rows.values())


def _summarise(row: Row, samples: dict[bool, list[float]]) -> None:
    if not samples[True]:
        row.note = "; ".join(filter(None, ["1 cold call", row.note]))
        return
    row.forward = 1e3 * statistics.median(samples[False])
    row.both = 1e3 * statistics.median(samples[True])
    row.calls = len(samples[True])
    low, high = np.percentile(samples[True], [25, 75])
    row.spread = float(50.0 * (high - low) / np.median(samples[True]))


def machine(args: Mapping[str, Any], command: list[str]) -> dict[str, Any]:
    """What a reader needs to judge the numbers; read it before the work, for the load."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "load at the start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "command": " ".join(command),
        "dtype": "float64",
        **args,
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(BENCH), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    try:
        return (git("rev-parse", "--short", "HEAD") or "none") + (
            " with local changes" if git("status", "--porcelain") else ""
        )
    except OSError:
        return "unknown"


def as_json(
    cells: list[tuple[Cell, list[Row]]], facts: dict[str, Any], workers: dict[str, Any]
) -> dict[str, Any]:
    """The run as JSON; what was not measured is null."""

    def plain(row: Row) -> dict[str, Any]:
        return {k: None if v != v else v for k, v in asdict(row).items()}

    return {
        "machine": facts,
        "workers": workers,
        "cells": [
            {"name": cell.name, "facts": cell.facts, "rows": [plain(row) for row in rows]}
            for cell, rows in cells
        ],
    }
