"""CUTEst's convex QPs and LPs, many of them of Maros & Meszaros, each in eight different units.

Sizes are the defaults of the collection, where none is given. Published values are given to a few
digits, some of them wrong in the last ones; the bar is what Clarabel and HiGHS find.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from cutest import Problem, load
from lpgd_native import Status, solve_qp
from oracles import clarabel_x, highs_objective, kkt_violations, objective
from published import variants

SMALL = (
    # Hock & Schittkowski, Maros & Meszaros
    Problem("HS3", (), "0"),
    Problem("HS3MOD", (), "0"),
    Problem("HS21", (), "-99.96"),
    Problem("HS21MOD"),
    Problem("HS28", (), "0"),
    Problem("HS35", (), "0.1111111111"),
    Problem("HS35I", (), "0.1111111111"),
    Problem("HS35MOD", (), "0.25"),
    Problem("HS48", (), "0"),
    Problem("HS51", (), "0"),
    Problem("HS52", (), "5.326643"),
    Problem("HS53", (), "4.09302318"),
    Problem("HS76", (), "-4.681818"),
    Problem("HS76I", (), "-4.681818"),
    Problem("HS118", (), "664.82045"),
    Problem("HS268", (), "0"),
    Problem("S268", (), "0"),
    Problem("AVGASA"),
    Problem("AVGASB"),
    Problem("BT3", (), "4.09301056"),
    Problem("CVXQP1", (50,)),
    Problem("CVXQP1", (100,), "11590.718"),
    Problem("DUAL1", (), "0.035012966"),
    Problem("DUAL4", (), "0.74609084"),
    Problem("DUALC1", (), "6155.2508"),
    Problem("FCCU"),
    Problem("GENHS28", (), "0.92717369"),
    Problem("HUESTIS"),
    Problem("HUESmMOD"),
    Problem("LISWET1"),
    Problem("LISWET2"),
    Problem("LISWET3"),
    Problem("LISWET4"),
    Problem("LISWET5"),
    Problem("LISWET6"),
    Problem("LISWET7"),
    Problem("LISWET8"),
    Problem("LISWET9"),
    Problem("LISWET10"),
    Problem("LISWET11"),
    Problem("LISWET12"),
    Problem("LOTSCHD", (), "2398.4159"),
    Problem("LSQFIT"),
    Problem("MOSARQP1", (), "-24.13768932"),
    Problem("MOSARQP1", (100, 10, 3.0), "-154.2001028"),
    Problem("MOSARQP2", (), "-35.69811798"),
    Problem("PORTFL1", (), "0.0204863313869"),
    Problem("PORTFL4", (), "0.0263069364"),
    Problem("QPBAND"),
    Problem("QPCBLEND", (), "-0.0078425409"),
    Problem("TAME", (), "0"),
    Problem("TARGUS"),
    Problem("TWOD"),
    Problem("YAO"),
    Problem("YAO", (100,)),
    Problem("ZECEVIC2", (), "-4.125"),
    # optimal control
    Problem("DTOC3"),
    Problem("DTOC3", (50,)),
    Problem("HAGER1", (10,), "0.88097222455"),
    Problem("HAGER1", (50,), "0.88080408397"),
    Problem("HAGER3", (50,), "0.14096413824"),
    # bounds alone
    Problem("BIGGSB1", (100,)),
    Problem("BQP1VAR", (), "0"),
    Problem("BQPGABIM"),
    Problem("BQPGASIM"),
    Problem("CHENHARK", (100,)),
    Problem("DEGDIAG", (100,)),
    Problem("DEGTRID", (100,)),
    Problem("DEGTRID2"),
    Problem("DIAGPQB", (100,)),
    Problem("DIAGPQE", (100,)),
    Problem("DIAGPQT", (100,)),
    Problem("HARKERP2"),
    Problem("JNLBRNG1", (4, 4), "-0.22474"),
    Problem("JNLBRNGA", (10, 10), "-0.36116"),
    Problem("NOBNDTOR", (5,)),
    Problem("OBSTCLAE", (4, 4), "0.753659753"),
    Problem("OBSTCLBL", (10, 10), "2.87503823"),
    Problem("OSLBQP"),
    Problem("PENTDI", (100,)),
    Problem("SIM2BQP", (), "0"),
    Problem("SIMBQP", (), "0"),
    Problem("TORSION1", (5,), "-0.49234185"),
    Problem("TORSION5", (5,), "-2.8971193358"),
    Problem("TORSIONA", (2,), "-0.30864"),
    Problem("TORSIONC", (5,), "-1.1766"),
    # without constraints
    Problem("DIXON3DQ", (100,), "0"),
    Problem("HILBERTA", (), "0"),
    Problem("HILBERTB", (), "0"),
    Problem("PALMER1C", (), "0.097605048"),
    Problem("PALMER1D", (), "0.652673985"),
    Problem("PALMER2C", (), "0.014368886"),
    Problem("PALMER3C", (), "0.019537639"),
    Problem("PALMER4C", (), "0.050310687"),
    Problem("PALMER5C"),
    Problem("PALMER6C"),
    Problem("PALMER7C"),
    Problem("PALMER8C"),
    Problem("TOINTQOR", (), "1175.4722221"),
    Problem("TRIDIA", (50,), "0"),
    Problem("ZANGWIL2", (), "-18.2"),
    # linear programs
    Problem("AGG", (), "-35991767.29"),
    Problem("DEGENLPA"),
    Problem("DEGENLPB"),
    Problem("EXTRASIM"),
    Problem("GOFFIN", (), "0"),
    Problem("MAKELA4", (), "0"),
    Problem("OET3"),
    Problem("PDE2", (3,)),
    Problem("PT"),
    Problem("READING2"),
    Problem("READING2", (50,)),
    Problem("SIMPLLPA", (), "1"),
    Problem("SIMPLLPB", (), "1.1"),
    Problem("SUPERSIM"),
    Problem("TFI2", (), "0.64903110696"),
)

LARGE = (
    *(Problem(f"LISWET{k}", (100,)) for k in range(1, 13)),
    Problem("CVXQP1", (300,)),
    Problem("DTOC3", (100,)),
    Problem("DUAL2", (), "0.033733676"),
    Problem("HAGER1", (100,), "0.88079882866"),
    Problem("HARKERP2", (100,)),
    Problem("JNLBRNGB", (10, 10), "-7.2552"),
    Problem("OBSTCLAE", (15, 15)),
    Problem("OBSTCLBL", (15, 15)),
    Problem("OET1"),
    Problem("PDE2"),
    Problem("QPBAND", (200,)),
    Problem("READING2", (100,)),
    Problem("SIPOW1"),
    Problem("SIPOW2"),
    Problem("SIPOW2M"),
    Problem("SIPOW3"),
    Problem("SIPOW4"),
    Problem("TORSION1", (8,)),
    Problem("YAO", (200,)),
)

OWN, OTHER = "own", "other"

_CURVATURE = "stalls: curvature of 1e-12 of the largest is below primal_reg"
_START = "stalls: short steps from a start close to the boundary"
_EQUALITY_REG = "stalls: the normal equations lose the step (equality_reg)"

#: (problem, units) -> why it fails; strict: what gets mended has to be struck off this list
FAILS: dict[tuple[str, str], str] = {
    ("TARGUS", OTHER): _EQUALITY_REG,
    ("PALMER3C", OTHER): _CURVATURE,
    ("AGG", OTHER): _EQUALITY_REG,
    ("DEGENLPA", OWN): _EQUALITY_REG,
    ("DEGENLPA", OTHER): _EQUALITY_REG,
    ("DEGENLPB", OTHER): _EQUALITY_REG,
    # slow ones
    ("LISWET11_100", OTHER): _START,
    ("LISWET12_100", OWN): _START,
    ("LISWET12_100", OTHER): _START,
}


def listed(*problems: Problem):
    """Each in its own units, and in seven others in one call."""
    return [
        pytest.param(
            p,
            units,
            id=f"{p}-{units}",
            marks=[pytest.mark.xfail(strict=True, reason=FAILS[str(p), units])]
            if (str(p), units) in FAILS
            else [],
        )
        for p in problems
        for units in (OWN, OTHER)
    ]


@cache
def optimal_value(problem: Problem) -> float:
    """By HiGHS or Clarabel, without the constant."""
    data = load(problem).data
    if data.P is None:
        return highs_objective(data)
    return float(objective(data, clarabel_x(data)))


def check(problem: Problem, units: str) -> None:
    data, factor = variants(load(problem).data, 0)
    part = slice(None, 1) if units == OWN else slice(1, None)
    data, factor = data.map(lambda t: t[part]), factor[part]
    solution = solve_qp(*data)
    assert (solution.status == Status.OK).all(), solution.status.tolist()
    best = optimal_value(problem)
    error = (objective(data, solution.x) / factor - best).abs()
    assert error.max() <= 1e-7 * (1 + abs(best)), error
    for name, violation in kkt_violations(data, solution).items():
        assert violation.max() < 1e-9, name


@pytest.mark.parametrize(("problem", "units"), listed(*SMALL))
def test_optimal_value(problem, units):
    check(problem, units)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "units"), listed(*LARGE))
def test_optimal_value_of_large_problems(problem, units):
    check(problem, units)


@pytest.mark.parametrize("problem", SMALL, ids=str)
def test_the_arguments_are_the_problem(problem):
    """The objective is the collection's; where it is published, so is the value the peers find."""
    data, constant, collection = load(problem)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        x = torch.randn(data.q.shape, dtype=torch.float64, generator=generator)
        size = abs(constant) + (0.0 if data.P is None else float(data.P.abs().sum()))
        right = collection(x.numpy())
        assert abs(float(objective(data, x)) + constant - right) <= 1e-11 * (1 + size + abs(right))
    if problem.published is not None:
        value = optimal_value(problem) + constant
        # up to the last digit given, what solvers of the time reached, and rounding in the sum
        digit = 10.0 ** -len(problem.published.partition(".")[2])
        allowed = max(digit if digit < 1 else 0.0, 1e-9 * (1 + size))
        assert value == pytest.approx(float(problem.published), rel=5e-6, abs=allowed)


NOT_CONVEX = """
BIGGSC4 BLOCKQP1 BLOCKQP2 BLOCKQP3 BLOWEYA BLOWEYB BLOWEYC DIAGIQB DIAGIQE DIAGIQT
FERRISDC GOULDQP1 HATFLDH HS44 HS44NEW NASH NCVXBQP1 NCVXBQP2 NCVXBQP3 NCVXQP1 NCVXQP2
NCVXQP3 NCVXQP4 NCVXQP5 NCVXQP6 NCVXQP7 NCVXQP8 NCVXQP9 PORTSNQP QPNBLEND QUDLIN SOSQP1
SOSQP2 STNQP1 STNQP2
"""


@pytest.mark.parametrize("name", NOT_CONVEX.split())
def test_what_is_not_convex_is_not_solved(name):
    data, _ = variants(load(Problem(name)).data, 0)
    assert (solve_qp(*data).status == Status.NUMERICAL_ERROR).all()


def test_an_infeasible_problem():
    """PDE1 at its default size."""
    data, _ = variants(load(Problem("PDE1")).data, 0)
    assert (solve_qp(*data).status == Status.PRIMAL_INFEASIBLE).all()
