// Launchers of the convolution of short signals: device pointers, sizes and a stream in, the error
// code out. Nothing is allocated, nothing waited for.
#pragma once

#include <cuda_runtime_api.h>

#include "core/convolution_types.h"
#include "cuda/convolution_geometry.h"

namespace lpgd::cuda {

template <class T>
cudaError_t convolution_forward(const ConvolutionTask<T>& task, cudaStream_t stream);

// What the backward pass is made of, and the numbers of workspace it needs.
struct ConvolutionPlan {
  ConvolutionGeometry signal;  // of x's gradient
  ConvolutionSums weights;
  std::int64_t slope_parts;

  std::int64_t workspace() const { return slope_parts + weights.workspace(); }
};
template <class T>
ConvolutionPlan plan_convolution_backward(const ConvolutionTask<T>& task);
// task.w as it came; task.x_lines and task.d_lines are not used
template <class T>
cudaError_t convolution_backward(const ConvolutionTask<T>& task, const ConvolutionPlan& plan,
                                 T* workspace, cudaStream_t stream);

}  // namespace lpgd::cuda
