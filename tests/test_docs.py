"""README.md and docs/: every Python example runs, every link leads somewhere, what is quoted from
the code is what the code says.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import torch

import lpgd_native
from _build_tree import ROOT
from transforms import forward_mode

PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "auto_tutorials" not in p.parts),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The line each fenced block of a language starts on, and its text."""
    text = page.read_text()
    return [
        (text.count("\n", 0, match.start()) + 1, match[2])
        for match in BLOCK.finditer(text)
        if match[1] == language
    ]


def _prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


EXAMPLES = [
    pytest.param(page, line, code, id=f"{page.name}:{line}")
    for page in PAGES
    for line, code in _blocks(page, "python")
]


def test_there_are_examples() -> None:
    assert {page.name for page, *_ in (example.values for example in EXAMPLES)} >= {
        "README.md",
        "math.md",
        "ops.md",
    }


@forward_mode
@pytest.mark.parametrize(("page", "line", "code"), EXAMPLES)
def test_example_runs(page: Path, line: int, code: str) -> None:
    source = "\n" * line + code  # so that a traceback shows the page's own line numbers
    state = torch.random.get_rng_state()
    try:
        exec(compile(source, str(page), "exec"), {"__name__": "__docs__"})
    finally:
        torch.random.set_rng_state(state)


def _anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", _prose(there), re.MULTILINE)
            assert anchor in map(_anchor, headings), f"{page.name}: {target}"


def _docstring_examples() -> dict[str, str]:
    """What stands under ``Example::`` in the docstrings of the public modules."""
    modules = [
        lpgd_native,
        *(getattr(lpgd_native, name) for name in ("nn", "operators", "oracles", "losses")),
        *(importlib.import_module(f"lpgd_native.{name}") for name in ("cvxpy", "gradients")),
    ]
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            text = inspect.getdoc(value) or ""
            if getattr(value, "__module__", "").startswith("lpgd_native") and "Example::" in text:
                code = re.split(r"\n(?=\S)", text.partition("Example::\n")[2].strip("\n"))[0]
                found[name] = textwrap.dedent(code)
    return found


# what an example takes from its surroundings
SURROUNDINGS = {
    "FunctionOracle": {},
    "OracleLayer": {"network": torch.nn.Linear(7, 5), "images": torch.rand(2, 7)},
    "QPLayer": {"network": torch.nn.Linear(7, 3), "features": torch.rand(2, 7)},
    "LPLayer": {"network": torch.nn.Linear(7, 4), "features": torch.rand(2, 7)},
    "TorchOperator": {"x": torch.rand(2, 5), "y": torch.rand(2, 3)},
    "CvxpyLayer": {},
    "solver": {},
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_examples_in_docstrings_run(name: str) -> None:
    cp = pytest.importorskip("cvxpy") if name in ("CvxpyLayer", "solver") else None
    if name == "solver":
        pytest.importorskip("cvxpylayers")
    names = {**vars(lpgd_native), **vars(lpgd_native.nn), **vars(lpgd_native.operators)}
    names |= {"torch": torch, "np": np, "scipy": scipy, "cp": cp, "lpgd_native": lpgd_native}
    if cp is not None:
        x, a = cp.Variable(3), cp.Parameter(3)
        problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= 0])
        names |= {"x": x, "a": a, "problem": problem}
        names["CvxpyLayer"] = importlib.import_module("lpgd_native.cvxpy").CvxpyLayer
    names |= SURROUNDINGS[name]
    exec(compile(_docstring_examples()[name], name, "exec"), names)
    if name == "FunctionOracle":
        assert torch.equal(names["layer"](1 - torch.eye(3)).x, torch.eye(3))


def test_there_are_no_other_examples_in_docstrings() -> None:
    assert set(_docstring_examples()) == set(SURROUNDINGS)


def test_schemas_are_those_of_the_operators() -> None:
    quoted = {
        " ".join(code.split()).partition("(")[0]: re.sub(r"\s+", " ", code).strip()
        for _, code in _blocks(ROOT / "docs" / "ops.md", "")
        if "->" in code
    }
    assert set(quoted) == {
        "solve_qp",
        "solve_qp_from",
        "resolve_qp",
        "implicit_qp",
        "outer_sum",
        "solve_sparse_qp",
        "highs_solve",
        "highs_resolve",
        "oracle_assignment",
        "oracle_grid_path",
        "oracle_dag_path",
        "oracle_top_k",
        "oracle_ranking",
        "oracle_knapsack",
        "oracle_spanning_tree",
        "oracle_alignment",
        "eit_forward",
        "eit_vjp",
        "eit_jvp",
        "eit_curvature",
        "eit_gradient",
        "eit_jacobian",
    }
    for name, text in quoted.items():
        assert f"lpgd::{text}" == str(getattr(torch.ops.lpgd, name).default._schema)


def test_every_operator_is_described() -> None:
    """By name; those of the GRU by their twin, a backward op beside its forward."""
    text = "".join((ROOT / "docs" / name).read_text() for name in ("ops.md", "networks.md"))
    names = {
        schema.name.removeprefix("lpgd::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("lpgd::")
    }
    assert len(names) > 30
    told = {name.replace("gru_", "lstm_").removesuffix("_backward") for name in names}
    assert not {name for name in told if name not in text}


def test_proximal_operators_are_counted_and_listed() -> None:
    names = [name for name in dir(lpgd_native) if name.startswith(("prox_", "project_"))]
    for page in ("README.md", "docs/index.md"):
        assert f"{len(names)} proximal operators" in (ROOT / page).read_text()
    for page in ("ops.md", "reference/prox.md"):
        text = (ROOT / "docs" / page).read_text()
        assert not [name for name in names if name not in text]


def test_constants_are_those_of_the_code() -> None:
    header = (ROOT / "csrc" / "core" / "scalar.h").read_text()
    declared = re.findall(r"static constexpr (double|float) (\w+) =\s*([\d.e-]+)F?;", header)
    expected: dict[str, dict[str, float]] = {}
    for kind, name, value in declared:
        expected.setdefault(name, {})[kind] = float(value)
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d.e-]+) \| ([\d.e-]+) \|",
        (ROOT / "docs" / "math.md").read_text(),
        re.MULTILINE,
    )
    shown = {name: {"double": float(a), "float": float(b)} for name, a, b in rows}
    assert shown == expected


def test_limits_are_those_of_the_code() -> None:
    core = "".join(path.read_text() for path in sorted((ROOT / "csrc" / "core").glob("*.h")))
    declared = dict(re.findall(r"constexpr int (k\w+) = (\d+);", core))
    shown = re.findall(r"`(k\w+)` = (\d+)", (ROOT / "docs" / "math.md").read_text())
    assert shown
    assert {name: declared[name] for name, _ in shown} == dict(shown)
