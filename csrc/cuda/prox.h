// Launchers of the proximal operators: device pointers, sizes and a stream in, the error code out.
// Nothing is allocated, nothing waited for.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "core/prox_types.h"
#include "cuda/geometry.h"

namespace lpgd::cuda {

template <class T>
cudaError_t separable(Separable kind, const ProxTask<T>& task, cudaStream_t stream);

// `sums` [2, rows, pieces] takes the sums of pieces of rows; pieces = ceil(n / kProxPiece)
template <class T>
cudaError_t separable_backward(Separable kind, const ProxTask<T>& task, double* sums,
                               cudaStream_t stream);

// The threads that walk rows from end to end, and the scratch each of them needs; 0 threads where
// a warp or a block takes a row, without scratch.
struct ProxPlan {
  int lanes;
  std::size_t lane_bytes;
};
ProxPlan plan_rows(Rowwise kind, std::int64_t rows, std::int64_t n);

template <class T>
cudaError_t rows(Rowwise kind, const ProxTask<T>& task, const ProxPlan& plan, void* scratch,
                 cudaStream_t stream);
template <class T>
cudaError_t rows_backward(Rowwise kind, const ProxTask<T>& task, const ProxPlan& plan,
                          void* scratch, cudaStream_t stream);

}  // namespace lpgd::cuda
