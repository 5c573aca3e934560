// Compiled once per instruction set: a register of samples at a time.
#include "cpu/eit.h"

#include "core/eit.h"
#include "core/pack.h"

LPGD_BEGIN_NAMESPACE

namespace {

// As for the dense solver (cpu/qp.cpp): the x86-64 baseline has no blends.
#if defined(__AVX512F__)
using Lanes = Pack<double, 8>;
#elif defined(__AVX2__)
using Lanes = Pack<double, 4>;
#elif defined(__ARM_NEON)
using Lanes = Pack<double, 2>;
#else
using Lanes = double;
#endif

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
  return {{ScalarTraits<Lanes>::lanes, workspace_bytes<Lanes, T>, run<Lanes, T>},
          {1, workspace_bytes<double, T>, run<double, T>}};
}

}  // namespace

const EitKernels& eit_kernels() {
  static constexpr EitKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
