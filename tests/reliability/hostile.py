"""Arguments that hypothesis makes up: a public function returns, or says what is wrong with which."""  # noqa: E501

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from lpgd_native import SolverError
from reliability import hostile_networks, hostile_oracles, hostile_solvers

COUNTS = {"tried": 0, "refused": 0}


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
    except SolverError:
        assert options.get("throw"), function.__name__
        return
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


CALLS = {
    "QP and LP": hostile_solvers.qp_call,
    "numpy": hostile_solvers.numpy_call,
    "layers": hostile_solvers.layer_call,
    "prox": hostile_solvers.prox_call,
    "momentum": hostile_solvers.momentum_call,
    "convolution": hostile_networks.convolution_call,
    "convolutions": hostile_networks.chain_call,
    "operators": hostile_networks.operator_call,
    "networks": hostile_networks.network_call,
    "algorithms": hostile_networks.algorithm_call,
    "oracles": hostile_oracles.oracle_call,
    "oracle layer": hostile_oracles.oracle_layer_call,
    "losses": hostile_oracles.loss_call,
}


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
