// lpgd::conv_prelu and its backward op for CPU tensors: y = bias + w * prelu(x) for short signals;
// and their schema.
#include "ops/convolution.h"

#include "cpu/convolution.h"

namespace lpgd::ops {

namespace {

struct CpuConvolution {
  explicit CpuConvolution(const Tensor&) {}

  template <class T>
  void forward(const ConvolutionTask<T>& task, const Tensor&) const {
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
  }

  template <class T>
  void backward(ConvolutionTask<T> task, const Tensor& like) const {
    const ConvolutionKernelsOf<T>& kernels = convolution_kernels().of<T>();
    const std::int64_t B = task.batch, C = task.inputs, O = task.outputs, K = task.kernel;
    const std::int64_t line = kernels.line(task.n, task.kernel);
    const ScalarType dtype = like.scalar_type();
    Tensor x_lines = new_tensor(like, {B, C, line}, dtype),
           d_lines = new_tensor(like, {B, O, line}, dtype);
    Tensor turned = new_tensor(like, {C, O, K}, dtype);
    T* w = turned.mutable_data_ptr<T>();
    for (std::int64_t o = 0; o < O; ++o)
      for (std::int64_t c = 0; c < C; ++c)
        for (std::int64_t k = 0; k < K; ++k)
          w[(c * O + o) * K + K - 1 - k] = task.w[(o * C + c) * K + k];
    task.w = w;
    task.x_lines = x_lines.mutable_data_ptr<T>();
    task.d_lines = d_lines.mutable_data_ptr<T>();
    const std::int64_t cost = C * O * K * task.n;
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
  }
};

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def("conv_prelu(Tensor x, Tensor? slope, Tensor weight, Tensor bias) -> Tensor");
  m.def(
      "conv_prelu_backward(Tensor d_y, Tensor x, Tensor? slope, Tensor weight, bool wants_x) -> "
      "(Tensor d_x, Tensor d_slope, Tensor d_weight, Tensor d_bias)");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  using lpgd::ops::CpuConvolution;
  m.impl("conv_prelu", TORCH_BOX(&lpgd::ops::conv_prelu<CpuConvolution>));
  m.impl("conv_prelu_backward", TORCH_BOX(&lpgd::ops::conv_prelu_backward<CpuConvolution>));
}
