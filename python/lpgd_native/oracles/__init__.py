"""Solvers that a strategy differentiates: argmin_x <c, x> over x in X, batched."""

from lpgd_native.oracles.adapter import FunctionOracle as FunctionOracle
from lpgd_native.oracles.layer import OracleLayer as OracleLayer
from lpgd_native.oracles.protocol import Oracle as Oracle
from lpgd_native.oracles.protocol import OracleSolution as OracleSolution
from lpgd_native.oracles.qp import LPOracle as LPOracle
from lpgd_native.oracles.qp import QPOracle as QPOracle
