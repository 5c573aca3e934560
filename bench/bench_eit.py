"""Electrical impedance tomography: lpgd_native beside pyEIT, batched dense torch.linalg and SciPy.

Per sample, F and the gradient J'(F - y). Every contender's answer is compared with the others'
before it is timed. float64.

Usage:
    python bench/bench_eit.py                 the whole, in about two minutes
    python bench/bench_eit.py --quick         fewer rounds, no fine mesh, no training epoch
    python bench/bench_eit.py --threads 1 --out eit.md
    python bench/bench_eit.py --device cuda   there, beside dense torch alone
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

import devices
from harness import machine
from lpgd_native.nn import LearnedPrimalDual, RecurrentMomentum
from lpgd_native.operators import EIT, Mesh

Run = Callable[[], Any]


def stiffness(mesh: Mesh) -> np.ndarray:
    """[T, 3, 3]"""
    corners = mesh.points[mesh.triangles]
    sides = np.roll(corners, 1, axis=1) - np.roll(corners, -1, axis=1)
    return np.einsum("tid,tjd->tij", sides, sides) / (4 * mesh.areas[:, None, None])


class DenseTorch:
    """The formulas as one writes them for a batch: dense matrices, Cholesky, one einsum."""

    def __init__(self, operator: EIT) -> None:
        mesh = operator.mesh
        self.operator, self.nodes = operator, len(mesh.points)
        device = operator.drives.device
        self.local = torch.from_numpy(stiffness(mesh)).to(device)
        self.triangles = torch.from_numpy(mesh.triangles).to(device)
        self.electrodes = torch.from_numpy(mesh.electrodes).to(device)
        place = self.triangles[:, :, None] * self.nodes + self.triangles[:, None, :]
        self.place = place.flatten()
        inner = np.setdiff1d(np.arange(self.nodes), mesh.boundary)[0]
        self.rest = torch.tensor([i for i in range(self.nodes) if i != inner], device=device)

    def solve(self, x: Tensor) -> Tensor:
        """R [B, nodes, L]"""
        batch, n = len(x), self.nodes
        values = (x[:, :, None, None] * self.local).flatten(1)
        matrix = x.new_zeros(batch, n * n).index_add(1, self.place, values).view(batch, n, n)
        matrix = matrix[:, self.rest][:, :, self.rest]
        currents = x.new_zeros(n, len(self.electrodes))
        currents[self.electrodes, torch.arange(len(self.electrodes), device=x.device)] = 1
        out = x.new_zeros(batch, n, len(self.electrodes))
        factor = torch.linalg.cholesky(matrix)
        out[:, self.rest] = torch.cholesky_solve(currents[self.rest].expand(batch, -1, -1), factor)
        return out

    def forward(self, x: Tensor, solved: Tensor | None = None) -> Tensor:
        o = self.operator
        solved = self.solve(x) if solved is None else solved
        table = o.measured @ solved[:, self.electrodes] @ o.drives.mT
        return table[:, o.pairs[:, 1].long(), o.pairs[:, 0].long()]

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        o, pairs = self.operator, self.operator.pairs.long()
        solved = self.solve(x)
        u = (solved @ o.drives.mT)[:, self.triangles]  # [B, T, 3, D]
        z = (solved @ o.measured.mT)[:, self.triangles]
        r = self.forward(x, solved) - y
        weight = x.new_zeros(len(x), len(o.drives), len(o.measured))
        weight[:, pairs[:, 0], pairs[:, 1]] = r
        moved = torch.einsum("tij,btjd->btid", self.local, u)
        return -torch.einsum("btid,bdm,btim->bt", moved, weight, z)


class PyEIT:
    """pyEIT's forward solver, sample by sample: solve_eit, and compute_jac for the gradient."""

    def __init__(self, operator: EIT) -> None:
        from pyeit.eit import fem, protocol
        from pyeit.mesh import PyEITMesh

        mesh = operator.mesh
        theirs = PyEITMesh(
            node=np.pad(mesh.points, ((0, 0), (0, 1))),
            element=mesh.triangles,
            perm=np.ones(len(mesh.triangles)),
            el_pos=mesh.electrodes,
            ref_node=int(np.setdiff1d(np.arange(len(mesh.points)), mesh.boundary)[0]),
        )
        self.solver = fem.EITForward(theirs, protocol.create(16, 1, 1, "std"))

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([self.solver.solve_eit(row.numpy()) for row in x]))

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        out = []
        for row, data in zip(x, y, strict=True):
            jacobian, values = self.solver.compute_jac(row.numpy())
            out.append(-jacobian.T @ (values - data.numpy()))
        return torch.from_numpy(np.stack(out))


