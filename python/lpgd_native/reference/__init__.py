"""Plain torch twins of the native ops, from the formulas; for tests and docs, not for speed."""

from lpgd_native.reference import oracles as oracles
from lpgd_native.reference import prox as prox
from lpgd_native.reference.convolution import conv_prelu as conv_prelu
from lpgd_native.reference.momentum import gru_cell as gru_cell
from lpgd_native.reference.momentum import gru_momentum_step as gru_momentum_step
from lpgd_native.reference.momentum import lstm_cell as lstm_cell
from lpgd_native.reference.momentum import lstm_momentum_step as lstm_momentum_step
from lpgd_native.reference.momentum import momentum_coordinate as momentum_coordinate
from lpgd_native.reference.momentum import momentum_sequence as momentum_sequence
from lpgd_native.reference.qp import implicit_qp as implicit_qp
from lpgd_native.reference.qp import outer_sum as outer_sum
from lpgd_native.reference.qp import resolve_qp as resolve_qp
from lpgd_native.reference.qp import solve_qp as solve_qp
