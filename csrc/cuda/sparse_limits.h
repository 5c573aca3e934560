// The limits of the current device, for sparse_geometry.h.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/sparse_geometry.h"

namespace lpgd::cuda {

inline cudaError_t sparse_limits(SparseLimits* limits) {
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  const auto read = [&](cudaDeviceAttr attribute) {
    int value = 0;
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&value, attribute, device);
    return value;
  };
  limits->processors = read(cudaDevAttrMultiProcessorCount);
  limits->threads_per_processor = read(cudaDevAttrMaxThreadsPerMultiProcessor);
  limits->shared_per_block =
      static_cast<std::size_t>(read(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  limits->shared_per_processor =
      static_cast<std::size_t>(read(cudaDevAttrMaxSharedMemoryPerMultiprocessor));
  limits->shared_reserved = static_cast<std::size_t>(read(cudaDevAttrReservedSharedMemoryPerBlock));
  return error;
}

}  // namespace lpgd::cuda
