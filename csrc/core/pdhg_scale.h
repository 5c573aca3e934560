// The matrices of the first-order solver: products, diagonal preconditioning, norms. V is the type
// of a matrix entry: a number where all problems share the matrices, else that of a vector's entry.
//
// One lane adds a row times a number to C'y right where the row is read. Many lanes would write to
// the same place: each takes columns of its own, in the order of rows, by lists of the columns.
#pragma once

#include <type_traits>

#include "group.h"
#include "pdhg_types.h"

LPGD_BEGIN_NAMESPACE

// Ten rounds of Ruiz' equilibration bring all rows and columns near 1 in the maximum norm.
constexpr int kRuizRounds = 10;
constexpr int kPowerIterations = 60;

template <class Group>
inline constexpr bool kOneLane = std::is_base_of_v<SerialGroup, Group>;

template <class V>
struct PdhgMatrices {
  int n, M;
  const std::int32_t *crow, *col, *P_crow, *P_col;  // P_crow null: no P
  PdhgColumns by_column, P_by_column;               // for groups of many lanes
  const std::int32_t *long_rows, *long_columns, *P_long_rows,
      *P_long_columns;  // their number first
  V *C, *P;             // scaled
  V *row, *column;      // C = row * (C given) * column
  V* norms;             // largest singular values of C and P, about
};

// Rows, or columns, in compressed form; `slot` null: entries are in the order of `index`.
template <class V>
struct PdhgLines {
  int count;
  const std::int32_t *start, *index, *slot, *longest;
  const V* entry;

  LPGD_INLINE int place(int k) const { return slot ? slot[k] : k; }
  LPGD_INLINE bool is_long(int i) const { return start[i + 1] - start[i] > kPdhgLong; }
};

template <class V>
LPGD_INLINE PdhgLines<V> rows_of(const PdhgMatrices<V>& a) {
  return {a.M, a.crow, a.col, nullptr, a.long_rows, a.C};
}
template <class V>
LPGD_INLINE PdhgLines<V> columns_of(const PdhgMatrices<V>& a) {
  return {a.n, a.by_column.start, a.by_column.row, a.by_column.slot, a.long_columns, a.C};
}
template <class V>
LPGD_INLINE PdhgLines<V> P_rows_of(const PdhgMatrices<V>& a) {
  return {a.n, a.P_crow, a.P_col, nullptr, a.P_long_rows, a.P};
}
template <class V>
LPGD_INLINE PdhgLines<V> P_columns_of(const PdhgMatrices<V>& a) {
  return {a.n, a.P_by_column.start, a.P_by_column.row, a.P_by_column.slot, a.P_long_columns, a.P};
}

// Entries first, first + stride, ... of a line times x
template <class S, class V>
LPGD_INLINE S line_times(const PdhgLines<V>& a, int first, int end, int stride, const S* x) {
  const std::int32_t* index = a.index;
  const V* entry = a.entry;
  S even = S(0), odd = S(0);
  int k = first;
  for (; k + stride < end; k += 2 * stride) {
    even += S(entry[a.place(k)]) * x[index[k]];
    odd += S(entry[a.place(k + stride)]) * x[index[k + stride]];
  }
  if (k < end) even += S(entry[a.place(k)]) * x[index[k]];
  return even + odd;
}

// finish(i, line i times x) for all lines, on the lanes that LPGD_FOR deals them to. The few long
// lines are shared by all lanes. Reads of x need a sync before, and writes to it one after.
template <class Group, class S, class V, class F>
LPGD_INLINE void each_line(const Group& group, const PdhgLines<V>& a, const S* x, const F& finish) {
  if constexpr (kOneLane<Group>) {
    for (int i = 0; i < a.count; ++i) finish(i, line_times(a, a.start[i], a.start[i + 1], 1, x));
  } else {
    LPGD_FOR (group, i, a.count)
      if (!a.is_long(i)) finish(i, line_times(a, a.start[i], a.start[i + 1], 1, x));
    for (int l = 1; l <= a.longest[0]; ++l) {
      const int i = a.longest[l];
      const S sum =
          group.sum(line_times(a, a.start[i] + group.lane(), a.start[i + 1], group.size(), x));
      if (i % group.size() == group.lane()) finish(i, sum);
    }
  }
}

