"""Calls of solvers, proximal operators and momentum cells."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st

import lpgd_native
from cases import NAMES, random_qp
from lpgd_native import LPGD, Implicit, nn, prox, solve_lp, solve_qp, solve_qp_numpy
from momentum_cases import Case
from prox_cases import ALL_CASES
from reliability.hostile_values import Call, hostile, hostile_array, options

_SETTINGS = {
    "gradient": [None, Implicit(), LPGD(0.5), LPGD(1.0, relative=True), "x", LPGD],
    "eps": [None, 1e-6, 1.0, 0.0, math.nan, -1.0, "x"],
    "max_iter": [None, 1, 50, 0, -1, 1.5, True],
    "elastic": [False, True, 1],
}


@st.composite
def qp_call(draw: st.DrawFn) -> Call:
    data = random_qp(draw(st.integers(0, 9)), 3, n=4, m=3, p=1, lower=True, upper=True)
    wild = draw(st.sets(st.integers(0, 7), max_size=3))
    arguments = [draw(hostile(t)) if k in wild else t for k, t in enumerate(data)]
    if draw(st.integers(0, 3)) == 0:
        arguments[draw(st.sampled_from([0, 2, 3, 4, 5, 6, 7]))] = None
    options: dict[str, Any] = {
        "gradient": draw(
            st.sampled_from([None, Implicit(), LPGD(0.5), LPGD(1.0, relative=True), "x"])
        ),
        "eps": draw(st.sampled_from([None, 1e-6, 1.0, 0.0, math.nan, -1.0, "x"])),
        "max_iter": draw(st.sampled_from([None, 1, 50, 0, -1, 1.5, True])),
        "method": draw(st.sampled_from(["auto", "ipm", "pdhg", "simplex", None])),
        "elastic": draw(st.sampled_from([False, False, True])),
    }
    if options["method"] == "pdhg" and options["max_iter"] is None:
        options["max_iter"] = 500
    plain = draw(st.booleans())  # half of the calls differ in their tensors alone
    if plain:
        options = {"method": options["method"] if options["method"] in ("ipm", "auto") else "ipm"}
    names = [*NAMES, "c", "gradient", "eps", "max_iter", "method", "elastic"]
    if draw(st.integers(0, 3)) == 0:
        return names, solve_lp, tuple(arguments[1:]), options
    return names, solve_qp, tuple(arguments), options


@st.composite
def prox_call(draw: st.DrawFn) -> Call:
    case = draw(st.sampled_from(ALL_CASES))
    x, *parameters = case.arguments(3, case.width or 5)
    wild = draw(st.sets(st.integers(0, len(parameters)), max_size=2))
    arguments = [draw(hostile(t)) if k in wild else t for k, t in enumerate((x, *parameters))]
    names = [
        "x", "weight", "weights", "counts", "weight_l1", "weight_l2", "radius", "delta", "lower", "upper", "y",  # noqa: E501
        "gamma", "a", "b", "cap", "total", "k", "groups", "entries", "rows", "normal", "offset",
    ]  # fmt: skip
    options = dict(case.options)
    if draw(st.integers(0, 4)) == 0:
        options["dim"] = draw(st.sampled_from([0, 1, -1, 2, -5, 1.0, None]))
    return names, getattr(prox, case.name), tuple(arguments), options


@st.composite
def momentum_call(draw: st.DrawFn) -> Call:
    cell = draw(st.sampled_from(["lstm", "gru"]))
    form = draw(st.sampled_from(["step", "sequence", "coordinate"]))
    case = Case(cell, draw(st.integers(1, 6)), 4, 3, 2, 4, form, 2 if form == "sequence" else 1)
    tensors = case.build()
    wild = draw(st.sets(st.integers(0, len(tensors) - 1), max_size=2))
    arguments = [draw(hostile(t)) if k in wild else t for k, t in enumerate(tensors)]
    kind = "sequence" if form == "sequence" else "step"
    function = getattr(lpgd_native, f"{cell}_momentum_{kind}")
    coordinate = {"per_coordinate": True} if form == "coordinate" else {}

    def call(*given: Any) -> Any:
        gradient, states, weights = case.split(list(given))
        return function(gradient, states if cell == "lstm" else states[0], weights, **coordinate)

    call.__name__ = function.__name__
    names = [
        "gradient",
        "gradients",
        "state",
        "states",
        "h",
        "c",
        "weights",
        "w_ih",
        "w_hh",
        "b_ih",
        "b_hh",
        "w_out",
        "b_out",
        "per_coordinate",
    ]
    return names, call, tuple(arguments), {}


@st.composite
def numpy_call(draw: st.DrawFn) -> Call:
    """`solve_qp_numpy` with hostile arrays."""
    data = random_qp(draw(st.integers(0, 9)), 3, n=4, m=3, p=1, lower=True, upper=True)
    wild = draw(st.sets(st.integers(0, 7), max_size=3))
    arrays = [t.numpy() for t in data]
    given = [draw(hostile_array(a)) if k in wild else a for k, a in enumerate(arrays)]
    threads = [None, 1, 2, 0, -1, 1.5, "x", 2**40]
    table = {**{k: _SETTINGS[k] for k in ("eps", "max_iter")}, "num_threads": threads}
    more = draw(options(table))
    return [*NAMES, *table], solve_qp_numpy, tuple(given), more


@st.composite
def layer_call(draw: st.DrawFn) -> Call:
    """`QPLayer` and `LPLayer` with blocks held, given, or both."""
    data = random_qp(draw(st.integers(0, 9)), 3, n=4, m=3, p=1, lower=True, upper=True)
    wild = draw(st.sets(st.integers(0, 7), max_size=2))
    blocks = [draw(hostile(t)) if k in wild else t for k, t in enumerate(data)]
    linear = draw(st.booleans())
    names = ["c", *NAMES[2:]] if linear else list(NAMES)
    blocks = blocks[1:] if linear else blocks
    settings = draw(options(_SETTINGS))
    held = draw(st.sets(st.sampled_from(names)))

    def call(*given: Any) -> Any:
        parts = dict(zip(names, given, strict=True))
        kind = nn.LPLayer if linear else nn.QPLayer
        layer = kind(**{k: v for k, v in parts.items() if k in held}, **settings)
        return layer(**{k: v for k, v in parts.items() if k not in held})

    return [*names, "q", *_SETTINGS], call, tuple(blocks), {}
