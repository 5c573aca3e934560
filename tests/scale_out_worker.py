"""What the processes of test_scale_out.py run, under torchrun.

Data-parallel training of a model that ends in a QP layer, with a checkpoint after every step: the
recipe of docs/howto/distributed.md.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import lpgd_native as lpgd

STEPS, BATCH, N = 12, 8, 6


class Model(torch.nn.Module):
    """Features to costs to the solution of a QP on the simplex."""

    def __init__(self) -> None:
        super().__init__()
        self.costs = torch.nn.Linear(4, N, dtype=torch.float64)
        one = torch.ones(1, N, dtype=torch.float64)
        eye = torch.eye(N, dtype=torch.float64)
        # relative: tau is measured by the gradient of an item, whose size depends on how many items
        # a process averages over
        gradient = lpgd.LPGD(tau=0.5, relative=True)
        self.layer = lpgd.nn.QPLayer(P=eye, A=one, b=one[:, 0], lb=0 * one[0], gradient=gradient)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, 4] -> [B, N]."""
        return self.layer(q=self.costs(features)).x


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """The features and the mixtures to learn, all steps' batches of them."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(STEPS, BATCH, 4, generator=generator, dtype=torch.float64)
    target = torch.rand(STEPS, BATCH, N, generator=generator, dtype=torch.float64)
    return features, target / target.sum(-1, keepdim=True)


def save(state: dict[str, object], path: Path) -> None:
    """Atomically: a process that dies here leaves the old file."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def train(folder: Path, die_at: int) -> None:
    """Train from the checkpoint on, if there is one; the last rank dies once at step `die_at`."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1)
    model = DistributedDataParallel(Model())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    dist.barrier()
    features, target = data()
    for step in range(first, STEPS):
        mine = slice(rank * BATCH // ranks, (rank + 1) * BATCH // ranks)
        loss = (model(features[step, mine]) - target[step, mine]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        killed = folder / "killed"
        if rank == ranks - 1 and step == die_at and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.step()
        if rank == 0:
            model_state = model.module.state_dict()
            save(
                {"model": model_state, "optimizer": optimizer.state_dict(), "step": step + 1},
                checkpoint,
            )
        dist.barrier()
    if rank == 0:
        save({"weight": model.module.costs.weight.detach(), "first": first}, folder / "final.pt")


def solve_sharded(folder: Path) -> None:
    """One batch over all ranks: each solves its slice, all get the whole."""
    q = torch.randn(37, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    eye, one = torch.eye(N, dtype=torch.float64), torch.ones(N, dtype=torch.float64)
    slices = q.tensor_split(dist.get_world_size())
    x = lpgd.solve_qp(eye, slices[dist.get_rank()], lb=-one, ub=one).x
    most = max(map(len, slices))
    padded = torch.zeros(most, N, dtype=x.dtype)
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in slices]
    dist.all_gather(parts, padded)
    if dist.get_rank() == 0:
        whole = torch.cat([part[: len(s)] for part, s in zip(parts, slices, strict=True)])
        save({"x": whole, "alone": lpgd.solve_qp(eye, q, lb=-one, ub=one).x}, folder / "sharded.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    train(Path(sys.argv[1]), int(sys.argv[2]))
    solve_sharded(Path(sys.argv[1]))
    dist.destroy_process_group()
