// Shared by the CPU and the CUDA half of lpgd::conv_prelu and its backward op: checks and results,
// over a device that has
//   forward(task, like)                     y
//   backward(task, like)                    d_x and d_slope [B] where they are not null, d_w,
//   d_bias
#pragma once

#include <tuple>

#include "core/convolution_types.h"
#include "ops/ops.h"

namespace lpgd::ops {

template <class T>
ConvolutionTask<T> convolution_task(const Tensor& x, const MaybeTensor& slope,
                                    const Tensor& weight) {
  check_like(x, x, "x");
  check_like(weight, x, "weight");
  STD_TORCH_CHECK(x.dim() == 3 && weight.dim() == 3, "lpgd: x must be [B, C, n], weight [O, C, k]");
  STD_TORCH_CHECK(weight.size(1) == x.size(1) && weight.size(2) % 2 == 1 && x.size(2) >= 1,
                  "lpgd: weight must be [O, C, k], k odd, for x [B, C, n], n >= 1");
  ConvolutionTask<T> task{};
  task.batch = x.size(0);
  task.inputs = static_cast<int>(x.size(1));
  task.outputs = static_cast<int>(weight.size(0));
  task.n = static_cast<int>(x.size(2));
  task.kernel = static_cast<int>(weight.size(2));
  task.x = x.const_data_ptr<T>();
  task.w = weight.const_data_ptr<T>();
  if (is_present(slope)) {
    check_like(*slope, x, "slope");
    STD_TORCH_CHECK(slope->numel() == 1, "lpgd: slope must be one number");
    task.slope = slope->const_data_ptr<T>();
  }
  return task;
}

template <class Device>
Tensor conv_prelu(const Tensor& x, const MaybeTensor& slope, const Tensor& weight,
                  const Tensor& bias) {
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ConvolutionTask<T> task = convolution_task<T>(x, slope, weight);
    check_like(bias, x, "bias");
    STD_TORCH_CHECK(bias.dim() == 1 && bias.size(0) == task.outputs, "lpgd: bias must be [O]");
    Tensor y = new_tensor(x, {task.batch, task.outputs, task.n}, x.scalar_type());
    task.bias = bias.const_data_ptr<T>();
    task.y = y.mutable_data_ptr<T>();
    Device(x).forward(task, x);
    return y;
  });
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> conv_prelu_backward(const Tensor& d_y, const Tensor& x,
                                                               const MaybeTensor& slope,
                                                               const Tensor& weight, bool wants_x) {
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ConvolutionTask<T> task = convolution_task<T>(x, slope, weight);
    check_like(d_y, x, "d_y");
    STD_TORCH_CHECK(d_y.dim() == 3 && d_y.size(0) == task.batch && d_y.size(1) == task.outputs &&
                        d_y.size(2) == task.n,
                    "lpgd: d_y must be [B, O, n]");
    const std::int64_t B = task.batch, C = task.inputs, O = task.outputs, K = task.kernel;
    const ScalarType dtype = x.scalar_type();
    const bool sloped = task.slope != nullptr && wants_x;
    std::tuple<Tensor, Tensor, Tensor, Tensor> out{
        new_tensor(x, {wants_x ? B : 0, C, x.size(2)}, dtype),
        new_tensor(x, {sloped ? B : 0}, dtype), new_tensor(x, {O, C, K}, dtype),
        new_tensor(x, {O}, dtype)};
    task.d_y = d_y.const_data_ptr<T>();
    task.d_x = wants_x ? std::get<0>(out).template mutable_data_ptr<T>() : nullptr;
    task.d_slope = sloped ? std::get<1>(out).template mutable_data_ptr<T>() : nullptr;
    task.d_w = std::get<2>(out).template mutable_data_ptr<T>();
    task.d_bias = std::get<3>(out).template mutable_data_ptr<T>();
    Device(x).backward(task, x);
    return out;
  });
}

}  // namespace lpgd::ops
