"""Forward maps of inverse problems, with the derivatives that unrolled networks need."""

from lpgd_native.operators.deconvolution import VolterraDeconvolution as VolterraDeconvolution
from lpgd_native.operators.eit import EIT as EIT
from lpgd_native.operators.eit import EITSolution as EITSolution
from lpgd_native.operators.gauss_newton import GaussNewton as GaussNewton
from lpgd_native.operators.linear import LinearOperator as LinearOperator
from lpgd_native.operators.mesh import Mesh as Mesh
from lpgd_native.operators.mesh import MeshQuality as MeshQuality
from lpgd_native.operators.operator import Operator as Operator
from lpgd_native.operators.operator import TorchOperator as TorchOperator
from lpgd_native.operators.preconditioned import Preconditioned as Preconditioned
