"""Files that are whole or not there: what a study writes survives a kill at any time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["write", "write_figure", "write_text"]


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Let `fill` write a file beside `path`, then put it in its place.

    The data is on the disk before the name is, and the name before this returns: a process killed,
    or a machine that loses power, leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """`write` of text."""
    write(path, lambda file: file.write(text.encode()))


def write_figure(path: Path, figure: Any, dpi: int, **options: Any) -> None:
    """`write` of a matplotlib figure, as PNG."""
    write(path, lambda file: figure.savefig(file, format="png", dpi=dpi, **options))
