"""Every derivative against the truth: finite differences, or LPGD's definition spelled out.

Truth of float64 gradients, over hundreds of random instances each:

- operators and `Implicit()`: central differences, extrapolated, along random directions;
- `LPGD`: the difference quotients of its envelope from plain solves at the perturbed data.

Gradients in float32 are compared with those in float64.
"""

from __future__ import annotations

import sys
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from cases import Data, random_lp, random_qp
from lpgd_native import LPGD, solve_lp, solve_qp
from reliability.operations import Operation, operations


class Errors(NamedTuple):
    """Of one operator: the worst error, and the share of instances it leaves out (kinks)."""

    double: float
    single: float
    skipped: float


def _losses(operation: Operation, leaves: list[Tensor], batch: int) -> Tensor:
    parts = [
        (k + 1) * t.sin().reshape(batch, -1).sum(1) for k, t in enumerate(operation.run(*leaves))
    ]
    return torch.stack(parts).sum(0)


def _directions(leaves: list[Tensor], split: int, seed: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    # shared leaves move in a check of their own: here the losses must not depend on one another
    return [
        torch.randn(t.shape, generator=g, dtype=torch.float64) if k < split else torch.zeros_like(t)
        for k, t in enumerate(leaves)
    ]


def by_differences(operation: Operation, batch: int, seed: int = 0) -> tuple[float, float]:
    """Worst relative error over the items, and the share whose differences have not settled."""
    split = len(operation.arguments(batch)[0])
    leaves = operation.leaves(batch)
    total = _losses(operation, leaves, batch)
    grads = torch.autograd.grad(total.sum(), leaves, allow_unused=True)
    at = [t.detach() for t in leaves]
    way = _directions(at, split, seed)
    slope = sum(
        (g * d).reshape(batch, -1).sum(1)
        for g, d in zip(grads[:split], way[:split], strict=True)
        if g is not None
    )

    def quotient(h: float) -> Tensor:
        ends = [
            _losses(operation, [t + s * h * d for t, d in zip(at, way, strict=True)], batch)
            for s in (1, -1)
        ]
        return (ends[0] - ends[1]) / (2 * h)

    wide, narrow = quotient(2e-6), quotient(1e-6)
    truth = (4 * narrow - wide) / 3
    # a kink between the ends: the two quotients differ by more than curvature and rounding make
    settled = (wide - narrow).abs() < 1e-5 * (1 + narrow.abs())
    error = ((slope - truth).abs() / (1 + truth.abs()))[settled]
    worst = float(error.max()) if len(error) else 0.0
    shared = [k for k in range(split, len(leaves)) if leaves[k].numel()]
    for k in shared:  # summed over the batch: a few items, or kinks are everywhere
        worst = max(worst, _shared(operation, k, split, seed))
    return worst, 1 - float(settled.double().mean())


def _shared(operation: Operation, place: int, split: int, seed: int, batch: int = 3) -> float:
    leaves = operation.leaves(batch)
    (grad,) = torch.autograd.grad(
        _losses(operation, leaves, batch).sum(), leaves[place], allow_unused=True
    )
    at = [t.detach() for t in leaves]
    g = torch.Generator().manual_seed(seed)
    way = torch.randn(at[place].shape, generator=g, dtype=torch.float64)
    if grad is None:
        grad = torch.zeros_like(way)

    def quotient(h: float) -> float:
        ends = []
        for s in (1, -1):
            moved = [t + s * h * way if k == place else t for k, t in enumerate(at)]
            ends.append(float(_losses(operation, moved, batch).sum()))
        return (ends[0] - ends[1]) / (2 * h)

    wide, narrow = quotient(2e-6), quotient(1e-6)
    truth, slope = (4 * narrow - wide) / 3, float((grad * way).sum())
    if abs(wide - narrow) > 1e-5 * (1 + abs(narrow)):
        return 0.0
    return abs(slope - truth) / (1 + abs(truth))


def single_error(operation: Operation, batch: int) -> float:
    """Worst gradient in float32, relative to 1 + the largest in its item, median over entries."""
    _, double = operation.gradients(operation.leaves(batch))
    _, single = operation.gradients(operation.leaves(batch, torch.float32))
    split = len(operation.arguments(batch)[0])
    found = []
    for a, b in zip(double[:split], single[:split], strict=True):
        if a is None or b is None:
            continue
        a, b = a.reshape(batch, -1), b.reshape(batch, -1).double()
        found.append((a - b).abs().amax(1) / (1 + a.abs().amax(1)))
    # an instance near a kink may be on its other side in float32: those are counted apart
    errors = torch.stack(found).amax(0) if found else torch.zeros(1)
    return float(errors.quantile(0.99))


def envelope(data: Data, strategy: LPGD, g: Tensor, method: str) -> dict[str, Tensor]:
    """LPGD's gradient by its definition: plain solves at q + tau g (and - tau g), differences."""
    tau = torch.full((len(g), 1), strategy.tau, dtype=g.dtype)
    if strategy.relative:
        tau = tau / g.norm(dim=1, keepdim=True)
    options = {"eps": 1e-9} if method == "pdhg" else {}

    def solve(shift: Tensor, rho: float = 0.0) -> tuple[Tensor, ...]:
        q = data.q + shift
        if data.P is None and not rho:
            return solve_lp(q, *data[2:], method=method, **options)[:5]
        eye = rho * torch.eye(q.shape[-1], dtype=q.dtype)
        P = eye.expand(len(q), *eye.shape) if data.P is None else data.P + eye
        how = "ipm" if method == "highs" else method  # with rho the problem is quadratic
        return solve_qp(P, q, *data[2:], method=how, **options)[:5]

    here = solve(torch.zeros_like(g))
    pull = -strategy.rho * here[0]
    plus = solve(tau * g + pull, strategy.rho) if strategy.envelope != "upper" else here
    minus = solve(-tau * g + pull, strategy.rho) if strategy.envelope != "lower" else here
    width = tau * (2 if strategy.envelope == "average" else 1)

    def outer(a: Tensor, b: Tensor) -> Tensor:
        return a.unsqueeze(-1) * b.unsqueeze(-2)

    def change(f) -> Tensor:
        difference = f(*plus) - f(*minus)
        return difference / width.reshape(-1, *[1] * (difference.dim() - 1))

    return {
        "P": change(lambda x, *_: outer(x, x) / 2),
        "q": change(lambda x, *_: x),
        "G": change(lambda x, y, z, *_: outer(z, x)),
        "h": change(lambda x, y, z, *_: -z),
        "A": change(lambda x, y, *_: outer(y, x)),
        "b": change(lambda x, y, *_: -y),
        "lb": change(lambda x, y, z, z_lb, z_ub: z_lb),
        "ub": change(lambda x, y, z, z_lb, z_ub: -z_ub),
    }


STRATEGIES = (
    LPGD(0.3),
    LPGD(0.3, relative=True),
    LPGD(0.3, envelope="lower"),
    LPGD(0.3, envelope="upper"),
    LPGD(0.3, rho=0.2, relative=True),
)


def by_definition(strategy: LPGD, method: str, linear: bool, batch: int) -> tuple[float, float]:
    """Worst relative error in float64 and in float32 (99 in 100), over all arguments and items."""
    make = random_lp if linear else random_qp
    extra = {} if linear else {"lower": True, "upper": True}
    data = make(21, batch, n=6, m=5, p=2, **extra)
    g = torch.randn(batch, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(22))
    truth = envelope(data, strategy, g, method)
    worst = []
    for dtype in (torch.float64, torch.float32):
        leaves = data.to(dtype).map(lambda t: t.clone().requires_grad_())
        options = {"eps": 1e-9} if method == "pdhg" and dtype == torch.float64 else {}
        if linear:
            x = solve_lp(*leaves[1:], gradient=strategy, method=method, **options).x
        else:
            x = solve_qp(*leaves, gradient=strategy, method=method, **options).x
        present = [(n, t) for n, t in zip(Data._fields, leaves, strict=True) if t is not None]
        grads = torch.autograd.grad((g.to(dtype) * x).sum(), [t for _, t in present])
        errors = []
        for (name, _), grad in zip(present, grads, strict=True):
            want = truth[name].reshape(batch, -1)
            gap = (grad.double().reshape(batch, -1) - want).abs().amax(1)
            errors.append(gap / (1 + want.abs().amax(1)))
        every = torch.stack(errors).amax(0)
        worst.append(float(every.max() if dtype == torch.float64 else every.quantile(0.99)))
    return worst[0], worst[1]


def has_differences(operation: Operation) -> bool:
    """Whether its gradient is the derivative, and its values are exact enough to show it."""
    return not any(word in operation.name for word in ("LPGD", "pdhg", "constant"))


def truth(batch: int) -> dict[str, Errors]:
    """The errors of everything, by name."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for operation in operations():
            if not has_differences(operation):
                continue
            double, skipped = by_differences(operation, batch)
            found[operation.name] = Errors(double, single_error(operation, batch), skipped)
        for strategy in STRATEGIES:
            for method, linear in (("ipm", False), ("ipm", True), ("highs", True), ("pdhg", False)):
                name = f"{'solve_lp' if linear else 'solve_qp'} {method} {strategy!r}"
                found[name] = Errors(*by_definition(strategy, method, linear, batch), 0.0)
    return found


def limit(name: str) -> float:
    """What is allowed in float64: a first-order method's error, divided by tau, is larger."""
    return 1e-4 if " pdhg " in name else 1e-6


def main(batch: int) -> None:
    """Print the worst of each kind."""
    found = truth(batch)
    for kind, names in (
        ("operators, by finite differences", [n for n in found if "LPGD" not in n]),
        ("LPGD, by its definition", [n for n in found if "LPGD" in n and "pdhg" not in n]),
        ("LPGD of pdhg, by its definition", [n for n in found if "LPGD" in n and "pdhg" in n]),
    ):
        double = max(names, key=lambda n: found[n].double)
        single = max(names, key=lambda n: found[n].single)
        kinks = max(found[n].skipped for n in names)
        print(
            f"gradients, {kind}: {len(names)} x {batch} instances, worst error "
            f"{found[double].double:.1e} in float64 ({double}), {found[single].single:.1e} in "
            f"float32 ({single}; 99 in 100 instances), at most {100 * kinks:.1f} % at kinks"
        )
    faults = {n: e for n, e in found.items() if not e.double < limit(n) or not e.single < 0.05}
    if faults:
        sys.exit(f"gradients: {faults}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
