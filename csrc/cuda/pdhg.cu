// One problem a block at a time; a block that is done takes the next of the batch. Vectors are in
// shared memory where they fit; what all problems share is written once, by one block before.
#define LPGD_ISA cuda
#include "core/pdhg.h"
#include "core/pdhg_pattern.h"
#include "cuda/pdhg.h"
#include "cuda/sparse_limits.h"

namespace lpgd::cuda {

namespace {

constexpr int kScratch = 33;
constexpr int kPrepareThreads = 512;

extern __shared__ __align__(256) char pdhg_shared[];

// The parts of the workspace: the counter of items taken, the pattern, the shared matrices.
template <class T>
struct Common {
  unsigned long long* taken;
  PdhgPattern pattern;
  char* matrices;  // null: each block has its own
  char* blocks;
};

constexpr std::size_t pattern_bytes(std::size_t numbers) {
  return to_lines(numbers * sizeof(std::int32_t));
}

template <class T>
Common<T> common_of(const PdhgTask<T>& task, const PdhgGiven& given, const SparseLaunch& launch,
                    void* workspace) {
  Common<T> common{};
  char* memory = static_cast<char*>(workspace);
  common.taken = static_cast<unsigned long long*>(workspace);
  const std::size_t numbers =
      common.pattern.bind(given, reinterpret_cast<std::int32_t*>(memory + kSparseHead));
  if (shares_matrices(task.problem))
    common.matrices = memory + kSparseHead + pattern_bytes(numbers);
  common.blocks = memory + launch.common_bytes;
  return common;
}

template <class T>
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_kernel(const __grid_constant__ PdhgTask<T> task,
                   const __grid_constant__ PdhgGiven given,
                   const __grid_constant__ Common<T> common) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  if (!lay_out_pattern(group, given, common.pattern) || common.matrices == nullptr) return;
  PdhgWork<T, T> work;
  work.bind_matrices(task.problem, common.matrices);
  common.pattern.attach(given, work.matrices);
  load_pdhg_matrices(group, work, task.problem, PdhgLanes{0, 1});
}

template <class T>
__global__ void __launch_bounds__(kPdhgMostThreads)
    solve_kernel(const __grid_constant__ PdhgTask<T> task, const __grid_constant__ PdhgGiven given,
                 const __grid_constant__ Common<T> common, bool near, std::size_t block_bytes) {
  __shared__ double scratch[kScratch];
  __shared__ std::int64_t next;
  const BlockGroup group{scratch};
  char* slice = common.blocks + blockIdx.x * block_bytes;
  PdhgWork<T, T> work;
  const std::size_t used =
      work.bind_matrices(task.problem, common.matrices != nullptr ? common.matrices : slice);
  common.pattern.attach(given, work.matrices);
  if (near) {
    work.bind_vectors(task.problem, pdhg_shared);
  } else {
    work.bind_vectors(task.problem, slice + (common.matrices != nullptr ? 0 : used));
  }
  const bool fault = *common.pattern.fault != 0;
  for (;;) {
    if (group.lane() == 0) next = static_cast<std::int64_t>(atomicAdd(common.taken, 1ULL));
    group.sync();
    const std::int64_t item = next;
    group.sync();  // it may be written again right after
    if (item >= task.problem.batch) return;
    if (fault) {
      refuse_pdhg(group, task, item, kQpNumericalError);
    } else {
      pdhg_solve(group, work, task, PdhgLanes{item, 1}, common.matrices == nullptr);
    }
  }
}

}  // namespace

template <class T>
cudaError_t plan_pdhg(const PdhgTask<T>& task, const PdhgGiven& given, SparseLaunch* launch) {
  SparseLimits limits{};
  const cudaError_t error = sparse_limits(&limits);
  if (error != cudaSuccess) return error;
  const PdhgProblem<T>& problem = task.problem;
  PdhgWork<T, T> work;
  PdhgPattern pattern{};
  const std::size_t matrices = to_lines(work.bind_matrices(problem, nullptr));
  const std::size_t vectors = work.bind_vectors(problem, nullptr);
  const std::size_t numbers = pattern.bind(given, nullptr);
  const bool shared = shares_matrices(problem);
  *launch = pdhg_launch(limits, problem.n, given.rows(), vectors, shared ? 0 : matrices,
                        pattern_bytes(numbers) + (shared ? matrices : 0), problem.batch);
  return cudaSuccess;
}

template <class T>
cudaError_t solve_pdhg(const PdhgTask<T>& given_task, const PdhgGiven& given,
                       const SparseLaunch& launch, void* workspace, cudaStream_t stream) {
  const Common<T> common = common_of(given_task, given, launch, workspace);
  PdhgTask<T> task = given_task;
  task.problem.crow = common.pattern.crow;
  task.problem.col = common.pattern.col;
  task.problem.P_crow = common.pattern.P_crow;
  task.problem.P_col = common.pattern.P_col;
  cudaError_t error = cudaMemsetAsync(workspace, 0, kSparseHead, stream);
  if (error == cudaSuccess && launch.shared_bytes > 0)
    error = cudaFuncSetAttribute(solve_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(launch.shared_bytes));
  if (error != cudaSuccess) return error;
  prepare_kernel<<<1, kPrepareThreads, 0, stream>>>(task, given, common);
  solve_kernel<<<launch.blocks, launch.threads, launch.shared_bytes, stream>>>(
      task, given, common, launch.shared_bytes > 0, launch.block_bytes);
  return cudaGetLastError();
}

#define LPGD_INSTANTIATE(T)                                                                     \
  template cudaError_t plan_pdhg<T>(const PdhgTask<T>&, const PdhgGiven&, SparseLaunch*);       \
  template cudaError_t solve_pdhg<T>(const PdhgTask<T>&, const PdhgGiven&, const SparseLaunch&, \
                                     void*, cudaStream_t);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

}  // namespace lpgd::cuda
