// Memory of the first-order solver for one pack of problems, and their loading.
#pragma once

#include <initializer_list>

#include "pdhg_scale.h"

LPGD_BEGIN_NAMESPACE

template <class S, class V>
struct PdhgWork {
  PdhgMatrices<V> matrices;
  S *x, *x0, *tx, *xbar, *q, *lb, *ub, *Cy, *Cy0, *CTy, *Px, *PTx;  // [n]
  S *y, *y0, *ty, *d, *Cxbar, *CTx;                                 // [M]
  V *of_row, *of_column, *other;

  // Number of bytes, for `memory` null; else the pointers are set.
  template <class T>
  LPGD_HOST_TOO std::size_t bind(const PdhgProblem<T>& problem, char* memory) {
    const std::size_t used = bind_matrices(problem, memory);
    return used + bind_vectors(problem, memory ? memory + used : nullptr);
  }

  // What lasts for all items that share the matrices
  template <class T>
  LPGD_HOST_TOO std::size_t bind_matrices(const PdhgProblem<T>& problem, char* memory) {
    std::size_t used = 0;
    const int n = problem.n, M = problem.p + problem.m;
    matrices.n = n;
    matrices.M = M;
    matrices.crow = problem.crow;
    matrices.col = problem.col;
    matrices.P_crow = problem.P_crow;
    matrices.P_col = problem.P_col;
    take(matrices.C, problem.nnz_A + problem.nnz_G, memory, used);
    take(matrices.P, problem.nnz_P, memory, used);
    take(matrices.row, M, memory, used);
    take(matrices.column, n, memory, used);
    take(matrices.norms, 2, memory, used);
    take(of_row, M, memory, used);
    take(of_column, n, memory, used);
    take(other, n, memory, used);
    return used;
  }

  template <class T>
  LPGD_HOST_TOO std::size_t bind_vectors(const PdhgProblem<T>& problem, char* memory) {
    std::size_t used = 0;
    const int n = problem.n, M = problem.p + problem.m;
    for (S** part : {&x, &x0, &tx, &xbar, &q, &lb, &ub, &Cy, &Cy0, &CTy, &Px, &PTx})
      take(*part, n, memory, used);
    for (S** part : {&y, &y0, &ty, &d, &Cxbar, &CTx}) take(*part, M, memory, used);
    return used;
  }

 private:
  template <class E>
  LPGD_HOST_TOO static void take(E*& pointer, int count, char* memory, std::size_t& used) {
    pointer = memory ? reinterpret_cast<E*>(memory + used) : nullptr;
    used += (static_cast<std::size_t>(count) * sizeof(E) + 63) / 64 * 64;
  }
};

// items of the lanes; those beyond `used` repeat the first one
struct PdhgLanes {
  std::int64_t first;
  int used;
  LPGD_INLINE std::int64_t item(int lane) const { return first + (lane < used ? lane : 0); }
};

template <class S, class T>
LPGD_INLINE S load_lanes(const PdhgLanes& lanes, const T* from, std::int64_t stride,
                         std::int64_t index) {
  S out = S(0);
  for (int l = 0; l < ScalarTraits<S>::lanes; ++l)
    set_lane(out, l, RealOf<S>(from[lanes.item(l) * stride + index]));
  return out;
}

template <class S>
struct PdhgFacts {
  S bad, crossed;  // 1: data that is not finite; no point within the bounds
  S beta, gamma;   // factors of x and the right-hand sides, of y and the costs
  S p_factor;      // of P: gamma / beta
  S rho;           // of the identity, before column^2
};

template <class Group, class S, class V, class T>
LPGD_HD void load_pdhg_matrices(const Group& group, PdhgWork<S, V>& work,
                                const PdhgProblem<T>& problem, const PdhgLanes& lanes) {
  PdhgMatrices<V>& a = work.matrices;
  LPGD_FOR (group, k, problem.nnz_A) a.C[k] = load_lanes<V>(lanes, problem.A, problem.stride_A, k);
  LPGD_FOR (group, k, problem.nnz_G)
    a.C[problem.nnz_A + k] = load_lanes<V>(lanes, problem.G, problem.stride_G, k);
  LPGD_FOR (group, k, problem.nnz_P) a.P[k] = load_lanes<V>(lanes, problem.P, problem.stride_P, k);
  group.sync();
  precondition(group, a, work.of_row, work.of_column, work.other);
}

template <class S>
LPGD_INLINE S one_where(MaskOf<S> mask) {
  return select(mask, S(1), S(0));
}

