"""One small call of every operator, for checks that go over all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import momentum_cases
import prox_cases
from cases import Data, random_lp, random_qp
from eit_cases import small_mesh
from lpgd_native import LPGD, nn, oracles, solve_lp, solve_qp
from lpgd_native.convolution import conv_chain, conv_prelu
from lpgd_native.operators import EIT, VolterraDeconvolution


class Operation(NamedTuple):
    """A function of tensors, differentiable in all of them, whose first dimension is the batch."""

    name: str
    #: arguments for a batch: those whose first dimension is the batch, then those it shares
    arguments: Callable[[int], tuple[list[Tensor], list[Tensor]]]
    run: Callable[..., tuple[Tensor, ...]]
    #: the bits of an item do not depend on the batch it is in; else they agree to rounding
    exact: bool = True

    def leaves(self, batch: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        split, shared = self.arguments(batch)
        return [t.to(dtype).clone().requires_grad_() for t in (*split, *shared)]

    def gradients(self, leaves: list[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Outputs, and the gradients of a loss that every entry counts in."""
        out = self.run(*leaves)
        loss = sum((k + 1) * part.sin().sum() for k, part in enumerate(out))
        return tuple(t.detach() for t in out), torch.autograd.grad(loss, leaves, allow_unused=True)


def _qp(linear: bool, gradient: object, method: str) -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        data = random_qp(3, batch, n=6, m=5, p=2, lower=True, upper=True)
        return [t for t in (data[1:] if linear else data)], []  # noqa: C416

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        if linear:
            return solve_lp(*tensors, gradient=gradient, method=method)[:5]
        return solve_qp(*tensors, gradient=gradient, method=method)[:5]

    kind = "solve_lp" if linear else "solve_qp"
    return Operation(f"{kind} {method} {gradient!r}", arguments, run)


def _pdhg() -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        data = random_qp(4, batch, n=6, m=5, p=2, lower=True, upper=True)
        return list(data), []

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        return solve_qp(*tensors, method="pdhg", eps=1e-6, gradient=LPGD(0.1, relative=True))[:1]

    # one or two problems are not packed
    return Operation("solve_qp pdhg", arguments, run, exact=False)


def _prox(case: prox_cases.Case) -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        x, *parameters = case.arguments(batch)
        split = [p for p in parameters if p.dim() == 2 and len(p) == batch and batch > 1]
        shared = [p for p in parameters if not any(p is s for s in split)]
        return [x, *split], shared

    x, *parameters = case.arguments(8)  # noqa: RUF059
    order = [not (p.dim() == 2 and len(p) == 8) for p in parameters]  # False: split

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        split = iter(rest[: order.count(False)])
        shared = iter(rest[order.count(False) :])
        given = [next(shared) if is_shared else next(split) for is_shared in order]
        return (case.run(x, *given),)

    return Operation(str(case), arguments, run)


