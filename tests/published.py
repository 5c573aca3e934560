"""Problems with published optimal values, and one problem as a batch in several units.

Hock & Schittkowski (1981); LPs on which a simplex method cycles or takes exponentially many steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cases import Data


@dataclass(frozen=True)
class Published:
    """One problem and its published optimal value, up to `constant`."""

    name: str
    value: float
    q: list[float]
    constant: float = 0.0
    blocks: dict[str, list] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def data(self) -> Data:
        tensors = {k: torch.tensor(v, dtype=torch.float64) for k, v in self.blocks.items()}
        q = torch.tensor(self.q, dtype=torch.float64)
        return Data(**{"P": None, "q": q, **tensors})


def variants(data: Data, seed: int, count: int = 8) -> tuple[Data, Tensor]:
    """The problem in other units, `count` times: of the objective (1e-3 to 1e3), of each row (1e-2
    to 1e2) and of each variable (1e-1 to 1e1). The first is the problem itself. The second value
    holds the factors of the objective."""
    generator = torch.Generator().manual_seed(seed)

    def units(size: int, power: float) -> Tensor:
        exponent = 2 * torch.rand(count, size, dtype=torch.float64, generator=generator) - 1
        exponent[0] = 0
        return 10 ** (power * exponent)

    f, d = units(1, 3), units(len(data.q), 1)
    g = None if data.G is None else units(len(data.G), 2)
    e = None if data.A is None else units(len(data.A), 2)
    moved = Data(
        None if data.P is None else data.P * d[:, None, :] * d[:, :, None] * f[:, :, None],
        data.q * d * f,
        None if g is None else data.G * d[:, None, :] * g[:, :, None],
        None if g is None else data.h * g,
        None if e is None else data.A * d[:, None, :] * e[:, :, None],
        None if e is None else data.b * e,
        None if data.lb is None else data.lb / d,
        None if data.ub is None else data.ub / d,
    )
    return moved, f[:, 0]


# Hock & Schittkowski ------------------------------------------------------------------------------


def _squares(*terms: list[float]) -> tuple[list, list, float]:
    """P, q and constant of sum (a'x + c)^2; each term is [a..., c]."""
    t = np.array(terms)
    a, c = t[:, :-1], t[:, -1]
    return (2 * a.T @ a).tolist(), (2 * a.T @ c).tolist(), float(c @ c)


def _fifty_one(first: float) -> tuple[list, list, float]:
    return _squares(
        [first, -1, 0, 0, 0, 0], [0, 1, 1, 0, 0, -2], [0, 0, 0, 1, 0, -1], [0, 0, 0, 0, 1, -1]
    )


def _hs118() -> Published:
    P = np.diag(np.tile([2e-4, 2e-4, 3e-4], 5))
    change = np.eye(15)[3:] - np.eye(15)[:-3]
    total = np.kron(np.eye(5), np.ones(3))
    return Published(
        "HS118",
        664.82045,
        np.tile([2.3, 1.7, 2.2], 5).tolist(),
        0.0,
        {
            "P": P.tolist(),
            "G": np.vstack([change, -change, -total]).tolist(),
            "h": [*[6.0, 7.0, 6.0] * 4, *[7.0] * 12, -60.0, -50.0, -70.0, -85.0, -100.0],
            "lb": [8.0, 43.0, 3.0, *[0.0] * 12],
            "ub": [21.0, 57.0, 16.0, *[90.0, 120.0, 60.0] * 4],
        },
    )


def hock_schittkowski() -> tuple[Published, ...]:
    P28, q28, c28 = _squares([1, 1, 0, 0], [0, 1, 1, 0])
    P48, q48, c48 = _squares([1, 0, 0, 0, 0, -1], [0, 1, -1, 0, 0, 0], [0, 0, 0, 1, -1, 0])
    (P51, q51, c51), (P52, q52, c52) = _fifty_one(1), _fifty_one(4)
    A51 = [[1.0, 3, 0, 0, 0], [0, 0, 1, 1, -2], [0, 1, 0, 0, -1]]
    P35 = [[4.0, 2, 2], [2, 4, 0], [2, 0, 2]]
    thirty_five = {"P": P35, "G": [[1.0, 1, 2]], "h": [3.0], "lb": [0.0, 0, 0]}
    fixed = {**thirty_five, "lb": [0.0, 0.5, 0], "ub": [np.inf, 0.5, np.inf]}
    P76 = [[2.0, 0, -1, 0], [0, 1, 0, 0], [-1, 0, 2, 1], [0, 0, 1, 1]]
    G76 = [[1.0, 2, 1, 1], [3, 1, 2, -1], [0, -1, -4, 0]]
    D268 = np.array(
        [
            [10197, -12454, -1013, 1948, 329],
            [-12454, 20909, -1733, -4914, -186],
            [-1013, -1733, 1755, 1089, -174],
            [1948, -4914, 1089, 1515, -22],
            [329, -186, -174, -22, 27],
        ]
    )
    G268 = [
        [1.0, 1, 1, 1, 1],
        [-10, -10, 3, -5, -4],
        [8, -1, 2, 5, -3],
        [-8, 1, -2, -5, 3],
        [4, 2, -3, 5, -1],
    ]
    return (
        Published(
            "HS21",
            -99.96,
            [0, 0],
            -100.0,
            {"P": [[0.02, 0], [0, 2]], "G": [[-10.0, 1]], "h": [-10.0]}
            | {"lb": [2.0, -50], "ub": [50.0, 50]},
        ),
        Published("HS28", 0.0, q28, c28, {"P": P28, "A": [[1.0, 2, 3]], "b": [1.0]}),
        Published("HS35", 1 / 9, [-8, -6, -4], 9.0, thirty_five),
        Published("HS35MOD", 0.25, [-8, -6, -4], 9.0, fixed),
        Published(
            "HS48",
            0.0,
            q48,
            c48,
            {"P": P48, "A": [[1.0, 1, 1, 1, 1], [0, 0, 1, -2, -2]], "b": [5.0, -3]},
        ),
        Published("HS51", 0.0, q51, c51, {"P": P51, "A": A51, "b": [4.0, 0, 0]}),
        Published("HS52", 1859 / 349, q52, c52, {"P": P52, "A": A51, "b": [0.0, 0, 0]}),
        Published(
            "HS53",
            176 / 43,
            q51,
            c51,
            {"P": P51, "A": A51, "b": [0.0, 0, 0], "lb": [-10.0] * 5, "ub": [10.0] * 5},
        ),
        Published(
            "HS76",
            -103 / 22,
            [-1, -3, 1, -1],
            0.0,
            {"P": P76, "G": G76, "h": [5.0, 4, -1.5], "lb": [0.0] * 4},
        ),
        _hs118(),
        Published(
            "HS268",
            0.0,
            [18340, -34198, 4542, 8672, 86],
            14463.0,
            {"P": (2.0 * D268).tolist(), "G": G268, "h": [5.0, -20, 40, -11, 30]},
        ),
    )


# LPs on which a simplex method cycles or walks ----------------------------------------------------


def _klee_minty(d: int) -> Published:
    """Klee & Minty (1972), in the form of Chvatal: max sum 10^(d-j) x_j, optimum 100^(d-1)."""
    G = [[2.0 * 10 ** (i - j) if j < i else float(i == j) for j in range(d)] for i in range(d)]
    blocks = {"G": G, "h": [100.0**i for i in range(d)], "lb": [0.0] * d}
    return Published(
        f"KleeMinty{d}", -(100.0 ** (d - 1)), [-(10.0 ** (d - 1 - j)) for j in range(d)], 0, blocks
    )


def _klee_minty_five(d: int) -> Published:
    """The same in powers of two and five: max sum 2^(d-j) x_j, optimum 5^d."""
    G = [[2.0 ** (i - j + 1) if j < i else float(i == j) for j in range(d)] for i in range(d)]
    blocks = {"G": G, "h": [5.0 ** (i + 1) for i in range(d)], "lb": [0.0] * d}
    return Published(
        f"KleeMintyFive{d}", -(5.0**d), [-(2.0 ** (d - 1 - j)) for j in range(d)], 0, blocks
    )


def cycling() -> tuple[Published, ...]:
    """Klee-Minty cubes; Beale (1955), twice; Kuhn; Marshall & Suurballe (1969); Chvatal (1983)."""
    beale = [[0.25, -8, -1, 9], [0.5, -12, -0.5, 3], [0, 0, 1, 0]]
    beale_dantzig = [[0.25, -60, -0.04, 9], [0.5, -90, -0.02, 3], [0, 0, 1, 0]]
    chvatal = [[0.5, -5.5, -2.5, 9], [0.5, -1.5, -0.5, 1], [1, 0, 0, 0]]
    kuhn = [[-2, -9, 1, 9], [1 / 3, 1, -1 / 3, -2], [2, 3, -1, -12]]
    marshall = [[0.6, -6.4, 4.8], [0.2, -1.8, 0.6], [0.4, -1.6, 0.2], [0, 1, 0]]

    def slack(name: str, value: float, c: list[float], G: list, h: list[float]) -> Published:
        return Published(name, value, c, 0.0, {"G": G, "h": h, "lb": [0.0] * len(c)})

    def slack_as_variables(p: Published) -> Published:
        """The form of the papers: equalities with a basis of slacks."""
        m = len(p.blocks["h"])
        A = np.hstack([np.eye(m), np.array(p.blocks["G"], dtype=float)])
        blocks = {"A": A.tolist(), "b": p.blocks["h"], "lb": [0.0] * A.shape[1]}
        return Published(f"{p.name}_equalities", p.value, [0.0] * m + p.q, 0.0, blocks)

    problems = (
        slack("Beale", -1.25, [-0.75, 20, -0.5, 6], beale, [0.0, 0, 1]),
        slack("BealeDantzig", -0.05, [-0.75, 150, -0.02, 6], beale_dantzig, [0.0, 0, 1]),
        slack("Chvatal", -1.0, [-10, 57, 9, 24], chvatal, [0.0, 0, 1]),
        slack("Kuhn", -2.0, [-2, -3, 1, 12], kuhn, [0.0, 0, 2]),
        slack("MarshallSuurballe", -2.0, [-0.4, -0.4, 1.8], marshall, [0.0, 0, 0, 1]),
    )
    cubes = [_klee_minty(d) for d in (2, 3, 5)] + [_klee_minty_five(d) for d in (3, 5, 8, 10)]
    return (*problems, *(slack_as_variables(p) for p in problems), *cubes)
