"""Training on several processes: the numbers of one process, and after one of them dies as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("scale_out_worker.py")


def run(folder: Path, processes: int, die_at: int = -1) -> dict[str, torch.Tensor]:
    """The weights that training with so many processes ends with."""
    folder.mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "1"),
            *("--nproc-per-node", str(processes), str(WORKER), str(folder), str(die_at)),
        ],
        timeout=300,
        # a store for every attempt: a shared one has the addresses of dead processes
        env={**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "final.pt", weights_only=True)


@pytest.mark.slow
def test_processes_give_what_one_gives_also_after_a_death(tmp_path: Path) -> None:
    alone = run(tmp_path / "one", 1)
    together = run(tmp_path / "two", 2)
    torch.testing.assert_close(together["weight"], alone["weight"], rtol=0, atol=1e-12)

    survived = run(tmp_path / "killed", 2, die_at=5)
    assert (tmp_path / "killed" / "killed").exists()
    # the restart began at the last checkpoint, which rank 0 may still have written for that step
    assert survived["first"] in (5, 6)
    torch.testing.assert_close(survived["weight"], together["weight"], rtol=0, atol=0)

    sharded = torch.load(tmp_path / "two" / "sharded.pt", weights_only=True)
    assert torch.equal(sharded["x"], sharded["alone"])
