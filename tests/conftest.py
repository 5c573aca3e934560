"""Common to all tests."""

from __future__ import annotations

import pytest
import torch

from _device import OnDevice

MARKERS = (
    "gpu: needs a CUDA device (bench/gpu.sh runs these)",
    "on_device: runs on what --device names, too (bench/gpu.sh runs these with cuda)",
    "cpu_only(reason): in a file of on_device, what has no meaning elsewhere",
)


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="where tests marked on_device make their tensors",
    )


def pytest_configure(config):
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    name = config.getoption("--device")
    if name != "cpu" and torch.cuda.is_available():
        # from here on, for what test files make when they are imported as well
        mode = OnDevice(name)
        mode.__enter__()
        config.add_cleanup(lambda: mode.__exit__(None, None, None))


def pytest_collection_modifyitems(config, items):
    name = config.getoption("--device")
    if name == "cpu":
        return
    for item in items:
        alone = item.get_closest_marker("cpu_only")
        if item.get_closest_marker("on_device") is None:
            why = "not of the tests marked on_device"
        elif alone is not None:
            why = alone.args[0]
        elif not torch.cuda.is_available():
            why = "torch sees no GPU here"
        else:
            continue
        item.add_marker(pytest.mark.skip(reason=f"--device {name}: {why}"))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def fresh_dynamo():
    """For `transforms.compiles`: nothing compiled before, nothing left behind."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(scope="module")
def one_thread():
    """For tiny networks and programs, where threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
