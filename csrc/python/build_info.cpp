#include <pybind11/pybind11.h>

#include <cstdlib>
#include <sstream>
#include <string>

#include "cpu/isa.h"
#include "python/register.h"

namespace py = pybind11;

namespace lpgd::python {
namespace {

py::tuple split(const std::string& text) {
  py::list parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.append(part);
  return py::tuple(parts);
}

py::tuple compiled_isas() {
  py::list names;
  for (const Isa isa : kCompiledIsas) names.append(isa_name(isa));
  return py::tuple(names);
}

py::dict build_info() {
  const char* request = std::getenv("LPGD_ISA");
  bool honoured = true;
  choose_isa(request, detected_isa(), &honoured);

  py::dict info;
  info["version"] = LPGD_VERSION;
  info["compiler"] = LPGD_COMPILER;
  info["build_type"] = LPGD_BUILD_TYPE;
  info["isa"] = isa_name(active_isa());
  info["isa_detected"] = isa_name(detected_isa());
  info["isa_compiled"] = compiled_isas();
  info["isa_ignored_request"] = honoured ? py::object(py::none()) : py::object(py::str(request));
  info["cuda_compiler"] = LPGD_CUDA_COMPILER;
  info["cuda_architectures"] = split(LPGD_CUDA_ARCHITECTURES);
  info["torch_built"] = LPGD_TORCH_BUILT;
  info["torch_oldest"] = LPGD_TORCH_TARGET;
  info["pybind11"] = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(
      PYBIND11_VERSION_MINOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_PATCH);
  return info;
}

}  // namespace

void register_build_info(py::module_& m) {
  m.def("build_info", &build_info, "What this binary was built from and how it runs here.");
}

}  // namespace lpgd::python
