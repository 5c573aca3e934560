// The plain structs of the sparse first-order solver, as in core/qp_types.h.
#pragma once

#include <cstdint>

#include "macros.h"
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

// Columns of a compressed matrix: `start` [n + 1]; the entries of a column by rising rows, with
// their row and their place among the matrix's entries [nnz].
struct PdhgColumns {
  const std::int32_t *start, *row, *slot;
};

// Compressed rows of A, G and P, absent ones null, and the columns of C = [A; G] and of P: start
// [n + 1], row [nnz] and slot [nnz] of each, one after the other (see PdhgColumns).
struct PdhgGiven {
  int n, m, p, nnz_A, nnz_G, nnz_P;
  const std::int64_t *A_crow, *A_col, *G_crow, *G_col, *P_crow, *P_col;
  const std::int32_t* columns;

  LPGD_HOST_TOO int rows() const { return p + m; }
  LPGD_HOST_TOO int entries() const { return nnz_A + nnz_G; }
  // numbers in `columns`
  LPGD_HOST_TOO std::int64_t column_numbers() const {
    const std::int64_t of_C = std::int64_t{n} + 1 + 2 * std::int64_t{entries()};
    return of_C + (P_crow ? std::int64_t{n} + 1 + 2 * std::int64_t{nnz_P} : 0);
  }
};

// Lines (rows or columns) with more entries than this are shared by all lanes of a group.
constexpr int kPdhgLong = 256;

// All items have the same matrices: they are scaled once, and read once for all lanes.
template <class T>
constexpr bool shares_matrices(const PdhgProblem<T>& problem) {
  return problem.stride_P == 0 && problem.stride_G == 0 && problem.stride_A == 0;
}

}  // namespace lpgd
