"""What the linker made: promises of the build that no Python test would notice being broken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from _build_tree import cmake_cache, missing, require_build_dir
from lpgd_native._native import _C


def _tool(name: str, *args: str) -> str:
    if shutil.which(name) is None:
        missing(f"{name} (binutils) is not installed")
    return subprocess.run([name, *args], capture_output=True, text=True, check=True).stdout


def _isa_objects() -> list[tuple[str, Path]]:
    """The kernels' object files, with the instruction set that each was compiled for.

    CMake puts them into <build folder>/CMakeFiles/lpgd_kernels_<isa>.dir/.
    """
    folder = require_build_dir()
    if cmake_cache(folder).get("CMAKE_BUILD_TYPE") == "Debug":
        pytest.skip("a debug build inlines nothing")
    found = [
        (directory.name.removeprefix("lpgd_kernels_").removesuffix(".dir"), path)
        for directory in sorted(folder.glob("CMakeFiles/lpgd_kernels_*.dir"))
        for path in sorted(directory.rglob("*.o"))
    ]
    if not found:
        missing(f"no kernel objects in {folder}")
    return found


def test_kernels_share_no_symbol_between_instruction_sets() -> None:
    """The linker keeps any one copy of a function that several objects define.

    An inline function of the standard library that was compiled for AVX-512 in one of them could
    then be the copy that an old CPU runs.
    """
    leaks = []
    for isa, path in _isa_objects():
        symbols = _tool("nm", "--defined-only", "--extern-only", "--demangle", str(path))
        for line in symbols.splitlines():
            kind, symbol = line.split(maxsplit=2)[1:]
            if f"lpgd::isa_{isa}::" not in symbol:
                leaks.append(f"{path.parent.name}/{path.name}: {kind} {symbol}")
    assert not leaks, "\n".join(leaks)


def test_module_exports_its_entry_point_alone() -> None:
    """Anything more could be bound to torch's symbol of the same name, or torch's to ours."""
    lines = _tool("nm", "--dynamic", "--defined-only", str(_C.__file__)).split("\n")
    assert {line.split()[-1] for line in lines if line} == {"PyInit__C"}


def test_module_keeps_to_the_stable_abi() -> None:
    names = [
        line.split()[-1]
        for line in _tool(
            "nm", "--dynamic", "--undefined-only", "--demangle", str(_C.__file__)
        ).splitlines()
    ]
    assert not [name for name in names if name.startswith(("at::", "c10::", "torch::", "cuda"))]
    assert "aoti_torch_get_current_cuda_stream" not in names  # see csrc/ops/cuda_stream.cpp


def test_module_needs_no_cuda_and_no_folder_of_the_build_machine() -> None:
    dynamic = _tool("readelf", "--dynamic", "--wide", str(_C.__file__)).splitlines()
    needed = {line.split("[")[1].rstrip("]") for line in dynamic if "(NEEDED)" in line}
    assert "libtorch_cpu.so" in needed
    ours = {name for name in needed if "torch" in name or "cuda" in name or "c10" in name}
    assert ours == {"libtorch_cpu.so"}
    assert not [line for line in dynamic if "(RPATH)" in line or "(RUNPATH)" in line]
