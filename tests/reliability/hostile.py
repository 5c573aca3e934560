"""Arguments that hypothesis makes up: a public function returns, or says what is wrong with which."""  # noqa: E501

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

import lpgd_native
from cases import NAMES, random_qp
from lpgd_native import LPGD, Implicit, prox, solve_lp, solve_qp
from momentum_cases import Case
from prox_cases import ALL_CASES

COUNTS = {"tried": 0, "refused": 0}
SPECIAL = (
    math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-310, 1e-45, 1e30, -1e30, 1e300, -1e300, 1.0, -1.0,
)  # fmt: skip
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool,
    torch.complex64,
)  # fmt: skip


@st.composite
def hostile(draw: st.DrawFn, like: Tensor) -> Any:
    """`like`, mostly as it is: or another shape, dtype, memory layout; numbers of all kinds."""
    kind = draw(st.integers(0, 15))
    if kind == 0:
        return draw(st.sampled_from([None, 1.0, 1, "x", [1.0, 2.0], (), object(), True]))
    t = like.clone()
    if kind == 1:
        t = t.to(draw(st.sampled_from(DTYPES)))
    elif kind == 2:
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        t = torch.ones(shape, dtype=t.dtype)
    elif kind == 3 and t.dim():
        t = t.unsqueeze(0).expand(draw(st.integers(1, 3)), *t.shape)  # stride 0: aliased
    elif kind == 4 and t.dim() >= 2:
        t = t.mT.contiguous().mT  # columns first
    elif kind == 5 and t.dim():
        t = torch.stack([t, t], -1)[..., 0]  # every other number
    elif kind == 6 and t.dim():
        t = t.select(0, 0) if len(t) else t
    elif kind == 7:
        t = torch.from_numpy(t.numpy().copy())
    elif kind == 8 and t.dim():
        t = t.flip(0)[..., :]
    elif kind == 9:
        t = t.to_sparse() if t.dim() else t
    elif kind == 10:
        t = t.to("meta")
    if kind >= 11 and t.numel() and t.is_floating_point():
        flat = t.reshape(-1)
        for _ in range(draw(st.integers(1, 3))):
            value = draw(st.sampled_from(SPECIAL))
            flat[draw(st.integers(0, flat.numel() - 1))] = value
        t = flat.reshape(t.shape)
    if isinstance(t, Tensor) and t.is_floating_point() and draw(st.booleans()):
        t = t.detach().requires_grad_()
    return t


def attempt(
    names: list[str], function: Callable[..., Any], *arguments: Any, **options: Any
) -> None:
    """Call, and go backward where that can be; a refusal must be of the right kind and name one.

    Raises:
        AssertionError: another exception, or one that does not say what it is about.
    """
    COUNTS["tried"] += 1
    kept = [
        a.detach().clone() if isinstance(a, Tensor) and a.layout == torch.strided else None
        for a in arguments
    ]
    try:
        out = function(*arguments, **options)
    except (ValueError, TypeError) as error:
        COUNTS["refused"] += 1
        words = set(re.findall(r"\w+", str(error)))
        assert words & {*names, "batch", "dim"}, f"{function.__name__}: {error}"  # noqa: PT017
        return
    for before, now in zip(kept, arguments, strict=True):  # inputs are read, not written
        if before is not None and before.device.type == "cpu":
            same = (
                torch.equal(before.nan_to_num(7.0), now.detach().nan_to_num(7.0))
                if before.is_floating_point()
                else torch.equal(before, now)
            )
            assert same, f"{function.__name__} wrote into an argument"
    leaves = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    parts = [t for t in _tensors(out) if t.requires_grad]
    if parts and leaves and parts[0].device.type == "cpu":
        grads = torch.autograd.grad(sum(t.sum() for t in parts), leaves, allow_unused=True)
        for leaf, grad in zip(leaves, grads, strict=True):
            assert grad is None or grad.shape == leaf.shape


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for part in value for t in _tensors(part)]
    return []


@st.composite
def _qp_call(
    draw: st.DrawFn,
) -> tuple[list[str], Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
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
def _prox_call(
    draw: st.DrawFn,
) -> tuple[list[str], Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
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
def _momentum_call(
    draw: st.DrawFn,
) -> tuple[list[str], Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
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


CALLS = {"QP and LP": _qp_call, "prox": _prox_call, "momentum": _momentum_call}


def search(kind: str, examples: int) -> None:
    """Try so many calls; raises what the first fault of them is."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(CALLS[kind]())
    def run(call: Any) -> None:
        names, function, arguments, options = call
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attempt(names, function, *arguments, **options)

    run()


def main(examples: int) -> None:
    """Print how many were tried."""
    for kind in CALLS:
        COUNTS.update(tried=0, refused=0)
        search(kind, examples)
        print(
            f"hostile arguments, {kind}: {COUNTS['tried']} calls, {COUNTS['refused']} refused, no fault"  # noqa: E501
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