class Spsolve:
    """scipy.sparse, sample by sample: assemble, spsolve for all drives, adjoint."""

    def __init__(self, operator: EIT) -> None:
        mesh = operator.mesh
        self.operator, self.local = operator, stiffness(mesh)
        self.triangles, self.electrodes = mesh.triangles, mesh.electrodes
        self.nodes = len(mesh.points)
        self.rows = np.repeat(mesh.triangles, 3, axis=1).ravel()
        self.columns = np.tile(mesh.triangles, (1, 3)).ravel()
        self.drives, self.measured = operator.drives.numpy(), operator.measured.numpy()
        self.pairs = operator.pairs.numpy()
        self.ground = int(np.setdiff1d(np.arange(self.nodes), mesh.boundary)[0])

    def potentials(self, x: np.ndarray, currents: np.ndarray) -> np.ndarray:
        values = (x[:, None, None] * self.local).ravel()
        shape = (self.nodes, self.nodes)
        matrix = sparse.csc_matrix((values, (self.rows, self.columns)), shape=shape)
        keep = np.arange(self.nodes) != self.ground
        right = np.zeros((self.nodes, len(currents)))
        right[self.electrodes] = currents.T
        out = np.zeros_like(right)
        out[keep] = spsolve(matrix[keep][:, keep], right[keep])
        return out

    def _voltages(self, u: np.ndarray) -> np.ndarray:
        return (self.measured @ u[self.electrodes])[self.pairs[:, 1], self.pairs[:, 0]]

    def forward(self, x: Tensor) -> Tensor:
        rows = [self._voltages(self.potentials(row.numpy(), self.drives)) for row in x]
        return torch.from_numpy(np.stack(rows))

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """The adjoint currents depend on F: unit currents are solved for, one factorisation."""
        out = []
        unit = np.eye(len(self.electrodes))
        for row, data in zip(x.numpy(), y.numpy(), strict=True):
            solved = self.potentials(row, unit)
            u, z = solved @ self.drives.T, solved @ self.measured.T
            weight = np.zeros((len(self.drives), len(self.measured)))
            weight[self.pairs[:, 0], self.pairs[:, 1]] = self._voltages(u) - data
            adjoint = z @ weight.T
            moved = np.einsum("tij,tjd->tid", self.local, u[self.triangles])
            out.append(-np.einsum("tid,tid->t", moved, adjoint[self.triangles]))
        return torch.from_numpy(np.stack(out))


def check(name: str, found: Tensor, expected: Tensor) -> None:
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error < 1e-9:
        raise SystemExit(f"{name}: wrong by {error:.1e}, not timed")