// Vectors, scaled. Infinite bounds become true infinities; rows that are off have d = infinity,
// which the projection of y turns into y = 0 by itself.
template <class Group, class S, class V, class T>
LPGD_HD PdhgFacts<S> load_pdhg_vectors(const Group& group, PdhgWork<S, V>& work,
                                       const PdhgProblem<T>& problem, const PdhgLanes& lanes) {
  using R = RealOf<S>;
  const PdhgMatrices<V>& a = work.matrices;
  const int n = problem.n, M = problem.p + problem.m;
  const S infinity = S(R(__builtin_inf())), far = S(R(Precision<T>::infinite_bound));
  PdhgFacts<S> facts{S(0), S(0), S(1), S(1), S(1), S(0)};
  S size_d = S(0), size_q = S(0);
  LPGD_FOR (group, k, problem.nnz_A + problem.nnz_G)
    facts.bad = max_nan(facts.bad, S(a.C[k]) - S(a.C[k]));
  LPGD_FOR (group, k, problem.nnz_P) facts.bad = max_nan(facts.bad, S(a.P[k]) - S(a.P[k]));
  LPGD_FOR (group, j, n) {
    const S q = load_lanes<S>(lanes, problem.q, problem.stride_q, j) * S(a.column[j]);
    facts.bad = max_nan(facts.bad, q - q);
    size_q += q * q;
    work.q[j] = q;
    S lb = problem.lb ? load_lanes<S>(lanes, problem.lb, problem.stride_lb, j) : -infinity;
    S ub = problem.ub ? load_lanes<S>(lanes, problem.ub, problem.stride_ub, j) : infinity;
    facts.bad = max_of(facts.bad, one_where<S>(mask_not(mask_and(equal(lb, lb), equal(ub, ub)))));
    const auto none = mask_or(less(ub, lb), mask_or(less(far, lb), less(ub, -far)));
    facts.crossed = max_of(facts.crossed, one_where<S>(none));
    lb = select(less(-far, lb), lb / S(a.column[j]), -infinity);
    ub = select(less(ub, far), ub / S(a.column[j]), infinity);
    work.lb[j] = lb;
    work.ub[j] = ub;
  }
  LPGD_FOR (group, i, M) {
    const bool equality = i < problem.p;
    S d = equality ? load_lanes<S>(lanes, problem.b, problem.stride_b, i)
                   : load_lanes<S>(lanes, problem.h, problem.stride_h, i - problem.p);
    const auto on = less(abs_of(d), equality ? infinity : far);
    facts.bad = max_of(facts.bad, one_where<S>(mask_not(equal(d, d))));
    if (equality)
      facts.bad = max_of(facts.bad, one_where<S>(mask_not(on)));
    else
      facts.crossed = max_of(facts.crossed, one_where<S>(less(d, -far)));
    d = select(on, d * S(a.row[i]), infinity);
    size_d += select(on, d * d, S(0));
    work.d[i] = d;
  }
  facts.bad = group.max(facts.bad);
  facts.crossed = group.max(facts.crossed);
  size_d = group.sum(size_d);
  size_q = group.sum(size_q);
  // not finite: nan, from differences of such numbers
  facts.bad = select(equal(facts.bad, S(0)), S(0), S(1));
  facts.beta = S(1) / (S(1) + sqrt_of(size_d));
  facts.gamma = S(1) / (S(1) + sqrt_of(size_q));
  facts.p_factor = facts.gamma / facts.beta;
  if (problem.rho) facts.rho = load_lanes<S>(lanes, problem.rho, problem.stride_rho, 0);
  LPGD_FOR (group, j, n) {
    work.q[j] = work.q[j] * facts.gamma;
    work.lb[j] = work.lb[j] * facts.beta;
    work.ub[j] = work.ub[j] * facts.beta;
  }
  LPGD_FOR (group, i, M) work.d[i] = work.d[i] * facts.beta;
  return facts;
}

// The point to begin from, made feasible for the bounds and signs; numbers that are not finite
// count as zero.
template <class Group, class S, class V, class T>
LPGD_HD void load_pdhg_start(const Group& group, PdhgWork<S, V>& work, const PdhgTask<T>& task,
                             const PdhgLanes& lanes, const PdhgFacts<S>& facts) {
  const PdhgProblem<T>& problem = task.problem;
  const PdhgMatrices<V>& a = work.matrices;
  const int n = problem.n, p = problem.p, M = p + problem.m;
  const auto given = [&](const T* from, int width, int index) {
    const S value = from ? load_lanes<S>(lanes, from, width, index) : S(0);
    return select(is_finite(value), value, S(0));
  };
  LPGD_FOR (group, j, n) {
    const S x = given(task.start.x, n, j) * facts.beta / S(a.column[j]);
    work.x[j] = max_of(work.lb[j], min_of(work.ub[j], x));
    work.x0[j] = work.x[j];
  }
  const S infinity = S(RealOf<S>(__builtin_inf()));
  LPGD_FOR (group, i, M) {
    S y = i < p ? given(task.start.x ? task.start.y : nullptr, p, i)
                : given(task.start.x ? task.start.z : nullptr, M - p, i - p);
    y = y * facts.gamma / S(a.row[i]);
    if (i >= p) y = select(less(work.d[i], infinity), max_of(y, S(0)), S(0));
    work.y[i] = y;
    work.y0[i] = y;
  }
  group.sync();
  columns_times(group, a, work.y, work.Cy);
  LPGD_FOR (group, j, n) work.Cy0[j] = work.Cy[j];
  hessian_times(group, a, work.x, work.Px);
}

LPGD_END_NAMESPACE
