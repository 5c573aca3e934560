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
  T *x_lines, *d_lines;  // [B, channels, line], see padded_line
  T *d_x, *d_slope;      // d_x or null; d_slope [B]
  T *d_w, *d_bias;
};

}  // namespace lpgd
