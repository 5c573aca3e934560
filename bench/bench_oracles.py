"""Combinatorial oracles beside scipy, networkx, torch, HiGHS and PyEPO.

    python bench/bench_oracles.py              prints Markdown tables, about 4 minutes
    python bench/bench_oracles.py --quick      small sizes, fewer rounds
    python bench/bench_oracles.py --device cuda  ours there, peers on the CPU; --json FILE: numbers
    python bench/bench_oracles.py --only grid  tables and rows whose name contains this
    python bench/bench_oracles.py --out FILE.md  puts the tables between the marks in the file, too

Needs scipy and networkx (lpgd-native[bench]); rows of PyEPO need pyepo, and ortools for its models.
Every answer is compared with the peers' before it is timed; contenders take turns on the same
arrays, medians are shown. Microseconds an item; ratios above 1: ours is faster.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx
import numpy as np
import scipy.optimize
import scipy.sparse
import torch
from scipy.sparse import csgraph

import devices
import lpgd_native
from lpgd_native import oracles
from marks import between
from oracle_steps import pyepo_tasks, step_times

MARKS = ("<!-- bench_oracles -->", "<!-- end of bench_oracles -->")


@dataclass
class Row:
    """A batch for one oracle. Peers: name, how many items a call of theirs solves, the call, which
    returns the optimal values of these.
    """

    name: str
    batch: int
    ours: Callable[[], oracles.OracleSolution]
    peers: list[tuple[str, int, Callable[[], np.ndarray]]] = field(default_factory=list)
    #: solutions of peers without a proof of optimality are compared to this, relatively
    tolerance: float = 1e-7


def on_device(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).to(_device)


_device = "cpu"  # --device


def check(row: Row) -> None:
    solution = row.ours()
    if solution.status.any():
        raise RuntimeError(f"{row.name}: an item has no solution")
    for peer, count, call in row.peers:
        found, expected = np.asarray(call()), solution.objective[:count].double().cpu().numpy()
        if found.size == 0:
            continue
        off = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
        if not off <= row.tolerance:
            raise RuntimeError(f"{row.name}: the optimal values differ from {peer}'s by {off:.1e}")


def measure(row: Row, rounds: int) -> dict[str, float]:
    """Microseconds an item: ours on one thread and on all, and the peers'."""
    check(row)
    threads = torch.get_num_threads()
    samples: dict[str, list[float]] = {}

    def time_of(name: str, count: int, call: Callable[[], object]) -> None:
        begin = time.perf_counter()
        call()
        devices.finish(_device)
        samples.setdefault(name, []).append(1e6 * (time.perf_counter() - begin) / count)

    for turn in range(rounds + 1):
        torch.set_num_threads(1)
        time_of("one", row.batch, row.ours)
        torch.set_num_threads(threads)
        time_of("all", row.batch, row.ours)
        for name, count, call in row.peers:
            time_of(name, count, call)
        if turn == 0:
            samples.clear()
    return {name: statistics.median(times) for name, times in samples.items()}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- oracles alone -------------------------------------------------------------------------------


def assignment_rows(quick: bool) -> Iterator[Row]:
    rng = generator()
    for n in (10, 50) if quick else (10, 20, 50, 100, 200):
        batch = 64
        kinds = {
            "uniform": rng.random((batch, n, n)),
            "whole 0-99": rng.integers(0, 100, (batch, n, n)).astype(float),
            "distances": np.linalg.norm(
                rng.random((batch, n, 1, 2)) - rng.random((batch, 1, n, 2)), axis=-1
            ),
        }
        for kind, costs in kinds.items():
            given = on_device(costs)

            def by_scipy(costs: np.ndarray = costs) -> np.ndarray:
                chosen = [(c, scipy.optimize.linear_sum_assignment(c)) for c in costs]
                return np.array([c[rows, columns].sum() for c, (rows, columns) in chosen])

            yield Row(
                f"assignment {n}x{n}, {kind}",
                batch,
                lambda given=given: oracles.linear_assignment(given),
                [("scipy", batch, by_scipy)],
            )


def grid_edges(n: int) -> np.ndarray:
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    return np.array([
        (i * n + j, (i + a) * n + j + b)
        for i in range(n) for j in range(n) for a, b in steps
        if 0 <= i + a < n and 0 <= j + b < n
    ])  # fmt: skip


