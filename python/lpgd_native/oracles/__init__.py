"""Solvers that a strategy differentiates: argmin_x <c, x> over x in X, batched."""

from lpgd_native.oracles.adapter import FunctionOracle as FunctionOracle
from lpgd_native.oracles.alignment import TimeWarping as TimeWarping
from lpgd_native.oracles.alignment import time_warping as time_warping
from lpgd_native.oracles.assignment import AssignmentColumns as AssignmentColumns
from lpgd_native.oracles.assignment import LinearAssignment as LinearAssignment
from lpgd_native.oracles.assignment import assignment_columns as assignment_columns
from lpgd_native.oracles.assignment import linear_assignment as linear_assignment
from lpgd_native.oracles.highs import HighsOracle as HighsOracle
from lpgd_native.oracles.knapsack import Knapsack as Knapsack
from lpgd_native.oracles.knapsack import binary_knapsack as binary_knapsack
from lpgd_native.oracles.layer import OracleLayer as OracleLayer
from lpgd_native.oracles.paths import DagShortestPath as DagShortestPath
from lpgd_native.oracles.paths import GridShortestPath as GridShortestPath
from lpgd_native.oracles.paths import dag_shortest_path as dag_shortest_path
from lpgd_native.oracles.paths import grid_edges as grid_edges
from lpgd_native.oracles.paths import grid_shortest_path as grid_shortest_path
from lpgd_native.oracles.protocol import Oracle as Oracle
from lpgd_native.oracles.protocol import OracleSolution as OracleSolution
from lpgd_native.oracles.qp import LPOracle as LPOracle
from lpgd_native.oracles.qp import QPOracle as QPOracle
from lpgd_native.oracles.selection import Ranking as Ranking
from lpgd_native.oracles.selection import TopK as TopK
from lpgd_native.oracles.selection import ranking as ranking
from lpgd_native.oracles.selection import top_k as top_k
from lpgd_native.oracles.trees import SpanningTree as SpanningTree
from lpgd_native.oracles.trees import spanning_tree as spanning_tree
