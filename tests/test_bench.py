"""The benchmark harness: reproducible problems, certified references, no wrong answer timed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(autouse=True, scope="module")
def _bench_on_path() -> Iterator[None]:
    sys.path.insert(0, str(BENCH))
    yield
    sys.path.remove(str(BENCH))


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _cell(batch: int = 3, n: int = 6) -> Any:
    return next(_module("bench_qp").qp_cells([(batch, n)], 0, 0.1, lambda text: None))


def _answer(cell: Any, gradient: str) -> dict[str, Any]:
    grads = cell.gradients[gradient].items()
    return {"x": cell.x, **{f"grad_{name}": value for name, value in grads}}


def test_problems_are_reproducible_and_nested() -> None:
    problems = _module("problems")
    small, again, large = (problems.qp_batch(7, 6, count) for count in (2, 2, 5))
    for name, value in small.items():
        np.testing.assert_array_equal(value, again[name])
        np.testing.assert_array_equal(value, large[name][:2])
    assert not np.array_equal(small["P"], problems.qp_batch(8, 6, 2)["P"])
    assert np.linalg.eigvalsh(small["P"]).min() > 0.0099


@pytest.mark.parametrize("n", [10, 30])
def test_reference_agrees_with_clarabel(n: int) -> None:
    clarabel, sparse = pytest.importorskip("clarabel"), pytest.importorskip("scipy.sparse")
    problems = _module("problems")
    data = problems.qp_batch(0, n, 4)
    reference = problems.solve_reference(data)
    assert reference.residual < 1e-12
    assert reference.active.any()
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    for name in ("tol_gap_abs", "tol_gap_rel", "tol_feas"):
        setattr(settings, name, 1e-12)
    for i in range(4):
        P, q, G, h, A, b = (data[name][i] for name in "PqGhAb")
        cones = [clarabel.ZeroConeT(len(b)), clarabel.NonnegativeConeT(len(h))]
        rows, right = sparse.csc_matrix(np.vstack([A, G])), np.concatenate([b, h])
        upper = sparse.csc_matrix(np.triu(P))
        solution = clarabel.DefaultSolver(upper, q, rows, right, cones, settings).solve()
        np.testing.assert_allclose(solution.x, reference.x[i], atol=1e-6)


def test_implicit_reference_is_the_limit_of_lpgd() -> None:
    problems = _module("problems")
    data = problems.qp_batch(0, 8, 3)
    reference = problems.solve_reference(data)
    exact = problems.implicit_gradients(data, reference)
    limit = problems.lpgd_gradients(data, reference, 1e-5)["average"]
    for name, value in exact.items():
        np.testing.assert_allclose(limit[name], value, atol=1e-7, rtol=1e-6)


def test_assignment_reference_is_the_best_of_all_permutations() -> None:
    from itertools import permutations

    problems = _module("problems")
    data = problems.assignment_batch(1, 4, 5)
    x = problems.assignment_solution(data["q"])
    np.testing.assert_allclose(x @ data["A"].T, np.ones((5, 7)))
    for cost, vertex in zip(data["q"].reshape(5, 4, 4), x, strict=True):
        best = min(cost[list(order), range(4)].sum() for order in permutations(range(4)))
        assert cost.ravel() @ vertex == pytest.approx(best)


def test_the_check_accepts_the_reference_and_measures_an_error() -> None:
    accuracy, methods = _module("accuracy"), _module("methods")
    cell, method = _cell(), methods.METHODS["ours-implicit"]
    answer = _answer(cell, "implicit")
    answer["x"] = answer["x"] + 1e-5
    row = accuracy.Row("ours-implicit")
    assert accuracy.check(cell, method, answer, row, accuracy.Limits()) == ""
    assert row.x_error == pytest.approx(1e-5)
    assert 0 < row.feasibility < 1e-4
    assert set(row.gradient) == set("PqGhAb")
    assert all(worst == 0 for _, worst in row.gradient.values())


def _wrong(cell: Any, how: str) -> dict[str, Any]:
    answer = _answer(cell, "implicit")
    if how == "x":
        answer["x"] = answer["x"] + 0.1
    elif how == "nan":
        answer["x"] = answer["x"] * np.nan
    elif how == "sign":
        answer["grad_q"] = -answer["grad_q"]
    elif how == "half":
        answer["grad_P"] = 2 * answer["grad_P"]
    elif how == "missing":
        del answer["grad_G"]
    return answer


class _Worker:
    """Answers like a worker, wrongly; remembers what was asked."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer, self.asked = answer, list[str]()

    def ask(self, op: str, timeout: float, **request: Any) -> dict[str, Any]:
        self.asked.append(op)
        if op == "solve":
            np.savez(request["file"], **self.answer)
            return {"forward": 0.001, "both": 0.002}
        return {"times": [0.001, 0.002, 0.003]}


@pytest.mark.parametrize("how", ["right", "x", "nan", "sign", "half", "missing"])
def test_a_wrong_answer_is_never_timed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, accuracy = _module("harness"), _module("accuracy")
    cell = _cell()
    worker = _Worker(_wrong(cell, how))
    monkeypatch.setattr(harness.Session, "worker", lambda self, *rest: worker)
    session = harness.Session(1, "cpu", 0.1, tmp_path)
    plan = harness.Plan(repeats=2)
    say = lambda text: None  # noqa: E731
    (row,) = harness.measure(session, cell, ["ours-implicit"], plan, accuracy.Limits(), say)
    session.close()
    if how == "right":
        assert worker.asked == ["solve"] + 4 * ["time"]
        assert row.timed
        assert row.both == pytest.approx(2.0)
    else:
        assert worker.asked == ["solve"]
        assert row.note.startswith("refused")
        assert not row.timed


