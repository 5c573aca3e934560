// The CPU kernels of the QP, a table per instruction set and number type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/qp_types.h"

namespace lpgd {

template <class T>
struct QpKernelsOf {
  int lanes;  // problems a pack; work is counted in packs

  std::size_t (*workspace_bytes)(const QpProblem<T>& problem);

  // Entries of packs [begin, end) out of `count` entries. `workspace` is aligned to 64 bytes and
  // private to the caller; `fresh` says that it holds nothing of this task yet.
  void (*solve)(const QpTask<T>& task, std::int64_t count, std::int64_t begin, std::int64_t end,
                void* workspace, bool fresh);
  // The same in double precision, for items that single precision could not solve.
  std::size_t (*wide_workspace_bytes)(const QpProblem<T>& problem);
  int wide_lanes;
  void (*solve_wide)(const QpTask<T>& task, std::int64_t count, std::int64_t begin,
                     std::int64_t end, void* workspace, bool fresh);

  // Works in double whatever T is: packs are counted in wide_lanes.
  void (*implicit)(const QpImplicitTask<T>& task, std::int64_t begin, std::int64_t end,
                   void* workspace, bool fresh);

  // kind [batch] of the upstream gradient, and the difference quotients, for items [begin, end)
  void (*upstream)(const QpProblem<T>& problem, const QpPoint<const T>& gradient,
                   const std::int32_t* solved, T* kind, std::int64_t begin, std::int64_t end);
  void (*combine)(const QpCombine<T>& task, std::int64_t begin, std::int64_t end);

  // out [batch, rows, cols] = a1 b1' + a2 b2' for items [begin, end)
  void (*outer_sum)(const T* a1, const T* b1, const T* a2, const T* b2, int rows, int cols, T* out,
                    std::int64_t begin, std::int64_t end);
};

struct QpKernels {
  QpKernelsOf<double> f64;
  QpKernelsOf<float> f32;

  template <class T>
  const QpKernelsOf<T>& of() const;
};

template <>
inline const QpKernelsOf<double>& QpKernels::of<double>() const {
  return f64;
}
template <>
inline const QpKernelsOf<float>& QpKernels::of<float>() const {
  return f32;
}

// Those of the active instruction set.
const QpKernels& qp_kernels();

}  // namespace lpgd
