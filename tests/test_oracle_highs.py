"""HighsOracle: linear and integer programs re-solved for batches of costs."""

from __future__ import annotations

import builtins
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import torch

from lpgd_native import SolverError, Status, oracles

F64 = torch.float64
ROWS = torch.tensor([[2.0, 3.0, 1.0, 4.0], [3.0, 1.0, 2.0, 1.0]], dtype=F64)
ROOM = torch.tensor([5.0, 4.0], dtype=F64)


def costs(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def knapsack(**options) -> oracles.HighsOracle:
    return oracles.HighsOracle(G=ROWS, h=ROOM, lb=0.0, ub=1.0, **options)


@pytest.mark.parametrize("integrality", [True, None, [0, 2], torch.tensor([1, 0, 1, 0]) > 0])
@pytest.mark.parametrize("warm_start", [True, False])
def test_agrees_with_scipy(integrality, warm_start):
    c = costs(40, 4)
    solution = knapsack(integrality=integrality, warm_start=warm_start).solve(c)
    assert not solution.status.any()
    whole = np.zeros(4)
    if integrality is not None:
        whole[np.arange(4) if integrality is True else np.asarray(integrality)] = 1
    for k in range(40):
        expected = scipy.optimize.milp(
            c[k].numpy(),
            constraints=scipy.optimize.LinearConstraint(ROWS.numpy(), ub=ROOM.numpy()),
            bounds=scipy.optimize.Bounds(0, 1),
            integrality=whole,
            options={"mip_rel_gap": 0.0},
        )
        assert abs(solution.objective[k] - expected.fun) < 1e-8
    torch.testing.assert_close((c * solution.x).sum(-1), solution.objective)
    assert (solution.x @ ROWS.T <= ROOM + 1e-8).all()
    if integrality is True:
        assert torch.equal(solution.x, solution.x.round())


def test_the_polytope_of_assignments():
    """Its vertices are the assignments: the native oracle, as an LP."""
    n = 5
    eye = torch.eye(n, dtype=F64)
    A = torch.cat([torch.kron(eye, torch.ones(1, n)), torch.kron(torch.ones(1, n), eye)])
    c = costs(20, n, n)
    lp = oracles.HighsOracle(A=A, b=torch.ones(2 * n), lb=0.0).solve(c.flatten(1))
    native = oracles.linear_assignment(c)
    torch.testing.assert_close(lp.objective, native.objective)
    torch.testing.assert_close(lp.x.reshape(20, n, n), native.x)


@pytest.mark.parametrize("integrality", [None, True])
def test_threads_and_neighbours(integrality):
    c = costs(70, 4)
    c[5, 1] = torch.nan
    c[6, 1] = -torch.inf
    one = knapsack(integrality=integrality, threads=1).solve(c)
    many = knapsack(integrality=integrality, threads=3).solve(c)
    assert torch.equal(one.x, many.x)
    assert one.status[5] == one.status[6] == Status.NUMERICAL_ERROR
    assert not one.x[5:7].any()
    good = torch.ones(70, dtype=torch.bool)
    good[5:7] = False
    assert not one.status[good].any()
    cold = knapsack(integrality=integrality, warm_start=False)
    together, alone = cold.solve(c), cold.solve(c[33])
    assert torch.equal(together.x[33], alone.x)
    torch.testing.assert_close(together.objective[good], one.objective[good])


def test_data_of_an_instance():
    c = costs(3, 1, 4)
    h = torch.rand(5, 2, dtype=F64) * 4
    G = ROWS + torch.rand(3, 1, 2, 4, dtype=F64)
    oracle = oracles.HighsOracle(lb=0.0, ub=1.0, integrality=True)
    solution = oracle.solve(c, G=G, h=h)
    assert solution.x.shape == (3, 5, 4)
    for i in range(3):
        for k in range(5):
            one = oracles.binary_knapsack(c[i, 0], G[i, 0], h[k])
            torch.testing.assert_close(solution.objective[i, k], one.objective)
    free = knapsack().solve(c, G=None, h=None)
    torch.testing.assert_close(free.x, (c < 0).to(F64))


def test_statuses():
    c = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    open_below = oracles.HighsOracle(lb=0.0).solve(c)
    assert open_below.status.tolist() == [Status.OK, Status.DUAL_INFEASIBLE]
    assert open_below.x.dtype == torch.float32
    assert torch.isnan(open_below.objective[1])
    empty = oracles.HighsOracle(G=torch.ones(1, 2), h=[-1.0], lb=0.0, integrality=True)
    solution = empty.solve(c)
    assert solution.status.tolist() == [Status.PRIMAL_INFEASIBLE] * 2
    assert not solution.x.any()
    with pytest.raises(SolverError, match="HighsOracle: 2 of 2 items failed"):
        empty.solve(c, throw=True)
    crossed = oracles.HighsOracle(lb=torch.ones(2), ub=torch.zeros(2)).solve(c)
    assert crossed.status.tolist() == [Status.PRIMAL_INFEASIBLE] * 2


def test_options_are_those_of_one_oracle():
    c = costs(20, 4)
    plain = knapsack(integrality=True)
    expected = plain.solve(c)
    stopped = knapsack(integrality=True, options={"mip_max_nodes": 0, "presolve": "off"})
    assert (stopped.solve(c).status != Status.OK).any()
    again = plain.solve(c)
    assert torch.equal(again.x, expected.x)
    quick = knapsack(integrality=True, options={"presolve": "off"}).solve(c)
    torch.testing.assert_close(quick.objective, expected.objective)


def test_is_an_oracle_and_pickles():
    oracle = knapsack(integrality=True)
    assert isinstance(oracle, oracles.Oracle)
    assert repr(oracle) == "HighsOracle(G [2, 4], h [2], lb [], ub [])"
    again = pickle.loads(pickle.dumps(oracle))
    assert torch.equal(again.solve(costs(4)).x, oracle.solve(costs(4)).x)
    assert knapsack().solve(costs(0, 4)).x.shape == (0, 4)


def test_prints_nothing():
    """In a process of its own, since the banner that a solver prints comes once."""
    code = (
        "import torch; from lpgd_native import oracles\n"
        "for whole in (None, True):\n"
        "    oracle = oracles.HighsOracle(G=[[1.0, 1.0]], h=[1.0], lb=0.0, integrality=whole)\n"
        "    assert not oracle.solve(-torch.rand(40, 2)).status.any()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "G and h go together", lambda: oracles.HighsOracle(G=ROWS).solve(costs(4))),
        (ValueError, r"G must be \[..., rows, 5\], got \[2, 4\]", lambda: knapsack().solve(
            costs(5))),
        (ValueError, r"h must be \[..., 2\], got \[3\]", lambda: knapsack().solve(
            costs(4), h=torch.ones(3))),
        (ValueError, "leading dimensions must broadcast", lambda: knapsack().solve(
            costs(3, 4), h=torch.ones(2, 2))),
        (TypeError, "unknown data P", lambda: knapsack().solve(costs(4), P=ROWS)),
        (ValueError, r"integrality must be \[n\]", lambda: knapsack(
            integrality=torch.ones(3) > 0).solve(costs(4))),
        (ValueError, "index outside 0 to 3", lambda: knapsack(integrality=[4]).solve(costs(4))),
        (TypeError, "integrality must be", lambda: knapsack(
            integrality=torch.ones(4)).solve(costs(4))),
        (ValueError, "threads must be positive", lambda: knapsack(threads=0)),
        (ValueError, "eps must be positive", lambda: knapsack(eps=0.0)),
        (ValueError, "no option 'speed' of value 'high'", lambda: knapsack(
            options={"speed": "high"})),
        (ValueError, "no option 'presolve' of value 7", lambda: knapsack(options={"presolve": 7})),
        (TypeError, "h must hold real numbers", lambda: oracles.HighsOracle(
            G=ROWS, h=torch.ones(2) > 0)),
        (TypeError, "costs must be a torch.Tensor", lambda: knapsack().solve([1.0])),
    ],
)  # fmt: skip
def test_bad_input(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_without_highspy(monkeypatch):
    plain = builtins.__import__

    def refuse(name, *args, **options):
        if name == "highspy":
            raise ImportError("no such module")
        return plain(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"HighsOracle: .*lpgd-native\[highs\]"):
        knapsack()
