"""
An optimisation layer in ten minutes
====================================

A network that ends in a program: what the layer computes, what it does with a batch, how an item can
fail without hurting the rest, and how to train through it.
"""

# %%
# One program, then many
# ----------------------
# ``solve_qp`` minimises :math:`\tfrac12 x'Px + q'x` subject to :math:`Gx \le h`, :math:`Ax = b`,
# :math:`lb \le x \le ub`. Every block but ``q`` may be absent. Leading dimensions are the batch, and
# they broadcast: here one ``P``, and 256 different ``q``.
import matplotlib.pyplot as plt
import torch

import lpgd_native as lpgd

torch.manual_seed(0)
n = 20
factor = torch.randn(n, n, dtype=torch.float64) / n**0.5
P = factor @ factor.T + 0.1 * torch.eye(n, dtype=torch.float64)
q = torch.randn(256, n, dtype=torch.float64, requires_grad=True)
budget = torch.ones(1, n, dtype=torch.float64)

solution = lpgd.solve_qp(P, q, A=budget, b=budget[:, 0], lb=torch.zeros(n, dtype=torch.float64))
print(
    "x",
    list(solution.x.shape),
    "  sums to one:",
    bool(torch.allclose(solution.x.sum(-1), budget[:, 0])),
)
print(
    "of each item: status, iterations",
    solution.status[:5].tolist(),
    solution.iterations[:5].tolist(),
)

# %%
# Gradients
# ---------
# The default of a QP is ``Implicit()``: the derivative of the solution. It flows to every argument
# that requires it, through ``x`` and through the multipliers. A shared argument gets the sum over
# the batch.
solution.x[:, 0].sum().backward()
assert q.grad is not None
print("gradient of q", list(q.grad.shape))

# %%
# ``LPGD(tau)`` solves again at ``q + tau g`` and ``q - tau g`` and takes the difference. While no
# constraint becomes active or inactive in between, the two agree to rounding; where one does, LPGD
# sees what is behind it.
gradients = {}
for strategy in (lpgd.Implicit(), lpgd.LPGD(tau=1e-4), lpgd.LPGD(tau=1.0)):
    leaf = q.detach().requires_grad_()
    x = lpgd.solve_qp(
        P, leaf, A=budget, b=budget[:, 0], lb=torch.zeros(n, dtype=torch.float64), gradient=strategy
    ).x
    (gradients[strategy],) = torch.autograd.grad(x[:, 0].sum(), leaf)
exact, small, large = gradients.values()
print(
    f"tau = 1e-4: off by {(small - exact).abs().max():.1e};  tau = 1: by {(large - exact).abs().max():.1e}"
)

# %%
# An item that cannot be solved
# -----------------------------
# Ask item 3 for the impossible. Its status says so and its ``x`` is a certificate's companion, not a
# NaN; no exception is raised, and the neighbours are what they were, bit for bit.
b = torch.ones(256, 1, dtype=torch.float64)
b[3] = -1.0
damaged = lpgd.solve_qp(P, q, A=budget, b=b, lb=torch.zeros(n, dtype=torch.float64))
print("item 3:", lpgd.Status(int(damaged.status[3])).name)
others = torch.arange(256) != 3
assert torch.equal(damaged.x[others], solution.x[others])

# %%
# Training through it
# -------------------
# Somebody chooses mixtures by a QP whose linear costs depend on features; we see features and
# choices. A layer in a network learns the costs.
features = torch.randn(512, 8, dtype=torch.float64)
truth = torch.nn.Linear(8, n, dtype=torch.float64)
layer = lpgd.nn.QPLayer(P=P, A=budget, b=budget[:, 0], lb=torch.zeros(n, dtype=torch.float64))
with torch.no_grad():
    chosen = layer(q=truth(features)).x

model = torch.nn.Linear(8, n, dtype=torch.float64)
optimizer = torch.optim.Adam(model.parameters(), lr=0.2)
losses = []
for _ in range(200):
    loss = (layer(q=model(features)).x - chosen).square().sum(-1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.semilogy(losses)
axes.set(xlabel="step", ylabel="squared error of the mixtures", title="512 programs a step")
print(f"squared error {losses[0]:.4f} before, {losses[-1]:.1e} after")
assert losses[-1] < 0.05 * losses[0]
