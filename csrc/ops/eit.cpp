// lpgd::eit_* for CPU tensors, and their schema.
#include "ops/eit.h"

#include "core/eit_check.h"
#include "core/group.h"
#include "cpu/eit.h"

namespace lpgd::ops {

namespace {

constexpr const char* kFaults[kEitFaults] = {
    "",
    "plan: cell_link is out of range",
    "links: an unknown is out of range",
    "plan: link_slot is out of range",
    "plan: link_start or link_cell is out of range",
    "plan: node_start or node_link is out of range",
    "plan: column must rise from 0 to the number of entries",
    "plan: row_start must rise from 0 to the number of entries",
    "factor: rows must rise below the diagonal",
    "factor: the pattern of the factor contradicts itself",
    "pairs: a row is out of range"};

struct EitOnCpu {
  template <class T>
  static void run(const EitTask<T>& task, const Tensor& weights) {
    STD_TORCH_CHECK(weights.is_cpu(), "weights must be on the CPU");
    const int fault = eit_fault(SerialGroup{}, task.mesh, task.pattern);
    STD_TORCH_CHECK(fault == kEitFine, kFaults[fault]);
    const EitLayout<T>& layout = eit_kernels().of(T{}).pick(task.batch);
    parallel_items(
        (task.batch + layout.lanes - 1) / layout.lanes, layout.workspace_bytes(task),
        [&](void* workspace, std::int64_t pack, bool) { layout.run(task, pack, workspace); });
  }
};

}  // namespace

}  // namespace lpgd::ops

#define LPGD_EIT_MESH                                                                     \
  "Tensor coefficients, Tensor plan, Tensor links, Tensor factor, Tensor drives, Tensor " \
  "measured, "                                                                            \
  "Tensor pairs)"

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def("eit_forward(Tensor weights, " LPGD_EIT_MESH " -> (Tensor voltages, Tensor status)");
  m.def("eit_vjp(Tensor weights, Tensor dy, " LPGD_EIT_MESH " -> Tensor");
  m.def("eit_jvp(Tensor weights, Tensor dw, " LPGD_EIT_MESH " -> Tensor");
  m.def("eit_curvature(Tensor weights, Tensor dy, Tensor dw, " LPGD_EIT_MESH " -> Tensor");
  m.def("eit_gradient(Tensor weights, Tensor y, " LPGD_EIT_MESH
        " -> (Tensor gradient, Tensor voltages, Tensor status)");
  m.def("eit_jacobian(Tensor weights, " LPGD_EIT_MESH
        " -> (Tensor jacobian, Tensor voltages, Tensor status)");
}
#undef LPGD_EIT_MESH

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  using Ops = lpgd::ops::EitOps<lpgd::ops::EitOnCpu>;
  m.impl("eit_forward", TORCH_BOX(&Ops::forward));
  m.impl("eit_vjp", TORCH_BOX(&Ops::vjp));
  m.impl("eit_jvp", TORCH_BOX(&Ops::jvp));
  m.impl("eit_curvature", TORCH_BOX(&Ops::curvature));
  m.impl("eit_gradient", TORCH_BOX(&Ops::gradient));
  m.impl("eit_jacobian", TORCH_BOX(&Ops::jacobian));
}
