"""Modules: they hold parameters and call functions."""

from lpgd_native.nn.blocks import ConvBlock as ConvBlock
from lpgd_native.nn.blocks import ProxBlock as ProxBlock
from lpgd_native.nn.momentum import ConvolutionalMemory as ConvolutionalMemory
from lpgd_native.nn.momentum import DenseMap as DenseMap
from lpgd_native.nn.momentum import HeavyBall as HeavyBall
from lpgd_native.nn.momentum import Momentum as Momentum
from lpgd_native.nn.momentum import NoMomentum as NoMomentum
from lpgd_native.nn.momentum import RecurrentMomentum as RecurrentMomentum
from lpgd_native.nn.qp import LPLayer as LPLayer
from lpgd_native.nn.qp import QPLayer as QPLayer
from lpgd_native.nn.unrolled import LearnedPrimalDual as LearnedPrimalDual
from lpgd_native.nn.unrolled import LearnedProximalGradient as LearnedProximalGradient
from lpgd_native.oracles.layer import OracleLayer as OracleLayer
