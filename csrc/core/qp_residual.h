// Optimality of a primal-dual point: residuals, objectives, the scales they are measured by, and
// the certificates of infeasibility.
#pragma once

#include "qp_kkt.h"

LPGD_BEGIN_NAMESPACE

template <class S>
struct QpMeasure {
  S primal, dual, gap;  // maximum norm, in the units given; gap = |primal - dual objective|
  S merit;              // the worst of the three, each relative to the size of its terms
  S z_scale;            // 1 + max |z|
};

// Fills rx = -(P x + rho x + q + C'z), rz = d - C x - s (s null: the violation alone, min(d - C x,
// 0), and for equality slots all of d - C x), Px = P x + rho x and Cx = C x.
template <class S, class Group>
LPGD_HD QpMeasure<S> measure(const Group& g, QpWork<S>& work, S rho, const S* x, const S* z,
                             const S* s) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  hessian_times(g, work, rho, x, work.Px);
  LPGD_FOR (g, j, n) work.rx[j] = work.Px[j] + work.q[j];
  g.sync();
  slots_transposed(g, work, z, work.rx, T(1));
  slots_of(g, work, x, work.Cx);
  S size_dual = S(0), dual = S(0), primal = S(0), relative = S(0), size_z = S(0);
  LPGD_FOR (g, j, n) {
    const S residual = work.rx[j];
    const S constraints = residual - work.Px[j] - work.q[j];
    size_dual = max_of(size_dual, max_of(abs_of(work.q[j]), abs_of(work.Px[j])));
    size_dual = max_of(size_dual, abs_of(constraints));
    dual = max_nan(dual, abs_of(residual));
    work.rx[j] = -residual;
  }
  LPGD_FOR (g, i, M) {
    const S on = work.on[i];
    const S slack = on * (work.d[i] - work.Cx[i]);
    const S violated = select(less(S(0), work.equal_slot[i]), slack, min_of(slack, S(0)));
    const S residual = s ? slack - s[i] * on : violated;
    const S size = S(1) + max_of(abs_of(work.d[i]), on * abs_of(work.Cx[i]));
    work.rz[i] = residual;
    primal = max_nan(primal, abs_of(residual) / slot_scale(work, i));
    relative = max_nan(relative, abs_of(residual) / size);
    size_z = max_of(size_z, abs_of(z[i]));
  }
  g.sync();
  dual = g.max(dual);
  const S xPx = dot(g, x, work.Px, n);
  const S primal_objective = S(T(0.5)) * xPx + dot(g, work.q, x, n);
  const S dual_objective = -S(T(0.5)) * xPx - dot(g, work.d, z, M);
  const S gap = abs_of(primal_objective - dual_objective);
  const S gap_size = S(1) + min_of(abs_of(primal_objective), abs_of(dual_objective));
  QpMeasure<S> out;
  out.primal = g.max(primal);
  out.dual = dual / *work.cost_scale;
  out.gap = gap / *work.cost_scale;
  out.merit = max_nan(max_nan(g.max(relative), dual / (S(1) + g.max(size_dual))), gap / gap_size);
  out.z_scale = S(1) + g.max(size_z);
  return out;
}

// Certificates are looked for in the difference of two iterates: on an infeasible problem it tends
// to a ray while the iterates only grow. A ray proves that nothing of size below 1/certificate
// (times the size of the data) is feasible; a difference that is small against the iterate proves
// nothing.
template <class S>
LPGD_INLINE MaskOf<S> is_ray(S value, S off, S step, S size, S data) {
  using T = RealOf<S>;
  const S tolerance = S(Precision<T>::certificate);
  const auto grows = less(S(T(1e-3)) * (S(1) + size), step);
  return mask_and(grows,
                  mask_and(less(value, S(0)), less(off * (S(1) + data), -tolerance * value)));
}

// Lanes whose multipliers grow along C'z = 0, z >= 0 (free for equalities), d'z < 0: no x meets the
// constraints. The fields of the last measure() are used.
template <class S, class Group>
LPGD_HD MaskOf<S> proves_primal_infeasible(const Group& g, const QpWork<S>& work) {
  S value = S(0), step = S(0), size = S(0), data = S(0), off = S(0);
  LPGD_FOR (g, i, work.dims.slots()) {
    const S change = work.z[i] - work.last_z[i];
    const S below = select(less(S(0), work.equal_slot[i]), S(0), max_of(-change, S(0)));
    value += work.d[i] * change;
    step = max_of(step, abs_of(change));
    size = max_of(size, abs_of(work.z[i]));
    data = max_of(data, abs_of(work.d[i]));
    off = max_nan(off, below);
  }
  LPGD_FOR (g, j, work.dims.n) {
    const S Cz = -(work.rx[j] + work.Px[j] + work.q[j]);
    off = max_nan(off, abs_of(Cz - work.last_Cz[j]));
  }
  return is_ray(g.sum(value), g.max(off), g.max(step), g.max(size), g.max(data));
}

// Lanes whose x grows along P x = 0, C x <= 0 (= 0 for equalities), q'x < 0: the objective has no
// lower bound.
template <class S, class Group>
LPGD_HD MaskOf<S> proves_dual_infeasible(const Group& g, const QpWork<S>& work) {
  S value = S(0), step = S(0), size = S(0), data = S(0), off = S(0);
  LPGD_FOR (g, j, work.dims.n) {
    const S change = work.x[j] - work.last_x[j];
    value += work.q[j] * change;
    step = max_of(step, abs_of(change));
    size = max_of(size, abs_of(work.x[j]));
    data = max_of(data, abs_of(work.q[j]));
    off = max_nan(off, abs_of(work.Px[j] - work.last_Px[j]));
  }
  LPGD_FOR (g, i, work.dims.slots()) {
    const S change = work.on[i] * (work.Cx[i] - work.last_Cx[i]);
    const S outside = max_of(change, S(0));
    off = max_nan(off, select(less(S(0), work.equal_slot[i]), abs_of(change), outside));
  }
  return is_ray(g.sum(value), g.max(off), g.max(step), g.max(size), g.max(data));
}

// Keep this iterate for the next look.
template <class S, class Group>
LPGD_HD void remember_iterate(const Group& g, QpWork<S>& work) {
  LPGD_FOR (g, j, work.dims.n) {
    work.last_x[j] = work.x[j];
    work.last_Px[j] = work.Px[j];
    work.last_Cz[j] = -(work.rx[j] + work.Px[j] + work.q[j]);
  }
  LPGD_FOR (g, i, work.dims.slots()) {
    work.last_z[i] = work.z[i];
    work.last_Cx[i] = work.Cx[i];
  }
  g.sync();
}

LPGD_END_NAMESPACE
