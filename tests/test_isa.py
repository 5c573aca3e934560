"""Every instruction set that this processor has gives the same solutions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

import lpgd_native

_CODE = """
import json, sys, torch, lpgd_native
torch.manual_seed(0)
batch, n, m = 13, 9, 11  # no multiple of any register's lanes
L = torch.randn(batch, n, n, dtype=torch.float64)
P, q = L @ L.mT + torch.eye(n), torch.randn(batch, n, dtype=torch.float64)
G, h = torch.randn(batch, m, n, dtype=torch.float64), torch.rand(batch, m, dtype=torch.float64)
answer = {"isa": lpgd_native.build_info()["isa"]}
for dtype in (torch.float64, torch.float32):
    s = lpgd_native.solve_qp(P.to(dtype), q.to(dtype), G.to(dtype), h.to(dtype))
    answer[str(dtype)] = [s.status.tolist(), s.x.tolist(), s.z.tolist()]
print(json.dumps(answer))
"""


def _solve_with(isa: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", _CODE],
        env={**os.environ, "LPGD_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def _possible() -> list[str]:
    info = lpgd_native.build_info()
    compiled = info["isa_compiled"]
    return list(compiled[: compiled.index(info["isa_detected"]) + 1])


def _double(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_instruction_sets_agree() -> None:
    if len(_possible()) < 2:
        pytest.skip("this processor has one instruction set of those compiled")
    answers = {isa: _solve_with(isa) for isa in _possible()}
    first = answers[_possible()[0]]
    for isa, answer in answers.items():
        assert answer["isa"] == isa
        for dtype, tolerance in (("torch.float64", 1e-9), ("torch.float32", 1e-4)):
            status, x, z = answer[dtype]
            assert set(status) == {0}
            for ours, theirs in ((x, first[dtype][1]), (z, first[dtype][2])):
                difference = _double(ours) - _double(theirs)
                assert difference.abs().max() < tolerance
