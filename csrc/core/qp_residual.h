// Optimality of a primal-dual point: residuals, objectives, the scales they are measured by, and
// the certificates of infeasibility.
#pragma once

#include "qp_kkt.h"

LPGD_BEGIN_NAMESPACE

template <class S>
struct QpMeasure {
  S primal, dual, gap;  // absolute, maximum norm; gap = |primal objective - dual objective|
  S merit;              // the worst of the three, each relative to the size of its terms
  S z_scale;            // 1 + max |z|
};

// Fills rx = -(P x + rho x + q + A'y + C'z), ry = b - A x, rz = d - C x - s (s null: the amount by
// which d - C x is negative, or for equality slots all of it), Px = P x + rho x and Cx = C x.
template <class S, class Group>
LPGD_HD QpMeasure<S> measure(const Group& g, QpWork<S>& work, S rho, const S* x, const S* y,
                             const S* z, const S* s) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, p = dims.p, M = dims.slots();
  hessian_times(g, work, rho, x, work.Px);
  const S size_Px = max_abs(g, work.Px, n);
  const S size_q = max_abs(g, work.q, n);
  LPGD_FOR (g, j, n) work.rx[j] = work.Px[j] + work.q[j];
  g.sync();
  S size_b = S(0), size_dual = S(0);
  if (p > 0) {
    multiply_cols(g, work.A, p, n, y, work.rx, T(1));
    LPGD_FOR (g, j, n) work.tn[j] = -x[j];
    LPGD_FOR (g, i, p) work.ry[i] = work.b[i];
    g.sync();
    multiply_rows(g, work.A, p, n, work.tn, work.ry, T(1));
    size_b = max_abs(g, work.b, p);
  }
  slots_transposed(g, work, z, work.rx, T(1));
  slots_of(g, work, x, work.Cx);
  S size_d = S(0), size_z = S(0), size_Cx = S(0);
  LPGD_FOR (g, j, n) {
    size_dual = max_of(size_dual, abs_of(work.rx[j] - work.Px[j] - work.q[j]));
    work.rx[j] = -work.rx[j];
  }
  LPGD_FOR (g, i, M) {
    const S on = work.on[i];
    const S slack = on * (work.d[i] - work.Cx[i]);
    const S violated = select(less(S(0), work.equal_slot[i]), slack, min_of(slack, S(0)));
    work.rz[i] = s ? slack - s[i] * on : violated;
    size_d = max_of(size_d, abs_of(work.d[i]));
    size_Cx = max_of(size_Cx, on * abs_of(work.Cx[i]));
    size_z = max_of(size_z, abs_of(z[i]));
  }
  g.sync();
  QpMeasure<S> out;
  out.primal = max_nan(max_abs(g, work.ry, p), max_abs(g, work.rz, M));
  out.dual = max_abs(g, work.rx, n);
  const S xPx = dot(g, x, work.Px, n);
  const S primal_objective = S(T(0.5)) * xPx + dot(g, work.q, x, n);
  const S dual_objective = -S(T(0.5)) * xPx - dot(g, work.b, y, p) - dot(g, work.d, z, M);
  out.gap = abs_of(primal_objective - dual_objective);
  size_dual = g.max(size_dual);
  size_d = g.max(max_of(size_d, size_Cx));
  const S primal_size = S(1) + max_of(size_b, size_d);
  const S dual_size = S(1) + max_of(max_of(size_Px, size_q), size_dual);
  const S gap_size = S(1) + min_of(abs_of(primal_objective), abs_of(dual_objective));
  out.merit = max_nan(max_nan(out.primal / primal_size, out.dual / dual_size), out.gap / gap_size);
  out.z_scale = S(1) + g.max(size_z);
  return out;
}

// Lanes whose multipliers (y, z), almost a ray, prove that no x meets the constraints:
// A'y + C'z = 0, z >= 0, b'y + d'z < 0. The fields of the last measure() are used.
template <class S, class Group>
LPGD_HD MaskOf<S> proves_primal_infeasible(const Group& g, const QpWork<S>& work, const S* y,
                                           const S* z, S tolerance) {
  const QpDims& dims = work.dims;
  const S value = dot(g, work.b, y, dims.p) + dot(g, work.d, z, dims.slots());
  S combination = S(0);
  LPGD_FOR (g, j, dims.n)
    combination = max_nan(combination, abs_of(work.rx[j] + work.Px[j] + work.q[j]));
  combination = g.max(combination);
  // Against the size of the ray itself: a small value of a small multiplier proves nothing.
  const S size = max_of(max_abs(g, y, dims.p), max_abs(g, z, dims.slots()));
  return mask_and(less(value, -tolerance * size), less(combination, -tolerance * value));
}

// Lanes whose x, almost a ray, proves that the objective has no lower bound: P x = 0, A x = 0,
// C x <= 0, q'x < 0.
template <class S, class Group>
LPGD_HD MaskOf<S> proves_dual_infeasible(const Group& g, const QpWork<S>& work, const S* x,
                                         S tolerance) {
  const QpDims& dims = work.dims;
  const S value = dot(g, work.q, x, dims.n);
  S worst = max_abs(g, work.Px, dims.n);
  LPGD_FOR (g, i, dims.p) worst = max_nan(worst, abs_of(work.b[i] - work.ry[i]));
  LPGD_FOR (g, i, dims.slots()) {
    const S along = work.on[i] * work.Cx[i];
    worst =
        max_nan(worst, select(less(S(0), work.equal_slot[i]), abs_of(along), max_of(along, S(0))));
  }
  worst = g.max(worst);
  const S size = max_abs(g, x, dims.n);
  return mask_and(less(value, -tolerance * size), less(worst, -tolerance * value));
}

LPGD_END_NAMESPACE
