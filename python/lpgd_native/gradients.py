"""Gradient strategies: how to differentiate through a solver. Passed as ``gradient=``.

`Implicit`, `LPGD` and `Blackbox` serve `solve_qp`, `solve_lp` and their layers, with `Smoothed`;
all of them serve `lpgd_native.oracles.OracleLayer`, each where the oracle has what it needs.
"""

from __future__ import annotations

from lpgd_native._strategies.base import Envelope as Envelope
from lpgd_native._strategies.base import OracleStrategy as OracleStrategy
from lpgd_native._strategies.combopt import CombOpt as CombOpt
from lpgd_native._strategies.lpgd import LPGD as LPGD
from lpgd_native._strategies.lpgd import AutoTau as AutoTau
from lpgd_native._strategies.lpgd import Blackbox as Blackbox
from lpgd_native._strategies.lpgd import Implicit as Implicit
from lpgd_native._strategies.noise import IMLE as IMLE
from lpgd_native._strategies.noise import Noise as Noise
from lpgd_native._strategies.noise import Perturbed as Perturbed
from lpgd_native._strategies.problem import Problem as Problem
from lpgd_native._strategies.shifted import DirectLoss as DirectLoss
from lpgd_native._strategies.shifted import Identity as Identity
from lpgd_native._strategies.smoothed import Smoothed as Smoothed

__all__ = [
    "IMLE",
    "LPGD",
    "AutoTau",
    "Blackbox",
    "CombOpt",
    "DirectLoss",
    "Envelope",
    "GradientStrategy",
    "Identity",
    "Implicit",
    "Noise",
    "OracleStrategy",
    "Perturbed",
    "Problem",
    "Smoothed",
]

GradientStrategy = Implicit | LPGD | Blackbox | Smoothed
"""What `solve_qp` and `solve_lp` take."""
