"""The command line: through typer's runner, through `main`, and as a process of its own."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lpgd_native
from lpgd_native import cli

pytest.importorskip("typer")
from typer.testing import CliRunner

from lpgd_native.cli import app as app_module
from lpgd_native.cli import problems
from lpgd_native.cli.problems import read_problem
from lpgd_native.experiments import registry

# max 3x + 2y + 1, x + y <= 4, 0 <= x + 3y <= 8, x - y = 1, 0 <= x <= 3: x = 2.5, y = 1.5
LP = """\\ a comment
Maximize
 obj: 3 x + 2 y + 1
Subject To
 c1: x + y <= 4
 c2: x + 3 y >= 0
 c3: x - y = 1
 c4: x + 3 y <= 8
Bounds
 0 <= x <= 3
End
"""
# min x^2 + xy + y^2 - 2x - 3y, x + y = 1 (the example of HiGHS' own QPS files, in small)
QPS = """NAME          tiny
ROWS
 N  obj
 E  row
COLUMNS
    x         obj              -2.0   row               1.0
    y         obj              -3.0   row               1.0
RHS
    RHS       row               1.0
BOUNDS
 FR BND       x
 FR BND       y
QUADOBJ
    x         x                 2.0
    x         y                 1.0
    y         y                 2.0
