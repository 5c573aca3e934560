// The CPU kernels of the convolution of short signals, a table per instruction set and number type.
#pragma once

#include <cstdint>

#include "core/convolution_types.h"

namespace lpgd {

template <class T>
struct ConvolutionKernelsOf {
  ConvolutionLayout (*layout)(const ConvolutionTask<T>& task, bool backward);
  // task.w as the kernels want it, where the layout asks for that
  void (*prepare)(const ConvolutionTask<T>& task, bool backward, T* weights);
  // groups [begin, end) of items, task.w prepared
  void (*forward)(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                  void* workspace);
  void (*backward)(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                   void* workspace);
  // output channels [begin, end), after backward of all groups
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
