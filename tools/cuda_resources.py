#!/usr/bin/env python3
"""What the CUDA kernels of a build take: registers, spills, stack and shared memory.

    tools/cuda_resources.py build/cuda-check                     prints the tables
    tools/cuda_resources.py build/cuda-check --write docs/cuda-resources.md
                                                                 puts them between its marks

The build folder holds what ptxas said (`cmake/ptxas_log.sh`). `make cuda-check` does both.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

BEGIN, END = "<!-- begin: cuda_resources -->", "<!-- end: cuda_resources -->"

#: Kernels that may keep registers in memory, and why.
MAY_SPILL = dict.fromkeys(
    ("eit_kernel", "implicit_kernel", "resolve_kernel", "solve_kernel"),
    "around the call that solves an item; the work is in what is called",
)

#: Functions that kernels call and that may not: the work of the QP's kernels. What calls them keeps
#: its variables across the calls, in memory where registers end.
HOT = {
    "cholesky",
    "dot",
    "gram",
    "hessian_times",
    "kkt_factor",
    "kkt_residual",
    "kkt_solve",
    "kkt_solve_rows",
    "max_abs",
    "multiply_cols",
    "multiply_rows",
    "slots_of",
    "slots_transposed",
    "solve_lower",
    "solve_upper",
}


class Function(NamedTuple):
    """What ptxas says of one function within one kernel; `registers` and `shared` of kernels."""

    file: str
    architecture: str
    kernel: str
    name: str
    stack: int
    spilled: int
    registers: int
    shared: int

    @property
    def is_kernel(self) -> bool:
        """Whether this is the kernel itself, not a function that it calls."""
        return self.kernel == self.name


def parse(text: str, file: str) -> list[Function]:
    """The functions in what `ptxas -v` wrote; names as the compiler mangled them."""
    found: list[Function] = []
    architecture = kernel = name = ""
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\S+)' for '(\w+)'", line):
            kernel, architecture = m.groups()
        elif m := re.search(r"Function properties for (\S+)", line):
            name = m.group(1)
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill st\w+, (\d+) by", line):
            stack, stored, loaded = map(int, m.groups())
            spilled = max(stored, loaded)
            found.append(Function(file, architecture, kernel, name, stack, spilled, 0, 0))
        elif m := re.search(r"Used (\d+) registers", line):  # of the kernel, which came last
            stack, shared = (
                int(found_in.group(1))
                if (found_in := re.search(rf"(\d+) bytes {what}", line))
                else 0
                for what in ("cumulative stack", "smem")
            )
            last = found[-1]
            found[-1] = last._replace(
                stack=max(last.stack, stack), registers=int(m.group(1)), shared=shared
            )
    return found


def plain_name(demangled: str) -> str:
    """`void a::(anonymous namespace)::rows_kernel<X, true>(Task<float>)` -> `rows_kernel`."""
    text = demangled.replace("(anonymous namespace)::", "")
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            text = text[:i]
            break
    if text.endswith(">"):
        depth = 0
        for i in range(len(text) - 1, -1, -1):
            depth += (text[i] == ">") - (text[i] == "<")
            if depth == 0:
                text = text[:i]
                break
    return re.split(r"::|\s", text)[-1]


def demangle(functions: list[Function]) -> list[Function]:
    """The same with plain names."""
    names = sorted({f.name for f in functions} | {f.kernel for f in functions})
    out = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    plain = dict(zip(names, map(plain_name, out), strict=True))
    return [f._replace(kernel=plain[f.kernel], name=plain[f.name]) for f in functions]


def read(build: Path) -> list[Function]:
    """The functions of a build, with plain names."""
    found: list[Function] = []
    for log in sorted(build.glob("CMakeFiles/lpgd_cuda.dir/csrc/cuda/*.ptxas")):
        found += parse(log.read_text(), log.name.removesuffix(".o.ptxas"))
    return demangle(found) if found else []


def spills(functions: Iterable[Function]) -> list[Function]:
    """Kernels and hot functions that keep registers in memory."""
    return [
        f
        for f in functions
        if f.spilled and (f.name not in MAY_SPILL if f.is_kernel else f.name in HOT)
    ]


def _range(numbers: Iterable[int]) -> str:
    values = sorted(set(numbers))
    return str(values[0]) if len(values) == 1 else f"{values[0]}-{values[-1]}"


def tables(functions: list[Function]) -> str:
    """Kernels, and functions that kernels call and that spill, as markdown."""
    order = sorted({f.architecture for f in functions}, key=lambda a: int(a.removeprefix("sm_")))
    lines = [
        "| file | kernel | variants | "
        + " | ".join(f"registers {a}" for a in order)
        + " | spilled bytes | stack bytes | shared bytes |",
        "| --- | --- | --- | " + " | ".join("---" for _ in order) + " | --- | --- | --- |",
    ]
    kernels: dict[tuple[str, str], list[Function]] = {}
    called: dict[str, list[Function]] = {}
    for f in functions:
        if f.is_kernel:
            kernels.setdefault((f.file, f.name), []).append(f)
        elif f.spilled:
            called.setdefault(f.name, []).append(f)
    for (file, name), group in sorted(kernels.items()):
        by = {a: [f for f in group if f.architecture == a] for a in order}
        variants = max(len(v) for v in by.values())
        registers = " | ".join(_range(f.registers for f in by[a]) if by[a] else "-" for a in order)
        lines.append(
            f"| `{file}` | `{name}` | {variants} | {registers} | {_range(f.spilled for f in group)}"
            f" | {_range(f.stack for f in group)} | {_range(f.shared for f in group)} |"
        )
    spilled = [f"`{name}` {_range(f.spilled for f in of)}" for name, of in sorted(called.items())]
    if spilled:
        lines += ["", f"Bytes that functions spill which kernels call: {', '.join(spilled)}."]
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="a build folder of CMake")
    parser.add_argument("--write", type=Path, help="a page, between whose marks the tables go")
    args = parser.parse_args()
    functions = read(args.build)
    if not functions:
        print(f"{args.build}: no kernels there (a build without CUDA?)", file=sys.stderr)
        return 1
    text = tables(functions)
    if args.write:
        page = args.write.read_text()
        head, rest = page.split(BEGIN)
        args.write.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    else:
        print(text)
    bad = spills(functions)
    for f in bad:
        print(f"spills {f.spilled} bytes: {f.file} {f.architecture} {f.name} in {f.kernel}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
