"""build_info(), and the choice of the instruction set that it reports."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
import torch

import lpgd_native


def _info_with(**environment: str) -> dict[str, object]:
    """build_info() of a new process: the choice is made once in each."""
    code = "import json, lpgd_native; print(json.dumps(lpgd_native.build_info()))"
    base = {key: value for key, value in os.environ.items() if key != "LPGD_ISA"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**base, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    info: dict[str, object] = json.loads(result.stdout)
    return info


INFO = lpgd_native.build_info()


def test_versions() -> None:
    assert INFO["version"] == importlib.metadata.version("lpgd-native")
    assert INFO["torch_running"] == torch.__version__
    assert INFO["torch_oldest"] == "2.11"
    assert all(INFO[key] for key in ("compiler", "build_type", "torch_built", "pybind11", "python"))


def test_cuda_compiler_and_architectures_go_together() -> None:
    assert bool(INFO["cuda_compiler"]) == bool(INFO["cuda_architectures"])


def test_isa_in_use_is_compiled_in() -> None:
    assert INFO["isa"] in INFO["isa_compiled"]
    assert INFO["isa_detected"] in INFO["isa_compiled"]


def test_the_best_isa_is_the_default() -> None:
    info = _info_with()
    assert info["isa"] == info["isa_detected"]
    assert info["isa_ignored_request"] is None


@pytest.mark.parametrize("isa", INFO["isa_compiled"])
def test_a_request_goes_down_but_not_up(isa: str) -> None:
    compiled = INFO["isa_compiled"]
    possible = compiled.index(isa) <= compiled.index(INFO["isa_detected"])
    info = _info_with(LPGD_ISA=isa)
    assert info["isa"] == (isa if possible else INFO["isa_detected"])
    assert info["isa_ignored_request"] == (None if possible else isa)


def test_an_unknown_request_is_ignored_and_told() -> None:
    info = _info_with(LPGD_ISA="mmx")
    assert info["isa"] == info["isa_detected"]
    assert info["isa_ignored_request"] == "mmx"


def test_detection_agrees_with_the_kernel() -> None:
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line for line in file if line.startswith("flags")]
    except OSError:
        lines = []
    if "avx2" not in INFO["isa_compiled"] or not lines:
        pytest.skip("not an x86-64 Linux")
    has = set(lines[0].split())
    wide = {"avx2", "fma", "avx512f", "avx512dq", "avx512vl", "avx512bw"}
    expected = "avx512" if wide <= has else "avx2" if {"avx2", "fma"} <= has else "generic"
    assert INFO["isa_detected"] == expected
