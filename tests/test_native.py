"""Runs the C++ tests (tests/native), plain and under the sanitizers, a test case each."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from _build_tree import build_dir, missing, require_build_dir


def _run(executable: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [str(executable), *args]
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "LSAN_OPTIONS": ""}
    # ThreadSanitizer's memory layout does not fit kernels that randomise addresses widely:
    # https://github.com/google/sanitizers/issues/1716
    setarch = shutil.which("setarch")
    if "tsan" in executable.name and setarch and _works([setarch, "-R", "true"]):
        command = [setarch, "-R", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _executables() -> list[Path]:
    folder = build_dir()
    if folder is None:
        return []
    return sorted(
        path for path in folder.glob("tests/native/test_native*") if os.access(path, os.X_OK)
    )


def _cases() -> list[object]:
    found = []
    for executable in _executables():
        listing = _run(executable, "--list")
        names = listing.stdout.split() if listing.returncode == 0 else [""]
        found += [pytest.param(executable, name, id=f"{executable.name}-{name}") for name in names]
    return found


def test_executables_are_there() -> None:
    require_build_dir()
    names = {path.name for path in _executables()}
    if "test_native" not in names:
        missing("the C++ tests are not built: -C cmake.define.LPGD_BUILD_TESTS=ON")


@pytest.mark.parametrize(("executable", "case"), _cases())
def test_native(executable: Path, case: str) -> None:
    result = _run(executable, case)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert f"ok   {case}" in result.stdout
