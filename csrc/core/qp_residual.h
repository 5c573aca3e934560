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

// Px = P x + rho x, Cz = C'z and Cx = C x of a point, afresh.
template <class S, class Group>
LPGD_HD void evaluate(const Group& g, QpWork<S>& work, S rho, const S* x, const S* z) {
  hessian_times(g, work, rho, x, work.Px);
  slots_transposed(g, work, z, work.Cz, RealOf<S>(0));
  slots_of(g, work, x, work.Cx);
}

// The same for x, z of the workspace, in some lanes alone: the others keep what they carry along,
// so that no lane's numbers depend on its neighbours. The products of the step are lost.
template <class S, class Group>
LPGD_HD void refresh(const Group& g, QpWork<S>& work, S rho, MaskOf<S> lanes) {
  hessian_times(g, work, rho, work.x, work.Pdx);
  slots_transposed(g, work, work.z, work.Cdz, RealOf<S>(0));
  slots_of(g, work, work.x, work.Cdx);
  LPGD_FOR (g, j, work.dims.n) {
    work.Px[j] = select(lanes, work.Pdx[j], work.Px[j]);
    work.Cz[j] = select(lanes, work.Cdz[j], work.Cz[j]);
  }
  LPGD_FOR (g, i, work.dims.slots()) work.Cx[i] = select(lanes, work.Cdx[i], work.Cx[i]);
  g.sync();
}

// From Px, Cz and Cx: fills rx = -(P x + rho x + q + C'z) and rz = d - C x - s (s null: the
// violation alone, min(d - C x, 0), and for equality slots all of d - C x).
template <class S, class Group>
LPGD_HD QpMeasure<S> measure_products(const Group& g, QpWork<S>& work, const S* x, const S* z,
                                      const S* s) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  S size_dual = S(0), dual = S(0), dual_given = S(0);
  S primal = S(0), relative = S(0), size_z = S(0);
  LPGD_FOR (g, j, n) {
    const S residual = work.Px[j] + work.q[j] + work.Cz[j];
    size_dual = max_of(size_dual, max_of(abs_of(work.q[j]), abs_of(work.Px[j])));
    size_dual = max_of(size_dual, abs_of(work.Cz[j]));
    dual = max_nan(dual, abs_of(residual));
    dual_given = max_nan(dual_given, abs_of(residual) / work.column_scale[j]);
    work.rx[j] = -residual;
  }
  LPGD_FOR (g, i, M) {
    const S on = work.on[i];
    const S slack = on * (work.d[i] - work.Cx[i]);
    const S violated = select(less(S(0), work.equal_slot[i]), slack, min_of(slack, S(0)));
    const S residual = s ? slack - s[i] * on : violated;
    const S size = S(1) + max_of(abs_of(work.d[i]), on * abs_of(work.Cx[i]));
    work.rz[i] = residual;
    primal = max_nan(primal, abs_of(residual) / work.slot_scale[i]);
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
  const S unit = *work.x_scale;
  out.primal = unit * g.max(primal);
  out.dual = unit * g.max(dual_given) / *work.cost_scale;
  out.gap = unit * unit * gap / *work.cost_scale;
  out.merit = max_nan(max_nan(g.max(relative), dual / (S(1) + g.max(size_dual))), gap / gap_size);
  out.z_scale = S(1) + g.max(size_z);
  return out;
}

template <class S, class Group>
LPGD_HD QpMeasure<S> measure(const Group& g, QpWork<S>& work, S rho, const S* x, const S* z,
                             const S* s) {
  evaluate(g, work, rho, x, z);
  return measure_products(g, work, x, z, s);
}

// Certificates are looked for in the difference of two iterates, which tends to a ray on an
// infeasible problem, and in the iterate itself, once it is large. A ray proves that nothing of
// size below 1/certificate (times the size of the data) is feasible; one that is small proves
// nothing.
template <class S>
struct QpRay {
  S value, off, step;  // d'z or q'x along it; how far it is from a ray; its size
};

// How far from a proof, relative: its distance from a ray against the value along it. At least 1
// where it is none at all.
template <class S, class Group>
LPGD_HD S doubt(const Group& g, const QpRay<S>& ray, S least, S data) {
  const S value = g.sum(ray.value), off = g.max(ray.off), step = g.max(ray.step);
  const auto there = mask_and(less(least, step), less(value, S(0)));
  const S share = off * (S(1) + data) / select(there, -value, S(1));
  return select(mask_and(there, equal(share, share)), share, S(1));
}

template <class S>
struct QpDoubt {
  S least;  // of the two rays looked at
  MaskOf<S> worth,
      by_change;  // lanes whose ray is to be kept; those whose difference is the better
};

template <class S>
LPGD_INLINE QpDoubt<S> weigh(S by_change, S by_whole, MaskOf<S> open, S& least_doubt) {
  const S least = min_of(by_change, by_whole);
  const auto better = mask_and(open, less(least, least_doubt));
  least_doubt = select(better, least, least_doubt);
  const auto close = less(least, S(Precision<RealOf<S>>::weak_certificate));
  return {least, mask_and(better, close), less(by_change, by_whole)};
}

