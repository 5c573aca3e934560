// A worker, a warp (n <= 32) or a block, takes problem after problem from a counter on the device.
// Its workspace is in shared memory, or the matrix that is factored is, or nothing of it:
// cuda/geometry.h.
#define LPGD_ISA cuda
#include "core/outer.h"
#include "core/qp_items.h"
#include "cuda/qp.h"
#include "cuda/worker.h"

namespace lpgd::cuda {

namespace {

// Blocks that a processor is to hold at least: 168 registers a thread. At 128, for a fourth one,
// the factorisation would spill.
constexpr int kResident = 3;

extern __shared__ __align__(16) unsigned char shared_memory[];

// The items that are taken. Zero when the kernel starts; the order in which workers come to it is
// no part of any result.
struct ItemCounter {
  unsigned long long* at;
  __device__ __forceinline__ std::int64_t next() {
    return static_cast<std::int64_t>(atomicAdd(at, 1ULL));
  }
};

__device__ __forceinline__ ItemCounter counter_of(unsigned char* workspace) {
  return {reinterpret_cast<unsigned long long*>(workspace)};
}

template <class T>
__device__ __forceinline__ void bind_worker(QpWork<T>& work, const QpProblem<T>& problem,
                                            const QpLayout& layout, unsigned char* workspace) {
  const int index = worker_index(layout.lanes);
  const std::size_t number = static_cast<std::size_t>(blockIdx.x) * layout.workers + index;
  unsigned char* fast = shared_memory + index * layout.fast;
  unsigned char* slow = workspace + kQpCounter + number * layout.slow;
  place_work(work, dims_of(problem), layout.fast > 0 ? reinterpret_cast<T*>(fast) : nullptr,
             layout.slow > 0 ? reinterpret_cast<T*>(slow) : nullptr);
}

template <class T>
__global__ void __launch_bounds__(kQpMostThreads, kResident)
    solve_kernel(QpTask<T> task, QpLayout layout, unsigned char* workspace) {
  __shared__ double scratch[kQpScratch / sizeof(double)];
  QpWork<T> work;
  bind_worker(work, task.problem, layout, workspace);
  ItemCounter counter = counter_of(workspace);
  solve_items(worker(scratch, layout.lanes), work, task, counter);
}

template <class T>
__global__ void __launch_bounds__(kQpMostThreads, kResident)
    resolve_kernel(QpTask<T> task, QpResolve<T> how, QpLayout layout, unsigned char* workspace) {
  __shared__ double scratch[kQpScratch / sizeof(double)];
  QpWork<T> work;
  bind_worker(work, task.problem, layout, workspace);
  ItemCounter counter = counter_of(workspace);
  resolve_items(worker(scratch, layout.lanes), work, task, how, counter);
}

template <class T>
__global__ void __launch_bounds__(kQpMostThreads, kResident)
    implicit_kernel(QpImplicitTask<T> task, QpLayout layout, unsigned char* workspace) {
  __shared__ double scratch[kQpScratch / sizeof(double)];
  QpWork<T> work;
  bind_worker(work, task.problem, layout, workspace);
  ItemCounter counter = counter_of(workspace);
  implicit_items(worker(scratch, layout.lanes), work, task, counter);
}

template <class T>
__global__ void outer_kernel(const T* a1, const T* b1, const T* a2, const T* b2, std::int64_t batch,
                             int rows, int cols, T* out) {
  const BlockGroup group{nullptr};
  for (std::int64_t i = blockIdx.x; i < batch; i += gridDim.x)
    outer_sum(group, a1 + i * rows, b1 + i * cols, a2 + i * rows, b2 + i * cols, rows, cols,
              out + i * rows * cols);
}

template <class T>
const void* entry_of(QpKernel kernel) {
  switch (kernel) {
    case QpKernel::kSolve:
      return reinterpret_cast<const void*>(&solve_kernel<T>);
    case QpKernel::kResolve:
      return reinterpret_cast<const void*>(&resolve_kernel<T>);
    default:
      return reinterpret_cast<const void*>(&implicit_kernel<T>);
  }
}

cudaError_t limits_of(int device, DeviceLimits* limits) {
  int processors = 0, per_block = 0, per_processor = 0, reserved = 0;
  const auto ask = [&](int* value, cudaDeviceAttr attribute) {
    return cudaDeviceGetAttribute(value, attribute, device);
  };
  cudaError_t error = ask(&processors, cudaDevAttrMultiProcessorCount);
  if (error == cudaSuccess) error = ask(&per_block, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  if (error == cudaSuccess)
    error = ask(&per_processor, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  if (error == cudaSuccess) error = ask(&reserved, cudaDevAttrReservedSharedMemoryPerBlock);
  *limits = {processors, static_cast<std::size_t>(per_block),
             static_cast<std::size_t>(per_processor), static_cast<std::size_t>(reserved)};
  return error;
}

// More than 48 KiB of shared memory has to be asked for, kernel by kernel.
cudaError_t prepare(const void* entry, const QpLayout& layout) {
  cudaError_t error = cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(layout.shared_bytes()));
  if (error == cudaSuccess && layout.slow == 0)
    error = cudaFuncSetAttribute(entry, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared);
  return error;
}

// The counter of items starts at 0 on the stream, so that a captured graph resets it, too.
cudaError_t reset_counter(void* workspace, cudaStream_t stream) {
  return cudaMemsetAsync(workspace, 0, kQpCounter, stream);
}

}  // namespace

template <class T>
cudaError_t plan_qp(QpKernel kernel, const QpProblem<T>& problem, std::int64_t count,
                    QpPlan* plan) {
  int device = 0, resident = 0;
  DeviceLimits limits{};
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = limits_of(device, &limits);
  if (error != cudaSuccess) return error;
  const QpDims dims = dims_of(problem);
  plan->layout = qp_layout(limits, dims.n, qp_work_scalars<T>(dims) * sizeof(T),
                           qp_factor_scalars(dims) * sizeof(T));
  const void* entry = entry_of<T>(kernel);
  error = prepare(entry, plan->layout);
  if (error == cudaSuccess)
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, entry, plan->layout.threads,
                                                          plan->layout.shared_bytes());
  if (error != cudaSuccess) return error;
  plan->blocks = qp_blocks(limits, plan->layout, resident, count);
  plan->workspace_bytes = qp_workspace_bytes(plan->layout, plan->blocks);
  return cudaSuccess;
}

template <class T>
cudaError_t solve_qp(const QpTask<T>& task, const QpPlan& plan, void* workspace,
                     cudaStream_t stream) {
  const cudaError_t error = reset_counter(workspace, stream);
  if (error != cudaSuccess) return error;
  const QpLayout& layout = plan.layout;
  solve_kernel<<<plan.blocks, layout.threads, layout.shared_bytes(), stream>>>(
      task, layout, static_cast<unsigned char*>(workspace));
  return cudaGetLastError();
}

template <class T>
cudaError_t resolve_qp(const QpTask<T>& task, const QpCombine<T>& combine,
                       const std::int32_t* solved, int sides, T* kind, T* tau, const T* rho,
                       std::int32_t* shrunk, const QpPlan& plan, void* workspace,
                       cudaStream_t stream) {
  const cudaError_t error = reset_counter(workspace, stream);
  if (error != cudaSuccess) return error;
  const QpLayout& layout = plan.layout;
  const QpResolve<T> how{combine, solved, sides, kind, tau, rho, shrunk};
  resolve_kernel<<<plan.blocks, layout.threads, layout.shared_bytes(), stream>>>(
      task, how, layout, static_cast<unsigned char*>(workspace));
  return cudaGetLastError();
}

template <class T>
cudaError_t implicit_qp(const QpImplicitTask<T>& task, const QpPlan& plan, void* workspace,
                        cudaStream_t stream) {
  const cudaError_t error = reset_counter(workspace, stream);
  if (error != cudaSuccess) return error;
  const QpLayout& layout = plan.layout;
  implicit_kernel<<<plan.blocks, layout.threads, layout.shared_bytes(), stream>>>(
      task, layout, static_cast<unsigned char*>(workspace));
  return cudaGetLastError();
}

template <class T>
cudaError_t outer_sum(const T* a1, const T* b1, const T* a2, const T* b2, std::int64_t batch,
                      int rows, int cols, T* out, cudaStream_t stream) {
  const WorkerLaunch launch = outer_launch(batch);
  outer_kernel<<<launch.blocks, launch.threads, 0, stream>>>(a1, b1, a2, b2, batch, rows, cols,
                                                             out);
  return cudaGetLastError();
}

#define LPGD_INSTANTIATE(T)                                                                      \
  template cudaError_t plan_qp<T>(QpKernel, const QpProblem<T>&, std::int64_t, QpPlan*);         \
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
