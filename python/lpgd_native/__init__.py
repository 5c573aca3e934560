"""Differentiable optimisation layers for torch, in C++: batched QPs and LPs with LPGD gradients."""

from lpgd_native import nn as nn
from lpgd_native import operators as operators
from lpgd_native._build_info import build_info as build_info
from lpgd_native.gradients import LPGD as LPGD
from lpgd_native.gradients import Implicit as Implicit
from lpgd_native.momentum import gru_momentum_sequence as gru_momentum_sequence
from lpgd_native.momentum import gru_momentum_step as gru_momentum_step
from lpgd_native.momentum import lstm_momentum_sequence as lstm_momentum_sequence
from lpgd_native.momentum import lstm_momentum_step as lstm_momentum_step
from lpgd_native.numpy_qp import NumpyQPSolution as NumpyQPSolution
from lpgd_native.numpy_qp import solve_qp_numpy as solve_qp_numpy
from lpgd_native.qp import QPSolution as QPSolution
from lpgd_native.qp import solve_lp as solve_lp
from lpgd_native.qp import solve_qp as solve_qp
from lpgd_native.status import GradientStatus as GradientStatus
from lpgd_native.status import SolverError as SolverError
from lpgd_native.status import Status as Status
