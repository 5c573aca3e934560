// The matrices of the first-order solver: products, diagonal preconditioning, norms. V is the type
// of a matrix entry: a number where all problems share the matrices, else that of a vector's entry.
#pragma once

#include "macros.h"
#include "pdhg_types.h"
#include "scalar.h"

LPGD_BEGIN_NAMESPACE

// Ten rounds of Ruiz' equilibration bring all rows and columns near 1 in the maximum norm.
constexpr int kRuizRounds = 10;
constexpr int kPowerIterations = 60;

template <class V>
struct PdhgMatrices {
  int n, M;
  const std::int32_t *crow, *col, *P_crow, *P_col;  // P_crow null: no P
  V *C, *P;                                         // scaled
  V *row, *column;                                  // C = row * (C given) * column
  V* norms;                                         // largest singular values of C and P, about
};

// One row of C times x
template <class S, class V>
LPGD_INLINE S row_times(const PdhgMatrices<V>& a, int i, const S* x) {
  S even = S(0), odd = S(0);
  int k = a.crow[i];
  const int end = a.crow[i + 1];
  for (; k + 1 < end; k += 2) {
    even += S(a.C[k]) * x[a.col[k]];
    odd += S(a.C[k + 1]) * x[a.col[k + 1]];
  }
  if (k < end) even += S(a.C[k]) * x[a.col[k]];
  return even + odd;
}

template <class S, class V>
LPGD_INLINE void add_row(const PdhgMatrices<V>& a, int i, S factor, S* out) {
  for (int k = a.crow[i]; k < a.crow[i + 1]; ++k) out[a.col[k]] += S(a.C[k]) * factor;
}

template <class S, class V>
LPGD_HD void rows_times(const PdhgMatrices<V>& a, const S* x, S* out) {
  for (int i = 0; i < a.M; ++i) out[i] = row_times(a, i, x);
}

// out = (P + P')/2 x
template <class S, class V>
LPGD_HD void hessian_times(const PdhgMatrices<V>& a, const S* x, S* out) {
  using T = RealOf<S>;
  for (int j = 0; j < a.n; ++j) out[j] = S(0);
  if (!a.P_crow) return;
  for (int i = 0; i < a.n; ++i) {
    const S half = S(T(0.5)) * x[i];
    S sum = S(0);
    for (int k = a.P_crow[i]; k < a.P_crow[i + 1]; ++k) {
      const int j = a.P_col[k];
      sum += S(a.P[k]) * x[j];
      out[j] += S(a.P[k]) * half;
    }
    out[i] += S(T(0.5)) * sum;
  }
}

template <class V>
LPGD_HD void scale_matrices(const PdhgMatrices<V>& a, const V* by_row, const V* by_column) {
  for (int i = 0; i < a.M; ++i) {
    for (int k = a.crow[i]; k < a.crow[i + 1]; ++k)
      a.C[k] = a.C[k] * by_row[i] * by_column[a.col[k]];
    a.row[i] = a.row[i] * by_row[i];
  }
  for (int j = 0; j < a.n; ++j) {
    if (a.P_crow)
      for (int k = a.P_crow[j]; k < a.P_crow[j + 1]; ++k)
        a.P[k] = a.P[k] * by_column[j] * by_column[a.P_col[k]];
    a.column[j] = a.column[j] * by_column[j];
  }
}

template <class V>
LPGD_HD void inverse_roots(V* values, int count) {
  for (int i = 0; i < count; ++i) {
    const auto there = less(V(0), values[i]);
    values[i] = select(there, V(1) / sqrt_of(select(there, values[i], V(1))), V(1));
  }
}

// The largest singular value of C (`square`: eigenvalue of P), from below and made a bit larger.
template <class V>
LPGD_HD V power_norm(const PdhgMatrices<V>& a, bool of_P, V* left, V* right, V* other) {
  using T = RealOf<V>;
  std::uint32_t seed = 1;
  for (int j = 0; j < a.n; ++j) {
    seed = seed * 1664525U + 1013904223U;
    right[j] = V(T(0.5) + T(seed >> 8) / T(1 << 24));
  }
  V estimate = V(0);
  for (int round = 0; round < kPowerIterations; ++round) {
    V size = V(0), image = V(0);
    for (int j = 0; j < a.n; ++j) size += right[j] * right[j];
    const V unit = V(1) / sqrt_of(max_of(size, V(T(Precision<T>::tiny))));
    for (int j = 0; j < a.n; ++j) right[j] = right[j] * unit;
    if (of_P) {
      hessian_times(a, right, other);
      for (int j = 0; j < a.n; ++j) image += other[j] * other[j];
    } else {
      rows_times(a, right, left);
      for (int j = 0; j < a.n; ++j) other[j] = V(0);
      for (int i = 0; i < a.M; ++i) {
        image += left[i] * left[i];
        add_row(a, i, left[i], other);
      }
    }
    estimate = sqrt_of(image);
    for (int j = 0; j < a.n; ++j) right[j] = other[j];
  }
  return estimate * V(T(1.01));
}

// Equilibration and then Pock & Chambolle's scaling by the sums of rows and columns (ICCV 2011),
// after which C has a norm of at most 1. The scratch: M, n, n numbers.
template <class V>
LPGD_HD void precondition(PdhgMatrices<V>& a, V* of_row, V* of_column, V* other) {
  for (int i = 0; i < a.M; ++i) a.row[i] = V(1);
  for (int j = 0; j < a.n; ++j) a.column[j] = V(1);
  for (int round = 0; round <= kRuizRounds; ++round) {
    const bool sums = round == kRuizRounds;
    const auto join = [&](V& to, V value) {
      to = sums ? to + abs_of(value) : max_of(to, abs_of(value));
    };
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
    inverse_roots(of_row, a.M);
    inverse_roots(of_column, a.n);
    scale_matrices(a, of_row, of_column);
  }
  a.norms[0] = min_of(V(1), power_norm(a, false, of_row, of_column, other));
  a.norms[1] = a.P_crow ? power_norm(a, true, of_row, of_column, other) : V(0);
}

LPGD_END_NAMESPACE
