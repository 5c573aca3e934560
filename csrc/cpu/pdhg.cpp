// Compiled once per instruction set: a register of problems at a time.
#include "cpu/pdhg.h"

#include "core/pdhg.h"
#include "cpu/lanes.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class S, class T>
std::size_t workspace_bytes(const PdhgTask<T>& task) {
  if (shares_matrices(task.problem)) return PdhgWork<S, T>{}.bind(task.problem, nullptr);
  return PdhgWork<S, S>{}.bind(task.problem, nullptr);
}

template <class S, class V, class T>
void run_with(const PdhgTask<T>& task, std::int64_t pack, void* workspace, bool fresh) {
  constexpr int lanes = ScalarTraits<S>::lanes;
  PdhgWork<S, V> work;
  work.bind(task.problem, static_cast<char*>(workspace));
  const std::int64_t first = pack * lanes, left = task.problem.batch - first;
  pdhg_solve(SerialGroup{}, work, task,
             PdhgLanes{first, static_cast<int>(left < lanes ? left : lanes)}, fresh);
}

template <class S, class T>
void run(const PdhgTask<T>& task, std::int64_t pack, void* workspace, bool fresh) {
  if (shares_matrices(task.problem))
    run_with<S, T>(task, pack, workspace, fresh);
  else
    run_with<S, S>(task, pack, workspace, true);
}

template <class T>
constexpr PdhgKernelsOf<T> table() {
  using P = Lanes<T>;
  return {{ScalarTraits<P>::lanes, workspace_bytes<P, T>, run<P, T>},
          {1, workspace_bytes<T, T>, run<T, T>}};
}

}  // namespace

const PdhgKernels& pdhg_kernels() {
  static constexpr PdhgKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
