// What the files of this folder add to the module _C. No torch header is on their include path.
#pragma once

#include <pybind11/pybind11.h>

namespace lpgd::python {

void register_build_info(pybind11::module_& m);
void register_interrupt(pybind11::module_& m);
void register_numpy_qp(pybind11::module_& m);
void register_prox(pybind11::module_& m);

// Raises what take_interrupt of Python would return.
[[noreturn]] void raise_interrupt();

}  // namespace lpgd::python