def grid_rows(quick: bool) -> Iterator[Row]:
    for n in (12,) if quick else (12, 30):
        batch, few = 64, 8
        costs = generator(1).random((batch, n, n)) + 0.01
        given, edges = on_device(costs), grid_edges(n)
        flat = costs.reshape(batch, -1)

        def graph_of(c: np.ndarray, edges: np.ndarray = edges) -> scipy.sparse.csr_matrix:
            return scipy.sparse.csr_matrix((c[edges[:, 1]], tuple(edges.T)), shape=(c.size,) * 2)

        graphs = [graph_of(c) for c in flat]
        networks = []
        for c in flat[:few]:
            network = nx.DiGraph()
            network.add_weighted_edges_from((int(a), int(b), float(c[b])) for a, b in edges)
            networks.append(network)

        def by_csgraph(graphs: list = graphs, flat: np.ndarray = flat) -> np.ndarray:
            ways = [csgraph.dijkstra(g, indices=0, return_predecessors=True)[0] for g in graphs]
            return np.array([way[-1] for way in ways]) + flat[:, 0]

        def by_csgraph_built(flat: np.ndarray = flat, graph_of: Callable = graph_of) -> np.ndarray:
            ways = [
                csgraph.dijkstra(graph_of(c), indices=0, return_predecessors=True)[0] for c in flat
            ]
            return np.array([way[-1] for way in ways]) + flat[:, 0]

        def by_networkx(networks: list = networks, flat: np.ndarray = flat) -> np.ndarray:
            last = flat.shape[1] - 1
            lengths = [nx.single_source_dijkstra(g, 0, last)[0] for g in networks]
            return np.array(lengths) + flat[: len(networks), 0]

        yield Row(
            f"grid path {n}x{n}, 8 neighbours",
            batch,
            lambda given=given: oracles.grid_shortest_path(given),
            [
                ("csgraph, graph given", batch, by_csgraph),
                ("csgraph, graph built", batch, by_csgraph_built),
                ("networkx", few, by_networkx),
            ],
        )


def other_rows(quick: bool) -> Iterator[Row]:
    rng, batch = generator(2), 256
    for n, k in ((1000, 50),) if quick else ((50, 5), (1000, 50), (1000, 500)):
        given = on_device(rng.standard_normal((batch, n)))
        yield Row(
            f"top {k} of {n}",
            batch,
            lambda given=given, k=k: oracles.top_k(given, k),
            [
                (
                    "torch.topk",
                    batch,
                    lambda given=given, k=k: (
                        given.topk(k, largest=False).values.sum(-1).cpu().numpy()
                    ),
                )
            ],
        )
        ranks = torch.arange(1.0, n + 1, dtype=torch.float64, device=_device)
        yield Row(
            f"ranking of {n}",
            batch,
            lambda given=given: oracles.ranking(given),
            [
                (
                    "torch.sort",
                    batch,
                    lambda given=given, ranks=ranks: (
                        (given.sort(descending=True).values * ranks).sum(-1).cpu().numpy()
                    ),
                )
            ],
        )
    nodes, batch = 40, 128
    pairs = np.array([(i, j) for i in range(nodes) for j in range(i)])
    tree = oracles.SpanningTree(torch.from_numpy(pairs), nodes)  # its plan: host data
    costs = rng.random((batch, len(pairs))) + 0.01

    def by_csgraph(costs: np.ndarray = costs) -> np.ndarray:
        shape = (nodes, nodes)
        graphs = (scipy.sparse.csr_matrix((c, tuple(pairs.T)), shape=shape) for c in costs)
        return np.array([csgraph.minimum_spanning_tree(g).sum() for g in graphs])

    yield Row(
        f"spanning tree, {nodes} nodes, {len(pairs)} edges",
        batch,
        lambda: tree.solve(on_device(costs)),
        [("csgraph", batch, by_csgraph)],
    )
    weights = rng.integers(1, 100, (1, 50)).astype(float)
    values = rng.random((32, 50))

    def by_milp() -> np.ndarray:
        within = scipy.optimize.LinearConstraint(weights, ub=[400.0])
        options = {"mip_rel_gap": 0.0}
        found = [
            scipy.optimize.milp(
                -v, integrality=np.ones(50), bounds=(0, 1), constraints=within, options=options
            ).fun
            for v in values
        ]
        return np.array(found)

    for method in ("table", "branch"):
        yield Row(
            f"knapsack, 50 items, capacity 400, {method}",
            32,
            lambda method=method: oracles.binary_knapsack(
                on_device(-values), on_device(weights), [400.0], method=method
            ),
            [("scipy milp", 32, by_milp)],
        )


