// Compiled once per instruction set: a register of problems at a time.
#include "cpu/qp.h"

#include "core/outer.h"
#include "core/pack.h"
#include "core/qp.h"
#include "core/qp_combine.h"

LPGD_BEGIN_NAMESPACE

namespace {

// The problems that a register holds. The x86-64 baseline works on one problem at a time: it has no
// blend instruction, and GCC 12 crashes on selects of 64-bit lanes without one.
#if defined(__AVX512F__)
template <class T>
using Lanes = Pack<T, 64 / static_cast<int>(sizeof(T))>;
#elif defined(__AVX2__)
template <class T>
using Lanes = Pack<T, 32 / static_cast<int>(sizeof(T))>;
#elif defined(__ARM_NEON)
template <class T>
using Lanes = Pack<T, 16 / static_cast<int>(sizeof(T))>;
#else
template <class T>
using Lanes = T;
#endif

template <class T>
constexpr int lane_count() {
  return ScalarTraits<Lanes<T>>::lanes;
}

template <class T>
int used_lanes(std::int64_t count, std::int64_t pack) {
  const std::int64_t left = count - pack * lane_count<T>();
  return static_cast<int>(left < lane_count<T>() ? left : lane_count<T>());
}

// `Work` is the precision of the lanes, `T` that of the arrays.
template <class Work, class T>
std::size_t workspace_bytes(const QpProblem<T>& problem) {
  return qp_work_scalars<Lanes<Work>>(dims_of(problem)) * sizeof(Lanes<Work>);
}

template <class Work, class T>
void solve(const QpTask<T>& task, std::int64_t count, std::int64_t begin, std::int64_t end,
           void* workspace, bool fresh) {
  QpWork<Lanes<Work>> work;
  work.bind(dims_of(task.problem), static_cast<Lanes<Work>*>(workspace));
  for (std::int64_t pack = begin; pack < end; ++pack) {
    solve_entries(SerialGroup{}, work, task, pack * lane_count<Work>(),
                  used_lanes<Work>(count, pack), fresh);
    fresh = false;
  }
}

// Always in double: it is one factorisation, and single precision would lose what the solve gained.
template <class T>
void implicit(const QpImplicitTask<T>& task, std::int64_t begin, std::int64_t end, void* workspace,
              bool fresh) {
  QpWork<Lanes<double>> work;
  work.bind(dims_of(task.problem), static_cast<Lanes<double>*>(workspace));
  for (std::int64_t pack = begin; pack < end; ++pack) {
    implicit_entries(SerialGroup{}, work, task, pack * lane_count<double>(),
                     used_lanes<double>(task.problem.batch, pack), fresh);
    fresh = false;
  }
}

template <class T>
void upstream(const QpProblem<T>& problem, const QpPoint<const T>& gradient,
              const std::int32_t* solved, T* kind, std::int64_t begin, std::int64_t end) {
  const QpDims dims = dims_of(problem);
  for (std::int64_t i = begin; i < end; ++i)
    kind[i] = upstream_kind(SerialGroup{}, gradient, solved, i, dims.n, dims.p, dims.m, dims.n_lb,
                            dims.n_ub);
}

template <class T>
void combine(const QpCombine<T>& task, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) combine_item(SerialGroup{}, task, i);
}

template <class T>
void outer_sums(const T* a1, const T* b1, const T* a2, const T* b2, int rows, int cols, T* out,
                std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i)
    outer_sum(SerialGroup{}, a1 + i * rows, b1 + i * cols, a2 + i * rows, b2 + i * cols, rows, cols,
              out + i * rows * cols);
}

template <class T>
constexpr QpKernelsOf<T> table() {
  return {lane_count<T>(),      workspace_bytes<T, T>, solve<T, T>, workspace_bytes<double, T>,
          lane_count<double>(), solve<double, T>,      implicit<T>, upstream<T>,
          combine<T>,           outer_sums<T>};
}

}  // namespace

const QpKernels& qp_kernels() {
  static constexpr QpKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
