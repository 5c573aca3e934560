// Compiled once per instruction set: registers along positions.
#include "cpu/convolution.h"

#include "core/convolution.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class T>
int line(int n, int kernel) {
  return padded_line<T>(n, kernel);
}

template <class T>
constexpr ConvolutionKernelsOf<T> table() {
  return {line<T>, convolution_forward<T>, convolution_backward<T>, convolution_weights<T>};
}

}  // namespace

const ConvolutionKernels& convolution_kernels() {
  static constexpr ConvolutionKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
