"""Programs from the literature: published optimal values, HiGHS and Clarabel agree, KKT holds.

Every call is a batch: of one problem in several units, or of instances of one family.
"""

from __future__ import annotations

import warnings

import pytest
import torch

import families
from cases import Data
from families import LPS, QPS
from lpgd_native import LPGD, Implicit, Status, solve_qp
from oracles import clarabel_x, highs_objective, kkt_violations, objective
from published import Published, cycling, hock_schittkowski, variants

#: (problem, seed) -> why it fails; strict: what gets mended has to be struck off this list
FAILS: dict[tuple[str, int], str] = {}
PUBLISHED = (*hock_schittkowski(), *cycling())


def listed(problems: tuple[Published, ...], seeds: tuple[int, ...]):
    return [
        pytest.param(
            p,
            seed,
            id=f"{p}-{seed}",
            marks=[pytest.mark.xfail(strict=True, reason=FAILS[p.name, seed])]
            if (p.name, seed) in FAILS
            else [],
        )
        for p in problems
        for seed in seeds
    ]


def optimal_value(item: Data) -> float:
    if item.P is None:
        return highs_objective(item)
    return float(objective(item, clarabel_x(item)))


def solved(data: Data):
    """The solution, after the checks that need no oracle."""
    solution = solve_qp(*data)
    assert (solution.status == Status.OK).all(), solution.status.tolist()
    for name, violation in kkt_violations(data, solution).items():
        assert violation.max() < 1e-9, name
    return solution


@pytest.mark.parametrize(("problem", "seed"), listed(PUBLISHED, (0, 1)))
def test_published_values(problem, seed):
    data, factor = variants(problem.data(), seed)
    value = objective(data, solved(data).x) / factor + problem.constant
    expected = torch.full_like(value, problem.value)
    # 1e-7 of the objective that the solver sees, which lacks the constant
    allowed = 1e-7 * (1 + abs(problem.value - problem.constant))
    torch.testing.assert_close(value, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("problem", PUBLISHED, ids=str)
def test_the_published_values_are_right(problem):
    """So that a misprint above shows as one: the peers find the same value."""
    value = optimal_value(problem.data()) + problem.constant
    assert value == pytest.approx(problem.value, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("family", [*QPS, *LPS], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_families(family, seed):
    data = family.build(seed)
    value = objective(data, solved(data).x)
    expected = torch.tensor([optimal_value(item) for item in data.items()], dtype=torch.float64)
    assert ((value - expected).abs() <= 1e-7 * (1 + expected.abs())).all()
    if family.value is not None:
        torch.testing.assert_close(value, family.value(data), rtol=1e-9, atol=1e-9)


LARGE = {
    "portfolio": {"n": 270, "k": 27},
    "lasso": {"n": 40, "m": 220},
    "svm": {"n": 20, "m": 280},
    "huber": {"n": 15, "m": 95},
    "control": {"nx": 12, "steps": 16},
    "random_rows": {"n": 60},
    "equality": {"n": 300},
    "dual_simplex": {"n": 300, "rank": 150},
    "primal_free": {"n": 300, "m": 80},
    "isotonic": {"n": 300},
    "obstacle": {"side": 17},
    "least_absolute": {"n": 15, "m": 150},
    "shortest_path": {"side": 8},
    "max_flow": {"layers": 5, "width": 7},
    "magic_square": {"n": 4},
    "matrix_game": {"n": 50},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("seed", [0, 1])
def test_large_families(name, seed):
    data = getattr(families, name)(seed, batch=3, **LARGE[name])
    value = objective(data, solved(data).x)
    expected = torch.tensor([optimal_value(item) for item in data.items()], dtype=torch.float64)
    assert ((value - expected).abs() <= 1e-7 * (1 + expected.abs())).all()


@pytest.mark.parametrize("family", [*QPS, *LPS], ids=str)
def test_families_in_other_units(family):
    """Objective, rows and variables of one instance scaled: the same problem."""
    data, factor = variants(family.build(3).item(0), 4)
    value = objective(data, solved(data).x) / factor
    torch.testing.assert_close(value, value[:1].expand_as(value), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("family", [*QPS, *LPS], ids=str)
@pytest.mark.parametrize(
    "strategy",
    [Implicit(), LPGD(tau=1.0, relative=True), LPGD(tau=0.1, envelope="lower")],
    ids=["implicit", "average", "lower"],
)
def test_gradients_are_finite(family, strategy):
    """Degenerate or not, for a loss of all outputs."""
    data = family.build(5)
    leaves = data.map(lambda t: t.clone().requires_grad_())
    with warnings.catch_warnings():
        # a tau this large can make a perturbed problem infeasible: a documented fallback
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        s = solve_qp(*leaves, gradient=strategy)
        loss = sum(part.sin().sum() for part in s[:5])
        grads = torch.autograd.grad(loss, [t for t in leaves if t is not None])
    assert all(torch.isfinite(g).all() for g in grads)
