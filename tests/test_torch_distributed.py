"""DDP and FSDP on two processes over gloo: training as on one, for layers with learned blocks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import copy, os, sys
import torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from lpgd_native import LPGD, nn

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()

class Policy(torch.nn.Module):
    def __init__(self, gradient):
        super().__init__()
        self.costs = torch.nn.Linear(3, 4)
        self.layer = nn.QPLayer(
            P=torch.nn.Parameter(torch.eye(4) + 0.1), lb=torch.zeros(4),
            A=torch.ones(1, 4), b=torch.ones(1), gradient=gradient,
        )
    def forward(self, x):
        return self.layer(q=self.costs(x)).x

def train(module, x, share):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (module(x) * torch.arange(4.0)).sum(-1).mean().backward()
        optimizer.step()
    return [p.full_tensor() if hasattr(p, "full_tensor") else p for p in module.parameters()]

# relative: tau else depends on the size of the loss gradient, larger in a mean over fewer items
for gradient in (None, LPGD(0.1, relative=True)):
    torch.manual_seed(0)
    alone = Policy(gradient)
    x = torch.randn(8, 3)
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    kinds = {
        "ddp": DistributedDataParallel(copy.deepcopy(alone)),
        "fsdp": fully_shard(copy.deepcopy(alone), mesh=mesh),
    }
    wanted = train(alone, x, 1)
    for kind, module in kinds.items():
        found = train(module, x[4 * rank : 4 * rank + 4], 2)
        for left, right in zip(found, wanted, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5, msg=f"{kind} {gradient}")
print("done", rank)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(line for line in done.stdout.splitlines() if "done" in line) == [
        "done 0",
        "done 1",
    ]
