// The CPU kernels of electrical impedance tomography, a table per instruction set and number type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/eit_types.h"

namespace lpgd {

// Samples in the lanes of a register, or one at a time; computed in double, whatever T is.
template <class T>
struct EitLayout {
  int lanes;
  std::size_t (*workspace_bytes)(const EitTask<T>& task);
  void (*run)(const EitTask<T>& task, std::int64_t pack, void* workspace);
};

template <class T>
struct EitKernelsOf {
  EitLayout<T> packed, alone;

  // A register of samples takes about the time of two. The choice hangs on the size of the batch
  // alone.
  const EitLayout<T>& pick(std::int64_t count) const { return count <= 2 ? alone : packed; }
};

struct EitKernels {
  EitKernelsOf<double> f64;
  EitKernelsOf<float> f32;

  const EitKernelsOf<double>& of(double) const { return f64; }
  const EitKernelsOf<float>& of(float) const { return f32; }
};

// Those of the active instruction set.
const EitKernels& eit_kernels();

}  // namespace lpgd
