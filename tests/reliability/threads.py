"""Threads, processes, Ctrl-C, and no memory: results stay right and the process stays sane."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from cases import random_qp
from lpgd_native import LPGD, solve_lp, solve_qp, solve_qp_numpy
from reliability.operations import Operation, operations

_TESTS = Path(__file__).resolve().parents[1]


def _evaluate(operation: Operation, batch: int) -> list[torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        out, grads = operation.gradients(operation.leaves(batch))
    return [*out, *(g for g in grads if g is not None)]


def _equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(
        torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(left, right, strict=True)
    )


def concurrent(found: list[Operation], workers: int = 8, rounds: int = 3, batch: int = 12) -> int:
    """Calls of all operators at once from so many Python threads that are not what serial ones are."""  # noqa: E501
    warnings.simplefilter("ignore", RuntimeWarning)  # filters are not a thread's own
    expected = {op.name: _evaluate(op, batch) for op in found}

    def work(worker: int) -> int:
        order = found[worker:] + found[:worker]
        return sum(
            not _equal(_evaluate(op, batch), expected[op.name])
            for _ in range(rounds)
            for op in order
        )

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(work, range(workers)))


def _work_of_a_process(batch: int) -> list[Any]:
    data = random_qp(0, batch, n=6, m=5, p=2, lower=True, upper=True)
    q = data.q.requires_grad_()
    x = solve_qp(*data, gradient=LPGD(0.1)).x
    (grad,) = torch.autograd.grad(x.sum(), q)
    vertex = solve_lp(data.q.detach(), *data[2:], method="highs").x
    own = solve_qp_numpy(*(t.detach().numpy() for t in data)).x
    return [x.detach().tolist(), grad.tolist(), vertex.tolist(), own.tolist()]


def processes(start: str, count: int = 4, batch: int = 12) -> int:
    """Worker processes, started by `start`, whose results are not those of this one.

    The kernels have run here before the fork. torch's own operators hang in a child of a process that
    has used OpenMP, unless it sets one thread first, as the workers of a DataLoader do: so do these.
    """  # noqa: E501
    expected = _work_of_a_process(batch)
    with warnings.catch_warnings():
        # Python 3.12 on warns of a fork beside threads: here it is the point
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context(start).Pool(count, torch.set_num_threads, (1,)) as pool:
            results = pool.map_async(_work_of_a_process, [batch] * count).get(timeout=300)
    return sum(found != expected for found in results)


_LONG = """
    import os, signal, sys, threading, time, torch
    from cases import random_qp
    from lpgd_native import LPGD, Implicit, SolverError, solve_lp, solve_qp, solve_qp_numpy

    kind, delay = sys.argv[1], float(sys.argv[2])
    # a process that a shell starts in the background has SIGINT ignored, and so have its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(2)
    one = random_qp(0, 500, n=20, m=20, p=5, lower=True, upper=True)
    many = one.map(lambda t: t.repeat(60, *[1] * (t.dim() - 1)))
    arrays = [t.numpy() for t in many]
    leaf = many.q.clone().requires_grad_()
    if kind == "backward":
        x = solve_qp(many.P, leaf, *many[2:], gradient=LPGD(0.1)).x
    def call():
        if kind == "forward":
            solve_qp(*many)
        elif kind == "backward":
            x.sum().backward()
        elif kind == "pdhg":
            solve_qp(*many, method="pdhg")
        elif kind == "numpy":
            solve_qp_numpy(*arrays)
        else:
            solve_lp(*many[1:], method="highs")
    sent = []
    def fire():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(delay, fire)
    timer.start()
    try:
        call()
        print("finished", flush=True)  # os._exit flushes nothing
    except KeyboardInterrupt:
        print(time.perf_counter() - sent[0], flush=True)
    timer.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (solve_qp(*one).status == 0).all()  # sane: the next call is as good as ever
    os._exit(0)  # threads of HiGHS may still be at the items they had begun
"""


def interrupted(kind: str, delay: float = 0.1) -> float:
    """Seconds from SIGINT in the midst of a long batch to KeyboardInterrupt; inf: it never came."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_LONG), kind, str(delay)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
    )
    if run.returncode != 0:
        raise AssertionError(f"{kind}: {run.stderr}")
    last = run.stdout.split()[-1]
    return float("inf") if last == "finished" else float(last)


