// Compiled once per instruction set: the oracles, an item at a time.
#include "cpu/oracle.h"

#include "core/oracle_alignment.h"
#include "core/oracle_assignment.h"
#include "core/oracle_dag.h"
#include "core/oracle_grid.h"
#include "core/oracle_knapsack.h"
#include "core/oracle_selection.h"
#include "core/oracle_tree.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class Algorithm, class Task>
std::size_t workspace_bytes(const Task& task) {
  return Algorithm::template workspace_bytes<SerialGroup>(task);
}

template <class Algorithm, class Task>
void run(const Task& task, std::int64_t begin, std::int64_t end, void* workspace) {
  for (std::int64_t item = begin; item < end; ++item)
    Algorithm::run(SerialGroup{}, task, item, workspace);
}

template <class T>
constexpr OracleKernelsOf<T> table() {
  return {
#define LPGD_ENTRY(name, Task, Algorithm) \
  {workspace_bytes<Algorithm, Task<T>>, run<Algorithm, Task<T>>},
      LPGD_FOR_EACH_ORACLE(LPGD_ENTRY)
#undef LPGD_ENTRY
  };
}

}  // namespace

const OracleKernels& oracle_kernels() {
  static constexpr OracleKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
