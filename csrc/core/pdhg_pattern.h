// The pattern of a batch's matrices as tensors hold it, and as a group of many lanes reads it: rows
// of A and G in one matrix, lists of the columns, and the lines too long for a lane.
#pragma once

#include "pdhg_scale.h"

LPGD_BEGIN_NAMESPACE

struct PdhgPattern {
  std::int32_t *crow, *col, *P_crow, *P_col;
  std::int32_t *long_rows, *long_columns, *P_long_rows, *P_long_columns;
  std::int32_t* fault;  // not 0: what was given is no pattern

  // How many numbers it takes, for `memory` null; else the pointers are set.
  LPGD_HOST_TOO std::size_t bind(const PdhgGiven& given, std::int32_t* memory) {
    std::size_t used = 0;
    const auto take = [&](int count) {
      std::int32_t* at = memory ? memory + used : nullptr;
      used += static_cast<std::size_t>(count);
      return at;
    };
    const int of_C = given.entries() / kPdhgLong + 1, of_P = given.nnz_P / kPdhgLong + 1;
    fault = take(1);
    crow = take(given.rows() + 1);
    col = take(given.entries());
    P_crow = take(given.P_crow ? given.n + 1 : 0);
    P_col = take(given.nnz_P);
    long_rows = take(of_C);
    long_columns = take(of_C);
    P_long_rows = take(of_P);
    P_long_columns = take(of_P);
    if (!given.P_crow) P_crow = nullptr;
    return used;
  }

  // The pattern of `matrices` is this one.
  template <class V>
  LPGD_HOST_TOO void attach(const PdhgGiven& given, PdhgMatrices<V>& matrices) const {
    const std::int32_t* of_C = given.columns;
    const std::int32_t* of_P = of_C + given.n + 1 + 2 * std::ptrdiff_t{given.entries()};
    const auto lists = [&](const std::int32_t* from, int nnz) {
      return PdhgColumns{from, from + given.n + 1, from + given.n + 1 + nnz};
    };
    matrices.by_column = lists(of_C, given.entries());
    if (P_crow) matrices.P_by_column = lists(of_P, given.nnz_P);
    matrices.long_rows = long_rows;
    matrices.long_columns = long_columns;
    matrices.P_long_rows = P_long_rows;
    matrices.P_long_columns = P_long_columns;
  }
};

// Rows first, ..., first + rows of a matrix, whose entries begin at `before`: copied, and whether
// they are a pattern with columns below n.
template <class Group>
LPGD_HD bool copy_rows(const Group& group, const std::int64_t* crow, const std::int64_t* col,
                       int rows, int nnz, int n, int before, std::int32_t* to_crow,
                       std::int32_t* to_col) {
  if (crow == nullptr) return true;
  bool fine = true;
  LPGD_FOR (group, i, rows + 1) {
    const std::int64_t start = crow[i];
    fine = fine && start >= (i > 0 ? crow[i - 1] : 0) && start <= nnz && (i > 0 || start == 0) &&
           (i < rows || start == nnz);
    to_crow[i] = before + static_cast<std::int32_t>(start);
  }
  LPGD_FOR (group, k, nnz) {
    fine = fine && col[k] >= 0 && col[k] < n;
    to_col[before + k] = static_cast<std::int32_t>(col[k]);
  }
  return fine;
}

// The columns' lists name each entry with its own row and column.
template <class Group>
LPGD_HD bool columns_fit(const Group& group, const std::int32_t* columns, int n, int rows, int nnz,
                         const std::int32_t* crow, const std::int32_t* col) {
  const std::int32_t *start = columns, *row = columns + n + 1, *slot = row + nnz;
  bool fine = true;
  LPGD_FOR (group, j, n) {
    const int begin = start[j], end = start[j + 1];
    fine = fine && begin >= 0 && begin <= end && end <= nnz && (j > 0 || begin == 0) &&
           (j + 1 < n || end == nnz);
    for (int k = begin; fine && k < end; ++k)
      fine = row[k] >= 0 && row[k] < rows && slot[k] >= crow[row[k]] &&
             slot[k] < crow[row[k] + 1] && slot[k] < nnz && slot[k] >= 0 && col[slot[k]] == j &&
             (k == begin || slot[k] > slot[k - 1]);
  }
  return fine;
}

LPGD_INLINE void find_long(const std::int32_t* start, int count, std::int32_t* to) {
  int found = 0;
  for (int i = 0; i < count; ++i)
    if (start[i + 1] - start[i] > kPdhgLong) to[++found] = i;
  to[0] = found;
}

// Fills the pattern and says whether it is one; memory safety hangs on that.
template <class Group>
LPGD_HD bool lay_out_pattern(const Group& group, const PdhgGiven& given, const PdhgPattern& to) {
  const int n = given.n, M = given.rows(), nnz = given.entries();
  if (group.lane() == 0) to.crow[0] = 0;
  bool fine =
      copy_rows(group, given.A_crow, given.A_col, given.p, given.nnz_A, n, 0, to.crow, to.col);
  group.sync();  // the last of A's rows ends where the first of G's starts
  fine = copy_rows(group, given.G_crow, given.G_col, given.m, given.nnz_G, n, given.nnz_A,
                   to.crow + given.p, to.col) &&
         fine;
  fine = copy_rows(group, given.P_crow, given.P_col, n, given.nnz_P, n, 0, to.P_crow, to.P_col) &&
         fine;
  fine = group.max(fine ? 0.0 : 1.0) == 0.0;
  if (fine) {
    const std::int32_t* of_P = given.columns + n + 1 + 2 * std::ptrdiff_t{nnz};
    bool fits = columns_fit(group, given.columns, n, M, nnz, to.crow, to.col);
    if (given.P_crow)
      fits = columns_fit(group, of_P, n, n, given.nnz_P, to.P_crow, to.P_col) && fits;
    fine = group.max(fits ? 0.0 : 1.0) == 0.0;
    if (fine && group.lane() == 0) {
      find_long(to.crow, M, to.long_rows);
      find_long(given.columns, n, to.long_columns);
      if (given.P_crow) {
        find_long(to.P_crow, n, to.P_long_rows);
        find_long(of_P, n, to.P_long_columns);
      }
    }
  }
  if (group.lane() == 0) *to.fault = fine ? 0 : 1;
  group.sync();
  return fine;
}

LPGD_END_NAMESPACE
