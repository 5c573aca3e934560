// The CPU kernels of the proximal operators, a table per instruction set and number type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/prox_types.h"

namespace lpgd {

template <class T>
struct ProxKernelsOf {
  // columns [begin, end) of a row
  void (*separable)(Separable kind, const ProxTask<T>& task, std::int64_t row, std::int64_t begin,
                    std::int64_t end);
  // The same, backward. Sums over the columns go to sums[k], for the parameters that have one
  // number a row.
  void (*separable_backward)(Separable kind, const ProxTask<T>& task, std::int64_t row,
                             std::int64_t begin, std::int64_t end, double* sums);

  // Rows [begin, end). `scratch` has scratch_bytes(kind, n), aligned to 64, private to the caller.
  std::size_t (*scratch_bytes)(Rowwise kind, std::int64_t n);
  void (*rows)(Rowwise kind, const ProxTask<T>& task, std::int64_t begin, std::int64_t end,
               void* scratch);
  void (*rows_backward)(Rowwise kind, const ProxTask<T>& task, std::int64_t begin, std::int64_t end,
                        void* scratch);
};

struct ProxKernels {
  ProxKernelsOf<double> f64;
  ProxKernelsOf<float> f32;

  template <class T>
  const ProxKernelsOf<T>& of() const {
    if constexpr (sizeof(T) == sizeof(double)) {
      return f64;
    } else {
      return f32;
    }
  }
};

// Those of the active instruction set.
const ProxKernels& prox_kernels();

}  // namespace lpgd
