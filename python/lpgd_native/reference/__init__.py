"""Plain torch twins of the native ops, from the formulas; for tests and docs, not for speed."""

from lpgd_native.reference import prox as prox
from lpgd_native.reference.qp import implicit_qp as implicit_qp
from lpgd_native.reference.qp import outer_sum as outer_sum
from lpgd_native.reference.qp import resolve_qp as resolve_qp
from lpgd_native.reference.qp import solve_qp as solve_qp
