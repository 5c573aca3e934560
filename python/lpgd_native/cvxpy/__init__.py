"""Layers from cvxpy problems: a solver for cvxpylayers, and a layer of our own.

Both take any disciplined parametrised (DPP) problem that is a linear program, or one with a convex
quadratic objective; they need the extra ``cvxpy``.
"""

from lpgd_native.cvxpy._layer import CvxpyLayer as CvxpyLayer
from lpgd_native.cvxpy._solver import solver as solver
