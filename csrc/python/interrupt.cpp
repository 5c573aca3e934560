// What a Ctrl-C during an operator means is Python's to say: its handlers run, and if one of them
// raises (KeyboardInterrupt, as a rule), the operator fails and the exception waits here.
#include "cpu/interrupt.h"

#include <pybind11/pybind11.h>

#include "python/register.h"

namespace py = pybind11;

namespace lpgd::python {
namespace {

PyObject* waiting = nullptr;  // read and written under Python's lock

bool handlers_raise() {
  const py::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() == 0) return false;
  const py::error_already_set error;
  Py_XDECREF(waiting);
  waiting = py::object(error.value()).release().ptr();
  return true;
}

py::object take_interrupt() {
  PyObject* taken = waiting;
  waiting = nullptr;
  return taken == nullptr ? py::object(py::none()) : py::reinterpret_steal<py::object>(taken);
}

}  // namespace

void raise_interrupt() {
  const py::object exception = take_interrupt();
  PyErr_SetObject(py::type::handle_of(exception).ptr(), exception.ptr());
  throw py::error_already_set();
}

void register_interrupt(py::module_& m) {
  set_interrupt_question(handlers_raise);
  m.def("take_interrupt", &take_interrupt,
        "The exception that a signal handler raised during the last operator that it ended, or "
        "None.");
}

}  // namespace lpgd::python
