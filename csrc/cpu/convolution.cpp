// Compiled once per instruction set: registers along positions.
#include "cpu/convolution.h"

#include "core/convolution_minimal.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class T>
ConvolutionLayout layout(const ConvolutionTask<T>& task, bool backward) {
  return is_minimal(task) ? minimal_layout(task, backward) : convolution_layout(task, backward);
}

template <class T>
void prepare(const ConvolutionTask<T>& task, bool backward, T* weights) {
  if (is_minimal(task))
    weights_at_points(task, backward, weights);
  else if (backward)
    turn_kernel(task, weights);
}

template <class T>
void forward(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
             void* workspace) {
  (is_minimal(task) ? minimal_forward<T> : convolution_forward<T>)(task, begin, end, workspace);
}

template <class T>
void backward(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
              void* workspace) {
  (is_minimal(task) ? minimal_backward<T> : convolution_backward<T>)(task, begin, end, workspace);
}

template <class T>
void weights(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end) {
  (is_minimal(task) ? minimal_weights<T> : convolution_weights<T>)(task, begin, end);
}

template <class T>
constexpr ConvolutionKernelsOf<T> table() {
  return {layout<T>, prepare<T>, forward<T>, backward<T>, weights<T>};
}

}  // namespace

const ConvolutionKernels& convolution_kernels() {
  static constexpr ConvolutionKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
