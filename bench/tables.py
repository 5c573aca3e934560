"""Results as markdown: a table for each cell, then the grid, the accuracy and the ratios."""

from __future__ import annotations

import math
from typing import Any

from accuracy import Cell, Row
from methods import METHODS

Results = list[tuple[Cell, list[Row]]]


def _number(value: float) -> str:
    """Three digits, as few characters as that takes."""
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _power(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0e}"


def _markdown(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _q_error(row: Row) -> str:
    return "/".join(_power(v) for v in row.gradient["q"]) if "q" in row.gradient else "–"


def cell_table(cell: Cell, rows: list[Row]) -> str:
    """Times and accuracy of one cell."""
    facts = ", ".join(f"{name} {value:.4g}" for name, value in cell.facts.items())
    body = []
    for row in rows:
        others = [median for name, (median, _) in row.gradient.items() if name != "q"]
        body.append(
            [
                METHODS[row.method].label,
                _number(row.forward),
                _number(row.both),
                "–" if math.isnan(row.spread) else f"{row.spread:.0f} %",
                str(row.calls),
                _power(row.x_error),
                _power(row.feasibility),
                _q_error(row),
                _power(max(others)) if others else "–",
                row.note,
            ]
        )
    head = ["method", "forward ms", "fwd+bwd ms", "±", "calls", "x error", "infeasibility"]
    head += ["grad q error med/max", "other grads, worst med", "note"]
    return f"\n### {cell.name} ({facts})\n\n{_markdown(head, body)}"


def summary(results: Results, workers: dict[str, dict[str, Any]]) -> str:
    """The whole grid: times, accuracy, ratios, and what ran."""
    parts = []
    qps = [(cell, rows) for cell, rows in results if cell.kind == "qp"]
    if qps:
        timing = "\n## Forward + backward, median ms (forward only)\n\n"
        parts.append(timing + _grid(qps, _timing))
        accuracy = "\n## Accuracy: max |x - x_ref|; infeasibility; grad q error median/max\n\n"
        parts.append(accuracy + _grid(qps, _accuracy))
    ratios = _ratios(results)
    if ratios:
        parts.append("\n## Ratios: how many times longer the peer takes\n\n" + ratios)
    return "\n".join([*parts, "\n## Versions\n", _versions(workers)])


def head(facts: dict[str, Any]) -> str:
    """Title, machine and command."""
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    return "\n".join(["# Batched QPs and LPs with gradients\n", *lines])


def _versions(workers: dict[str, dict[str, Any]]) -> str:
    lines = []
    for module, about in workers.items():
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        threads = about["torch_threads"]
        extra = f", torch threads {threads}" if threads else ""
        extra += f", {about['gpu']}" if about["gpu"] else ""
        lines.append(f"- {module}: Python {about['python']}, {versions}{extra}")
        if about["info"]:
            lines.append("  - " + ", ".join(f"{k} {v}" for k, v in about["info"].items()))
    return "\n".join(lines)


def _timing(row: Row) -> str:
    if not row.timed:
        return row.note.split(":")[0] or "–"
    mark = "*" if "1 cold call" in row.note else ""
    return f"{_number(row.both)} ({_number(row.forward)}){mark}"


def _accuracy(row: Row) -> str:
    if math.isnan(row.x_error):
        return "–"
    return f"x {_power(row.x_error)}; f {_power(row.feasibility)}; g {_q_error(row)}"


def _grid(results: Results, text: Any) -> str:
    names = list(dict.fromkeys(row.method for _, rows in results for row in rows))
    table = {(cell.name, row.method): text(row) for cell, rows in results for row in rows}
    body = [[METHODS[n].label, *(table.get((c.name, n), "–") for c, _ in results)] for n in names]
    star = "\n\n`*`: one cold call, over budget." if "*" in "".join(table.values()) else ""
    return _markdown(["", *(cell.name for cell, _ in results)], body) + star


def _ratios(results: Results) -> str:
    """Each of ours against the fastest peer of each sort, in every cell."""
    body = []
    for cell, rows in results:
        timed = [row for row in rows if row.timed]
        peers = [row for row in timed if METHODS[row.method].module != "ours"]
        for row in (row for row in timed if METHODS[row.method].module == "ours"):
            mine = METHODS[row.method]
            same = [p for p in peers if METHODS[p.method].gradient == mine.gradient]
            implicit = [p for p in peers if METHODS[p.method].gradient == "implicit"]
            diffcp = [p for p in same if METHODS[p.method].module == "diffcp"]
            ratios = [
                _ratio(row.forward, peers, "forward"),
                _ratio(row.both, implicit, "both"),
                _ratio(row.both, diffcp, "both"),
                _ratio(row.both, same, "both"),
            ]
            back = _number((row.both - row.forward) / row.forward)
            body.append([cell.name, mine.label, *ratios, back])
    head = ["cell", "ours", "forward: best peer", "fwd+bwd: best implicit peer"]
    head += ["fwd+bwd: diffcp, same envelope", "fwd+bwd: best peer, same gradient"]
    head.append("backward / forward, ours")
    return _markdown(head, body) if body else ""


def _ratio(mine: float, peers: list[Row], what: str) -> str:
    if not peers:
        return "–"
    best = min(peers, key=lambda row: float(getattr(row, what)))
    return f"{_number(getattr(best, what) / mine)}x {METHODS[best.method].module}"
