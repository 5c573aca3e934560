"""Resident memory over thousands of calls of every entry point, forward and backward: flat."""

from __future__ import annotations

import contextlib
import gc
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from cases import random_qp
from eit_cases import small_mesh
from lpgd_native import (
    LPGD,
    Perturbed,
    algorithms,
    losses,
    nn,
    operators,
    oracles,
    proximal,
    solve_lp,
    solve_qp,
    solve_qp_numpy,
)
from lpgd_native.compat.qpth import QPFunction
from reliability.operations import operations

LIMIT = 2.0  # MiB that resident memory may grow by
Call = Callable[[], object]
#: of operations that differ in a formula alone, the first
CHOSEN = (
    "solve_qp ipm Implicit()",
    "solve_qp ipm LPGD",
    "solve_qp ipm warm start",
    "solve_lp ipm LPGD",
    "solve_lp highs",
    "solve_qp pdhg",
    "lstm momentum step",
    "lstm momentum sequence",
    "gru momentum coordinate",
    "conv_prelu",
    "conv_chain",
    "VolterraDeconvolution",
    "EIT forward",
    "EIT jvp",
    "EIT constant gradient",
    "EIT constant jacobian",
    "assignment LPGD",
    "grid path LPGD",
    "dag path LPGD",
    "top k LPGD",
    "ranking LPGD",
    "knapsack, table LPGD",
    "knapsack, branch LPGD",
    "spanning tree LPGD",
    "alignment LPGD",
    "prox_l1",
    "prox_total_variation",
    "prox_sorted_l1",
    "project_simplex",
)


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _more() -> dict[str, Call]:
    """What is no operation: other entry points, and calls that end in an exception."""
    data = random_qp(0, 1, n=4, m=3, p=1, lower=True, upper=True)
    arrays = [t.numpy() for t in data]
    costs = torch.rand(2, 6, dtype=torch.float64).requires_grad_()
    best = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    top = oracles.TopK(2)
    eit = operators.EIT(small_mesh(2, 6), minimum=0.1)
    voltages = eit(1.2 * torch.ones(1, *eit.domain, dtype=torch.float64))
    network = nn.LearnedProximalGradient(
        operators.LinearOperator(torch.rand(2, 3)),
        iterations=2,
        momentum=nn.RecurrentMomentum(hidden=3, layers=1),
        block=nn.ConvBlock(width=3, depth=2),
    )
    layer = nn.QPLayer(*data[:1], *(None,) * 5, *data[6:])
    hard = data._replace(h=data.h - 100.0)
    y = torch.ones(1, 2)

    def backward(value: torch.Tensor) -> None:
        value.sum().backward()

    def refused() -> None:
        with contextlib.suppress(ValueError):
            solve_qp(data.P, data.q[..., :2])

    return {
        "solve_qp_numpy": lambda: solve_qp_numpy(*arrays, num_threads=1),
        "QPLayer": lambda: layer(q=data.q),
        "elastic": lambda: solve_qp(*hard, elastic=True),
        "infeasible": lambda: solve_qp(*hard),
        "refused arguments": refused,
        "compat.qpth": lambda: QPFunction(verbose=-1)(*data[:6]),
        "integer LP": lambda: solve_lp(
            *data[1:], method="highs", integrality=torch.ones(4, dtype=torch.bool)
        ),
        "spo_plus": lambda: backward(losses.spo_plus(costs, costs.detach() + 0.1, top)),
        "fenchel_young": lambda: backward(
            losses.fenchel_young(costs, best, top, Perturbed(0.5, samples=2))
        ),
        "direct_loss": lambda: backward(losses.direct_loss(costs, best, top)),
        "FunctionOracle": lambda: backward(
            oracles.OracleLayer(lambda c: c < 0.5, LPGD(0.5))(costs).x
        ),
        "Gauss-Newton": lambda: eit.gauss_newton(voltages, iterations=1),
        "unrolled network": lambda: backward(network(y)),
        "fista": lambda: algorithms.fista(
            lambda x: x - 1.0, proximal.L1(0.1), costs.detach(), 0.5, max_iter=3
        ),
    }


def calls() -> dict[str, Call]:
    """All of them, by name, each the smallest there is."""
    every = operations()
    found: dict[str, Call] = {}
    for start in CHOSEN:
        operation = next(op for op in every if op.name.startswith(start))
        leaves = operation.leaves(1)
        found[operation.name] = lambda o=operation, t=leaves: o.gradients(t)
    return {**found, **_more()}


def growth(call: Call, count: int, warm: int) -> float:
    """MiB gained over `count` calls after `warm` of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(warm):
            call()
        gc.collect()
        before = resident()
        for _ in range(count):
            call()
        gc.collect()
        return resident() - before


def main(count: int) -> None:
    """Print the growth of each."""
    found = {name: growth(call, count, count // 10) for name, call in calls().items()}
    name, most = max(found.items(), key=lambda item: item[1])
    print(
        f"leaks: {count} forward and backward calls of each of {len(found)} entry points, "
        f"most growth {most:+.2f} MiB ({name}), limit {LIMIT} MiB"
    )
    if most > LIMIT:
        sys.exit(f"leaks: {found}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