def highs_rows(quick: bool) -> Iterator[Row]:
    """HighsOracle, warm and cold, beside a loop over scipy's front end of the same solver."""
    rng, batch = generator(5), 64
    edges, n = oracles.grid_edges(5, 5), 25
    A = np.zeros((n, len(edges)))
    for k, (tail, head) in enumerate(edges):
        A[tail, k], A[head, k] = 1.0, -1.0
    b = np.zeros(n)
    b[0], b[-1] = 1.0, -1.0
    paths = rng.random((batch, len(edges)))

    def by_linprog() -> np.ndarray:
        solved = (scipy.optimize.linprog(c, A_eq=A, b_eq=b, method="highs") for c in paths)
        return np.array([result.fun for result in solved])

    weights, capacity, values = rng.uniform(3, 8, (2, 20)), [20.0, 20.0], rng.random((16, 20))

    def by_milp() -> np.ndarray:
        within = scipy.optimize.LinearConstraint(weights, ub=capacity)
        options = {"mip_rel_gap": 0.0}
        solved = (
            scipy.optimize.milp(
                -v, integrality=np.ones(20), bounds=(0, 1), constraints=within, options=options
            )
            for v in values
        )
        return np.array([result.fun for result in solved])

    for warm in (True, False):
        kind = "warm" if warm else "cold"
        lp = oracles.HighsOracle(A=A, b=b, lb=0.0, warm_start=warm)
        mip = oracles.HighsOracle(
            G=weights, h=capacity, lb=0.0, ub=1.0, integrality=True, warm_start=warm
        )
        yield Row(
            f"HiGHS, LP of 40 variables, {kind}",
            batch,
            lambda lp=lp: lp.solve(on_device(paths)),
            [("scipy linprog", batch, by_linprog)],
        )
        yield Row(
            f"HiGHS, knapsack of 20 items, {kind}",
            len(values),
            lambda mip=mip: mip.solve(on_device(-values)),
            [("scipy milp", len(values), by_milp)],
        )


# --- tables --------------------------------------------------------------------------------------


def show_number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def oracle_table(
    args: argparse.Namespace, show: Callable[[str], None], measured: list[dict[str, object]]
) -> None:
    show(f"| oracle | batch | ours, 1 thread | {args.threads} threads | peer | its time | ratio |")
    show("| --- | ---: | ---: | ---: | --- | ---: | ---: |")
    made = [assignment_rows, grid_rows, other_rows]
    if args.device == "cpu":
        made.append(highs_rows)
    for rows in made:
        for row in rows(args.quick):
            if args.only and args.only not in row.name:
                continue
            times = measure(row, args.rounds)
            measured.append({"oracle": row.name, "batch": row.batch, "microseconds": times})
            for name, _, _ in row.peers:
                cells = [times["one"], times["all"], times[name], times[name] / times["one"]]
                one, every, theirs, ratio = map(show_number, cells)
                show(
                    f"| {row.name} | {row.batch} | {one} | {every} | {name} | {theirs} | {ratio} |"
                )


def step_table(args: argparse.Namespace, show: Callable[[str], None]) -> None:
    try:
        tasks = pyepo_tasks()
    except ImportError as error:
        show(f"\nPyEPO is left out: {error}")
        return
    show("\nForward and backward by blackbox differentiation, milliseconds a batch:\n")
    show("| problem | batch | ours | PyEPO with | its time | ratio |")
    show("| --- | ---: | ---: | --- | ---: | ---: |")
    for task in tasks:
        if args.only and args.only not in task.name:
            continue
        for batch in (32,) if args.quick else (32, 256, 1024):
            times = step_times(task, batch, max(args.rounds // 2, 2))
            for name in task.models:
                ours, theirs = times["ours"], times[name]
                numbers = map(show_number, (ours, theirs, theirs / ours))
                ours_shown, theirs_shown, ratio = numbers
                show(
                    f"| {task.name} | {batch} | {ours_shown} | {name} | {theirs_shown} | {ratio} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, batches of 32")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--out", type=Path, help=f"a file with the lines {' and '.join(MARKS)}")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    devices.add_option(parser)
    args = parser.parse_args()
    global _device
    _device = args.device
    if args.out is not None:
        between(args.out.read_text(), "", MARKS)  # before the measurements, not after
    torch.set_num_threads(args.threads)
    lines: list[str] = []

    def show(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    options = ["--quick"] if args.quick else []
    options += [f"--only {args.only}"] if args.only else []
    show(
        f"`{' '.join(['bench/bench_oracles.py', *options])}`: "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{args.threads} threads, torch {torch.__version__}, isa "
        f"{lpgd_native.build_info()['isa']}, load {os.getloadavg()[0]:.1f}; medians of "
        f"{args.rounds} rounds, microseconds an item; ratios above 1: ours, on one thread, is "
        f"faster\n"
    )
    measured: list[dict[str, object]] = []
    oracle_table(args, show, measured)
    if args.device == "cpu":
        step_table(args, show)
    devices.write(args.json, args.device, measured)
    if args.out is not None:
        args.out.write_text(between(args.out.read_text(), "\n".join(lines), MARKS))


if __name__ == "__main__":
    main()
