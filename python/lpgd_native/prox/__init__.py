"""Batched proximal operators, argmin_p 1/2 ||p - x||^2 + f(p), and projections.

Alike for all of them:

- x is any batch; operators on vectors take those along `dim`, the last dimension unless told
  otherwise, operators on matrices the last two. Separable operators act entry by entry.
- Parameters are numbers, or tensors that broadcast against x; one a vector has size 1 along `dim`.
  They have gradients, like x. In a step of a proximal algorithm multiply them by the step:
  ``prox_l1(x, step * weight)``.
- float32 and float64 come back as they are given. Half precision is computed in float32; under
  autocast it stays float32.
- TypeError: x that is no dense real floating-point tensor, a parameter that is neither a number nor
  such a tensor. ValueError: a number out of range, shapes that don't fit, another device. A
  parameter out of range in a tensor makes its row nan, and no other: looking would wait for a GPU.
- Derivatives are exact, and at a kink the one that the docstring names. First derivatives, forward
  mode, ``torch.func`` and ``torch.compile(fullgraph=True)`` work; a second derivative
  raises (of `project_affine` and `prox_total_variation_2d`, made of torch's operations, it works).
"""

from lpgd_native.prox.iterations import project_birkhoff as project_birkhoff
from lpgd_native.prox.iterations import prox_total_variation_2d as prox_total_variation_2d
from lpgd_native.prox.matrices import AffineSet as AffineSet
from lpgd_native.prox.matrices import project_affine as project_affine
from lpgd_native.prox.matrices import project_psd as project_psd
from lpgd_native.prox.matrices import project_spectral_ball as project_spectral_ball
from lpgd_native.prox.matrices import prox_nuclear as prox_nuclear
from lpgd_native.prox.norms import prox_fused_lasso as prox_fused_lasso
from lpgd_native.prox.norms import prox_group_l2 as prox_group_l2
from lpgd_native.prox.norms import prox_l2 as prox_l2
from lpgd_native.prox.norms import prox_linf as prox_linf
from lpgd_native.prox.norms import prox_max as prox_max
from lpgd_native.prox.norms import prox_sorted_l1 as prox_sorted_l1
from lpgd_native.prox.norms import prox_sparse_group as prox_sparse_group
from lpgd_native.prox.norms import prox_sum_largest as prox_sum_largest
from lpgd_native.prox.norms import prox_total_variation as prox_total_variation
from lpgd_native.prox.projections import project_box_hyperplane as project_box_hyperplane
from lpgd_native.prox.projections import project_capped_simplex as project_capped_simplex
from lpgd_native.prox.projections import project_exponential_cone as project_exponential_cone
from lpgd_native.prox.projections import project_halfspace as project_halfspace
from lpgd_native.prox.projections import project_hyperplane as project_hyperplane
from lpgd_native.prox.projections import project_isotonic as project_isotonic
from lpgd_native.prox.projections import project_l1_ball as project_l1_ball
from lpgd_native.prox.projections import project_l2_ball as project_l2_ball
from lpgd_native.prox.projections import project_permutahedron as project_permutahedron
from lpgd_native.prox.projections import project_second_order_cone as project_second_order_cone
from lpgd_native.prox.projections import project_simplex as project_simplex
from lpgd_native.prox.projections import project_weighted_l1_ball as project_weighted_l1_ball
from lpgd_native.prox.separable import project_box as project_box
from lpgd_native.prox.separable import project_linf_ball as project_linf_ball
from lpgd_native.prox.separable import project_nonnegative as project_nonnegative
from lpgd_native.prox.separable import prox_elastic_net as prox_elastic_net
from lpgd_native.prox.separable import prox_firm as prox_firm
from lpgd_native.prox.separable import prox_hinge as prox_hinge
from lpgd_native.prox.separable import prox_huber as prox_huber
from lpgd_native.prox.separable import prox_l0 as prox_l0
from lpgd_native.prox.separable import prox_l1 as prox_l1
from lpgd_native.prox.separable import prox_l_half as prox_l_half
from lpgd_native.prox.separable import prox_log_barrier as prox_log_barrier
from lpgd_native.prox.separable import prox_logistic as prox_logistic
from lpgd_native.prox.separable import prox_mcp as prox_mcp
from lpgd_native.prox.separable import prox_negative_entropy as prox_negative_entropy
from lpgd_native.prox.separable import prox_poisson as prox_poisson
from lpgd_native.prox.separable import prox_scad as prox_scad
from lpgd_native.prox.separable import prox_squared_l2 as prox_squared_l2
