"""
LPGD on a linear program: why derivatives are zero and what LPGD sees
=====================================================================

The solution of an LP is a vertex. Move the costs a little and it stays; move them further and it
jumps. So its derivative in the costs is zero almost everywhere, and a network before it learns
nothing.
"""

# %%
# A choice among three
# --------------------
# The LP picks the cheapest of three options. We look at it as the first cost runs, the loss being
# a charge for what was picked.
import matplotlib.pyplot as plt
import torch

import lpgd_native as lpgd

charge = torch.tensor([1.0, 0.4, 0.0], dtype=torch.float64)
one = torch.ones(1, 3, dtype=torch.float64)


def pick(costs, gradient):
    """The cheapest of three options, as an LP: [..., 3] -> [..., 3]."""
    return lpgd.solve_lp(
        costs, A=one, b=one[:, 0], lb=torch.zeros_like(one[0]), gradient=gradient
    ).x


def costs_of(first):
    """Costs [k, 3] whose first entry runs."""
    return torch.stack([first, torch.full_like(first, 0.5), torch.full_like(first, 0.8)], -1)


def slope(first, strategy):
    """The gradient of the loss in the first cost, by a strategy."""
    costs = costs_of(first).requires_grad_()
    (grad,) = torch.autograd.grad((pick(costs, strategy) @ charge).sum(), costs)
    return grad[:, 0]


first = torch.linspace(-0.6, 1.6, 881, dtype=torch.float64) + 1e-4
print("largest derivative anywhere:", slope(first, lpgd.Implicit()).abs().max().item())

# %%
# The envelopes
# -------------
# LPGD does not differentiate the loss. With the Lagrangian divergence :math:`D(x) = \langle c, x
# \rangle - \min_u \langle c, u \rangle`, which says how far x is from optimal, it descends the
#
# * lower envelope :math:`\min_x\ \langle g, x\rangle + D(x)/\tau`: what the loss could become by a
#   small detour;
# * upper envelope :math:`\max_x\ \langle g, x\rangle - D(x)/\tau`: what it could become at worst;
# * their average.
#
# Both are values of the same LP at shifted costs, so that one further solve gives an exact gradient
# of an envelope.
figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex=True, sharey="row", layout="constrained")
for column, tau in zip(axes.T, (0.1, 0.5, 2.0), strict=True):
    costs = costs_of(first)
    here = costs.amin(-1)
    lower = ((costs + tau * charge).amin(-1) - here) / tau
    upper = (here - (costs - tau * charge).amin(-1)) / tau
    column[0].plot(first, pick(costs, lpgd.Implicit()) @ charge, "k", lw=2, label="loss")
    column[0].plot(first, lower, "C0--", label="lower")
    column[0].plot(first, upper, "C3:", label="upper")
    column[0].plot(first, (lower + upper) / 2, "C2", label="average")
    column[0].set_title(rf"$\tau$ = {tau}")
    for envelope, style in (("lower", "C0--"), ("upper", "C3:"), ("average", "C2")):
        column[1].plot(first, slope(first, lpgd.LPGD(tau=tau, envelope=envelope)), style)
    column[1].set_xlabel("first cost")
axes[0, 0].legend(fontsize=8)
axes[0, 0].set_ylabel("loss")
axes[1, 0].set_ylabel("gradient in the first cost")

# %%
# The gradient is exactly that of the envelope drawn above it, which we check by differences. Small
# tau follows the loss closely and sees only what is next to the switch; large tau sees far, and
# blurs.
tau, step = 0.5, 1e-6
middle = torch.tensor([0.3, 0.45, 0.55, 0.7], dtype=torch.float64)


def average(first):
    """The average envelope at tau."""
    costs = costs_of(first)
    return ((costs + tau * charge).amin(-1) - (costs - tau * charge).amin(-1)) / (2 * tau)


difference = (average(middle + step) - average(middle - step)) / (2 * step)
assert torch.allclose(slope(middle, lpgd.LPGD(tau=tau)), difference, atol=1e-6)

# %%
# Learning with each
# ------------------
# The same network, the same data, three gradients: features to costs, and the regret of the choice
# as loss. With the derivative nothing moves.
torch.manual_seed(0)
features = torch.randn(256, 6, dtype=torch.float64)
true_costs = features @ torch.randn(6, 3, dtype=torch.float64)
best = true_costs.amin(-1)

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
final = {}
for name, strategy in {
    "derivative": lpgd.Implicit(),
    "LPGD average, tau = 1": lpgd.LPGD(tau=1.0, relative=True),
    "LPGD lower, tau = 1": lpgd.LPGD(tau=1.0, envelope="lower", relative=True),
}.items():
    torch.manual_seed(1)
    model = torch.nn.Linear(6, 3, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    curve = []
    for _ in range(120):
        x = pick(model(features), strategy)
        regret = ((x * true_costs).sum(-1) - best).mean()
        optimizer.zero_grad()
        regret.backward()
        optimizer.step()
        curve.append(regret.item())
    axes.plot(curve, label=name)
    final[name] = curve[-1] / curve[0]
axes.set(xlabel="step", ylabel="regret")
axes.legend(fontsize=8)
print({name: round(ratio, 3) for name, ratio in final.items()}, "of the first regret is left")
assert final["derivative"] > 0.99
assert final["LPGD average, tau = 1"] < 0.3
