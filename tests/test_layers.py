"""The layers of csrc stay what they are: no layer includes or uses what it may not see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from _build_tree import ROOT

CSRC = ROOT / "csrc"

# Which folders of csrc a layer may include from.
SEES = {
    "core": {"core"},
    "cpu": {"core", "cpu"},
    "cuda": {"core", "cuda"},
    "ops": {"core", "cpu", "cuda", "ops"},
    "python": {"core", "cpu", "python"},
}

_TORCH = r"torch/.*|ATen/.*|c10/.*"
_THREADS = r"thread|mutex|shared_mutex|atomic|future|condition_variable|barrier|latch|semaphore"

# Forbidden system includes: the whole name between the angle brackets or quotes.
INCLUDES = {
    "core": rf"{_TORCH}|pybind11/.*|cuda.*|{_THREADS}|i?ostream|sstream|fstream|cstdio|stdio\.h"
    r"|memory|vector|string|map|unordered_map|new|cstdlib|stdlib\.h|exception|stdexcept",
    "cpu": rf"{_TORCH}|pybind11/.*|cuda.*|omp\.h|execution|{_THREADS}",
    "cuda": rf"{_TORCH}|pybind11/.*|{_THREADS}|memory|vector",
    # of torch: the stable ABI and the header-only part
    "ops": r"torch/(?!csrc/stable/|headeronly/|csrc/inductor/aoti_torch/c/).*"
    r"|ATen/.*|c10/.*|pybind11/.*",
    "python": _TORCH,
}

_ALLOCATION = r"\bnew\s+\w|\bmalloc\s*\(|\bcalloc\s*\(|std::(vector|string|unique_ptr)\b"
_EXCEPTIONS = r"\bthrow\b|\btry\s*\{|\bcatch\s*\("
_OWN_THREADS = r"std::(jthread|thread|async)\b|#\s*pragma\s+omp"

# Forbidden in the text, comments and strings aside.
TOKENS = {
    "core": rf"{_ALLOCATION}|{_EXCEPTIONS}|{_OWN_THREADS}|std::c(out|err)\b|\bcuda[A-Z]\w+\s*\(",
    "cpu": _OWN_THREADS,
    "cuda": rf"{_ALLOCATION}|{_EXCEPTIONS}|\bcuda(Malloc|Free|Host)\w*\s*\("
    r"|\bcuda\w*Synchronize\s*\(|\bcudaMem(cpy|set)\w*(?<!Async)\s*\(",
    "ops": r"<<<|\bat::|\bc10::(?!DispatchKey\b)",
    "python": r"\bat::|\bc10::|torch::",
}


def _code(text: str) -> str:
    """The text with comments and string literals emptied, include lines kept."""
    lines = []
    for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines():
        if not re.match(r"\s*#\s*include", line):
            line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
        lines.append(re.sub(r"//.*", "", line))
    return "\n".join(lines)


def violations(layer: str, text: str) -> Iterator[str]:
    """What `text`, as a file of csrc/<layer>, may not contain."""
    code = _code(text)
    for bracket, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', code, re.MULTILINE):
        folder = name.split("/")[0]
        if bracket == '"' and "/" in name and folder in SEES and folder not in SEES[layer]:
            yield f"includes csrc/{name}"
        elif re.fullmatch(INCLUDES[layer], name):
            yield f"includes {name}"
        elif ".." in name:
            yield f"includes {name}: name it from csrc/"
    body = re.sub(r"^\s*#\s*include.*$", "", code, flags=re.MULTILINE)
    for match in re.finditer(TOKENS[layer], body):
        line = body.count("\n", 0, match.start()) + 1
        yield f"line {line} uses {match.group(0).strip()!r}"


def _files() -> list[Path]:
    return sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh"})


def test_every_file_is_in_a_layer() -> None:
    assert _files(), f"no sources in {CSRC}"
    strays = [p for p in _files() if p.relative_to(CSRC).parts[0] not in SEES]
    assert not strays


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(CSRC)))
def test_layer(path: Path) -> None:
    layer = path.relative_to(CSRC).parts[0]
    found = list(violations(layer, path.read_text()))
    assert not found, f"{path.relative_to(ROOT)}: {'; '.join(found)}"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("core", "#include <torch/csrc/stable/tensor.h>"),
        ("core", "#include <vector>"),
        ("core", '#include "cpu/isa.h"'),
        ("core", "double* x = new double[3];"),
        ("core", "if (bad) throw 1;"),
        ("core", "cudaMalloc(&p, 8);"),
        ("cpu", "#include <omp.h>"),
        ("cpu", "  #pragma omp parallel for"),
        ("cpu", "std::thread worker(run);"),
        ("cpu", '#include "ops/ops.h"'),
        ("cuda", "#include <c10/cuda/CUDAStream.h>"),
        ("cuda", "cudaStreamSynchronize(stream);"),
        ("cuda", "cudaMallocAsync(&p, 8, stream);"),
        ("cuda", "cudaMemcpy(a, b, 8, kind);"),
        ("ops", "#include <ATen/ATen.h>"),
        ("ops", "#include <torch/all.h>"),
        ("ops", "#include <pybind11/pybind11.h>"),
        ("ops", "kernel<<<1, 32>>>(x);"),
        ("python", "#include <torch/csrc/stable/tensor.h>"),
        ("python", '#include "ops/ops.h"'),
    ],
)
def test_the_check_sees(layer: str, text: str) -> None:
    assert list(violations(layer, text))


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("core", "// throw nothing, no new memory, no std::vector\nint f();"),
        ("core", '#include <cstdint>\n#include "core/pack.h"\n#include "pack.h"'),
        ("cuda", "cudaMemsetAsync(p, 0, 8, stream); return cudaGetLastError();"),
        ("ops", '#include <torch/csrc/stable/library.h>\n#include "cuda/qp.h"'),
    ],
)
def test_the_check_lets_pass(layer: str, text: str) -> None:
    assert not list(violations(layer, text))


def test_reference_does_not_use_the_kernels() -> None:
    for path in (ROOT / "python/lpgd_native/reference").glob("**/*.py"):
        text = path.read_text()
        assert not re.search(r"_native\b(?<!lpgd_native)|_C\b|torch\.ops\.lpgd", text), path
