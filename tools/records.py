"""The runs behind docs/results.md, one archive a study: docs/records/<study>.jsonl.xz.

    python tools/records.py pack sudoku FOLDER      # the runs in a study's output folder -> archive
    python tools/records.py unpack sudoku FOLDER    # and back; runs that are there are kept

A line is a run: the name of its file and what the study wrote into it. After ``unpack`` the study's
command finds its runs: ``lpgd-native train sudoku --full --output FOLDER`` goes on from them, and
with ``--report`` writes the tables and the picture alone.
"""

from __future__ import annotations

import argparse
import json
import lzma
from pathlib import Path

RECORDS = Path(__file__).resolve().parents[1] / "docs" / "records"


def pack(folder: Path, archive: Path) -> int:
    """All finished runs of a study's output folder; how many there are."""
    files = sorted([*folder.glob("*.json"), *folder.glob("runs/*.json")])
    archive.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(archive, "wt", encoding="utf-8") as lines:
        for file in files:
            name = file.relative_to(folder).as_posix()
            run = json.loads(file.read_text(encoding="utf-8"))
            lines.write(json.dumps({"name": name, "run": run}) + "\n")
    return len(files)


def unpack(archive: Path, folder: Path) -> int:
    """The archive's runs as files; how many were not there."""
    made = 0
    with lzma.open(archive, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            file = folder / record["name"]
            if not file.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{archive}: {record['name']} leaves the folder")
            if file.exists():
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(record["run"]), encoding="utf-8")
            made += 1
    return made


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("study")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    archive = RECORDS / f"{args.study}.jsonl.xz"
    if args.action == "pack":
        print(f"{pack(args.folder, archive)} runs -> {archive}, {archive.stat().st_size} bytes")
    else:
        print(f"{unpack(archive, args.folder)} runs -> {args.folder}")


if __name__ == "__main__":
    main()
