// Launchers of the QP kernels: device pointers, sizes and a stream in, the error code out. Nothing
// is allocated, nothing waited for.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "core/qp_types.h"
#include "cuda/geometry.h"

namespace lpgd::cuda {

enum class QpKernel : int { kSolve, kResolve, kImplicit };

// How a kernel is run for `count` problems on the current device, and the workspace that it needs.
struct QpPlan {
  QpLayout layout;
  int blocks;
  std::size_t workspace_bytes;
};

template <class T>
cudaError_t plan_qp(QpKernel kernel, const QpProblem<T>& problem, std::int64_t count, QpPlan* plan);

template <class T>
cudaError_t solve_qp(const QpTask<T>& task, const QpPlan& plan, void* workspace,
                     cudaStream_t stream);

// `kind` [batch] scratch; `tau` [batch] in: the step, out: the step used; `rho`, `shrunk` [batch].
// task.solution and task.report have 2 * batch rows; combine is completed from them.
template <class T>
cudaError_t resolve_qp(const QpTask<T>& task, const QpCombine<T>& combine,
                       const std::int32_t* solved, int sides, T* kind, T* tau, const T* rho,
                       std::int32_t* shrunk, const QpPlan& plan, void* workspace,
                       cudaStream_t stream);

template <class T>
cudaError_t implicit_qp(const QpImplicitTask<T>& task, const QpPlan& plan, void* workspace,
                        cudaStream_t stream);

template <class T>
cudaError_t outer_sum(const T* a1, const T* b1, const T* a2, const T* b2, std::int64_t batch,
                      int rows, int cols, T* out, cudaStream_t stream);

}  // namespace lpgd::cuda
