"""The rows of the matrix of torch's features: each differentiable op, on a small smooth problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

import lpgd_native as lpgd
from cases import random_lp, random_qp
from lpgd_native import LPGD, Implicit
from lpgd_native.convolution import conv_prelu
from momentum_cases import Case as Momentum
from prox_cases import normal, uniform

BATCH = 3


class Op(NamedTuple):
    call: Callable[..., Tensor]
    arguments: tuple[Tensor, ...]
    """float64; the first of them has the batch in front"""


def _qp(gradient: lpgd.Implicit | LPGD, **settings: Any) -> Op:
    data = random_qp(301, BATCH, n=4, m=3, lower=True)

    def call(q: Tensor, h: Tensor, P: Tensor) -> Tensor:
        G, lb = data.G[0].to(h), data.lb[0].to(h) - 2
        return lpgd.solve_qp(P, q, G, h, lb=lb, gradient=gradient, **settings).x

    return Op(call, (data.q, data.h[0] + 1, data.P[0]))


def _lp(gradient: lpgd.Implicit | LPGD, **settings: Any) -> Op:
    data = random_lp(302, BATCH, n=4, m=3)

    def call(c: Tensor, h: Tensor) -> Tensor:
        G, lb, ub = data.G[0].to(h), data.lb[0].to(h), data.ub[0].to(h)
        return lpgd.solve_lp(c, G, h, lb=lb, ub=ub, gradient=gradient, **settings).x

    return Op(call, (data.q, data.h[0]))


def _momentum(cell: str, form: str) -> Op:
    case = Momentum(cell, BATCH, 6, 4, 1, 6, form, 2 if form == "sequence" else 1)
    given = case.build()
    states = case.states

    def call(gradient: Tensor, *weights: Tensor) -> Tensor:
        inputs = (
            gradient.unsqueeze(0).expand(2, *gradient.shape) if form == "sequence" else gradient
        )
        # zeros as the start, whatever the batch is
        shape = (1, 4, *gradient.shape) if form == "coordinate" else (1, gradient.shape[0], 4)
        start = [gradient.new_zeros(shape) for _ in range(states)]
        return case.ours(inputs, *start, *weights)[0]

    gradient = given[0][0] if form == "sequence" else given[0]
    return Op(call, (gradient, *given[1 + states :]))


OPS: dict[str, Op] = {
    "solve_qp, Implicit": _qp(Implicit()),
    "solve_qp, LPGD": _qp(LPGD(tau=1e-3)),
    "solve_qp, pdhg": _qp(LPGD(tau=1e-2), method="pdhg", eps=1e-10),
    "solve_lp, Implicit": _lp(Implicit()),
    "solve_lp, LPGD": _lp(LPGD(tau=1e-3)),
    "solve_lp, highs": _lp(LPGD(tau=1e-3), method="highs"),
    "prox_l1": Op(lpgd.prox_l1, (normal(BATCH, 5), uniform(5))),
    "project_simplex": Op(lpgd.project_simplex, (normal(BATCH, 5), uniform(1))),
    "prox_nuclear": Op(
        lambda x, w: lpgd.prox_nuclear(x, w), (normal(BATCH, 3, 4), 0.3 * uniform(1)[0])
    ),
    "lstm_momentum_step": _momentum("lstm", "step"),
    "gru_momentum_step": _momentum("gru", "step"),
    "lstm per coordinate": _momentum("lstm", "coordinate"),
    "lstm_momentum_sequence": _momentum("lstm", "sequence"),
    "conv_prelu": Op(
        conv_prelu,
        (normal(BATCH, 2, 9), uniform(1), normal(3, 2, 3, seed=1), normal(3, seed=2)),
    ),
}