// Multipliers along C'z = 0, z >= 0 (free for equalities), d'z < 0: no x meets the constraints.
// Returns the doubt left, and keeps the multipliers in ray_z where, among the lanes of `open`, it
// is the least so far. The fields of the last measure() are used.
template <class S, class Group>
LPGD_HD S proves_primal_infeasible(const Group& g, const QpWork<S>& work, MaskOf<S> open,
                                   S& least_doubt) {
  QpRay<S> change{S(0), S(0), S(0)}, whole{S(0), S(0), S(0)};
  S data = S(0);
  LPGD_FOR (g, i, work.dims.slots()) {
    const S dz = work.z[i] - work.last_z[i];
    const S below = select(less(S(0), work.equal_slot[i]), S(0), max_of(-dz, S(0)));
    change.value += work.d[i] * dz;
    change.step = max_of(change.step, abs_of(dz));
    change.off = max_nan(change.off, below);
    whole.value += work.d[i] * work.z[i];
    whole.step = max_of(whole.step, abs_of(work.z[i]));
    data = max_of(data, abs_of(work.d[i]));
  }
  LPGD_FOR (g, j, work.dims.n) {
    change.off = max_nan(change.off, abs_of(work.Cz[j] - work.last_Cz[j]));
    whole.off = max_nan(whole.off, abs_of(work.Cz[j]));
  }
  data = g.max(data);
  const S least = S(RealOf<S>(1e-3)) * (S(1) + g.max(whole.step));
  const QpDoubt<S> left =
      weigh(doubt(g, change, least, data), doubt(g, whole, S(1), data), open, least_doubt);
  if (any_lane(left.worth))
    LPGD_FOR (g, i, work.dims.slots()) {
      const S part = select(left.by_change, work.z[i] - work.last_z[i], work.z[i]);
      work.ray_z[i] = select(left.worth, part, work.ray_z[i]);
    }
  return left.least;
}

// x along P x = 0, C x <= 0 (= 0 for equalities), q'x < 0: the objective has no lower bound.
// Returns the doubt left, and keeps x in ray_x as above.
template <class S, class Group>
LPGD_HD S proves_dual_infeasible(const Group& g, const QpWork<S>& work, MaskOf<S> open,
                                 S& least_doubt) {
  QpRay<S> change{S(0), S(0), S(0)}, whole{S(0), S(0), S(0)};
  S data = S(0);
  LPGD_FOR (g, j, work.dims.n) {
    const S dx = work.x[j] - work.last_x[j];
    change.value += work.q[j] * dx;
    change.step = max_of(change.step, abs_of(dx));
    change.off = max_nan(change.off, abs_of(work.Px[j] - work.last_Px[j]));
    whole.value += work.q[j] * work.x[j];
    whole.step = max_of(whole.step, abs_of(work.x[j]));
    whole.off = max_nan(whole.off, abs_of(work.Px[j]));
    data = max_of(data, abs_of(work.q[j]));
  }
  LPGD_FOR (g, i, work.dims.slots()) {
    const auto equality = less(S(0), work.equal_slot[i]);
    const S dCx = work.on[i] * (work.Cx[i] - work.last_Cx[i]);
    const S Cx = work.on[i] * work.Cx[i];
    change.off = max_nan(change.off, select(equality, abs_of(dCx), max_of(dCx, S(0))));
    whole.off = max_nan(whole.off, select(equality, abs_of(Cx), max_of(Cx, S(0))));
  }
  data = g.max(data);
  const S least = S(RealOf<S>(1e-3)) * (S(1) + g.max(whole.step));
  const QpDoubt<S> left =
      weigh(doubt(g, change, least, data), doubt(g, whole, S(1), data), open, least_doubt);
  if (any_lane(left.worth))
    LPGD_FOR (g, i, work.dims.n) {
      const S part = select(left.by_change, work.x[i] - work.last_x[i], work.x[i]);
      work.ray_x[i] = select(left.worth, part, work.ray_x[i]);
    }
  return left.least;
}

// For lanes of `active` called infeasible, the certificate as best_z or best_x.
template <class S, class Group>
LPGD_HD void take_rays(const Group& g, QpWork<S>& work, MaskOf<S> active, S status) {
  using T = RealOf<S>;
  const auto primal = mask_and(active, equal(status, S(T(kQpPrimalInfeasible))));
  const auto dual = mask_and(active, equal(status, S(T(kQpDualInfeasible))));
  g.sync();
  LPGD_FOR (g, j, work.dims.n) work.best_x[j] = select(dual, work.ray_x[j], work.best_x[j]);
  LPGD_FOR (g, i, work.dims.slots()) {
    const S signed_part =
        select(less(S(0), work.equal_slot[i]), work.ray_z[i], max_of(work.ray_z[i], S(0)));
    work.best_z[i] = select(primal, work.on[i] * signed_part, work.best_z[i]);
  }
  g.sync();
}

// Keep this iterate for the next look.
template <class S, class Group>
LPGD_HD void remember_iterate(const Group& g, QpWork<S>& work) {
  LPGD_FOR (g, j, work.dims.n) {
    work.last_x[j] = work.x[j];
    work.last_Px[j] = work.Px[j];
    work.last_Cz[j] = work.Cz[j];
  }
  LPGD_FOR (g, i, work.dims.slots()) {
    work.last_z[i] = work.z[i];
    work.last_Cx[i] = work.Cx[i];
  }
  g.sync();
}

LPGD_END_NAMESPACE
