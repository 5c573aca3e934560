// An item a block, whose lanes share what can be shared (see the algorithms); paths in graphs an
// item a thread.
#define LPGD_ISA cuda
#include "core/oracle_alignment.h"
#include "core/oracle_assignment.h"
#include "core/oracle_dag.h"
#include "core/oracle_grid.h"
#include "core/oracle_knapsack.h"
#include "core/oracle_selection.h"
#include "core/oracle_tree.h"
#include "cuda/oracle.h"

namespace lpgd::cuda {

namespace {

constexpr int kScratch = 33;
constexpr std::size_t kFreeShared = 48 << 10;  // that a kernel has without asking

static_assert(RadixSelect<BlockGroup>::kMostLanes >= kOracleMostThreads);

using DagOfThreads = DagPathOf<kOracleItemsABlock>;

// The units of work of a block: one after the other, the first by its number, others by the stride
// of the grid or, where blocks are fewer than items, from a counter, since items differ in work.
template <class F>
__device__ __forceinline__ void for_each_unit(std::int64_t units, unsigned long long* queue,
                                              const F& body) {
  __shared__ std::int64_t next;
  for (std::int64_t unit = blockIdx.x; unit < units;) {
    body(unit);
    __syncthreads();  // the memory is free for the next one
    if (queue == nullptr) {
      unit += gridDim.x;
    } else {
      if (threadIdx.x == 0) next = static_cast<std::int64_t>(gridDim.x + atomicAdd(queue, 1ULL));
      __syncthreads();
      unit = next;
    }
  }
}

__device__ __forceinline__ void* memory_of_block(char* workspace, std::size_t slice) {
  extern __shared__ __align__(64) char shared[];
  return workspace == nullptr ? shared : workspace + kOracleQueue + blockIdx.x * slice;
}

template <class Algorithm, class Task>
__global__ void __launch_bounds__(kOracleMostThreads, 1)
    block_kernel(Task task, std::int64_t batch, char* workspace, std::size_t slice) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  void* memory = memory_of_block(workspace, slice);
  for_each_unit(batch, reinterpret_cast<unsigned long long*>(workspace),
                [&](std::int64_t item) { Algorithm::run(group, task, item, memory); });
}

template <class Task>
__global__ void __launch_bounds__(kOracleItemsABlock)
    thread_kernel(Task task, std::int64_t batch, char* workspace, std::size_t slice) {
  const int place = static_cast<int>(threadIdx.x);
  void* memory = memory_of_block(workspace, slice);
  for_each_unit(oracle_item_blocks(batch), reinterpret_cast<unsigned long long*>(workspace),
                [&](std::int64_t unit) {
                  const std::int64_t item = unit * kOracleItemsABlock + place;
                  if (item < batch) DagOfThreads::run(SerialGroup{}, task, item, memory, place);
                });
}

// Of a task: its algorithm, and how many lanes find work in it.
template <class T>
struct Plan {
  static std::int64_t width(const AssignmentTask<T>& task) { return task.m; }
  static std::int64_t width(const GridTask<T>&) { return 1; }
  static std::int64_t width(const TopKTask<T>& task) { return task.n; }
  static std::int64_t width(const RankingTask<T>& task) { return task.n; }
  static std::int64_t width(const KnapsackTask<T>& task) { return task.room_states; }
  static std::int64_t width(const GivenTreeTask<T>& task) { return task.edges; }
  static std::int64_t width(const AlignmentTask<T>& task) {
    return task.n < task.m ? task.n : task.m;
  }
  static Assignment algorithm(const AssignmentTask<T>&) { return {}; }
  static GridPath algorithm(const GridTask<T>&) { return {}; }
  static TopK algorithm(const TopKTask<T>&) { return {}; }
  static Ranking algorithm(const RankingTask<T>&) { return {}; }
  static Knapsack algorithm(const KnapsackTask<T>&) { return {}; }
  static SpanningTree algorithm(const GivenTreeTask<T>&) { return {}; }
  static Alignment algorithm(const AlignmentTask<T>&) { return {}; }
};

template <class Task>
std::size_t bytes_of(const Task& task) {
  using T = std::remove_cv_t<std::remove_pointer_t<decltype(Task::costs)>>;
  using Algorithm = decltype(Plan<T>::algorithm(task));
  return Algorithm::template workspace_bytes<BlockGroup>(task);
}

cudaError_t look_at_device(OracleDevice* device) {
  int current = 0, shared = 0;
  cudaError_t error = cudaGetDevice(&current);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&device->processors, cudaDevAttrMultiProcessorCount, current);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, current);
  device->shared_bytes = static_cast<std::size_t>(shared);
  return error;
}

