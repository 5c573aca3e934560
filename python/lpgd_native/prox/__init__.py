"""Batched proximal operators, argmin_p 1/2 ||p - x||^2 + f(p), and projections."""

from lpgd_native.prox.matrices import *  # noqa: F403
from lpgd_native.prox.norms import *  # noqa: F403
from lpgd_native.prox.projections import *  # noqa: F403
from lpgd_native.prox.separable import *  # noqa: F403
