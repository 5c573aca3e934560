"""What the tests of torch's transforms share: marks, a fixture's name, comparison."""

from __future__ import annotations

import pytest
import torch

# torch's own forward mode still calls what its next release drops
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


def assert_all_close(left, right, tolerance: float = 1e-12) -> None:
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# torch.compile itself still uses what torch has deprecated
def compiles(test):
    for text in (
        "Function'> should not be instantiated",
        "`torch.jit.script_method` is deprecated",
    ):
        test = pytest.mark.filterwarnings(f"ignore:.*{text}.*:DeprecationWarning")(test)
    return pytest.mark.usefixtures("fresh_dynamo")(test)
