"""`pytest --device cuda`: what is moved, what is left alone, and what is skipped without a GPU."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from _build_tree import ROOT
from _device import OnDevice


def test_what_tests_make_is_moved() -> None:
    """Drawn on the CPU, by its generators: the numbers are the same on every device."""
    generator = torch.Generator().manual_seed(0)
    with OnDevice("meta"):
        drawn = torch.randn(3, generator=generator, dtype=torch.float64)
        leaf = torch.ones(2, requires_grad=True)
        counted = torch.from_numpy(np.arange(3))
        named = torch.zeros(2, device="cpu")
        again = torch.as_tensor(named)
        derived = torch.zeros_like(drawn) + 2.0 * drawn
    assert drawn.device.type == leaf.device.type == counted.device.type == "meta"
    assert derived.device.type == "meta"
    assert leaf.is_leaf
    assert leaf.requires_grad
    assert named.device.type == again.device.type == "cpu"


def test_what_others_make_is_left_alone() -> None:
    with OnDevice("meta"):
        linear = torch.nn.Linear(2, 2)  # torch's own file calls torch.empty
    assert linear.weight.device.type == "cpu"


def test_numpy_gets_numbers_of_the_cpu() -> None:
    x = torch.arange(3.0)
    with OnDevice("cpu"):
        assert np.array_equal(x.numpy(), np.asarray(x))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_tests_say_why_they_are_skipped() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "-n", "0"]
    command += ["--device", "cuda", "tests/test_prox_value.py", "tests/test_layers.py"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "--device cuda: torch sees no GPU here" in result.stdout
    assert "--device cuda: not of the tests marked on_device" in result.stdout
    assert " passed" not in result.stdout
