"""`bench/gpu.sh --list`: what a GPU machine would run is there, and fits into ten minutes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from _build_tree import ROOT

BUILD = 80  # seconds that the limits leave to it


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str]]]:
    """Limit and command of each, by name."""
    folder = tmp_path_factory.mktemp("gpu") / "results"
    result = subprocess.run(
        ["bash", "bench/gpu.sh", "--list", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert not folder.exists()
    assert "Nothing was run on a GPU." in result.stdout
    found = re.findall(r"^== (\S+) \(at most (\d+) s\)\n(.+)$", result.stdout, re.MULTILINE)
    return {name: (int(limit), shlex.split(command)) for name, limit, command in found}


def test_it_takes_less_than_ten_minutes(steps: dict[str, tuple[int, list[str]]]) -> None:
    assert sum(limit for limit, _ in steps.values()) + BUILD <= 600


def test_every_bench_runs_on_cuda(steps: dict[str, tuple[int, list[str]]]) -> None:
    stems = {"qp", "prox", "momentum", "oracles", "eit", "pdhg"}
    assert {name for name in steps if name.startswith("bench-")} == {f"bench-{s}" for s in stems}
    for stem in stems:
        command = steps[f"bench-{stem}"][1]
        assert f"bench/bench_{stem}.py" in command
        assert command[command.index("--device") + 1] == "cuda"
        assert any(word.endswith(f"{stem}.json") for word in command)


def test_files_and_options_exist(steps: dict[str, tuple[int, list[str]]]) -> None:
    for name, (_, command) in steps.items():
        scripts = [ROOT / word for word in command if word.endswith(".py")]
        assert scripts, name
        for script in scripts:
            assert script.exists(), script
        if "pytest" in command or name == "floors":
            continue
        source = scripts[0].read_text()
        for word in command:
            if word.startswith("--") and word != "--device":
                assert f'"{word}"' in source, f"{scripts[0].name} has no {word}"


def test_all_tests_of_devices_are_run(steps: dict[str, tuple[int, list[str]]]) -> None:
    def files(name: str) -> set[str]:
        return {Path(word).name for word in steps[name][1] if word.endswith(".py")}

    def marked(mark: str) -> set[str]:
        paths = (ROOT / "tests").glob("test_*.py")
        return {p.name for p in paths if f"mark.{mark}" in p.read_text()}

    assert marked("gpu") <= files("tests-gpu")
    assert marked("on_device") <= files("tests-cuda")
    assert "--device" in steps["tests-cuda"][1]
    assert steps["memcheck"][1][:3] == ["compute-sanitizer", "--tool", "memcheck"]
    assert steps["racecheck"][1][:3] == ["compute-sanitizer", "--tool", "racecheck"]


def test_an_unknown_option_is_refused() -> None:
    result = subprocess.run(
        ["bash", "bench/gpu.sh", "--dry"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 2
    assert "unknown option --dry" in result.stderr