def seconds(run: Run, rounds: int, device: str) -> float:
    """The median over calls."""
    run()
    devices.finish(device)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        devices.finish(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compare(
    resolution: str, counts: dict[str, int], rounds: int, device: str = "cpu", seed: int = 0
) -> tuple[EIT, dict[str, tuple[float, float]]]:
    """Seconds a sample of F and of the gradient, by contender; `counts`: its batches."""
    operator = EIT(Mesh.disc(resolution)).to(device)
    makers: dict[str, Callable[[EIT], Any]] = {
        "lpgd_native": lambda o: o,
        "dense torch": DenseTorch,
        "pyEIT": PyEIT,
        "spsolve": Spsolve,
    }
    generator = torch.Generator().manual_seed(seed)
    most = max(counts.values())
    x, other = (
        (0.5 + torch.rand(most, *operator.domain, generator=generator, dtype=torch.float64)).to(
            device
        )
        for _ in range(2)
    )
    y = operator(other)
    table = {}
    for name, count in counts.items():
        method = makers[name](operator)
        a, b = x[:count], y[:count]
        check(name, method.forward(a[:2]), operator(a[:2]))
        check(name, method.gradient(a[:2], b[:2]), operator.gradient(a[:2], b[:2]))
        forward = seconds(lambda m=method, a=a: m.forward(a), rounds, device) / count
        gradient = seconds(lambda m=method, a=a, b=b: m.gradient(a, b), rounds, device) / count
        table[name] = (forward, gradient)
        print(f"{resolution} {name}: F {1e3 * forward:.4g} ms, gradient {1e3 * gradient:.4g} ms")
    return operator, table


def epoch(samples: int, batch: int, device: str) -> float:
    """Seconds of a training epoch of LPD-RMA (T = 10, LSTM of 64, low resolution)."""
    operator = EIT(minimum=0.05).to(device)
    momentum = RecurrentMomentum("lstm", hidden=64, layers=1, downsample=2)
    network = LearnedPrimalDual(operator, iterations=10, momentum=momentum).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    x = 0.5 + torch.rand(samples, *operator.domain, device=device)
    y = operator(x)
    began = time.perf_counter()
    for part, data in zip(x.split(batch), y.split(batch), strict=True):
        loss = (network(data, torch.ones_like(part)) - part).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    devices.finish(device)
    return time.perf_counter() - began


def markdown(operator: EIT, table: dict[str, tuple[float, float]]) -> list[str]:
    """A table of milliseconds and how many times longer than ours."""
    lines = [
        f"{operator.mesh}:",
        "",
        "| a sample, ms | F | gradient | F, times ours | gradient, times ours |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    ours = table["lpgd_native"]
    for name, (forward, gradient) in table.items():
        lines.append(
            f"| {name} | {1e3 * forward:.4g} | {1e3 * gradient:.4g} | "
            f"{forward / ours[0]:.3g} | {gradient / ours[1]:.3g} |"
        )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as it is")
    parser.add_argument("--out", type=Path, help="write the tables there as markdown")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    devices.add_option(parser)
    arguments = parser.parse_args()
    device = arguments.device
    rows: list[dict[str, Any]] = []
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rounds = 2 if arguments.quick else 7
    facts = machine({"threads": torch.get_num_threads()}, sys.argv)
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    lines.append("")
    counts = {"lpgd_native": 400, "dense torch": 32, "pyEIT": 4, "spsolve": 32}
    if arguments.quick:
        counts = {"lpgd_native": 64, "dense torch": 8, "pyEIT": 2, "spsolve": 4}
    if device != "cpu":  # the others work on numpy arrays
        counts = {name: counts[name] for name in ("lpgd_native", "dense torch")}

    def page(resolution: str, counts: dict[str, int]) -> list[str]:
        operator, table = compare(resolution, counts, rounds, device)
        rows.extend(
            {"mesh": resolution, "method": name, "F s": forward, "gradient s": gradient}
            for name, (forward, gradient) in table.items()
        )
        return markdown(operator, table)

    lines += page("coarse", counts)
    if not arguments.quick:
        fine = {"lpgd_native": 64, "spsolve": 4} if device == "cpu" else {"lpgd_native": 64}
        lines += page("fine", fine)
        first = epoch(400, 10, device)
        lines.append(f"An epoch of LPD-RMA, T = 10, 400 samples in batches of 10: {first:.1f} s")
    text = "\n".join(lines)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    devices.write(arguments.json, device, rows)


if __name__ == "__main__":
    main()