_HANDLER = """
    import os, signal, threading, torch
    from cases import random_qp
    from lpgd_native import solve_qp

    calls = []
    signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    one = random_qp(0, 500, n=20, m=20, p=5, lower=True, upper=True)
    many = one.map(lambda t: t.repeat(20, *[1] * (t.dim() - 1)))
    expected = solve_qp(*many).x
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert torch.equal(solve_qp(*many).x, expected)
    timer.join()
    assert calls == [1], calls
"""

_MEMORY = """
    import resource, sys, torch
    from cases import random_qp
    from lpgd_native import solve_qp

    torch.set_num_threads(2)
    small = random_qp(0, 4, n=6, m=5)
    expected = solve_qp(*small).x
    n = 700
    large = random_qp(1, n=n, m=n)
    used = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + 8 * 2**20, resource.RLIM_INFINITY))
    raised = ""
    try:
        solve_qp(*large)
    except (RuntimeError, MemoryError) as error:
        raised = str(error)
    assert torch.equal(solve_qp(*small).x, expected)  # while memory is still short
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (solve_qp(*large).status == 0).all()
    print(raised.splitlines()[0])
"""


def _script(text: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(_TESTS), **environment},
    )
    if run.returncode != 0:
        raise AssertionError(run.stderr)
    return run.stdout.strip()


def own_handler_decides() -> None:
    """A SIGINT handler of the program's that does not raise lets the call come to its end."""
    _script(_HANDLER)


def out_of_memory() -> str:
    """What is raised where the workspace finds no memory; calls before and after are right."""
    # what is freed goes back to the system: a workspace could fit in what malloc has kept of it
    return _script(_MEMORY, MALLOC_MMAP_THRESHOLD_="65536")


_NESTED = """
    import os, sys, threading, torch
    from cases import random_qp
    from lpgd_native import LPGD, solve_lp, solve_qp

    torch.set_num_threads(int(sys.argv[1]))
    data = random_qp(0, 64, n=10, m=10, p=2, lower=True, upper=True)
    def count():
        return len(os.listdir("/proc/self/task"))
    def work(method):
        q = data.q.clone().requires_grad_()
        solve = solve_lp if method == "highs" else solve_qp
        P = () if method == "highs" else (data.P,)
        solve(*P, q, *data[2:], method=method, gradient=LPGD(0.1)).x.sum().backward()
    work("ipm")
    alone = count()
    work("highs")
    with_highs = count()
    print(alone, with_highs)
"""


def threads_made(threads: int) -> tuple[int, int]:
    """Threads of a process after solves on so many: of torch, then with those of HiGHS."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_NESTED), str(threads)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, "PYTHONPATH": str(_TESTS), "OMP_NUM_THREADS": "1"},
    )
    own, highs = run.stdout.split()[-2:]
    return int(own), int(highs)


def main() -> None:
    """Print what was held."""
    found = [op for op in operations() if "highs" not in op.name]
    wrong = concurrent(found)
    print(f"threads: 8 at once, {8 * 3 * len(found)} calls, {wrong} not equal to serial ones")
    strays = {start: processes(start) for start in ("fork", "spawn")}
    print(f"processes: 4 workers each, not equal to the parent: {strays}")
    waits = {k: interrupted(k) for k in ("forward", "backward", "pdhg", "numpy", "highs")}
    own_handler_decides()
    shown = ", ".join(f"{k} {1000 * w:.0f} ms" for k, w in waits.items())
    print(f"Ctrl-C: KeyboardInterrupt after {shown}; limit 200 ms")
    print(f"out of memory: raised and recovered: {out_of_memory()}")
    made = {t: threads_made(t) for t in (1, 2, 4)}
    print(f"threads of the process (torch's, with HiGHS's) by set_num_threads: {made}")
    least = made[1][0]
    # torch keeps two pools, of which one works at a time
    crowd = any(own - least > 2 * (t - 1) or highs - own > t for t, (own, highs) in made.items())
    if wrong or any(strays.values()) or max(waits.values()) > 0.2 or crowd:
        sys.exit("threads: see above")


if __name__ == "__main__":
    main()