template <class S, class V>
LPGD_INLINE void add_line(const PdhgLines<V>& a, int i, S factor, S* out) {
  const std::int32_t* index = a.index;
  const V* entry = a.entry;
  for (int k = a.start[i], end = a.start[i + 1]; k < end; ++k)
    out[index[k]] += S(entry[k]) * factor;
}

// out = C'y
template <class Group, class S, class V>
LPGD_HD void columns_times(const Group& group, const PdhgMatrices<V>& a, const S* y, S* out) {
  if constexpr (kOneLane<Group>) {
    for (int j = 0; j < a.n; ++j) out[j] = S(0);
    const PdhgLines<V> rows = rows_of(a);
    for (int i = 0; i < a.M; ++i) add_line(rows, i, y[i], out);
  } else {
    each_line(group, columns_of(a), y, [&](int j, S sum) { out[j] = sum; });
  }
}

template <class Group, class S, class V>
LPGD_HD void rows_times(const Group& group, const PdhgMatrices<V>& a, const S* x, S* out) {
  each_line(group, rows_of(a), x, [&](int i, S sum) { out[i] = sum; });
}

// out = (P + P')/2 x
template <class Group, class S, class V>
LPGD_HD void hessian_times(const Group& group, const PdhgMatrices<V>& a, const S* x, S* out) {
  using T = RealOf<S>;
  if constexpr (kOneLane<Group>) {
    for (int j = 0; j < a.n; ++j) out[j] = S(0);
    if (!a.P_crow) return;
    const std::int32_t *start = a.P_crow, *col = a.P_col;
    const V* P = a.P;
    for (int i = 0, n = a.n; i < n; ++i) {
      const S half = S(T(0.5)) * x[i];
      S sum = S(0);
      for (int k = start[i], end = start[i + 1]; k < end; ++k) {
        sum += S(P[k]) * x[col[k]];
        out[col[k]] += S(P[k]) * half;
      }
      out[i] += S(T(0.5)) * sum;
    }
  } else if (a.P_crow) {
    each_line(group, P_columns_of(a), x, [&](int j, S sum) { out[j] = S(T(0.5)) * sum; });
    each_line(group, P_rows_of(a), x, [&](int j, S sum) { out[j] += S(T(0.5)) * sum; });
  } else {
    LPGD_FOR (group, j, a.n) out[j] = S(0);
  }
}

template <class Group, class V>
LPGD_HD void scale_matrices(const Group& group, const PdhgMatrices<V>& a, const V* by_row,
                            const V* by_column) {
  LPGD_FOR (group, i, a.M) {
    for (int k = a.crow[i]; k < a.crow[i + 1]; ++k)
      a.C[k] = a.C[k] * by_row[i] * by_column[a.col[k]];
    a.row[i] = a.row[i] * by_row[i];
  }
  LPGD_FOR (group, j, a.n) {
    if (a.P_crow)
      for (int k = a.P_crow[j]; k < a.P_crow[j + 1]; ++k)
        a.P[k] = a.P[k] * by_column[j] * by_column[a.P_col[k]];
    a.column[j] = a.column[j] * by_column[j];
  }
  group.sync();
}

template <class V>
LPGD_INLINE V inverse_root(V value) {
  const auto there = less(V(0), value);
  return select(there, V(1) / sqrt_of(select(there, value, V(1))), V(1));
}