ENDATA
"""


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    result = CliRunner().invoke(app_module.make_app(), [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "tiny.lp").write_text(LP)
    (tmp_path / "tiny.qps").write_text(QPS)
    with gzip.open(tmp_path / "tiny.mps.gz", "wt") as file:
        file.write(QPS)
    return tmp_path


# help, usage


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["info", "--help"],
        ["solve", "--help"],
        ["bench", "--help"],
        ["train", "--help"],
        *([name, "--help"] for name in registry.COMMANDS),
        *(["train", name, "--help"] for name in registry.STUDIES),
    ],
    ids=" ".join,
)
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "Usage: lpgd-native" in out
    if words[0] not in ("--help", "train") or len(words) == 3:
        assert "Example" in out


def test_help_names_every_command() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in ("info", "solve", "bench", "train", *registry.COMMANDS):
        assert name in out
    code, out, _ = run("train", "--help")
    assert all(name in out for name in registry.STUDIES)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "nothing"],
        ["demo", "--seeds", "0"],
        ["solve"],
        ["solve", "missing.npz"],
        ["bench", "--gradient", "guess"],
        ["bench", "--dtype", "int8"],
        ["bench", "--sizes", "ten"],
        ["bench", "--device", "nowhere"],
        ["train", "deconvolution", "--a", "-1"],
        ["train", "deconvolution", "--networks", "LPX"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    streams = capsys.readouterr()
    assert "Usage: lpgd-native" in streams.err
    assert "Traceback" not in streams.err


def test_version() -> None:
    assert run("--version") == (0, f"lpgd-native {lpgd_native.build_info()['version']}\n", "")


# info


def test_info() -> None:
    code, out, _ = run("info")
    assert code == 0
    assert "torch_running" in out
    code, out, _ = run("info", "--json")
    assert json.loads(out)["torch_running"] == torch.__version__


# solve


def test_solve_a_linear_program(files: Path) -> None:
    code, out, err = run("solve", files / "tiny.lp", "--json", "--solution")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["status"] == "ok"
    assert facts["objective"] == pytest.approx(3 * 2.5 + 2 * 1.5 + 1)
    assert facts["x"] == pytest.approx({"x": 2.5, "y": 1.5})
    assert (facts["variables"], facts["inequalities"], facts["equalities"]) == (2, 3, 1)
    assert facts["primal_residual"] < 1e-9


@pytest.mark.parametrize("method", ["auto", "ipm", "highs", "pdhg"])
def test_solve_methods_agree(files: Path, method: str) -> None:
    code, out, err = run("solve", files / "tiny.lp", "--json", "--method", method)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["objective"] == pytest.approx(11.5, abs=1e-4)
    assert facts["method"] == ("ipm" if method == "auto" else method)


@pytest.mark.parametrize("name", ["tiny.qps", "tiny.mps.gz"])
@pytest.mark.parametrize("method", ["ipm", "pdhg"])
def test_solve_a_quadratic_program(files: Path, name: str, method: str) -> None:
    code, out, err = run("solve", files / name, "--json", "--solution", "--method", method)
    assert code == 0, err
    facts = json.loads(out)
    # on x + y = 1 it is x^2 - x(1 - x)... : 2x + y - 2 = x + 2y - 3 gives y = x + 1, x = 0
    assert facts["x"] == pytest.approx({"x": 0.0, "y": 1.0}, abs=1e-5)
    assert facts["objective"] == pytest.approx(-2.0, abs=1e-5)


def test_solve_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "whole.lp").write_text(
        "Maximize\n 5 x + 4 y\nSubject To\n 6 x + 4 y <= 24\n x + 2 y <= 6\nGeneral\n x y\nEnd\n"
    )
    code, out, err = run("solve", tmp_path / "whole.lp", "--json", "--solution")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["method"], facts["objective"]) == ("highs", pytest.approx(20.0))
    assert facts["x"] == pytest.approx({"x": 4.0, "y": 0.0})


def test_solve_prints_for_people(files: Path) -> None:
    code, out, _ = run("solve", files / "tiny.lp")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["status"] == "ok"
    assert float(lines["objective"]) == pytest.approx(11.5)
    assert {"primal_residual", "dual_residual", "gap", "iterations"} <= set(lines)


def test_a_batch_with_an_infeasible_item_is_1(tmp_path: Path) -> None:
    data = {
        "P": np.eye(2),
        "q": np.array([[-1.0, 2.0], [1.0, 1.0], [3.0, -4.0]]),
        "lb": np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]]),
        "ub": np.ones(2),
    }
    np.savez(tmp_path / "batch.npz", **data)
    code, out, err = run("solve", tmp_path / "batch.npz", "--json", "--output", tmp_path / "x.npz")
    assert code == 1, err
    facts = json.loads(out)
    assert facts["status"] == {"ok": 2, "primal_infeasible": 1}
    assert facts["objective"] == [pytest.approx(-0.5), None, pytest.approx(-3.5)]
    written = np.load(tmp_path / "x.npz")
    np.testing.assert_allclose(written["x"][[0, 2]], [[1, 0], [0, 1]], atol=1e-9)
    assert written["status"].tolist() == [0, 2, 0]
    assert run("solve", tmp_path / "batch.npz")[0] == 1


def test_elastic_gives_way(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", q=np.ones(1), P=np.eye(1), A=np.ones((2, 1)), b=np.array([0.0, 1]))
    assert run("solve", tmp_path / "p.npz")[0] == 1
    assert run("solve", tmp_path / "p.npz", "--elastic")[0] == 0


def test_float32_stays(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", P=np.eye(3, dtype="f4"), q=np.ones(3, dtype="f4"))
    assert run("solve", tmp_path / "p.npz", "--output", tmp_path / "x.npz")[0] == 0
    assert np.load(tmp_path / "x.npz")["x"].dtype == np.float32


def test_large_problems_get_a_fitting_method(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    from lpgd_native.cli import solve

    monkeypatch.setattr(solve, "MOST_VARIABLES_IPM", 1)
    assert json.loads(run("solve", files / "tiny.lp", "--json")[1])["method"] == "highs"
    assert json.loads(run("solve", files / "tiny.qps", "--json")[1])["method"] == "pdhg"
    monkeypatch.setattr(solve, "MOST_ENTRIES_DENSE", 1)
    assert json.loads(run("solve", files / "tiny.lp", "--json")[1])["method"] == "pdhg"


def test_bad_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.txt").write_text("")
    (tmp_path / "bad.npz").write_text("not a zip")
    (tmp_path / "bad.mps").write_text("ROWS\n what is this\n")
    np.savez(tmp_path / "unknown.npz", q=np.ones(2), H=np.eye(2))
    np.savez(tmp_path / "none.npz", P=np.eye(2))
    np.savez(tmp_path / "words.npz", q=np.array(["a", "b"]))
    np.savez(tmp_path / "shapes.npz", q=np.ones(2), P=np.eye(3))
    expected = {
        "model.txt": "suffix",
        "bad.npz": "not a .npz file",
        "bad.mps": "can't read",
        "unknown.npz": "unknown array 'H'",
        "none.npz": "no array q",
        "words.npz": "must hold numbers",
        "shapes.npz": "P must be",
    }
    for name, message in expected.items():
        assert cli.main(["solve", str(tmp_path / name)]) == 1
        err = capsys.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
    with pytest.raises(ValueError, match="unknown array"):
        cli.main(["solve", str(tmp_path / "unknown.npz"), "--debug"])


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", q=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays"):
        read_problem(tmp_path / "p.npz")


def test_model_files_agree_with_highs() -> None:
    """Every row and side of a larger random model, through HiGHS's own writer."""
    highspy = pytest.importorskip("highspy")
    import tempfile

    rng = np.random.default_rng(0)
    n, m = 12, 9
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    for j in range(n):
        model.addVar(*sorted(rng.normal(size=2)) if j % 3 else (-np.inf, np.inf))
        model.changeColCost(j, rng.normal())
    sides = []
    for i in range(m):
        a, b = sorted(rng.normal(size=2))
        side = [(a, a), (a, b), (-np.inf, b), (a, np.inf)][i % 4]
        sides.append(side)
        entries = np.sort(rng.choice(n, 5, replace=False)).astype(np.int32)
        model.addRow(*side, 5, entries, rng.normal(size=5))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mps"
        model.writeModel(str(path))
        read = read_problem(path)
    equal = sum(a == b for a, b in sides)
    upper = sum(a != b and b < np.inf for a, b in sides)
    lower = sum(a != b and a > -np.inf for a, b in sides)
    dense = read.tensors(torch.float64, torch.device("cpu"), sparse=False)
    sparse = read.tensors(torch.float64, torch.device("cpu"), sparse=True)
    assert dense["A"].shape == (equal, n)
    assert dense["G"].shape == (upper + lower, n)
    for name in ("A", "G"):
        assert torch.equal(sparse[name].to_dense(), dense[name])
    # a point: rows as the model has them
    x = torch.from_numpy(rng.normal(size=n))
    lp = model.getLp()
    rows = np.zeros(m)
    start, index, value = (
        np.array(v) for v in (lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_)
    )
    for line in range(len(start) - 1):
        for k in range(start[line], start[line + 1]):
            row, column = (
                (index[k], line)
                if lp.a_matrix_.format_ == highspy.MatrixFormat.kColwise
                else (line, index[k])
            )
            rows[row] += value[k] * float(x[column])
    expected = [rows[i] - b for i, (a, b) in enumerate(sides) if a != b and b < np.inf]
    expected += [a - rows[i] for i, (a, b) in enumerate(sides) if a != b and a > -np.inf]
    np.testing.assert_allclose(dense["G"] @ x - dense["h"], expected, atol=1e-9)


