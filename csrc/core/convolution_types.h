// The plain struct of the convolution of short signals. All arrays are contiguous.
#pragma once

#include <cstdint>

namespace lpgd {

template <class T>
struct ConvolutionTask {
  std::int64_t batch;
  int inputs, outputs, n, kernel;
  const T* x;      // [B, inputs, n], before the activation
  const T* slope;  // of the PReLU, or null: no activation
  const T* w;      // [outputs, inputs, kernel]
  const T* bias;   // [outputs]
  T* y;            // [B, outputs, n]
  // backward
  const T* d_y;
  T *x_lines, *d_lines;  // what is kept of act(x) and d_y from the first step to the second
  T *d_x, *d_slope;      // d_x or null; d_slope [B]
  T *d_w, *d_bias;
};

// How the CPU goes about it; counts are of numbers.
struct ConvolutionLayout {
  std::int64_t groups;     // of items: the units of work
  std::int64_t weights;    // as `prepare` makes them, or 0: as given
  std::int64_t workspace;  // of a thread
  std::int64_t x_lines, d_lines;
};

}  // namespace lpgd