def test_a_method_over_budget_keeps_its_cold_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, accuracy = _module("harness"), _module("accuracy")
    cell = _cell()
    worker = _Worker(_answer(cell, "implicit"))
    monkeypatch.setattr(harness.Session, "worker", lambda self, *rest: worker)
    session = harness.Session(1, "cpu", 0.1, tmp_path)
    plan = harness.Plan(budget=0.001)
    say = lambda text: None  # noqa: E731
    (row,) = harness.measure(session, cell, ["ours-implicit"], plan, accuracy.Limits(), say)
    session.close()
    assert worker.asked == ["solve"]
    assert (row.calls, row.both, row.note) == (1, 2.0, "1 cold call")


def test_a_worker_that_cannot_start_is_a_note(tmp_path: Path) -> None:
    harness, accuracy, methods = (_module(m) for m in ("harness", "accuracy", "methods"))
    session = harness.Session(1, "cpu", 0.1, tmp_path)
    broken = methods.Method("none", "no_such_package", "main", "implicit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.METHODS, "broken", broken)
        say = lambda text: None  # noqa: E731
        plan, limits = harness.Plan(), accuracy.Limits()
        (row,) = harness.measure(session, _cell(), ["broken"], plan, limits, say)
    session.close()
    assert row.note.startswith("failed: ModuleNotFoundError")


def test_ours_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    options = ["--cells=2x5,lp", "--budget=0.2", "--repeats=1", "--threads=1", f"--out={file}"]
    ours = "ours-implicit,ours-lpgd-lower,ours-lpgd-average"
    assert _module("bench_qp").main([*options, f"--methods={ours}"]) == 0
    text = capsys.readouterr().out
    assert "B=2 n=5" in text
    assert "refused" not in text
    assert file.read_text().startswith("{")


def test_parts_of_a_call_are_all_there() -> None:
    head, line, *rows = _module("parts_qp").one_call(seconds=0.0)
    assert len(rows) == 8
    assert {row.count("|") for row in (head, line, *rows)} == {5}
    assert all(int(time) > 0 for row in rows for time in row.strip("| ").split(" | ")[1:])


def test_parts_of_a_step_are_all_there() -> None:
    rates = _module("parts_momentum").rates(8, 5, 4, seconds=0.0)
    assert len(rates) == 7
    assert min(rates) > 0


def test_momentum_contenders_agree() -> None:
    """The check comes before the clock; a wrong contender is not timed."""
    made = _module("momentum_runs")
    for runs, count in (
        (made.momentum_runs(2, 5, 3, 2, compiled=False), 3),
        (made.coordinate_runs(7, 3, 2), 2),
        (made.convolution_runs(2, 3, 4, 9), 2),
        (made.network_runs(2, "LPD-RMA", 2), 2),
        (made.network_runs(2, "LPGD-RMA", 3, checkpoint=True), 3),
    ):
        assert len(runs) == count
        assert max(made.check(runs).values()) < 1e-4
    bench = _module("bench_momentum").Bench(quick=True, compiled=False, budget=0.0)
    runs = made.coordinate_runs(7, 3, 2)
    right = runs["eager"]
    runs["wrong"] = lambda: tuple(1.01 * value for value in right())
    assert bench.accepted("cells", runs)
    assert set(runs) == {"eager", "per coordinate"}
    assert "cells: wrong is off by 1.0e-02" in bench.refused


def test_peak_memory_is_that_of_one_moment() -> None:
    def run() -> tuple[torch.Tensor, ...]:
        for _ in range(3):  # one after the other: the first is gone when the last is there
            both = torch.ones(1000), torch.ones(1000)
            del both
        return ()

    assert _module("bench_momentum").peak(run) == 2 * 4000


@pytest.mark.parametrize("name", ["bench_prox", "bench_oracles", "bench_momentum"])
def test_tables_go_between_their_marks(name: str) -> None:
    between, marks = _module("marks").between, _module(name).MARKS
    first, last = marks
    text = f"before\n{first}\nold\n{last}\nafter\n"
    assert between(text, "new\nlines", marks) == f"before\n{first}\nnew\nlines\n{last}\nafter\n"
    with pytest.raises(ValueError, match="there are no lines"):
        between("before\nafter\n", "new", marks)
    page = (BENCH.parent / "docs" / "performance.md").read_text()
    assert f"{first}\nnew\n{last}" in between(page, "new", marks)


def test_eit_contenders_agree() -> None:
    """The check comes before the clock; a wrong contender is not timed."""
    pytest.importorskip("scipy.sparse")
    bench = _module("bench_eit")
    counts = {"lpgd_native": 3, "dense torch": 2, "spsolve": 2}
    operator, table = bench.compare("coarse", counts, rounds=1)
    assert list(table) == list(counts)
    assert min(min(times) for times in table.values()) > 0
    lines = bench.markdown(operator, table)
    assert len(lines) == 4 + len(counts) + 1
    with pytest.raises(SystemExit, match="spsolve: wrong by"):
        bench.check("spsolve", operator(_ones(operator)) * 1.001, operator(_ones(operator)))


def _ones(operator: Any) -> Any:
    import torch

    return torch.ones(operator.domain, dtype=torch.float64)
