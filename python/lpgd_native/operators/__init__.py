"""Forward maps of inverse problems, with the derivatives that unrolled networks need."""

from lpgd_native.operators.deconvolution import VolterraDeconvolution as VolterraDeconvolution
from lpgd_native.operators.linear import LinearOperator as LinearOperator
from lpgd_native.operators.operator import Operator as Operator
from lpgd_native.operators.operator import TorchOperator as TorchOperator
