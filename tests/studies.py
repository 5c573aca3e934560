"""What the tests of all studies check: reproducible runs, resuming, the files of a command."""

from __future__ import annotations

import json

import pytest

from lpgd_native import cli


def figures(folder):
    """All runs of a folder by file name, without what depends on the clock."""
    found = {}
    for file in sorted((folder / "runs").glob("*.json")):
        run = json.loads(file.read_text())
        for part in (run["result"], *run["curve"]):
            for key in [key for key in part if "seconds" in key]:
                del part[key]
            for policy in part.get("policies", {}).values():
                del policy["seconds"]
        found[file.name] = (run["labels"], run["settings"], run["result"], run["curve"])
    return found


def check_command(study, name, tmp_path, monkeypatch, capsys, *options):
    """Run, stop and go on, run again: the same figures; tables and picture are written.

    The study's QUICK settings must have at least three runs.
    """
    arguments = ["train", name, "--quick", "--threads", "1", *options, "--out"]
    assert cli.main([*arguments, str(tmp_path / "whole")]) == 0
    whole = figures(tmp_path / "whole")
    assert len(whole) >= 3
    out = capsys.readouterr().out
    assert f"[{len(whole)}/{len(whole)}]" in out
    text = (tmp_path / "whole" / f"{name}.md").read_text()
    assert text.startswith(f"## {study.TITLE}\n\n```sh\nlpgd-native train {name} --quick")
    assert "nan" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) > 3
    rows = (tmp_path / "whole" / f"{name}.csv").read_text().splitlines()
    assert len(rows) == 1 + sum(len(run[3]) for run in whole.values())

    calls, real = [], study.train

    def train(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    parts = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(study, "train", train)
        assert cli.main([*arguments, str(parts)]) == 130
        assert len(figures(parts)) == 2
        assert not list((parts / "runs").glob("*.part"))
        assert cli.main([*arguments, str(parts)]) == 0
        assert len(calls) == 1 + len(whole)  # the two that were there are not made again
        before = (parts / f"{name}.md").read_text()
        assert cli.main([*arguments, str(parts), "--report"]) == 0
        assert len(calls) == 1 + len(whole)
        assert (parts / f"{name}.md").read_text() == before
    assert figures(parts) == whole
    pytest.importorskip("matplotlib")
    for folder in ("whole", "parts"):
        picture = tmp_path / folder / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 5_000
    return whole
