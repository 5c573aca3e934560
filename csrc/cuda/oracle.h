// Launchers of the combinatorial oracles: device pointers, sizes and a stream in, the error code
// out. Nothing is allocated, nothing waited for.
#pragma once

#include <cuda_runtime_api.h>

#include "core/oracle_types.h"
#include "cuda/oracle_geometry.h"

namespace lpgd::cuda {

// Edges as they come from torch; what the host can't see is looked at by each item.
template <class T>
using GivenDagTask = DagTask<T, std::int64_t>;
template <class T>
using GivenTreeTask = TreeTask<T, std::int64_t>;

// X(task) for all oracles
#define LPGD_FOR_EACH_ORACLE_TASK(X) \
  X(AssignmentTask)                  \
  X(GridTask)                        \
  X(GivenDagTask)                    \
  X(TopKTask)                        \
  X(RankingTask)                     \
  X(KnapsackTask)                    \
  X(GivenTreeTask)                   \
  X(AlignmentTask)

// May settle what of the task hangs on the device.
template <class Task>
cudaError_t plan_oracle(Task& task, std::int64_t batch, OraclePlan* plan);

template <class Task>
cudaError_t run_oracle(const Task& task, std::int64_t batch, const OraclePlan& plan,
                       void* workspace, cudaStream_t stream);

}  // namespace lpgd::cuda
