// Compiled once per instruction set: a register of samples at a time.
#include "cpu/eit.h"

#include "core/eit.h"
#include "cpu/lanes.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class S, class T>
std::size_t workspace_bytes(const EitTask<T>& task) {
  return EitSolve<SerialGroup, S, T>{}.bind(task, nullptr);
}

template <class S, class T>
void run(const EitTask<T>& task, std::int64_t pack, void* workspace) {
  constexpr int lanes = ScalarTraits<S>::lanes;
  EitSolve<SerialGroup, S, T> solve;
  solve.bind(task, workspace);
  const std::int64_t first = pack * lanes, left = task.batch - first;
  solve.run(SerialGroup{}, task, EitLanes{first, static_cast<int>(left < lanes ? left : lanes)});
}

template <class T>
constexpr EitKernelsOf<T> table() {
  using P = Lanes<double>;  // whatever T is
  return {{ScalarTraits<P>::lanes, workspace_bytes<P, T>, run<P, T>},
          {1, workspace_bytes<double, T>, run<double, T>}};
}

}  // namespace

const EitKernels& eit_kernels() {
  static constexpr EitKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
