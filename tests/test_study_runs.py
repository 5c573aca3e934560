"""What all studies share: settings, runs that are made once, tables, the command line."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from lpgd_native import cli
from lpgd_native.experiments import _files, registry, runs
from lpgd_native.experiments.runs import GRID, Options, Results, batch_of, run_name


@dataclass(frozen=True)
class Settings:
    slope: float = 2.0
    seeds: int = field(default=2, metadata=GRID)


def make_study(calls):
    def train(run, settings, log):
        calls.append(run)
        for step in range(3):
            log(step, {"value": settings.slope * step + run["seed"]})
        return {"end": settings.slope * 2 + run["seed"], "word": "text"}

    return SimpleNamespace(
        NAME="toy",
        TITLE="A toy",
        make_settings=lambda options: Settings(seeds=options.seeds or 2),
        plan=lambda s: [{"method": "a b", "tau": None, "seed": k} for k in range(s.seeds)],
        train=train,
        markdown=lambda results, settings: f"end {results.mean('end', method='a b')}\n",
        plot=lambda results, settings, path: path.write_bytes(b"picture"),
    )


def run(study, options):
    return runs.execute(study, study.make_settings(options), options)


def test_runs_are_made_once_and_more_seeds_are_added(tmp_path, capsys):
    calls = []
    study, options = make_study(calls), Options(tmp_path / "out")
    assert run(study, options) == 0
    assert run(study, options) == 0
    assert [run["seed"] for run in calls] == [0, 1]
    assert run(study, replace(options, seeds=3)) == 0
    assert [run["seed"] for run in calls] == [0, 1, 2]
    text = (tmp_path / "out" / "toy.md").read_text()
    assert text.startswith("## A toy\n\n```sh\nlpgd-native train toy\n```\n\n3 runs, seeds: 3")
    assert text.endswith("end 5.0000 ± 2.4843\n")  # 4.303 / sqrt(3)
    assert "[3/3] a_b-seed=2: end 6" in capsys.readouterr().out
    with (tmp_path / "out" / "toy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"]) for row in rows] == [0, 2, 4, 1, 3, 5, 2, 4, 6]
    assert rows[3] == {"method": "a b", "tau": "", "seed": "1", "step": "0", "value": "1.0"}
    # fewer seeds: the report holds what was asked for
    assert run(study, replace(options, seeds=1)) == 0
    assert (tmp_path / "out" / "toy.md").read_text().endswith("end 4.0000\n")


def test_other_settings_are_other_runs(tmp_path, capsys):
    calls = []
    study, options = make_study(calls), Options(tmp_path, seeds=1)
    assert run(study, options) == 0
    study.make_settings = lambda options: Settings(slope=3.0, seeds=1)
    assert run(study, options) == 0
    assert len(calls) == 2
    assert "end 6.0000" in (tmp_path / "toy.md").read_text()


def test_a_failing_run_leaves_no_file(tmp_path):
    study = make_study([])

    def fail(run, settings, log):
        log(0, {"value": 1.0})
        raise RuntimeError("no")

    study.train = fail
    with pytest.raises(RuntimeError, match="no"):
        run(study, Options(tmp_path))
    assert not list(tmp_path.rglob("*.json*"))


def test_report_alone_makes_no_runs(tmp_path, capsys):
    calls = []
    assert run(make_study(calls), Options(tmp_path, report_only=True)) == 1
    assert not calls
    assert "no runs of these settings" in capsys.readouterr().err


def test_a_picture_needs_matplotlib(tmp_path, capsys):
    study = make_study([])

    def plot(results, settings, path):
        raise ModuleNotFoundError("matplotlib is not installed")

    study.plot = plot
    assert run(study, Options(tmp_path)) == 0
    assert "no picture: matplotlib is not installed" in capsys.readouterr().out


def test_names_are_file_names():
    run = {"problem": "shortest path", "tau": 1e-4, "rho": None, "seed": 3}
    assert run_name(run) == "shortest_path-tau=0.0001-seed=3"
    assert run_name({"method": "LPGD/../x", "seed": 0}) == "LPGD_.._x-seed=0"


def test_batches_cover_the_data_in_an_order_for_each_pass_and_seed():
    for start in (0, 4):
        seen = [int(i) for t in range(start, start + 4) for i in batch_of(t, 20, 5, seed=1)]
        assert sorted(seen) == list(range(20))
    first, second, other = (
        batch_of(t, 20, 5, seed=s).tolist() for t, s in ((0, 1), (4, 1), (0, 2))
    )
    assert first != second
    assert first != other
    assert len(batch_of(7, 3, 5, seed=0)) == 3  # a batch that is larger than the data


def test_paired_differences():
    made = [
        {"labels": {"method": m, "seed": s}, "result": {"loss": value + s}}
        for m, value, seeds in (("a", 1.0, 3), ("b", 1.5, 2))
        for s in range(seeds)
    ]
    results = Results(made)
    difference = results.difference("loss", {"method": "b"}, {"method": "a"})
    assert difference.count == 2
    assert difference.value == pytest.approx(0.5)
    assert difference.half < 1e-9
    assert math.isnan(results.mean("loss", method="c").value)


def test_curves_end_where_the_shortest_does():
    made = [
        {"curve": [{"x": k, "y": 10 * k} for k in range(3)]},
        {"curve": [{"x": k + 1, "y": k} for k in range(2)]},
    ]
    assert runs.curves(made, "x", "y") == ([0.5, 1.5], [[0, 10], [0, 1]])


def test_json_alone_on_standard_output(tmp_path, capsys):
    assert run(make_study([]), Options(tmp_path, seeds=1, as_json=True)) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["settings"]["slope"] == 2.0
    assert [r["result"]["end"] for r in document["runs"]] == [4.0]
    assert "[1/1]" in err
    assert "## A toy" in err


# command line

NAMES = ("sudoku", "pto", "constraints", "digits", "portfolio")


@pytest.mark.parametrize("name", NAMES)
def test_every_study_has_its_command_and_modes(name, tmp_path):
    command = importlib.import_module(registry.STUDIES[name])
    assert command.command.__doc__
    module = {"portfolio": "portfolio_folds"}.get(name, name)
    study = importlib.import_module(f"lpgd_native.experiments.{module}")
    assert name == study.NAME
    counts = []
    for mode in ("quick", "short", "full"):
        options = Options(tmp_path, mode=mode, first_seed=7)
        settings = study.make_settings(options)
        plan = study.plan(settings)
        made = [run_name(run) for run in plan]
        assert len(set(made)) == len(made)
        counts.append(len(made))
        if name != "portfolio":
            assert {run["seed"] for run in plan} == set(range(7, 7 + settings.seeds))
        assert study.make_settings(replace(options, seeds=3)).seeds == 3
    assert counts == sorted(counts)


def started(monkeypatch, *arguments):
    """The options that a command line starts a study with."""
    seen = []
    monkeypatch.setattr(
        runs, "execute", lambda study, settings, options: seen.append((settings, options)) or 0
    )
    assert cli.main(["train", *arguments]) == 0
    return seen[0]


def test_the_command_of_a_report_gives_the_same_study(monkeypatch, tmp_path):
    line = "sudoku --full --seeds 3 --size 9 --peers"
    settings, options = started(monkeypatch, *line.split(), "--out", str(tmp_path))
    assert options.command == "lpgd-native train sudoku --full --seeds 3 --size 9 --peers"
    assert (settings.box, settings.seeds, settings.peers) == (3, 3, True)
    assert options.out == tmp_path
    assert (settings.train, settings.taus, settings.rhos) == (256, (1e2, 1e3, 1e4, 1e5), (0.0,))
    settings, options = started(monkeypatch, "pto", "--problems", "shortest path, knapsack")
    assert options.command == "lpgd-native train pto --problems 'shortest path, knapsack'"
    assert settings.problems == ("shortest path", "knapsack")
    assert options.out.name == "pto"
    settings, options = started(monkeypatch, "digits", "--length", "5", "--seed", "2", "--quick")
    assert options.command == "lpgd-native train digits --quick --seed 2 --length 5"
    assert (settings.length, settings.first_seed) == (5, 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sudoku --size 5", "size must be 4 or 9, got 5"),
        ("pto --problems tour", "unknown problem 'tour', known are shortest path"),
        ("digits --length 11", "length must be from 2 to 10"),
        ("portfolio --folds 11", "at most 10 folds, got 11"),
        ("sudoku --quick --full", "can't be given together"),
    ],
)
def test_bad_options_are_wrong_usage(line, message, capsys):
    assert cli.main(["train", *line.split()]) == 2
    err = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in err


def test_tensorboard_is_named_if_it_is_missing(tmp_path, capsys):
    arguments = ["train", "sudoku", "--quick", "--tensorboard", "--out", str(tmp_path / "a")]
    if importlib.util.find_spec("tensorboard") is None:
        assert cli.main(arguments) == 1
        assert "pip install 'lpgd-native[tensorboard]'" in capsys.readouterr().err
        assert not (tmp_path / "a").exists()
    else:
        assert cli.main([*arguments, "--seeds", "1"]) == 0
        assert list(tmp_path.glob("a/tensorboard/*/events*"))


def test_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.json"
    _files.write_text(file, json.dumps([1]))
    _files.write_text(file, json.dumps([2]))
    assert json.loads(file.read_text()) == [2]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
