"""Solvers that a strategy differentiates: argmin_x <c, x> over x in X, batched."""

from lpgd_native.oracles.protocol import Oracle as Oracle
from lpgd_native.oracles.protocol import OracleSolution as OracleSolution
