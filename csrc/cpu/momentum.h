// The CPU kernels of the recurrent momentum, a table per instruction set and number type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/momentum_types.h"

namespace lpgd {

template <class T>
struct MomentumKernelsOf {
  // units [begin, end) of one layer, from x and h to gates and new states: for small batches
  void (*cell_units)(const CellTask<T>& task, std::int64_t begin, std::int64_t end);
  // items [begin, end), the matrix products being done
  void (*activate)(const CellTask<T>& task, std::int64_t begin, std::int64_t end);
  void (*cell_backward)(const CellBackwardTask<T>& task, std::int64_t begin, std::int64_t end);
  // rows [begin, end) of the output map
  void (*output)(const T* w, const T* bias, const T* x, std::int64_t x_stride, std::int64_t batch,
                 int layers, int count, std::int64_t rows, T* out, std::int64_t begin,
                 std::int64_t end);
  // columns [begin, end) of out (+)= a w
  void (*transposed)(const T* a, std::int64_t a_stride, const T* w, std::int64_t rows,
                     std::int64_t cols, std::int64_t batch, T* out, bool add, std::int64_t begin,
                     std::int64_t end);
  // items [begin, end): out [B, n] += bias
  void (*add_bias)(const T* bias, std::int64_t n, T* out, std::int64_t begin, std::int64_t end);
  // entries [begin, end): out += a
  void (*add)(const T* a, T* out, std::int64_t begin, std::int64_t end);

  // Items [begin, end) of a whole step, lanes of a register beside each other: for large batches.
  // Where there is one lane, a matrix library is better.
  int step_lanes;
  std::size_t (*step_bytes)(int layers, int hidden, std::int64_t items);
  void (*step)(const StepTask<T>& task, std::int64_t begin, std::int64_t end, void* workspace);
  void (*step_backward)(const StepBackwardTask<T>& task, std::int64_t begin, std::int64_t end,
                        void* workspace);

  // a share of the rows of every weight
  void (*weight_gradients)(const WeightGradientTask<T>& task, std::int64_t part,
                           std::int64_t parts);

  // Rows [begin, end) of the per-coordinate form; `sums` collects the weight gradients.
  std::size_t (*coordinate_bytes)(int layers, int hidden);
  void (*coordinate_forward)(const CoordinateTask<T>& task, std::int64_t begin, std::int64_t end,
                             void* workspace);
  void (*coordinate_backward)(const CoordinateTask<T>& task, std::int64_t begin, std::int64_t end,
                              void* workspace, T* sums);
};

struct MomentumKernels {
  MomentumKernelsOf<double> f64;
  MomentumKernelsOf<float> f32;

  template <class T>
  const MomentumKernelsOf<T>& of() const;
};

template <>
inline const MomentumKernelsOf<double>& MomentumKernels::of<double>() const {
  return f64;
}
template <>
inline const MomentumKernelsOf<float>& MomentumKernels::of<float>() const {
  return f32;
}

// Those of the active instruction set.
const MomentumKernels& momentum_kernels();

}  // namespace lpgd
