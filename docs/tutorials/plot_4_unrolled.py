"""
An unrolled network for your own forward operator
=================================================

Give the forward map of an inverse problem as a torch function, and get a network that inverts it: a
fixed number of iterations, each with the gradient of the data term, a momentum learned by an LSTM
over the history of gradients, and a small convolutional block.
"""

# %%
# A forward map
# -------------
# A blurred and saturated signal, seen at every third place. ``TorchOperator`` takes any torch
# function of a batch and differentiates it.
import matplotlib.pyplot as plt
import torch

from lpgd_native import nn, operators

torch.manual_seed(0)
n = 48
kernel = torch.exp(-(torch.linspace(-2, 2, 9) ** 2))
kernel = kernel / kernel.sum()


def saturated_blur(x):
    """[..., n] -> [..., n / 3]: blur, saturate, drop two of three samples."""
    rows = x.reshape(-1, 1, n)
    blurred = torch.nn.functional.conv1d(rows, kernel[None, None], padding=4)
    return torch.tanh(2 * blurred)[..., ::3].reshape(*x.shape[:-1], n // 3)


F = operators.TorchOperator(saturated_blur, domain=[n], range=[n // 3])

# %%
# The derivative is there, batched, as products: ``F.jvp(x, dx)`` is J dx, ``F.vjp(x, dy)`` is J' dy.
# Where you write them yourself, for speed, in a subclass of ``Operator``, ``gradcheck`` compares
# them with differences and with each other.
assert F.gradcheck(torch.randn(5, n))
print("largest singular value of J at zero:", round(F.norm().item(), 3))


# %%
# Data
# ----
# Signals with a few jumps, and what is seen of them.
def signals(count):
    """Piecewise constant signals [count, n]."""
    jumps = torch.randn(count, n) * (torch.rand(count, n) < 0.08)
    return jumps.cumsum(-1) / 1.5


train, test = signals(1000), signals(200)
seen, seen_test = F(train).detach(), F(test).detach()

# %%
# The network
# -----------
# The momentum is a slot: put ``NoMomentum()`` or ``HeavyBall(gamma, eta)`` there for the plain
# networks.
network = nn.LearnedProximalGradient(
    F, iterations=8, momentum=nn.RecurrentMomentum(hidden=32, layers=1)
)
print(sum(p.numel() for p in network.parameters()), "parameters")
optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
losses = []
for _ in range(150):
    rows = torch.randint(len(train), (64,))
    loss = (network(seen[rows]) - train[rows]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item())

# %%
# What it makes of signals it has not seen
with torch.no_grad():
    guess = network(seen_test)
error, spread = (guess - test).square().mean(), test.square().mean()
print(f"squared error {error:.3f}; of the zero signal {spread:.3f}")
assert error < 0.5 * spread

figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), sharey=True, layout="constrained")
for panel, truth, found in zip(axes, test, guess, strict=False):
    panel.plot(truth, "k", lw=1, label="truth")
    panel.plot(found, "C3", label="network")
axes[0].legend(fontsize=8)