def _momentum(cell: str, form: str) -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        case = momentum_cases.Case(cell, batch, 9, 5, 2, 9, form, 3 if form == "sequence" else 1)
        gradient, states, weights = case.split(case.build())
        # the batch first: states are [L, B, H] or [L, H, B, n], a sequence [S, B, n]
        place = 2 if form == "coordinate" else 1
        lead = gradient.movedim(1, 0) if form == "sequence" else gradient
        return [lead, *(s.movedim(place, 0) for s in states)], weights

    count = 2 if cell == "lstm" else 1

    def run(gradient: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        case = momentum_cases.Case(cell, 1, 9, 5, 2, 9, form)
        place = 2 if form == "coordinate" else 1
        lead = gradient.movedim(0, 1) if form == "sequence" else gradient
        states = [s.movedim(0, place) for s in rest[:count]]
        v, *new = case.ours(lead, *states, *rest[count:])
        return (v, *(s.movedim(place, 0) for s in new))

    # from five items on other kernels do the products, and those of sequences a matrix library
    return Operation(f"{cell} momentum {form}", arguments, run, exact=form == "coordinate")


def _convolution() -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        g = torch.Generator().manual_seed(1)
        shapes = ((batch, 3, 21), (1,), (4, 3, 5), (4,))
        x, slope, weight, bias = (torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)
        return [x], [slope, weight, bias]

    return Operation("conv_prelu", arguments, lambda x, s, w, b: (conv_prelu(x, s, w, b),))


def _chain() -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        g = torch.Generator().manual_seed(1)
        shapes = ((batch, 3, 25), (9, 3, 3), (9,), (1,), (8, 9, 3), (8,), (1,), (2, 8, 5), (2,))
        x, *layers = (torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)
        return [x], layers

    def run(x: Tensor, w: Tensor, b: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return (conv_chain(x, [(None, w, b), rest[:3], rest[3:]]),)

    return Operation("conv_chain", arguments, run)


_GRAPH = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (0, 3), (3, 4), (2, 4)]


def _oracle(name: str, oracle: Any, *shape: int) -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        g = torch.Generator().manual_seed(5)
        return [torch.rand(batch, *shape, generator=g, dtype=torch.float64) - 0.3], []

    def run(c: Tensor) -> tuple[Tensor, ...]:
        found = oracles.OracleLayer(oracle, LPGD(0.7, relative=True))(c)
        return (found.x,)

    return Operation(f"{name} LPGD", arguments, run)


def _oracles() -> list[Operation]:
    weights = torch.tensor([[2.0, 3.0, 1.0, 4.0, 2.0, 5.0]], dtype=torch.float64)
    return [
        _oracle("assignment", oracles.LinearAssignment(), 4, 5),
        _oracle("grid path", oracles.GridShortestPath(clamp=True), 4, 5),
        _oracle("dag path", oracles.DagShortestPath(_GRAPH), len(_GRAPH)),
        _oracle("top k", oracles.TopK(3), 9),
        _oracle("ranking", oracles.Ranking(), 9),
        _oracle("knapsack, table", oracles.Knapsack(weights, [7.5], method="table"), 6),
        _oracle("knapsack, branch", oracles.Knapsack(weights * 1.1, [7.5], method="branch"), 6),
        _oracle("spanning tree", oracles.SpanningTree(_GRAPH), len(_GRAPH)),
        _oracle("alignment", oracles.TimeWarping(), 4, 5),
    ]


def _eit(kind: str) -> Operation:
    operator = EIT(small_mesh(2, 6), contact=0.3)

    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        g = torch.Generator().manual_seed(6)
        sizes = (operator.domain.numel(), operator.domain.numel(), operator.range.numel())
        x, dx, y = (torch.rand(batch, n, generator=g, dtype=torch.float64) + 0.5 for n in sizes)
        return [x, *({"jvp": [dx], "gradient": [y]}.get(kind, []))], []

    def run(x: Tensor, *other: Tensor) -> tuple[Tensor, ...]:
        if kind == "forward":
            return (operator(x),)
        if kind == "jvp":
            return (operator.jvp(x, *other),)
        constant = operator.jacobian(x) if kind == "jacobian" else operator.gradient(x, *other)
        return (constant + 0 * x.sum(-1).reshape(-1, *[1] * (constant.dim() - 1)),)

    # one or two samples are not packed
    name = kind if kind in ("forward", "jvp") else f"constant {kind}"
    return Operation(f"EIT {name}", arguments, run, exact=False)


def _resolved() -> Operation:
    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        return list(random_qp(7, batch, n=6, m=5, p=2, lower=True, upper=True)), []

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            near = solve_qp(tensors[0], 1.01 * tensors[1], *tensors[2:])
        return solve_qp(*tensors, warm_start=near)[:5]

    return Operation("solve_qp ipm warm start", arguments, run)


def _deconvolution() -> Operation:
    operator = VolterraDeconvolution.random(1.0)

    def arguments(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        g = torch.Generator().manual_seed(2)
        return [torch.randn(batch, 53, generator=g, dtype=torch.float64)], []

    def run(x: Tensor) -> tuple[Tensor, ...]:
        return (operator.to(x.dtype)(x),)

    return Operation("VolterraDeconvolution", arguments, run, exact=False)


def operations() -> list[Operation]:
    """Every differentiable operator of the package, solvers with every strategy."""
    from lpgd_native import Implicit

    found = [
        _qp(False, Implicit(), "ipm"),
        _qp(False, LPGD(0.3), "ipm"),
        _qp(False, LPGD(0.3, rho=0.1, envelope="lower", relative=True), "ipm"),
        _qp(True, LPGD(1.0, relative=True), "ipm"),
        _qp(True, LPGD(1.0, relative=True, envelope="upper"), "ipm"),
        _qp(True, LPGD(1.0, relative=True), "highs"),
        _pdhg(),
        *(
            _momentum(cell, form)
            for cell in ("lstm", "gru")
            for form in ("step", "sequence", "coordinate")
        ),
        _convolution(),
        _chain(),
        _deconvolution(),
        _resolved(),
        *map(_eit, ("forward", "jvp", "gradient", "jacobian")),
        *_oracles(),
        *map(_prox, prox_cases.ALL_CASES),
    ]
    return found  # noqa: RET504


__all__ = ["Data", "Operation", "nn", "operations", "random_lp"]
