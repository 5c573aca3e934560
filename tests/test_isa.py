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
from lpgd_native.momentum import Tape
torch.manual_seed(0)
batch, n, m = 13, 9, 11  # no multiple of any register's lanes
L = torch.randn(batch, n, n, dtype=torch.float64)
P, q = L @ L.mT + torch.eye(n), torch.randn(batch, n, dtype=torch.float64)
G, h = torch.randn(batch, m, n, dtype=torch.float64), torch.rand(batch, m, dtype=torch.float64)
answer = {"isa": lpgd_native.build_info()["isa"]}
for dtype in (torch.float64, torch.float32):
    s = lpgd_native.solve_qp(P.to(dtype), q.to(dtype), G.to(dtype), h.to(dtype))
    answer[str(dtype)] = [s.status.tolist(), s.x.tolist(), s.z.tolist()]
    recurrent = []
    for rows in (3, 7, 70):
        torch.manual_seed(rows)
        size = ((20, 67), (20, 5), (20,), (20,), (67, 5), (67,))
        weights = [torch.randn(shape).to(dtype).requires_grad_() for shape in size]
        tape = Tape("lstm", tuple(weights), rows)
        v, *states = torch.randn(rows, 67).to(dtype), *torch.zeros(2, 1, rows, 5).to(dtype)
        for _ in range(2):
            v, *states = tape.step(v, *states)
        loss = v.square().mean() + states[0].sum()
        grads = torch.autograd.grad(loss, weights)
        recurrent += [v.flatten().tolist(), *(g.flatten().tolist() for g in grads)]
    answer[str(dtype)].append(sum(recurrent, []))
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


def _double(rows: list[Any]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_instruction_sets_agree() -> None:
    if len(_possible()) < 2:
        pytest.skip("this processor has one instruction set of those compiled")
    answers = {isa: _solve_with(isa) for isa in _possible()}
    first = answers[_possible()[0]]
    for isa, answer in answers.items():
        assert answer["isa"] == isa
        for dtype, tolerance in (("torch.float64", 1e-9), ("torch.float32", 1e-4)):
            status, *numbers = answer[dtype]
            assert set(status) == {0}
            for ours, theirs in zip(numbers, first[dtype][1:], strict=True):
                difference = _double(ours) - _double(theirs)
                assert difference.abs().max() < tolerance
