// out[i][j] = a1[i] * b1[j] + a2[i] * b2[j]: the gradient of a matrix of the problem, from the
// derivative of the Lagrangian along a step of the solution (a1 = step of the duals, b1 = x, ...).
#pragma once

#include "group.h"

LPGD_BEGIN_NAMESPACE

template <class T, class Group>
LPGD_HD void outer_sum(const Group& g, const T* a1, const T* b1, const T* a2, const T* b2, int rows,
                       int cols, T* out) {
  for (int i = 0; i < rows; ++i) {
    const T left1 = a1[i], left2 = a2[i];
    T* row = out + static_cast<std::int64_t>(i) * cols;
    LPGD_FOR (g, j, cols) row[j] = left1 * b1[j] + left2 * b2[j];
  }
}

LPGD_END_NAMESPACE
