// Launcher of the kernels of electrical impedance tomography: device pointers, sizes and a stream
// in, the error code out. Nothing is allocated, nothing waited for.
#pragma once

#include <cuda_runtime_api.h>

#include "core/eit_types.h"
#include "cuda/sparse_geometry.h"

namespace lpgd::cuda {

template <class T>
cudaError_t plan_eit(const EitTask<T>& task, SparseLaunch* launch);

// Samples on a mesh whose integers are no mesh get status 4.
template <class T>
cudaError_t run_eit(const EitTask<T>& task, const SparseLaunch& launch, void* workspace,
                    cudaStream_t stream);

}  // namespace lpgd::cuda