template <class Kernel, class Task>
cudaError_t launch(Kernel kernel, const Task& task, std::int64_t batch, const OraclePlan& plan,
                   void* workspace, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  char* slices = plan.slice_bytes > 0 ? static_cast<char*>(workspace) : nullptr;
  if (plan.shared_bytes + kOracleStaticShared > kFreeShared)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(plan.shared_bytes));
  if (error == cudaSuccess && slices != nullptr)
    error = cudaMemsetAsync(slices, 0, kOracleQueue, stream);
  if (error != cudaSuccess) return error;
  kernel<<<static_cast<unsigned>(plan.blocks), plan.threads, plan.shared_bytes, stream>>>(
      task, batch, slices, plan.slice_bytes);
  return cudaGetLastError();
}

template <class Task>
struct IsGraphPath {
  static constexpr bool value = false;
};
template <class T>
struct IsGraphPath<GivenDagTask<T>> {
  static constexpr bool value = true;
};
template <class Task>
struct IsAssignment {
  static constexpr bool value = false;
};
template <class T>
struct IsAssignment<AssignmentTask<T>> {
  static constexpr bool value = true;
};

}  // namespace

template <class Task>
cudaError_t plan_oracle(Task& task, std::int64_t batch, OraclePlan* plan) {
  OracleDevice device{};
  const cudaError_t error = look_at_device(&device);
  if (error != cudaSuccess) return error;
  if constexpr (IsGraphPath<Task>::value) {
    *plan = plan_oracle_blocks(device, oracle_item_blocks(batch), kOracleItemsABlock,
                               DagOfThreads::workspace_bytes<SerialGroup>(task));
  } else {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(Task::costs)>>;
    if constexpr (IsAssignment<Task>::value)
      task.in_place = !task.transposed && !copies_costs(device, batch, bytes_of(task));
    *plan = plan_oracle_blocks(device, batch, Plan<T>::width(task), bytes_of(task));
  }
  return cudaSuccess;
}

template <class Task>
cudaError_t run_oracle(const Task& task, std::int64_t batch, const OraclePlan& plan,
                       void* workspace, cudaStream_t stream) {
  if (batch == 0) return cudaSuccess;
  if constexpr (IsGraphPath<Task>::value) {
    return launch(thread_kernel<Task>, task, batch, plan, workspace, stream);
  } else {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(Task::costs)>>;
    using Algorithm = decltype(Plan<T>::algorithm(task));
    return launch(block_kernel<Algorithm, Task>, task, batch, plan, workspace, stream);
  }
}

#define LPGD_INSTANTIATE_FOR(Task, T)                                                              \
  template cudaError_t plan_oracle<Task<T>>(Task<T>&, std::int64_t, OraclePlan*);                  \
  template cudaError_t run_oracle<Task<T>>(const Task<T>&, std::int64_t, const OraclePlan&, void*, \
                                           cudaStream_t);
#define LPGD_INSTANTIATE(Task)       \
  LPGD_INSTANTIATE_FOR(Task, double) \
  LPGD_INSTANTIATE_FOR(Task, float)
LPGD_FOR_EACH_ORACLE_TASK(LPGD_INSTANTIATE)
#undef LPGD_INSTANTIATE
#undef LPGD_INSTANTIATE_FOR

}  // namespace lpgd::cuda
