"""What ptxas said of the CUDA kernels when they were built: none that is hot may spill."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from _build_tree import ROOT, cmake_cache, missing, require_build_dir

SAMPLE = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z6kernelIfEvi' for 'sm_80'
ptxas info    : Function properties for _Z6kernelIfEvi
    16 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 42 registers, used 1 barriers, 96 bytes cumulative stack size, 264 bytes smem
ptxas info    : Compile time = 1.0 ms
ptxas info    : Function properties for _Z4workv
    0 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Compiling entry function '_Z6kernelIdEvi' for 'sm_80'
ptxas info    : Function properties for _Z6kernelIdEvi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 50 registers, used 0 barriers
"""


@pytest.fixture(scope="module")
def resources() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "cuda_resources", ROOT / "tools/cuda_resources.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cuda_resources"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(resources: ModuleType) -> list:
    folder = require_build_dir()
    if not cmake_cache(folder).get("CMAKE_CUDA_COMPILER"):
        pytest.skip("built without CUDA: no nvcc here, or LPGD_CUDA=OFF")
    functions = resources.read(folder)
    if not functions:
        missing(f"no words of ptxas in {folder}")
    return functions


def test_what_ptxas_says_is_understood(resources: ModuleType) -> None:
    kernel, work, other = resources.parse(SAMPLE, "a.cu")
    assert (kernel.architecture, kernel.registers, kernel.stack, kernel.shared) == (
        "sm_80",
        42,
        96,
        264,
    )
    assert (work.kernel, work.spilled, work.is_kernel) == ("_Z6kernelIfEvi", 12, False)
    assert (other.registers, other.spilled, other.stack) == (50, 0, 0)
    assert resources.spills([kernel, work, other]) == []
    hot = [kernel._replace(spilled=4), work._replace(name="cholesky"), other]
    assert resources.spills(hot) == hot[:2]
    table = resources.tables([kernel, work, other])
    assert "| `_Z6kernelIfEvi` | 1 | 42 | 0 | 96 | 264 |" in table
    assert "`_Z4workv` 12." in table


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("void a::(anonymous namespace)::rows<a::X, true, float>(a::T<float>, int)", "rows"),
        ("a::Out<float> a::b::active_set<float, a::Group>(a::Group const&)", "active_set"),
        ("double a::dot(double const*)", "dot"),
        ("bare", "bare"),
    ],
)
def test_plain_names(resources: ModuleType, name: str, plain: str) -> None:
    assert resources.plain_name(name) == plain


def test_every_source_is_there_for_every_architecture(built: list) -> None:
    sources = {path.name for path in Path(ROOT / "csrc/cuda").glob("*.cu")}
    assert {f.file for f in built} == sources
    for source in sources:
        of_it = {f.architecture for f in built if f.file == source}
        assert of_it == {f.architecture for f in built}
    assert len({f.architecture for f in built}) >= 2


def test_no_hot_kernel_spills(resources: ModuleType, built: list) -> None:
    bad = resources.spills(built)
    assert not bad, "\n".join(f"{f.file} {f.architecture} {f.name}: {f.spilled} B" for f in bad)


def test_kernels_leave_shared_memory_to_their_launchers(built: list) -> None:
    """geometry.h counts with the scratch of a block's reductions, and with no more."""
    assert all(f.shared <= 48 * 1024 for f in built)
    qp = [f for f in built if f.file == "qp.cu" and f.is_kernel]
    assert {f.shared for f in qp if f.name != "outer_kernel"} == {34 * 8}  # kQpScratch


def test_the_page_names_every_kernel(built: list) -> None:
    page = (ROOT / "docs/cuda-resources.md").read_text()
    absent = {f.name for f in built if f.is_kernel and f"| `{f.name}` |" not in page}
    assert not absent, f"run `make cuda-check`: {sorted(absent)} not in docs/cuda-resources.md"
