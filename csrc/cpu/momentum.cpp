// Compiled once per instruction set: registers along units (dense form) or rows (per coordinate).
#include "cpu/momentum.h"

#include "core/momentum_coordinate_backward.h"
#include "core/momentum_dense.h"
#include "core/momentum_items.h"
#include "core/momentum_units.h"
#include "core/momentum_weights.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class T>
void cell_units(const CellTask<T>& task, std::int64_t begin, std::int64_t end) {
  const int first = static_cast<int>(begin), last = static_cast<int>(end);
  cell_products(task, first, last);
  for (std::int64_t b = 0; b < task.batch; ++b) activate_item(task, b, first, last);
}

template <class T>
void add_bias(const T* bias, std::int64_t n, T* out, std::int64_t begin, std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b)
    for (std::int64_t i = 0; i < n; ++i) out[b * n + i] += bias[i];
}

template <class T>
void add(const T* a, T* out, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) out[i] += a[i];
}

template <class T>
std::size_t coordinate_bytes(int layers, int hidden) {
  return CoordinateWork<T>::scalars(layers, hidden) * sizeof(T);
}

template <class T>
constexpr MomentumKernelsOf<T> table() {
  return {cell_units<T>,
          activate_items<T>,
          cell_backward_items<T>,
          output_products<T>,
          transposed_products<T>,
          add_bias<T>,
          add<T>,
          wide_lanes<T>(),
          step_bytes<T>,
          step_items<T>,
          step_backward_items<T>,
          weight_gradients<T>,
          coordinate_bytes<T>,
          coordinate_forward<T>,
          coordinate_backward<T>};
}

}  // namespace

const MomentumKernels& momentum_kernels() {
  static constexpr MomentumKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
