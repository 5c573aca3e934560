"""What the binary is and what it runs on."""

from __future__ import annotations

import platform
from typing import TypedDict

import torch

from lpgd_native._native import _C


class BuildInfo(TypedDict):
    """The fields of :func:`build_info`."""

    version: str
    compiler: str
    build_type: str
    isa: str
    isa_detected: str
    isa_compiled: tuple[str, ...]
    isa_ignored_request: str | None
    cuda_compiler: str
    cuda_architectures: tuple[str, ...]
    torch_built: str
    torch_oldest: str
    torch_running: str
    pybind11: str
    python: str


def build_info() -> BuildInfo:
    """Describe the compiled module and the environment that it runs in.

    - ``version``, ``compiler``, ``build_type``, ``pybind11``: of the build.
    - ``isa``: the instruction set in use, of those in ``isa_compiled``. The best one that the
      processor has (``isa_detected``) unless the environment variable ``LPGD_ISA``, read at the
      first use, names a lesser one. A request that cannot be met is ignored and shown in
      ``isa_ignored_request``.
    - ``cuda_compiler``, ``cuda_architectures``: empty where the CUDA half was not built. A name
      ending in ``-real`` is machine code alone, in ``-virtual`` PTX alone, else both.
    - ``torch_built``, ``torch_oldest``, ``torch_running``: the torch built against, the oldest one
      that the binary is made for, and the one imported now.
    """
    return BuildInfo(
        **_C.build_info(),
        torch_running=torch.__version__,
        python=platform.python_version(),
    )
