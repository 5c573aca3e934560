"""Python tests with the module of the preset asan, in a process that libasan is loaded into first.

python -m reliability.sanitized [arguments of pytest]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "preset-asan"
SUBSET = (
    "tests/test_qp_status.py",
    "tests/test_bad_input.py",
    "tests/test_prox_bad_input.py",
    "tests/test_prox_value.py",
    "tests/test_convolution.py",
    "tests/test_numpy_qp.py",
    "tests/test_reliability_hostile.py",
)

_RUN = """
import sys
# the editable install would find the module that is not instrumented
sys.meta_path = [f for f in sys.meta_path if "ScikitBuild" not in type(f).__name__]
sys.path.insert(0, sys.argv[1])
import lpgd_native
assert lpgd_native.__file__.startswith(sys.argv[1]), lpgd_native.__file__
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True)
    return found.stdout.strip()


def main() -> int:
    """Run them; the exit status is pytest's, or that of a sanitizer's report."""
    (module,) = BUILD.glob("_C*.so")
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "lpgd_native"
        shutil.copytree(
            ROOT / "python" / "lpgd_native", package, ignore=shutil.ignore_patterns("*.so")
        )
        shutil.copy(module, package)
        environment = {
            **os.environ,
            # the C++ library as well: libasan looks for its __cxa_throw when it is loaded
            "LD_PRELOAD": f"{_library('libasan.so')} {_library('libstdc++.so.6')}",
            # Python and torch keep what they allocate to the end
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
            "OMP_NUM_THREADS": "2",
        }
        arguments = sys.argv[1:] or [
            *SUBSET,
            "-q",
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
            "-k",
            "not compile",
        ]
        command = [sys.executable, "-c", _RUN, folder, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
