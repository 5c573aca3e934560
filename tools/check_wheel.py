"""Installs a wheel into bare environments and tries it there: `make wheel-check`.

    python tools/check_wheel.py dist/lpgd_native-*.whl 2.11.0 2.13.0

Each torch version gets an environment of its own under build/wheel-check, with the wheel and what
it depends on, nothing else. There the examples of README.md run, and the command line. Where
torch comes from is pip's business: its default builds carry CUDA and take some 5 GB each.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 15 * 2**20


def smoke(readme: str) -> str:
    """A program that imports the package and runs the examples of README.md."""
    examples = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    return "\n".join(
        [
            "import sys, torch, lpgd_native",
            "info = lpgd_native.build_info()",
            "print('torch', torch.__version__, '| built for', info['torch_built'])",
            "print(info['isa'], '| CUDA half', info['cuda_architectures'] or 'none')",
            "assert 'site-packages' in lpgd_native.__file__, lpgd_native.__file__",
            *(f"exec(compile({code!r}, 'README', 'exec'), {{}})" for code in examples),
            "has = torch._C._dispatch_has_kernel_for_dispatch_key",
            "assert has('lpgd::solve_qp', 'CPU')",
            "assert has('lpgd::solve_qp', 'CUDA') == bool(info['cuda_architectures'])",
            f"print({len(examples)}, 'examples of README.md ran')",
        ]
    )


def check(wheel: Path, torch: str, python: str, extra: str) -> None:
    """Make the environment, install, run."""
    folder = ROOT / "build" / "wheel-check" / f"torch-{torch}"
    binary = folder / "bin"
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    pip = [binary / "python", "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    subprocess.run([*pip, f"torch=={torch}", f"{wheel}{extra}"], check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as elsewhere:
        for command in (
            [binary / "python", "-W", "error", "-c", smoke((ROOT / "README.md").read_text())],
            [binary / "lpgd-native", "info"],
        ):
            subprocess.run(command, check=True, cwd=elsewhere, env=environment)


def main() -> int:
    """Check one wheel with every torch that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("torch", nargs="+", help="versions, such as 2.11.0")
    parser.add_argument("--python", default=sys.executable, help="the Python of the environments")
    parser.add_argument("--extra", default="", help="extras to install, such as [experiments]")
    arguments = parser.parse_args()
    size = arguments.wheel.stat().st_size
    print(f"{arguments.wheel.name}: {size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        print(f"larger than {MOST_BYTES / 2**20:.0f} MiB")
        return 1
    for torch in arguments.torch:
        check(arguments.wheel.resolve(), torch, arguments.python, arguments.extra)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
