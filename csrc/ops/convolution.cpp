// lpgd::conv_prelu and its backward op for CPU tensors: y = bias + w * prelu(x) for short signals.
#include "cpu/convolution.h"

#include <tuple>

#include "ops/ops.h"

namespace lpgd::ops {

namespace {

template <class T>
ConvolutionTask<T> task_of(const Tensor& x, const MaybeTensor& slope, const Tensor& weight) {
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

Tensor conv_prelu(const Tensor& x, const MaybeTensor& slope, const Tensor& weight,
                  const Tensor& bias) {
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ConvolutionTask<T> task = task_of<T>(x, slope, weight);
    check_like(bias, x, "bias");
    STD_TORCH_CHECK(bias.dim() == 1 && bias.size(0) == task.outputs, "lpgd: bias must be [O]");
    Tensor y = new_tensor(x, {task.batch, task.outputs, task.n}, x.scalar_type());
    task.bias = bias.const_data_ptr<T>();
    task.y = y.mutable_data_ptr<T>();
    const ConvolutionKernelsOf<T>& kernels = convolution_kernels().of<T>();
    const std::int64_t cost = std::int64_t{task.inputs} * task.outputs * task.kernel * task.n;
    const std::int64_t chunk = 1 + 200000 / (1 + cost);
    const std::size_t bytes =
        sizeof(T) * static_cast<std::size_t>(task.inputs * kernels.line(task.n, task.kernel));
    parallel_items(
        (task.batch + chunk - 1) / chunk, bytes, [&](void* workspace, std::int64_t item, bool) {
          const std::int64_t end = (item + 1) * chunk;
          kernels.forward(task, item * chunk, end < task.batch ? end : task.batch, workspace);
        });
    return y;
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> conv_prelu_backward(const Tensor& d_y, const Tensor& x,
                                                               const MaybeTensor& slope,
                                                               const Tensor& weight, bool wants_x) {
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ConvolutionTask<T> task = task_of<T>(x, slope, weight);
    check_like(d_y, x, "d_y");
    STD_TORCH_CHECK(d_y.dim() == 3 && d_y.size(0) == task.batch && d_y.size(1) == task.outputs &&
                        d_y.size(2) == task.n,
                    "lpgd: d_y must be [B, O, n]");
    const std::int64_t B = task.batch, C = task.inputs, O = task.outputs, K = task.kernel;
    const ScalarType dtype = x.scalar_type();
    const ConvolutionKernelsOf<T>& kernels = convolution_kernels().of<T>();
    const std::int64_t line = kernels.line(task.n, task.kernel);
    const bool sloped = task.slope != nullptr && wants_x;
    std::tuple<Tensor, Tensor, Tensor, Tensor> out{
        new_tensor(x, {wants_x ? B : 0, C, x.size(2)}, dtype),
        new_tensor(x, {sloped ? B : 0}, dtype), new_tensor(x, {O, C, K}, dtype),
        new_tensor(x, {O}, dtype)};
    Tensor x_lines = new_tensor(x, {B, C, line}, dtype),
           d_lines = new_tensor(x, {B, O, line}, dtype);
    Tensor turned = new_tensor(x, {C, O, K}, dtype);
    T* w = turned.mutable_data_ptr<T>();
    for (std::int64_t o = 0; o < O; ++o)
      for (std::int64_t c = 0; c < C; ++c)
        for (std::int64_t k = 0; k < K; ++k)
          w[(c * O + o) * K + K - 1 - k] = task.w[(o * C + c) * K + k];
    task.w = w;
    task.d_y = d_y.const_data_ptr<T>();
    task.x_lines = x_lines.mutable_data_ptr<T>();
    task.d_lines = d_lines.mutable_data_ptr<T>();
    task.d_x = wants_x ? std::get<0>(out).template mutable_data_ptr<T>() : nullptr;
    task.d_slope = sloped ? std::get<1>(out).template mutable_data_ptr<T>() : nullptr;
    task.d_w = std::get<2>(out).template mutable_data_ptr<T>();
    task.d_bias = std::get<3>(out).template mutable_data_ptr<T>();
    const std::int64_t cost = C * O * K * x.size(2);
    auto share = [&](std::int64_t count, std::int64_t each, auto&& body) {
      const std::int64_t grain = 1 + 200000 / (1 + each);
      if (count <= grain)
        body(std::int64_t{0}, count);
      else
        torch::stable::parallel_for(0, count, grain, body);
    };
    share(B, cost,
          [&](std::int64_t begin, std::int64_t end) { kernels.backward(task, begin, end); });
    share(O, B * cost / (1 + O),
          [&](std::int64_t begin, std::int64_t end) { kernels.weights(task, begin, end); });
    return out;
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def("conv_prelu(Tensor x, Tensor? slope, Tensor weight, Tensor bias) -> Tensor");
  m.def(
      "conv_prelu_backward(Tensor d_y, Tensor x, Tensor? slope, Tensor weight, bool wants_x) -> "
      "(Tensor d_x, Tensor d_slope, Tensor d_weight, Tensor d_bias)");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  m.impl("conv_prelu", TORCH_BOX(&lpgd::ops::conv_prelu));
  m.impl("conv_prelu_backward", TORCH_BOX(&lpgd::ops::conv_prelu_backward));
}
