// The CPU kernels of the sparse first-order solver, a table per instruction set and number type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/pdhg_types.h"

namespace lpgd {

// Problems in the lanes of a register, or one at a time.
template <class T>
struct PdhgLayout {
  int lanes;
  std::size_t (*workspace_bytes)(const PdhgTask<T>& task);
  // The items of one pack. `fresh`: the workspace holds nothing of this task yet.
  void (*run)(const PdhgTask<T>& task, std::int64_t pack, void* workspace, bool fresh);
};

template <class T>
struct PdhgKernelsOf {
  PdhgLayout<T> packed, alone;

  // Lanes need no gathers, so a pack takes about the time of two problems. The choice hangs on the
  // size of the batch alone.
  const PdhgLayout<T>& pick(std::int64_t count) const { return count <= 2 ? alone : packed; }
};

struct PdhgKernels {
  PdhgKernelsOf<double> f64;
  PdhgKernelsOf<float> f32;

  template <class T>
  const PdhgKernelsOf<T>& of() const;
};

template <>
inline const PdhgKernelsOf<double>& PdhgKernels::of<double>() const {
  return f64;
}
template <>
inline const PdhgKernelsOf<float>& PdhgKernels::of<float>() const {
  return f32;
}

// Those of the active instruction set.
const PdhgKernels& pdhg_kernels();

}  // namespace lpgd
