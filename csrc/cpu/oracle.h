// The CPU kernels of the combinatorial oracles, a table per instruction set and number type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/oracle_types.h"

namespace lpgd {

// X(name, task, algorithm of core/oracle_*.h)
#define LPGD_FOR_EACH_ORACLE(X)             \
  X(assignment, AssignmentTask, Assignment) \
  X(grid, GridTask, GridPath)               \
  X(dag, DagTask, DagPath)                  \
  X(topk, TopKTask, TopK)                   \
  X(ranking, RankingTask, Ranking)          \
  X(knapsack, KnapsackTask, Knapsack)       \
  X(tree, TreeTask, SpanningTree)           \
  X(alignment, AlignmentTask, Alignment)

template <class Task>
struct OracleKernel {
  std::size_t (*workspace_bytes)(const Task& task);
  // Items [begin, end); the workspace is private to the caller and aligned to 64.
  void (*run)(const Task& task, std::int64_t begin, std::int64_t end, void* workspace);
};

template <class T>
struct OracleKernelsOf {
#define LPGD_MEMBER(name, Task, Algorithm) OracleKernel<Task<T>> name;
  LPGD_FOR_EACH_ORACLE(LPGD_MEMBER)
#undef LPGD_MEMBER
};

struct OracleKernels {
  OracleKernelsOf<double> f64;
  OracleKernelsOf<float> f32;

  template <class T>
  const OracleKernelsOf<T>& of() const {
    if constexpr (sizeof(T) == sizeof(double)) {
      return f64;
    } else {
      return f32;
    }
  }
};

// Those of the active instruction set.
const OracleKernels& oracle_kernels();

}  // namespace lpgd
