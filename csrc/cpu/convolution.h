// The CPU kernels of the convolution of short signals, a table per instruction set and number type.
#pragma once

#include <cstdint>

#include "core/convolution_types.h"

namespace lpgd {

template <class T>
struct ConvolutionKernelsOf {
  int (*line)(int n, int kernel);  // numbers of a padded line
  // items [begin, end); `workspace`: inputs * line numbers
  void (*forward)(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                  void* workspace);
  void (*backward)(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end);
  // output channels [begin, end), after backward of all items
  void (*weights)(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end);
};

struct ConvolutionKernels {
  ConvolutionKernelsOf<double> f64;
  ConvolutionKernelsOf<float> f32;

  template <class T>
  const ConvolutionKernelsOf<T>& of() const;
};

template <>
inline const ConvolutionKernelsOf<double>& ConvolutionKernels::of<double>() const {
  return f64;
}
template <>
inline const ConvolutionKernelsOf<float>& ConvolutionKernels::of<float>() const {
  return f32;
}

// Those of the active instruction set.
const ConvolutionKernels& convolution_kernels();

}  // namespace lpgd
