"""
From qpth and cvxpylayers
=========================

Two programs as their users write them, and the line that changes.
"""

# %%
# qpth: one import
# ----------------
# ``from qpth.qp import QPFunction`` becomes the line below. The call, its empty tensors for absent
# blocks and its shapes stay. Gradients of what the batch shares are sums here (qpth returns means;
# ``QPFunction(reduction="mean")`` does so too).
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

import lpgd_native as lpgd
import lpgd_native.cvxpy
from lpgd_native.compat.qpth import QPFunction

torch.manual_seed(0)
n = 5
Q = torch.eye(n, dtype=torch.float64)
G, h = -torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
p = torch.randn(64, n, dtype=torch.float64, requires_grad=True)
empty = torch.empty(0, dtype=torch.float64)
z = QPFunction(verbose=-1)(Q, p, G, h, empty, empty)
z.sum().backward()
print("z", list(z.shape), "  gradient of p", list(p.grad.shape))
assert torch.allclose(z, (-p).clamp(min=0))

# %%
# cvxpylayers: one argument
# -------------------------
# A portfolio as a disciplined parametrised program: the expected returns ``mu`` enter as a
# parameter. ``lpgd_native.cvxpy.CvxpyLayer`` takes the same arguments as
# ``cvxpylayers.torch.CvxpyLayer`` and one more, ``solver``, which may carry a gradient strategy.
weights, mu = cp.Variable(n), cp.Parameter(n)
scale = torch.randn(n, n, dtype=torch.float64)
covariance = (scale @ scale.T / n).numpy()
problem = cp.Problem(
    cp.Maximize(mu @ weights - cp.quad_form(weights, covariance)),
    [cp.sum(weights) == 1, weights >= 0],
)
layer = lpgd_native.cvxpy.CvxpyLayer(
    problem,
    parameters=[mu],
    variables=[weights],
    solver=lpgd_native.cvxpy.solver(gradient=lpgd.LPGD(tau=0.1)),
)

# %%
# It takes a batch at once; here a sweep of the first expected return. Learning works as before.
sweep = torch.linspace(-1, 2, 121, dtype=torch.float64)
returns = torch.stack([sweep, *[torch.full_like(sweep, 0.3 * k) for k in range(1, n)]], -1)
returns.requires_grad_()
(portfolio,) = layer(returns)
portfolio[:, 0].sum().backward()

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
axes[0].stackplot(sweep, portfolio.detach().T, labels=[f"asset {k + 1}" for k in range(n)])
axes[0].set(xlabel="expected return of asset 1", ylabel="weights", xlim=(-1, 2), ylim=(0, 1))
axes[0].legend(fontsize=7, loc="lower right")
axes[1].plot(sweep, returns.grad[:, 0])
axes[1].set(xlabel="expected return of asset 1", ylabel="gradient of its weight, by LPGD")

# %%
# What each of the other packages calls what is here is in the table of *Coming from another
# package*.
