// The CPU kernels of the QP, a table per instruction set and number type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/qp_types.h"

namespace lpgd {

// One way to lay problems out: in the lanes of SIMD registers ("packed"), or one at a time with
// registers along its rows ("alone").
template <class Task>
struct QpLayout {
  int lanes;  // problems a pack; work is counted in packs

  std::size_t (*workspace_bytes)(const Task& task);

  // Entries of packs [begin, end) out of `count` entries. `workspace` is aligned to 64 bytes and
  // private to the caller; `fresh` says that it holds nothing of this task yet.
  void (*run)(const Task& task, std::int64_t count, std::int64_t begin, std::int64_t end,
              void* workspace, bool fresh);

  std::int64_t packs(std::int64_t count) const { return (count + lanes - 1) / lanes; }
};

template <class Task>
struct QpLayouts {
  QpLayout<Task> packed, alone;
  QpLayout<Task> wide;  // packs in the widest registers there are

  // By measurement (docs/performance.md): a full pack is faster than its problems one after the
  // other, at 10 variables three times, at 100 by a tenth, and from 130 (single precision: 170) on
  // slower. So alone are large problems and handfuls. The widest registers pay where nothing has to
  // leave the first caches. The choice hangs on nothing but n and the size of the batch: an item's
  // bits change neither with the number of threads nor with its neighbours, and below kAloneFromFew
  // not with the batch.
  const QpLayout<Task>& pick(int n, std::int64_t count) const {
    const bool handful = n >= kAloneFromFew && 2 * count <= packed.lanes;
    if (n >= (packed.lanes > 4 ? kSingleAloneFrom : kAloneFrom) || handful) return alone;
    return n < kWideBelow && count > packed.lanes ? wide : packed;
  }

  static constexpr int kAloneFrom = 130, kSingleAloneFrom = 170;
  static constexpr int kAloneFromFew = 24;
  static constexpr int kWideBelow = 16;
};

template <class T>
struct QpKernelsOf {
  QpLayouts<QpTask<T>> solve;
  // The same in double precision, for items that single precision could not solve.
  QpLayouts<QpTask<T>> solve_wide;
  // Works in double whatever T is.
  QpLayouts<QpImplicitTask<T>> implicit;

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
