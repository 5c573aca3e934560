// The factorisation of csrc/core/dense.h, compiled once per instruction set.
#pragma once

#include <cstddef>

namespace lpgd {

// A matrix P + diag + R diag(w) R' of size n, R being [n, n] as in bench_qp.py's problems, for one
// problem or for a register of them.
struct FactorLayout {
  int problems;  // factored at a time
  std::size_t (*workspace_bytes)(int n);
  void (*fill)(int n, void* workspace);
  void (*factor)(int n, void* workspace);
  double (*error)(int n, void* workspace);  // max |L L' - matrix| / max |matrix|
};

struct DenseKernels {
  FactorLayout packed, alone;
};

const DenseKernels& dense_kernels();

}  // namespace lpgd
