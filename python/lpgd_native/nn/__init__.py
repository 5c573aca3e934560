"""Modules: they hold parameters and call functions."""

from lpgd_native.nn.qp import LPLayer as LPLayer
from lpgd_native.nn.qp import QPLayer as QPLayer
