// Launchers of the recurrent momentum: device pointers, sizes and a stream in, the error code out.
// Nothing is allocated, nothing waited for. Matrix products are the caller's.
#pragma once

#include <cuda_runtime_api.h>

#include "core/momentum_types.h"
#include "cuda/momentum_geometry.h"

namespace lpgd::cuda {

// What is between the matrix products of the dense form, a thread a unit of an item.
template <class T>
cudaError_t activate(const CellTask<T>& task, cudaStream_t stream);
template <class T>
cudaError_t cell_backward(const CellBackwardTask<T>& task, cudaStream_t stream);
// to [B, L H] from states [L, B, H], whose layers are `stride` apart
template <class T>
cudaError_t join_states(const T* states, std::int64_t stride, std::int64_t batch, int layers,
                        int hidden, T* to, cudaStream_t stream);
// out += a
template <class T>
cudaError_t add(const T* a, T* out, std::int64_t count, cudaStream_t stream);

// The per-coordinate form, a kernel each way and one for the sums. `workspace`:
// geometry.workspace() numbers; `d_weights` as coordinate_weight_count has them.
template <class T>
cudaError_t coordinate_forward(const CoordinateTask<T>& task, cudaStream_t stream);
template <class T>
RowGeometry plan_coordinate_backward(const CoordinateTask<T>& task);
template <class T>
cudaError_t coordinate_backward(const CoordinateTask<T>& task, const RowGeometry& geometry,
                                T* workspace, T* d_weights, cudaStream_t stream);

}  // namespace lpgd::cuda
