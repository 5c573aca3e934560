"""Files: safe to read, whole or absent, and nowhere else than asked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from _build_tree import ROOT
from lpgd_native.experiments import _files
from reliability import files

SOURCES = sorted(
    p
    for folder in ("python", "bench")
    for p in (ROOT / folder).rglob("*.py")
    if ".venvs" not in p.parts
)


def _calls(path: Path) -> list[ast.Call]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]


def unsafe(path: Path) -> list[str]:
    """Reads that could run what the file says."""
    found = []
    for call in _calls(path):
        name, given = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(f"{path.name}:{call.lineno} torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
            found.append(f"{path.name}:{call.lineno} {name} with allow_pickle")
        if name.split(".")[0] in ("pickle", "dill", "joblib") or name in (
            "eval",
            "exec",
            "os.system",
        ):
            found.append(f"{path.name}:{call.lineno} {name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_is_read_can_run(path):
    assert unsafe(path) == []


def test_the_check_sees(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("torch.load(f)\nnp.load(f, allow_pickle=True)\npickle.loads(b)\n")
    assert len(unsafe(bad)) == 3


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "experiments" in p.parts], ids=lambda p: p.name
)
def test_studies_write_through_files_that_are_whole(path):
    """No file of a study is opened for writing but by `_files.write`."""
    if path.name == "_files.py":
        return
    direct = [
        c for c in _calls(path) if ast.unparse(c.func).endswith((".write_text", ".write_bytes"))
    ]
    assert [ast.unparse(c) for c in direct if not ast.unparse(c.func).startswith("_files.")] == []
    saves = [c for c in _calls(path) if ast.unparse(c.func).endswith((".savefig", "torch.save"))]
    assert all("file" in ast.unparse(c) for c in saves)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "result.json"
    _files.write_text(path, "old")

    def fill(file) -> None:
        file.write(b"half of the n")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        _files.write(path, fill)
    assert path.read_text() == "old"
    _files.write_text(path, "new")
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]
    assert path.read_text() == "new"


def test_a_killed_training_resumes_to_the_same_metrics():
    _, left = files.killed(1, steps=12)
    assert left == 0


@pytest.mark.slow
def test_a_training_killed_many_times():
    assert files.killed(20)[1] == 0


@pytest.mark.slow
def test_the_command_line_writes_in_its_folder_alone():
    assert "deconvolution.md" in files.strays(*files.HOSTILE)


@pytest.mark.slow
def test_the_demo_writes_in_its_folder_alone():
    assert "portfolio.json" in files.strays("demo", "--quick")
