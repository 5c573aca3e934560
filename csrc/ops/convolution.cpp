// lpgd::conv_prelu, lpgd::conv_chain and their backward ops for CPU tensors: y = bias + w *
// prelu(x) for short signals, one or several in a row; and their schema.
#include "ops/convolution.h"

#include "cpu/convolution.h"

namespace lpgd::ops {

namespace {

struct CpuConvolution {
  explicit CpuConvolution(const Tensor&) {}

  template <class T>
  void forward(ConvolutionTask<T> task, const Tensor& like) const {
    const ConvolutionKernelsOf<T>& kernels = convolution_kernels().of<T>();
    const ConvolutionLayout layout = kernels.layout(task, false);
    const Tensor weights = prepared(kernels, layout, false, like, task);
    for_groups(task, layout, [&](void* workspace, std::int64_t begin, std::int64_t end) {
      kernels.forward(task, begin, end, workspace);
    });
  }

  template <class T>
  void backward(ConvolutionTask<T> task, const Tensor& like) const {
    const ConvolutionKernelsOf<T>& kernels = convolution_kernels().of<T>();
    const ConvolutionLayout layout = kernels.layout(task, true);
    const Tensor weights = prepared(kernels, layout, true, like, task);
    Tensor x_lines = new_tensor(like, {layout.x_lines}, like.scalar_type()),
           d_lines = new_tensor(like, {layout.d_lines}, like.scalar_type());
    task.x_lines = x_lines.mutable_data_ptr<T>();
    task.d_lines = d_lines.mutable_data_ptr<T>();
    for_groups(task, layout, [&](void* workspace, std::int64_t begin, std::int64_t end) {
      kernels.backward(task, begin, end, workspace);
    });
    const std::int64_t outputs = task.outputs;
    const std::int64_t grain = 1 + kGrain / (1 + task.batch * cost_of(task) / (1 + outputs));
    if (outputs <= grain)
      kernels.weights(task, 0, outputs);
    else
      torch::stable::parallel_for(0, outputs, grain, [&](std::int64_t begin, std::int64_t end) {
        kernels.weights(task, begin, end);
      });
  }

 private:
  static constexpr std::int64_t kGrain = 200000;  // products that are worth another thread

  // of an item
  template <class T>
  static std::int64_t cost_of(const ConvolutionTask<T>& task) {
    return std::int64_t{task.inputs} * task.outputs * task.kernel * task.n;
  }

  // Puts the weights into the task as the kernels want them; what they are in is returned.
  template <class T>
  static Tensor prepared(const ConvolutionKernelsOf<T>& kernels, const ConvolutionLayout& layout,
                         bool backward, const Tensor& like, ConvolutionTask<T>& task) {
    Tensor out = new_tensor(like, {layout.weights}, like.scalar_type());
    if (layout.weights > 0) {
      kernels.prepare(task, backward, out.mutable_data_ptr<T>());
      task.w = out.const_data_ptr<T>();
    }
    return out;
  }

  template <class T, class Body>
  static void for_groups(const ConvolutionTask<T>& task, const ConvolutionLayout& layout,
                         const Body& body) {
    if (layout.groups == 0) return;
    const std::int64_t each = task.batch * cost_of(task) / layout.groups;
    const std::int64_t chunk = 1 + kGrain / (1 + each);
    parallel_items((layout.groups + chunk - 1) / chunk,
                   sizeof(T) * static_cast<std::size_t>(layout.workspace),
                   [&](void* workspace, std::int64_t item, bool) {
                     const std::int64_t end = (item + 1) * chunk;
                     body(workspace, item * chunk, end < layout.groups ? end : layout.groups);
                   });
  }
};

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def("conv_prelu(Tensor x, Tensor? slope, Tensor weight, Tensor bias) -> Tensor");
  m.def(
      "conv_prelu_backward(Tensor d_y, Tensor x, Tensor? slope, Tensor weight, bool wants_x) -> "
      "(Tensor d_x, Tensor d_slope, Tensor d_weight, Tensor d_bias)");
  m.def("conv_chain(Tensor x, Tensor[] layers) -> (Tensor y, Tensor kept)");
  m.def(
      "conv_chain_backward(Tensor d_y, Tensor x, Tensor kept, Tensor[] layers, bool wants_x) -> "
      "(Tensor d_x, Tensor d_slopes, Tensor d_weights)");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  using lpgd::ops::CpuConvolution;
  m.impl("conv_prelu", TORCH_BOX(&lpgd::ops::conv_prelu<CpuConvolution>));
  m.impl("conv_prelu_backward", TORCH_BOX(&lpgd::ops::conv_prelu_backward<CpuConvolution>));
  m.impl("conv_chain", TORCH_BOX(&lpgd::ops::conv_chain<CpuConvolution>));
  m.impl("conv_chain_backward", TORCH_BOX(&lpgd::ops::conv_chain_backward<CpuConvolution>));
}
