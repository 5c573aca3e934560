// Shared by the CPU and the CUDA half of lpgd::conv_prelu, lpgd::conv_chain and their backward ops:
// checks and results, over a device that has
//   forward(task, like)                     y
//   backward(task, like)                    d_x and d_slope [B] where they are not null, d_w,
//   d_bias
#pragma once

#include <tuple>
#include <vector>

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

// Convolutions one after the other, PReLUs between them. `layers`: weight and bias of the first,
// then slope, weight and bias of each of the others.
template <class T>
std::vector<ConvolutionTask<T>> chain_tasks(const Tensor& x, const std::vector<Tensor>& layers) {
  STD_TORCH_CHECK(
      layers.size() % 3 == 2,
      "lpgd: layers must be weight, bias and then slope, weight, bias of each other one");
  check_like(x, x, "x");
  STD_TORCH_CHECK(x.dim() == 3 && x.size(2) >= 1, "lpgd: x must be [B, C, n], n >= 1");
  std::vector<ConvolutionTask<T>> out;
  std::int64_t channels = x.size(1);
  for (std::size_t at = 0; at < layers.size(); at += at == 0 ? 2 : 3) {
    ConvolutionTask<T> task{};
    const std::size_t weights = at == 0 ? 0 : at + 1;
    const Tensor &weight = layers[weights], &bias = layers[weights + 1];
    if (at > 0) {
      check_like(layers[at], x, "slope");
      STD_TORCH_CHECK(layers[at].numel() == 1, "lpgd: slope must be one number");
      task.slope = layers[at].const_data_ptr<T>();
    }
    check_like(weight, x, "weight");
    check_like(bias, x, "bias");
    STD_TORCH_CHECK(weight.dim() == 3 && weight.size(1) == channels && weight.size(2) % 2 == 1,
                    "lpgd: weight must be [O, C, k], k odd, for C channels before it");
    STD_TORCH_CHECK(bias.dim() == 1 && bias.size(0) == weight.size(0), "lpgd: bias must be [O]");
    task.batch = x.size(0);
    task.inputs = static_cast<int>(channels);
    task.outputs = static_cast<int>(weight.size(0));
    task.n = static_cast<int>(x.size(2));
    task.kernel = static_cast<int>(weight.size(2));
    task.w = weight.const_data_ptr<T>();
    task.bias = bias.const_data_ptr<T>();
    out.push_back(task);
    channels = weight.size(0);
  }
  return out;
}

// Numbers between the convolutions of a chain, those of weights and biases; the widest signal.
struct ChainSizes {
  std::int64_t kept = 0, weights = 0, widest = 0;
};
template <class T>
ChainSizes chain_sizes(const std::vector<ConvolutionTask<T>>& tasks) {
  ChainSizes out;
  for (std::size_t l = 0; l < tasks.size(); ++l) {
    const std::int64_t signal = tasks[l].batch * tasks[l].outputs * tasks[l].n;
    if (l + 1 < tasks.size()) {
      out.kept += signal;
      if (signal > out.widest) out.widest = signal;
    }
    out.weights += std::int64_t{tasks[l].outputs} * (tasks[l].inputs * tasks[l].kernel + 1);
  }
  return out;
}

template <class Device>
std::tuple<Tensor, Tensor> conv_chain(const Tensor& x, std::vector<Tensor> layers) {
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    std::vector<ConvolutionTask<T>> tasks = chain_tasks<T>(x, layers);
    const ConvolutionTask<T>& last = tasks.back();
    std::tuple<Tensor, Tensor> out{
        new_tensor(x, {last.batch, last.outputs, last.n}, x.scalar_type()),
        new_tensor(x, {chain_sizes(tasks).kept}, x.scalar_type())};
    const T* from = x.const_data_ptr<T>();
    T* kept = std::get<1>(out).template mutable_data_ptr<T>();
    const Device device(x);
    for (ConvolutionTask<T>& task : tasks) {
      task.x = from;
      task.y = &task == &tasks.back() ? std::get<0>(out).template mutable_data_ptr<T>() : kept;
      device.forward(task, x);
      from = kept;
      kept += task.batch * task.outputs * task.n;
    }
    return out;
  });
}

// d_x, the slopes' gradients [layers - 1, B], those of weights and biases in the order of `layers`,
// flat.
template <class Device>
std::tuple<Tensor, Tensor, Tensor> conv_chain_backward(const Tensor& d_y, const Tensor& x,
                                                       const Tensor& kept,
                                                       std::vector<Tensor> layers, bool wants_x) {
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    std::vector<ConvolutionTask<T>> tasks = chain_tasks<T>(x, layers);
    const ChainSizes sizes = chain_sizes(tasks);
    const auto count = static_cast<std::int64_t>(tasks.size());
    const std::int64_t B = x.size(0), outputs = tasks.back().outputs;
    check_like(d_y, x, "d_y");
    check_like(kept, x, "kept");
    STD_TORCH_CHECK(
        d_y.dim() == 3 && d_y.size(0) == B && d_y.size(1) == outputs && d_y.size(2) == x.size(2),
        "lpgd: d_y must be [B, O, n]");
    STD_TORCH_CHECK(kept.dim() == 1 && kept.size(0) == sizes.kept,
                    "lpgd: kept must be what conv_chain returned");
    const ScalarType dtype = x.scalar_type();
    std::tuple<Tensor, Tensor, Tensor> out{
        new_tensor(x, {wants_x ? B : 0, x.size(1), x.size(2)}, dtype),
        new_tensor(x, {count - 1, B}, dtype), new_tensor(x, {sizes.weights}, dtype)};
    // the gradient of a layer's result is read while that of its input is written
    const Tensor between = new_tensor(x, {2 * sizes.widest}, dtype);
    T* const signals = between.mutable_data_ptr<T>();
    const T* inner = kept.const_data_ptr<T>() + sizes.kept;
    const T* given = d_y.const_data_ptr<T>();
    T* d_weights = std::get<2>(out).template mutable_data_ptr<T>() + sizes.weights;
    const Device device(x);
    for (std::int64_t l = count - 1; l >= 0; --l) {
      ConvolutionTask<T>& task = tasks[static_cast<std::size_t>(l)];
      const std::int64_t weights = std::int64_t{task.outputs} * task.inputs * task.kernel;
      d_weights -= weights + task.outputs;
      task.d_w = d_weights;
      task.d_bias = d_weights + weights;
      task.d_y = given;
      if (l > 0) {
        inner -= B * task.inputs * task.n;
        task.x = inner;
        task.d_x = signals + l % 2 * sizes.widest;
        task.d_slope = std::get<1>(out).template mutable_data_ptr<T>() + (l - 1) * B;
      } else {
        task.x = x.const_data_ptr<T>();
        task.d_x = wants_x ? std::get<0>(out).template mutable_data_ptr<T>() : nullptr;
      }
      device.backward(task, x);
      given = task.d_x;
    }
    return out;
  });
}

}  // namespace lpgd::ops
