// The plain structs of the sparse first-order solver, as in core/qp_types.h.
#pragma once

#include <cstdint>

#include "qp_types.h"

namespace lpgd {

// minimise 1/2 x'Px + rho/2 ||x||^2 + q'x subject to Ax = b, Gx <= h, lb <= x <= ub. The rows of A
// and then those of G make one matrix C in compressed rows, whose pattern all items share; values
// [batch, nnz] or [nnz]. Absent blocks are null, a stride of 0 means shared by all.
template <class T>
struct PdhgProblem {
  std::int64_t batch;
  int n, m, p;
  int nnz_A, nnz_G, nnz_P;
  const std::int32_t *crow, *col;      // of C: [p + m + 1], [nnz_A + nnz_G]
  const std::int32_t *P_crow, *P_col;  // [n + 1], [nnz_P]
  const T *P, *q, *G, *h, *A, *b, *lb, *ub, *rho;
  std::int64_t stride_P, stride_q, stride_G, stride_h, stride_A, stride_b, stride_lb, stride_ub,
      stride_rho;
};

template <class T>
struct PdhgTask {
  PdhgProblem<T> problem;
  QpSettings<T> settings;
  QpPoint<const T> start;  // x, y, z to begin from; x null: from zero
  QpPoint<T> solution;
  QpReport<T> report;
};

// All items have the same matrices: they are scaled once, and read once for all lanes.
template <class T>
bool shares_matrices(const PdhgProblem<T>& problem) {
  return problem.stride_P == 0 && problem.stride_G == 0 && problem.stride_A == 0;
}

}  // namespace lpgd
