// The names of the proximal operators and their numbers at the ops, from core/prox_types.h: one
// list.
#include <pybind11/pybind11.h>

#include "core/prox_types.h"
#include "python/register.h"

namespace py = pybind11;

namespace lpgd::python {

void register_prox(py::module_& m) {
  py::dict separable, rowwise;
#define LPGD_NAME(name, type, count) separable[#name] = static_cast<int>(Separable::name);
  LPGD_FOR_EACH_SEPARABLE(LPGD_NAME)
#undef LPGD_NAME
#define LPGD_NAME(name, type, count) rowwise[#name] = static_cast<int>(Rowwise::name);
  LPGD_FOR_EACH_ROWWISE(LPGD_NAME)
#undef LPGD_NAME
  m.attr("prox_separable_kinds") = separable;
  m.attr("prox_rows_kinds") = rowwise;
}

}  // namespace lpgd::python
