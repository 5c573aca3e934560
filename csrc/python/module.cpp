// lpgd_native._C: the operators of torch.ops.lpgd register themselves when it is loaded (csrc/ops);
// what is bound here needs no torch.
#include <pybind11/pybind11.h>

#include "python/register.h"

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native half of lpgd_native";
  lpgd::python::register_build_info(m);
  lpgd::python::register_interrupt(m);
  lpgd::python::register_numpy_qp(m);
  lpgd::python::register_prox(m);
}
