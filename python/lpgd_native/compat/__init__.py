"""The calls of other packages, on our solvers: switching is one changed import."""

from lpgd_native.compat import qpth as qpth
