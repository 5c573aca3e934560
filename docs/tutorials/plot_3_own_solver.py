"""
Plug in your own solver
=======================

Anything that minimises a linear cost can be a layer: a shortest path, an assignment, a call to a
solver you have. You write a function from costs to a solution; a strategy makes the gradient out of
further calls.
"""

# %%
# A solver of ours
# ----------------
# Paths through a 5 x 5 grid from the top left to the bottom right, one step right or down at a
# time, by dynamic programming in plain numpy. The solution is the 0/1 mask of the cells passed.
import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch

import lpgd_native as lpgd
from lpgd_native.oracles import FunctionOracle, OracleLayer

SIZE = 5


def cheapest_path(costs):
    """Costs [5, 5] to the mask [5, 5] of the cheapest path."""
    total = costs.copy()
    total[0] = costs[0].cumsum()
    total[:, 0] = costs[:, 0].cumsum()
    for i in range(1, SIZE):
        for j in range(1, SIZE):
            total[i, j] += min(total[i - 1, j], total[i, j - 1])
    mask, i, j = np.zeros_like(costs), SIZE - 1, SIZE - 1
    mask[i, j] = 1
    while i or j:
        up = j == 0 or (i > 0 and total[i - 1, j] < total[i, j - 1])
        i, j = (i - 1, j) if up else (i, j - 1)
        mask[i, j] = 1
    return mask


# %%
# ``FunctionOracle`` calls it for every item of a batch. It can hand items to a pool of threads or
# processes (``workers=``), and whole batches to functions that take them (``batched=True``).
oracle = FunctionOracle(cheapest_path, event_dim=2)
torch.manual_seed(0)
solution = oracle.solve(torch.rand(32, SIZE, SIZE))
print("x", list(solution.x.shape), "  cells on a path:", solution.x.sum((1, 2)).unique().tolist())

# %%
# A layer, and a loss
# -------------------
# Walkers were seen, the costs of the terrain were not. A linear model of the terrain's features
# guesses costs, the layer finds paths, the loss counts the cells that differ (Hamming). The
# derivative of a path in its costs is zero; a strategy solves again at costs moved by the loss.
weights = torch.tensor([1.0, 0.5, -0.7, 0.0, 0.2])
terrain = torch.randn(200, SIZE, SIZE, 5)
walked = oracle.solve((terrain @ weights).exp()).x


def train(strategy, steps=40):
    """Train the model with a strategy; the loss at every step."""
    torch.manual_seed(1)
    model = torch.nn.Linear(5, 1)
    layer = OracleLayer(oracle, gradient=strategy)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    curve = []
    for step in range(steps):
        rows = slice(50 * (step % 4), 50 * (step % 4) + 50)
        path = layer(model(terrain[rows])[..., 0].exp()).x
        loss = (path * (1 - walked[rows]) + (1 - path) * walked[rows]).sum((1, 2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


strategies = {
    "LPGD average": lpgd.LPGD(tau=2.0, relative=True),
    "blackbox": lpgd.Blackbox(50.0),
    "identity": lpgd.Identity(),
}
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
last = {}
for name, strategy in strategies.items():
    curve = train(strategy)
    axes.plot(curve, label=name)
    last[name] = sum(curve[-4:]) / 4
axes.set(xlabel="step", ylabel="cells that differ")
axes.legend(fontsize=8)
print({name: round(value, 2) for name, value in last.items()})
assert last["LPGD average"] < 1.5

# %%
# When an item fails
# ------------------
# A function that raises, or finds nothing, costs its own item and no other.


def fragile(costs):
    """Refuse what is not positive."""
    if costs.min() <= 0:
        raise ValueError("costs must be positive")
    return cheapest_path(costs)


costs = torch.rand(3, SIZE, SIZE) + 0.1
costs[1, 2, 2] = -1
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    status = FunctionOracle(fragile, event_dim=2).solve(costs).status
print([lpgd.Status(int(code)).name for code in status], "|", told[0].message)

# %%
# ``lpgd_native.oracles`` has assignment, shortest paths, top-k, ranking, knapsack, spanning trees and
# alignment in C++, for whole batches; ``HighsOracle`` serves any linear or integer program.