def test_repeated_entries_add_up() -> None:
    at = np.array([0, 0, 1])
    made = problems.Triplets(at, np.array([1, 1, 0]), np.array([1.0, 2.0, 3.0]), (2, 2))
    expected = torch.tensor([[0.0, 3.0], [3.0, 0.0]], dtype=torch.float64)
    assert torch.equal(made.tensor(torch.float64, sparse=False), expected)
    assert torch.equal(made.tensor(torch.float64, sparse=True).to_dense(), expected)


# bench


@pytest.mark.parametrize("extra", [[], ["--lp", "--gradient", "lpgd"], ["--dtype", "float32"]])
def test_bench(tmp_path: Path, extra: list[str]) -> None:
    words = ["bench", "--sizes", "4,6", "--batches", "1,3", "--repeats", "2", "--json", *extra]
    code, out, err = run(*words, "--output", tmp_path / "bench.json")
    assert code == 0, err
    document = json.loads(out)
    assert document == json.loads((tmp_path / "bench.json").read_text())
    assert [(row["n"], row["batch"]) for row in document["rows"]] == [
        (4, 1),
        (4, 3),
        (6, 1),
        (6, 3),
    ]
    assert all(0 < row["forward_ms"] < row["both_ms"] * 20 for row in document["rows"])


def test_bench_refuses_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from lpgd_native.cli import bench

    monkeypatch.setitem(bench.LIMITS, "float64", 0.0)
    code, out, _ = run("bench", "--sizes", "4", "--batches", "1", "--json")
    assert (code, out) == (1, "")


# the entry point


def spawn(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_as_a_process(files: Path) -> None:
    """HiGHS greets on C's own standard output: JSON must be alone there."""
    module = (sys.executable, "-m", "lpgd_native.cli")
    script = Path(sys.executable).with_name("lpgd-native")
    entry = (script,) if script.exists() else module  # it may be installed without scripts
    for start, words in ((entry, ["tiny.qps"]), (module, ["tiny.lp", "--method", "highs"])):
        done = spawn(*start, "solve", files / words[0], *words[1:], "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"] == "ok"


def test_without_typer(tmp_path: Path) -> None:
    """A bare environment: `info` works, the rest says what to install."""
    script = tmp_path / "bare.py"
    script.write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('typer', 'rich', 'click'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'typer' else find(name, *rest)\n"
        "from lpgd_native.cli import main\n"
        "print([main(words.split()) for words in sys.argv[1:]])\n"
    )
    words = ["info", "info --json", "demo", "solve x.npz", "--help", ""]
    done = spawn(sys.executable, script, *words)
    assert done.stdout.endswith("[0, 0, 1, 1, 0, 2]\n"), done.stderr
    assert "torch_running" in done.stdout
    assert done.stderr.count("pip install 'lpgd-native[cli]'") == 3
    assert "Traceback" not in done.stderr


def test_registered_commands_follow_the_rules() -> None:
    """A name and a docstring with examples; options common to all are called the same."""
    import importlib

    for name, module in {**registry.COMMANDS, **registry.STUDIES}.items():
        command = importlib.import_module(module).command
        assert "Example" in command.__doc__, name
        assert command.__annotations__["return"] in (int, "int"), name
