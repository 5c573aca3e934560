"""Calls of combinatorial oracles, of the layer around them and of the losses of their solutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.strategies as st
import torch
from torch import Tensor

from lpgd_native import (
    IMLE,
    LPGD,
    Blackbox,
    DirectLoss,
    Identity,
    OracleLayer,
    Perturbed,
    losses,
    oracles,
)
from reliability.hostile_values import Call, options, some_hostile

EDGES = [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)]
_WEIGHTS = torch.tensor([2.0, 3.0, 1.0, 4.0, 2.0], dtype=torch.float64)


class _Problem(NamedTuple):
    """A function, tensors like its own, and what its options may be."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    tensors: Callable[[], list[Tensor]]
    options: dict[str, list[Any]]
    oracle: Any


def _costs(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.rand(2, *shape, dtype=torch.float64, generator=generator)


_THROW = {"throw": [False, True]}
_CELLS = [(0, 0), (1, 2), (-1, -1), (9, 9), (0,), 3, None, (0.0, 1.0), (True, False)]
_GRAPHS = [EDGES, torch.tensor(EDGES), EDGES[:3], [], [(0.5, 1)], "x", None]
_NODES = [0, 3, -1, 9, 1.0, None, True]
PROBLEMS = (
    _Problem(
        oracles.linear_assignment,
        ("costs",),
        lambda: [_costs(3, 4)],
        _THROW,
        oracles.LinearAssignment(),
    ),
    _Problem(
        oracles.assignment_columns,
        ("costs",),
        lambda: [_costs(4, 3)],
        _THROW,
        oracles.LinearAssignment(),
    ),
    _Problem(
        oracles.grid_shortest_path,
        ("costs",),
        lambda: [_costs(3, 4)],
        {**_THROW, "neighbours": [4, 8, 5, "x", None, [4]], "source": _CELLS, "target": _CELLS,
         "clamp": [True, False]},
        oracles.GridShortestPath(clamp=True),
    ),
    _Problem(
        oracles.top_k,
        ("costs",),
        lambda: [_costs(5)],
        {**_THROW, "k": [0, 2, 5, 6, -1, 1.0, True, "x", 2**70]},
        oracles.TopK(2),
    ),
    _Problem(
        oracles.ranking,
        ("costs", "values"),
        lambda: [_costs(5), torch.arange(5.0, dtype=torch.float64)],
        _THROW,
        oracles.Ranking(),
    ),
    _Problem(
        oracles.binary_knapsack,
        ("costs", "weights", "capacity"),
        lambda: [-_costs(5), _WEIGHTS, torch.tensor(6.5, dtype=torch.float64)],
        {**_THROW, "method": ["auto", "table", "branch", "x", None, ["table"]],
         "max_nodes": [1, 100, 0, -1, 1.5, "x", 2**70, True]},
        oracles.Knapsack(_WEIGHTS, 6.0),
    ),
    _Problem(
        oracles.spanning_tree,
        ("costs",),
        lambda: [_costs(6)],
        {**_THROW, "edges": [*_GRAPHS, [(0, 9)], [(0, -1)], [(0, 1, 2)]],
         "nodes": [None, 4, 9, 0, -3, 2.0, True, 2**40]},
        oracles.SpanningTree(EDGES, 4),
    ),
    _Problem(
        oracles.dag_shortest_path,
        ("costs",),
        lambda: [_costs(6)],
        {**_THROW, "edges": [*_GRAPHS, [(0, 1), (1, 0)], [(2, 2)]],
         "source": _NODES, "target": _NODES, "nodes": [None, 4, 9, 0, 2.0]},
        oracles.DagShortestPath(EDGES),
    ),
    _Problem(
        oracles.time_warping,
        ("costs",),
        lambda: [_costs(3, 4)],
        {**_THROW, "window": [None, 0, 1, 99, -1, 1.0, True, 2**70]},
        oracles.TimeWarping(),
    ),
)  # fmt: skip

_NEEDED = {
    "top_k": ("k", 2),
    "spanning_tree": ("edges", EDGES),
    "dag_shortest_path": ("edges", EDGES),
}


@st.composite
def oracle_call(draw: st.DrawFn) -> Call:
    """A function of `lpgd_native.oracles`."""
    problem = draw(st.sampled_from(PROBLEMS))
    name = problem.function.__name__
    given = draw(some_hostile(problem.tensors()))
    more = draw(options(problem.options))
    if name in _NEEDED:
        key, value = _NEEDED[name]
        more.setdefault(key, value)
    return [*problem.names, *problem.options, "neighbours"], problem.function, tuple(given), more


_STRATEGIES = (
    LPGD(0.5), LPGD(1.0, relative=True), Blackbox(2.0), Identity(), Perturbed(0.5, samples=2),
    IMLE(samples=2), LPGD(1e300), LPGD(1e-300), "x", 1.0,
)  # fmt: skip


@st.composite
def oracle_layer_call(draw: st.DrawFn) -> Call:
    """`OracleLayer` with any strategy."""
    problem = draw(st.sampled_from(PROBLEMS))
    strategy = draw(st.sampled_from(_STRATEGIES))
    given = draw(some_hostile(problem.tensors()[:1], meta=False))

    def call(c: Any) -> Any:
        return OracleLayer(problem.oracle, strategy)(c)

    return ["c", "costs", "gradient", "weights"], call, tuple(given), {}


@st.composite
def loss_call(draw: st.DrawFn) -> Call:
    """`spo_plus`, `fenchel_young` and `direct_loss`, functions and modules."""
    problem = draw(st.sampled_from(PROBLEMS))
    costs = problem.tensors()[0]
    given = draw(some_hostile([costs, costs.flip(0)], meta=False))
    kind = draw(st.sampled_from(["spo_plus", "fenchel_young", "direct_loss"]))
    gradient = {
        "spo_plus": [],
        "fenchel_young": [
            None,
            Perturbed(0.5, samples=2),
            Perturbed(1e300, samples=2),
            "x",
            LPGD(1.0),
        ],
        "direct_loss": [None, DirectLoss(1.0), DirectLoss(1e300), "x", LPGD(1.0)],
    }[kind]
    reduction = draw(st.sampled_from([None, "mean", "none", "x"]))
    chosen = [] if not gradient else [draw(st.sampled_from(gradient))]

    def call(c: Any, other: Any) -> Any:
        if reduction is None:
            return getattr(losses, kind)(c, other, problem.oracle, *chosen)
        classes = {
            "spo_plus": losses.SPOPlus,
            "fenchel_young": losses.FenchelYoung,
            "direct_loss": losses.DirectLoss,
        }
        return classes[kind](problem.oracle, *chosen, reduction=reduction)(c, other)

    return (
        ["c", "costs", "c_true", "target", "gradient", "reduction", "weights"],
        call,
        tuple(given),
        {},
    )
