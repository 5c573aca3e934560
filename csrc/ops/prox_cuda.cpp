// lpgd::prox_separable, lpgd::prox_rows and their backward ops for CUDA tensors. Their schema is in
// prox.cpp. Nothing here waits for the device.
#include "cuda/prox.h"
#include "ops/cuda_stream.h"
#include "ops/prox.h"

namespace lpgd::ops {

namespace {

Tensor prox_separable(const Tensor& x, const MaybeTensor& a, const MaybeTensor& b,
                      std::int64_t kind) {
  const auto op = kind_of<Separable>(kind, kSeparableParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const CudaScope scope(x.get_device_index());
    ProxTask<T> task = prox_task<T>(x);
    set_parameters(task, x, kSeparableParameters[kind], {&a, &b});
    Tensor out = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    task.out = out.mutable_data_ptr<T>();
    check_cuda(cuda::separable(op, task, scope.stream()), "lpgd::prox_separable");
    return out;
  });
}

std::tuple<Tensor, Tensor, Tensor> prox_separable_backward(const Tensor& x, const MaybeTensor& a,
                                                           const MaybeTensor& b, const Tensor& grad,
                                                           std::int64_t kind, std::int64_t needs) {
  const auto op = kind_of<Separable>(kind, kSeparableParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const CudaScope scope(x.get_device_index());
    ProxTask<T> task = prox_task<T>(x);
    set_parameters(task, x, kSeparableParameters[kind], {&a, &b});
    task.gradient = same_shape<T>(grad, x, "grad");
    Tensor gx = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    task.gradient_x = gx.mutable_data_ptr<T>();
    Tensor ga = parameter_gradient(task, x, 0, needs);
    Tensor gb = parameter_gradient(task, x, 1, needs);
    const std::int64_t pieces = (task.n + cuda::kProxPiece - 1) / cuda::kProxPiece;
    const Tensor sums =
        new_tensor(x, {needs != 0 ? 2 * task.rows * pieces : 0}, ScalarType::Double);
    check_cuda(cuda::separable_backward(op, task, sums.mutable_data_ptr<double>(), scope.stream()),
               "lpgd::prox_separable_backward");
    return std::tuple{gx, ga, gb};
  });
}

std::tuple<Tensor, Tensor> prox_rows(const Tensor& x, const MaybeTensor& a, const MaybeTensor& b,
                                     const MaybeTensor& c, const MaybeTensor& d,
                                     const MaybeTensor& index, const MaybeTensor& sorted,
                                     std::int64_t kind) {
  const auto op = kind_of<Rowwise>(kind, kRowwiseParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const CudaScope scope(x.get_device_index());
    ProxTask<T> task = prox_task<T>(x);
    set_parameters(task, x, kRowwiseParameters[kind], {&a, &b, &c, &d});
    set_index(task, x, op, index);
    Tensor out = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    task.out = out.mutable_data_ptr<T>();
    task.sorted = is_sorting(op) && is_present(sorted);
    // the kernel marks pools in it, so it works on a copy
    Tensor order = task.sorted
                       ? torch::stable::clone(*sorted)
                       : new_tensor(x, {task.rows, is_sorting(op) ? task.n : 0}, ScalarType::Int);
    task.order = order_pointer<T>(order, x, op);
    const cuda::ProxPlan plan = cuda::plan_rows(op, task.rows, task.n);
    const Tensor scratch =
        new_tensor(x, {static_cast<std::int64_t>(plan.lanes * plan.lane_bytes)}, ScalarType::Byte);
    check_cuda(cuda::rows(op, task, plan, scratch.mutable_data_ptr(), scope.stream()),
               "lpgd::prox_rows");
    return std::tuple{out, order};
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> prox_rows_backward(
    const Tensor& x, const MaybeTensor& a, const MaybeTensor& b, const MaybeTensor& c,
    const MaybeTensor& d, const MaybeTensor& index, const Tensor& out, const Tensor& order,
    const Tensor& grad, std::int64_t kind, std::int64_t needs) {
  const auto op = kind_of<Rowwise>(kind, kRowwiseParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const CudaScope scope(x.get_device_index());
    ProxTask<T> task = rows_backward_task<T>(x, {&a, &b, &c, &d}, index, out, order, grad, op);
    Tensor gx = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    task.gradient_x = gx.mutable_data_ptr<T>();
    Tensor ga = parameter_gradient(task, x, 0, needs);
    Tensor gb = parameter_gradient(task, x, 1, needs);
    Tensor gc = parameter_gradient(task, x, 2, needs);
    Tensor gd = parameter_gradient(task, x, 3, needs);
    const cuda::ProxPlan plan = cuda::plan_rows(op, task.rows, task.n);
    check_cuda(cuda::rows_backward(op, task, plan, nullptr, scope.stream()),
               "lpgd::prox_rows_backward");
    return std::tuple{gx, ga, gb, gc, gd};
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_IMPL(lpgd, CUDA, m) {
  m.impl("prox_separable", TORCH_BOX(&lpgd::ops::prox_separable));
  m.impl("prox_separable_backward", TORCH_BOX(&lpgd::ops::prox_separable_backward));
  m.impl("prox_rows", TORCH_BOX(&lpgd::ops::prox_rows));
  m.impl("prox_rows_backward", TORCH_BOX(&lpgd::ops::prox_rows_backward));
}
