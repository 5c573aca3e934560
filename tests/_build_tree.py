"""Where the compiled things are: the module, and the build folder that `make build` leaves."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it under `make test`, which has built everything."""
    if os.environ.get("LPGD_TEST_STRICT"):
        pytest.fail(f"{reason} (LPGD_TEST_STRICT is set)")
    pytest.skip(reason)


def build_dir() -> Path | None:
    """The build folder of this Python (build-dir in pyproject.toml), or None."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    found = sorted(ROOT.glob(f"build/{tag}-*/CMakeCache.txt"))
    return found[0].parent if found else None


def require_build_dir() -> Path:
    """The build folder, else a skip."""
    folder = build_dir()
    if folder is None:
        missing("no build folder here: run `make build`")
    return folder


def cmake_cache(folder: Path) -> dict[str, str]:
    """Name and value of every entry of CMakeCache.txt."""
    entries = {}
    for line in (folder / "CMakeCache.txt").read_text().splitlines():
        if "=" in line and not line.startswith(("#", "//")):
            key, value = line.split("=", 1)
            entries[key.split(":")[0]] = value
    return entries
