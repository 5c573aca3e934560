"""tools/records.py, and the archives of runs in docs/records."""

from __future__ import annotations

import importlib.util
import json
import lzma
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def records():
    spec = importlib.util.spec_from_file_location("records", ROOT / "tools" / "records.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_and_back(records, tmp_path):
    runs = {"a.json": {"mse": 1.5}, "runs/b=0.1.json": {"labels": {"seed": 0}, "curve": [1, 2]}}
    for name, run in runs.items():
        file = tmp_path / "out" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(run))
    (tmp_path / "out" / "table.csv").write_text("no run")
    archive = tmp_path / "records" / "study.jsonl.xz"
    assert records.pack(tmp_path / "out", archive) == 2
    again = archive.read_bytes()
    records.pack(tmp_path / "out", archive)
    assert archive.read_bytes() == again  # the same runs, the same bytes
    assert records.unpack(archive, tmp_path / "new") == 2
    for name, run in runs.items():
        assert json.loads((tmp_path / "new" / name).read_text()) == run
    (tmp_path / "new" / "a.json").write_text("{}")
    assert records.unpack(archive, tmp_path / "new") == 0
    assert (tmp_path / "new" / "a.json").read_text() == "{}"  # what is there is kept


def test_names_stay_in_the_folder(records, tmp_path):
    archive = tmp_path / "bad.jsonl.xz"
    with lzma.open(archive, "wt") as lines:
        lines.write(json.dumps({"name": "../outside.json", "run": {}}) + "\n")
    with pytest.raises(ValueError, match="leaves the folder"):
        records.unpack(archive, tmp_path / "new")
    assert not (tmp_path / "outside.json").exists()


@pytest.mark.parametrize("study", ["constraints", "digits", "portfolio", "pto", "sudoku"])
def test_archives_hold_finished_runs(records, study, tmp_path):
    """Each has its labels, settings and figures, and a name that the study would give it."""
    from lpgd_native.experiments.runs import run_name

    assert records.unpack(records.RECORDS / f"{study}.jsonl.xz", tmp_path) > 0
    for file in tmp_path.glob("runs/*.json"):
        run = json.loads(file.read_text())
        assert {"labels", "settings", "result", "curve", "seconds"} <= run.keys()
        assert run_name(run["labels"]) == file.stem
