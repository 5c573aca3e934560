"""Files: a training killed at any time resumes, and nothing is written outside the output folder."""  # noqa: E501

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

_TRAIN = """
    import sys
    from dataclasses import replace
    from pathlib import Path

    import torch
    from lpgd_native.experiments import deconvolution as study
    from lpgd_native.experiments import deconvolution_train as training

    torch.set_num_threads(1)
    settings = replace(study.QUICK, steps=int(sys.argv[2]), sizes=(400, 100, 100))
    data = study.make_data(settings.sizes)
    spec = study.network("LPD-RMA:hidden=10,layers=1,iterations=3")
    print("ready", flush=True)
    with training.processes() as group:
        training.train(
            spec, 1.0, 0, data, settings, Path(sys.argv[1]), group, save_every=float(sys.argv[3])
        )
"""


def _start(folder: Path, steps: int, save_every: float) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(_TRAIN),
        str(folder),
        str(steps),
        str(save_every),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def _finish(process: subprocess.Popen[str], timeout: float | None = None) -> bool:
    """Whether it came to its end before `timeout`; killed if not."""
    assert process.stdout is not None
    with process.stdout:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return False
    assert process.returncode == 0
    return True


def _metrics(folder: Path) -> dict[str, object]:
    (file,) = folder.glob("*.json")
    found = json.loads(file.read_text())
    found.pop("seconds")  # the clock's, not the training's
    return found


def killed(kills: int, steps: int = 60, seed: int = 0) -> tuple[int, int]:
    """Kill a training `kills` times at random moments; how many runs that took, leftover files.

    Raises:
        AssertionError: the metrics are not those of a training left alone.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as broken:
        process = _start(Path(whole), steps, 1e9)
        ready = time.perf_counter()
        _finish(process)
        trained = time.perf_counter() - ready
        expected = _metrics(Path(whole))
        done = runs = 0
        while done < kills:
            runs += 1
            process = _start(Path(broken), steps, 0.0)  # a checkpoint every step
            if not _finish(process, chance.uniform(0, 0.5 * trained)):
                done += 1
                continue
            assert _metrics(Path(broken)) == expected  # came to its end before its time: again
            for file in Path(broken).iterdir():
                file.unlink()
        _finish(_start(Path(broken), steps, 0.0))
        assert _metrics(Path(broken)) == expected
        left = [p.name for p in Path(broken).iterdir() if p.suffix != ".json"]
    return runs + 1, len(left)


_WATCHED = """
    import os, sys
    from pathlib import Path

    out = Path(sys.argv[1]).resolve()
    strays = []
    quiet = ("/dev/", "/proc/", "/sys/")
    caches = tuple(os.environ[k] for k in ("MPLCONFIGDIR", "TMPDIR"))  # of other packages

    def placed(path, folder):
        if folder < 0 or isinstance(path, int):
            return path
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))

    def watch(event, arguments):
        paths = []
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            mode, flags = arguments[1], arguments[2]
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            if (mode and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & writes):
                paths = [arguments[0]]
        elif event == "os.truncate":
            paths = [arguments[0]]
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):  # the last: dir_fd, -1 if none
            paths = [placed(arguments[0], arguments[-1])]
        elif event in ("os.rename", "os.link"):
            paths = [placed(*pair) for pair in zip(arguments[:2], arguments[2:])]
        elif event == "os.symlink":
            paths = [placed(arguments[1], arguments[2])]
        for path in paths:
            full = str(Path(os.fsdecode(path)).resolve())
            if not (full.startswith((str(out), *quiet, *caches)) or "__pycache__" in full):
                strays.append(f"{event} {full}")

    sys.addaudithook(watch)
    from lpgd_native.cli import main

    code = main(sys.argv[2:])
    print("strays:", strays)
    sys.exit(code or bool(strays))
"""


def strays(*arguments: str) -> str:
    """Run the command line with ``--out`` a fresh folder, watching what is opened for writing.

    Raises:
        AssertionError: it failed, or wrote elsewhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        places = {name: str(room / name.lower()) for name in ("MPLCONFIGDIR", "TMPDIR")}
        for place in places.values():
            Path(place).mkdir()
        away = room / "cwd"
        away.mkdir()
        out = room / "out"
        run = subprocess.run(
            [
                sys.executable,
                "-c",
                textwrap.dedent(_WATCHED),
                str(out),
                *arguments,
                "--out",
                str(out),
            ],
            capture_output=True,
            text=True,
            cwd=away,
            env={**os.environ, **places},
        )
        assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
        assert not list(away.iterdir())
        written = sorted(p.name for p in out.rglob("*") if p.is_file())
        assert written
        return ", ".join(written)


TRAINING = ("train", "deconvolution", "--quick", "--steps", "3", "--seeds", "1", "--a", "1")
HOSTILE = (*TRAINING, "--networks", "LPD:cell=../../escape")


def main(kills: int) -> None:
    """Print what was survived."""
    runs, left = killed(kills)
    print(
        f"files: a training killed {kills} times (SIGKILL at random moments, a checkpoint every step), "  # noqa: E501
        f"{runs} runs, ended with the metrics of one left alone; {left} files left over"
    )
    print(f"files: train writes in its folder alone: {strays(*HOSTILE)}")
    print(f"files: demo writes in its folder alone: {strays('demo', '--quick')}")
    if left:
        sys.exit("files: something was left over")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