// The largest singular value of C (`square`: eigenvalue of P), from below and made a bit larger.
template <class Group, class V>
LPGD_HD V power_norm(const Group& group, const PdhgMatrices<V>& a, bool of_P, V* left, V* right,
                     V* other) {
  using T = RealOf<V>;
  // A linear congruential generator, of which a lane walks every size-th number.
  std::uint32_t seed = 1, factor = 1, shift = 0;
  for (int j = 0; j <= group.lane(); ++j) seed = seed * 1664525U + 1013904223U;
  for (int j = 0; j < group.size(); ++j) {
    factor = factor * 1664525U;
    shift = shift * 1664525U + 1013904223U;
  }
  LPGD_FOR (group, j, a.n) {
    right[j] = V(T(0.5) + T(seed >> 8) / T(1 << 24));
    seed = seed * factor + shift;
  }
  V estimate = V(0);
  for (int round = 0; round < kPowerIterations; ++round) {
    V size = V(0), image = V(0);
    LPGD_FOR (group, j, a.n) size += right[j] * right[j];
    const V unit = V(1) / sqrt_of(max_of(group.sum(size), V(T(Precision<T>::tiny))));
    LPGD_FOR (group, j, a.n) right[j] = right[j] * unit;
    group.sync();
    if (of_P) {
      hessian_times(group, a, right, other);
      LPGD_FOR (group, j, a.n) image += other[j] * other[j];
    } else {
      rows_times(group, a, right, left);
      LPGD_FOR (group, i, a.M) image += left[i] * left[i];
      group.sync();
      columns_times(group, a, left, other);
    }
    estimate = sqrt_of(group.sum(image));
    LPGD_FOR (group, j, a.n) right[j] = other[j];
  }
  return estimate * V(T(1.01));
}

// The largest entries, or (`sums`) their sum, of all rows of C and of all columns of C and P.
template <class Group, class V>
LPGD_HD void sizes_of_lines(const Group& group, const PdhgMatrices<V>& a, bool sums, V* of_row,
                            V* of_column) {
  const auto join = [&](V& to, V value) {
    to = sums ? to + abs_of(value) : max_of(to, abs_of(value));
  };
  if constexpr (kOneLane<Group>) {
    for (int i = 0; i < a.M; ++i) of_row[i] = V(0);
    for (int j = 0; j < a.n; ++j) of_column[j] = V(0);
    for (int i = 0; i < a.M; ++i)
      for (int k = a.crow[i]; k < a.crow[i + 1]; ++k) {
        join(of_row[i], a.C[k]);
        join(of_column[a.col[k]], a.C[k]);
      }
    if (a.P_crow)
      for (int j = 0; j < a.n; ++j)
        for (int k = a.P_crow[j]; k < a.P_crow[j + 1]; ++k) {
          join(of_column[j], a.P[k]);
          if (a.P_col[k] != j) join(of_column[a.P_col[k]], a.P[k]);
        }
  } else {
    const auto line = [&](const PdhgLines<V>& lines, int i, int without, V& to) {
      for (int k = lines.start[i]; k < lines.start[i + 1]; ++k)
        if (lines.index[k] != without) join(to, lines.entry[lines.place(k)]);
    };
    LPGD_FOR (group, i, a.M) {
      V size = V(0);
      line(rows_of(a), i, -1, size);
      of_row[i] = size;
    }
    LPGD_FOR (group, j, a.n) {
      V size = V(0);
      line(columns_of(a), j, -1, size);
      if (a.P_crow) {
        line(P_rows_of(a), j, -1, size);
        line(P_columns_of(a), j, j, size);
      }
      of_column[j] = size;
    }
  }
}

// Equilibration and then Pock & Chambolle's scaling by the sums of rows and columns (ICCV 2011),
// after which C has a norm of at most 1. The scratch: M, n, n numbers.
template <class Group, class V>
LPGD_HD void precondition(const Group& group, PdhgMatrices<V>& a, V* of_row, V* of_column,
                          V* other) {
  LPGD_FOR (group, i, a.M) a.row[i] = V(1);
  LPGD_FOR (group, j, a.n) a.column[j] = V(1);
  for (int round = 0; round <= kRuizRounds; ++round) {
    sizes_of_lines(group, a, round == kRuizRounds, of_row, of_column);
    LPGD_FOR (group, i, a.M) of_row[i] = inverse_root(of_row[i]);
    LPGD_FOR (group, j, a.n) of_column[j] = inverse_root(of_column[j]);
    group.sync();
    scale_matrices(group, a, of_row, of_column);
  }
  const V of_C = min_of(V(1), power_norm(group, a, false, of_row, of_column, other));
  const V of_P = a.P_crow ? power_norm(group, a, true, of_row, of_column, other) : V(0);
  if (group.lane() == 0) {
    a.norms[0] = of_C;
    a.norms[1] = of_P;
  }
  group.sync();
}

LPGD_END_NAMESPACE
