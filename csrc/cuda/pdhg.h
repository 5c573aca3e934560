// Launchers of the sparse first-order solver: device pointers, sizes and a stream in, the error
// code out. Nothing is allocated, nothing waited for.
#pragma once

#include <cuda_runtime_api.h>

#include "core/pdhg_types.h"
#include "cuda/sparse_geometry.h"

namespace lpgd::cuda {

// Patterns come as `given` holds them; those of task.problem are not read.
template <class T>
cudaError_t plan_pdhg(const PdhgTask<T>& task, const PdhgGiven& given, SparseLaunch* launch);

template <class T>
cudaError_t solve_pdhg(const PdhgTask<T>& task, const PdhgGiven& given, const SparseLaunch& launch,
                       void* workspace, cudaStream_t stream);

}  // namespace lpgd::cuda
