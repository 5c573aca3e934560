// Where torch is on a CUDA device: its current stream, and the device to be current meanwhile.
// Compiled with the CUDA half alone.
#pragma once

#include <cuda_runtime_api.h>
#include <torch/csrc/stable/accelerator.h>

#include <cstdint>

namespace lpgd::ops {

// The stream that torch would launch on now. Throws std::runtime_error where torch has no CUDA.
cudaStream_t current_cuda_stream(int32_t device);

// Makes `device` current for its lifetime and holds torch's stream on it:
//   const CudaScope scope(device);
//   check_cuda(cuda::solve_qp(..., scope.stream()), "solve_qp");
class CudaScope {
 public:
  explicit CudaScope(int32_t device) : guard_(device), stream_(current_cuda_stream(device)) {}
  cudaStream_t stream() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
};

// Throws std::runtime_error "<what>: <CUDA's words>" on an error.
void check_cuda(cudaError_t error, const char* what);

}  // namespace lpgd::ops
