// lpgd::eit_* for CUDA tensors. Their schema is in eit.cpp. Nothing here waits for the device: a
// sample's status, and whether the integers of the mesh are one, stay there.
#include "cuda/eit.h"
#include "ops/cuda_stream.h"
#include "ops/eit.h"

namespace lpgd::ops {

namespace {

struct EitOnCuda {
  template <class T>
  static void run(const EitTask<T>& task, const Tensor& weights) {
    if (task.batch == 0) return;
    const CudaScope scope(weights.get_device_index());
    cuda::SparseLaunch launch{};
    check_cuda(cuda::plan_eit(task, &launch), "lpgd: plan");
    const Tensor workspace =
        new_tensor(weights, {static_cast<std::int64_t>(launch.workspace_bytes)}, ScalarType::Byte);
    check_cuda(cuda::run_eit(task, launch, workspace.mutable_data_ptr(), scope.stream()),
               "lpgd::eit");
  }
};

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_IMPL(lpgd, CUDA, m) {
  using Ops = lpgd::ops::EitOps<lpgd::ops::EitOnCuda>;
  m.impl("eit_forward", TORCH_BOX(&Ops::forward));
  m.impl("eit_vjp", TORCH_BOX(&Ops::vjp));
  m.impl("eit_jvp", TORCH_BOX(&Ops::jvp));
  m.impl("eit_curvature", TORCH_BOX(&Ops::curvature));
  m.impl("eit_gradient", TORCH_BOX(&Ops::gradient));
  m.impl("eit_jacobian", TORCH_BOX(&Ops::jacobian));
}
