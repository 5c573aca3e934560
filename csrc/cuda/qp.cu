// One problem a block at a time; blocks walk the batch with the stride of the grid. All matrices
// are in the block's slice of the workspace (global memory).
#define LPGD_ISA cuda
#include "core/outer.h"
#include "core/qp.h"
#include "core/qp_combine.h"
#include "core/qp_resolve.h"
#include "cuda/qp.h"

namespace lpgd::cuda {

namespace {

constexpr int kBlocksPerProcessor = 8;
constexpr int kScratch = 33;

// Workspace of a block in numbers, rounded up so that every block's slice starts on 256 bytes.
template <class T>
__host__ __device__ inline std::size_t block_scalars(const QpProblem<T>& problem) {
  const std::size_t line = 256 / sizeof(T);
  return (qp_work_scalars<T>(dims_of(problem)) + line - 1) / line * line;
}

template <class T>
__device__ inline void bind_block(QpWork<T>& work, const QpProblem<T>& problem, T* workspace) {
  work.bind(dims_of(problem), workspace + blockIdx.x * block_scalars(problem));
}

template <class T>
__global__ void solve_kernel(QpTask<T> task, T* workspace) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  QpWork<T> work;
  bind_block(work, task.problem, workspace);
  bool fresh = true;
  for (std::int64_t item = blockIdx.x; item < task.problem.batch; item += gridDim.x) {
    solve_entries(group, work, task, item, 1, fresh);
    fresh = false;
  }
}

template <class T>
__global__ void resolve_kernel(QpTask<T> task, QpCombine<T> combine, const std::int32_t* solved,
                               int sides, T* kind, T* tau, const T* rho, std::int32_t* shrunk,
                               T* workspace) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  const QpDims dims = dims_of(task.problem);
  QpWork<T> work;
  bind_block(work, task.problem, workspace);
  bool fresh = true;
  for (std::int64_t item = blockIdx.x; item < task.problem.batch; item += gridDim.x) {
    const T upstream = upstream_kind(group, task.gradient, solved, item, dims.n, dims.p, dims.m,
                                     dims.n_lb, dims.n_ub);
    if (group.lane() == 0) kind[item] = upstream;
    resolve_item(group, work, task, item, sides, upstream, rho[item], tau, shrunk, fresh);
    combine_item(group, combine, item);
    group.sync();
  }
}

template <class T>
__global__ void implicit_kernel(QpImplicitTask<T> task, T* workspace) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  QpWork<T> work;
  bind_block(work, task.problem, workspace);
  bool fresh = true;
  for (std::int64_t item = blockIdx.x; item < task.problem.batch; item += gridDim.x) {
    implicit_entries(group, work, task, item, 1, fresh);
    fresh = false;
  }
}

template <class T>
__global__ void outer_kernel(const T* a1, const T* b1, const T* a2, const T* b2, std::int64_t batch,
                             int rows, int cols, T* out) {
  const BlockGroup group{nullptr};
  for (std::int64_t i = blockIdx.x; i < batch; i += gridDim.x)
    outer_sum(group, a1 + i * rows, b1 + i * cols, a2 + i * rows, b2 + i * cols, rows, cols,
              out + i * rows * cols);
}

}  // namespace

template <class T>
cudaError_t plan_qp(const QpProblem<T>& problem, std::int64_t count, QpPlan* plan) {
  int device = 0, processors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  const std::int64_t most = static_cast<std::int64_t>(processors) * kBlocksPerProcessor;
  plan->blocks = static_cast<int>(count < most ? count : most);
  plan->threads = problem.n <= 32 ? 32 : (problem.n <= 96 ? 64 : 128);
  plan->workspace_bytes =
      static_cast<std::size_t>(plan->blocks) * block_scalars(problem) * sizeof(T);
  return cudaSuccess;
}

template <class T>
cudaError_t solve_qp(const QpTask<T>& task, const QpPlan& plan, void* workspace,
                     cudaStream_t stream) {
  solve_kernel<<<plan.blocks, plan.threads, 0, stream>>>(task, static_cast<T*>(workspace));
  return cudaGetLastError();
}

template <class T>
cudaError_t resolve_qp(const QpTask<T>& task, const QpCombine<T>& combine,
                       const std::int32_t* solved, int sides, T* kind, T* tau, const T* rho,
                       std::int32_t* shrunk, const QpPlan& plan, void* workspace,
                       cudaStream_t stream) {
  resolve_kernel<<<plan.blocks, plan.threads, 0, stream>>>(task, combine, solved, sides, kind, tau,
                                                           rho, shrunk, static_cast<T*>(workspace));
  return cudaGetLastError();
}

template <class T>
cudaError_t implicit_qp(const QpImplicitTask<T>& task, const QpPlan& plan, void* workspace,
                        cudaStream_t stream) {
  implicit_kernel<<<plan.blocks, plan.threads, 0, stream>>>(task, static_cast<T*>(workspace));
  return cudaGetLastError();
}

template <class T>
cudaError_t outer_sum(const T* a1, const T* b1, const T* a2, const T* b2, std::int64_t batch,
                      int rows, int cols, T* out, cudaStream_t stream) {
  constexpr std::int64_t kMostBlocks = 65535;
  const int blocks = static_cast<int>(batch < kMostBlocks ? batch : kMostBlocks);
  outer_kernel<<<blocks, 128, 0, stream>>>(a1, b1, a2, b2, batch, rows, cols, out);
  return cudaGetLastError();
}

#define LPGD_INSTANTIATE(T)                                                                      \
  template cudaError_t plan_qp<T>(const QpProblem<T>&, std::int64_t, QpPlan*);                   \
  template cudaError_t solve_qp<T>(const QpTask<T>&, const QpPlan&, void*, cudaStream_t);        \
  template cudaError_t resolve_qp<T>(const QpTask<T>&, const QpCombine<T>&, const std::int32_t*, \
                                     int, T*, T*, const T*, std::int32_t*, const QpPlan&, void*, \
                                     cudaStream_t);                                              \
  template cudaError_t implicit_qp<T>(const QpImplicitTask<T>&, const QpPlan&, void*,            \
                                      cudaStream_t);                                             \
  template cudaError_t outer_sum<T>(const T*, const T*, const T*, const T*, std::int64_t, int,   \
                                    int, T*, cudaStream_t);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

}  // namespace lpgd::cuda
