// One sample a block at a time; blocks walk the batch with the stride of the grid. Computed in
// double, whatever the number type of the tensors is. The factor is in shared memory where several
// fit on a processor.
#define LPGD_ISA cuda
#include "core/eit.h"
#include "core/eit_check.h"
#include "cuda/eit.h"
#include "cuda/sparse_limits.h"

namespace lpgd::cuda {

namespace {

constexpr int kScratch = 33;

extern __shared__ __align__(256) char eit_shared[];

// All threads of a grid, for loops without sync.
struct GridGroup {
  __device__ __forceinline__ static int lane() {
    return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  }
  __device__ __forceinline__ static int size() { return static_cast<int>(gridDim.x * blockDim.x); }
};

__global__ void __launch_bounds__(kEitCheckThreads)
    check_kernel(const __grid_constant__ EitMesh mesh, const __grid_constant__ EitPattern pattern,
                 int* fault) {
  const int found = eit_fault(GridGroup{}, mesh, pattern);
  if (found != kEitFine) atomicMax(fault, found);
}

template <class T>
__global__ void __launch_bounds__(kEitMostThreads)
    eit_kernel(const __grid_constant__ EitTask<T> task, const int* fault, char* blocks,
               std::size_t block_bytes, bool near) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  EitSolve<BlockGroup, double, T> solve;
  solve.bind(task, blocks + blockIdx.x * block_bytes, near ? eit_shared : nullptr);
  const bool refused = *fault != kEitFine;
  for (std::int64_t item = blockIdx.x; item < task.batch; item += gridDim.x) {
    if (refused) {
      eit_refuse(group, task, item);
    } else {
      solve.run(group, task, EitLanes{item, 1});
    }
  }
}

}  // namespace

template <class T>
cudaError_t plan_eit(const EitTask<T>& task, SparseLaunch* launch) {
  SparseLimits limits{};
  const cudaError_t error = sparse_limits(&limits);
  if (error != cudaSuccess) return error;
  using Solve = EitSolve<BlockGroup, double, T>;
  *launch = eit_launch(limits, task.mesh.unknowns, Solve{}.bind(task, nullptr),
                       Solve::factor_bytes(task.mesh), task.batch);
  return cudaSuccess;
}

template <class T>
cudaError_t run_eit(const EitTask<T>& task, const SparseLaunch& launch, void* workspace,
                    cudaStream_t stream) {
  int* fault = static_cast<int*>(workspace);
  cudaError_t error = cudaMemsetAsync(workspace, 0, kSparseHead, stream);
  if (error == cudaSuccess && launch.shared_bytes > 0)
    error = cudaFuncSetAttribute(eit_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(launch.shared_bytes));
  if (error != cudaSuccess) return error;
  const EitMesh& mesh = task.mesh;
  const std::int64_t integers =
      6 * std::int64_t{mesh.cells} + 6 * std::int64_t{mesh.links} + 3 * std::int64_t{mesh.entries};
  check_kernel<<<eit_check_blocks(integers), kEitCheckThreads, 0, stream>>>(mesh, task.pattern,
                                                                            fault);
  eit_kernel<<<launch.blocks, launch.threads, launch.shared_bytes, stream>>>(
      task, fault, static_cast<char*>(workspace) + launch.common_bytes, launch.block_bytes,
      launch.shared_bytes > 0);
  return cudaGetLastError();
}

#define LPGD_INSTANTIATE(T)                                           \
  template cudaError_t plan_eit<T>(const EitTask<T>&, SparseLaunch*); \
  template cudaError_t run_eit<T>(const EitTask<T>&, const SparseLaunch&, void*, cudaStream_t);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

}  // namespace lpgd::cuda
