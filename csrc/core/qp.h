// The batched QP: what one pack (CPU) or one block (CUDA) does for its entries.
#pragma once

#include "qp_active.h"

LPGD_BEGIN_NAMESPACE

// Active-set iterations of a warm re-solve before it is left to the interior point.
constexpr int kWarmIterations = 8;
constexpr int kPolishIterations = 2;
constexpr int kRefinements = 4;

template <class S, class Group>
LPGD_HD void store_report(const Group& g, const QpLanes<S>& lanes, int used,
                          const QpOutcome<S>& out, const QpReport<RealOf<S>>& report) {
  if (g.lane() != 0) return;
  for (int l = 0; l < used; ++l) {
    const std::int64_t slot = lanes.entry[l].slot;
    report.status[slot] = static_cast<std::int32_t>(get_lane(out.status, l));
    if (report.iterations)
      report.iterations[slot] = static_cast<std::int32_t>(get_lane(out.iterations, l));
    if (report.residuals) {
      report.residuals[3 * slot] = get_lane(out.measure.primal, l);
      report.residuals[3 * slot + 1] = get_lane(out.measure.dual, l);
      report.residuals[3 * slot + 2] = get_lane(out.measure.gap, l);
    }
  }
}

// Solve entries [first, first + used) of the task. `fresh`: the workspace holds no matrices yet.
template <class S, class Group>
LPGD_HD void solve_entries(const Group& g, QpWork<S>& work, const QpTask<RealOf<S>>& task,
                           std::int64_t first, int used, bool fresh) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, p = dims.p, M = dims.slots();
  const QpLanes<S> lanes = lanes_of<S>(task.entries, first, used);
  load_matrices(g, work, task.problem, lanes, fresh);
  const QpVectorFacts<S> facts =
      load_vectors(g, work, task.problem, task.point, task.gradient, lanes);
  const auto convex = less(S(T(0.5)), work.facts[kFactConvex]);
  const auto sound = mask_and(facts.finite, convex);
  const auto usable = mask_and(sound, mask_not(facts.crossed));
  const S eps = S(task.settings.eps);

  QpOutcome<S> out;
  out.status = S(T(kQpMaxIterations));
  out.iterations = S(0);
  out.measure.primal = out.measure.dual = out.measure.gap = S(0);
  if (task.method == QpMethod::kActiveSet) {
    load_point(g, work, task.point, lanes, work.x, work.y, work.z);
    const auto held =
        active_set(g, work, lanes.rho, eps, kWarmIterations, kRefinements, usable, out);
    out.status = select(held, S(T(kQpOk)), out.status);
  } else {
    out = interior_point(g, work, lanes.rho, task.settings.eps, task.settings.max_iter, usable);
    LPGD_FOR (g, j, n) work.x[j] = work.best_x[j];
    LPGD_FOR (g, i, p) work.y[i] = work.best_y[i];
    LPGD_FOR (g, i, M) work.z[i] = work.best_z[i];
    g.sync();
    // Polish what is near a solution; keep the polished point only where it is truly better.
    const auto ended = mask_or(less(out.status, S(T(0.5))),
                               less(abs_of(out.status - S(T(kQpMaxIterations))), S(T(0.5))));
    const auto near = mask_and(mask_and(usable, ended), less(out.measure.merit, S(T(1e-2))));
    if (any_lane(near)) {
      QpOutcome<S> polished = out;
      const S before = out.measure.merit;
      auto taken = active_set(g, work, lanes.rho, max_of(eps, before), kPolishIterations,
                              kRefinements, near, polished);
      taken = mask_and(taken, mask_or(less(polished.measure.merit, before),
                                      less(polished.measure.merit, S(T(1e-2)) * eps)));
      LPGD_FOR (g, j, n) work.x[j] = select(taken, work.x[j], work.best_x[j]);
      LPGD_FOR (g, i, p) work.y[i] = select(taken, work.y[i], work.best_y[i]);
      LPGD_FOR (g, i, M) work.z[i] = select(taken, work.z[i], work.best_z[i]);
      g.sync();
      out.measure.primal = select(taken, polished.measure.primal, out.measure.primal);
      out.measure.dual = select(taken, polished.measure.dual, out.measure.dual);
      out.measure.gap = select(taken, polished.measure.gap, out.measure.gap);
      out.status =
          select(mask_and(taken, less(polished.measure.merit, eps)), S(T(kQpOk)), out.status);
    }
  }
  // Unusable items and numbers that broke: a status and zeros, never nan.
  S broken = S(0);
  LPGD_FOR (g, j, n) broken = max_of(broken, select(is_finite(work.x[j]), S(0), S(1)));
  LPGD_FOR (g, i, p) broken = max_of(broken, select(is_finite(work.y[i]), S(0), S(1)));
  LPGD_FOR (g, i, M) broken = max_of(broken, select(is_finite(work.z[i]), S(0), S(1)));
  broken = g.max(broken);
  out.status = select(less(S(0), broken), S(T(kQpNumericalError)), out.status);
  out.status = select(facts.crossed, S(T(kQpPrimalInfeasible)), out.status);
  out.status = select(sound, out.status, S(T(kQpNumericalError)));
  const auto keep = mask_and(usable, mask_not(less(S(0), broken)));
  out.iterations = select(keep, out.iterations, S(0));
  const S lost = S(1) / S(0);
  out.measure.primal = select(keep, out.measure.primal, lost);
  out.measure.dual = select(keep, out.measure.dual, lost);
  out.measure.gap = select(keep, out.measure.gap, lost);
  LPGD_FOR (g, j, n) work.x[j] = select(keep, work.x[j], S(0));
  LPGD_FOR (g, i, p) work.y[i] = select(keep, work.y[i], S(0));
  LPGD_FOR (g, i, M) work.z[i] = select(keep, work.z[i], S(0));
  g.sync();
  split_fixed(g, work, work.z);
  store_point(g, work, lanes, used, work.x, work.y, work.z, task.solution);
  store_report(g, lanes, used, out, task.report);
  g.sync();
}

template <class S, class Group>
LPGD_HD void implicit_entries(const Group& g, QpWork<S>& work,
                              const QpImplicitTask<RealOf<S>>& task, std::int64_t first, int used,
                              bool fresh) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, p = dims.p, m = dims.m, M = dims.slots();
  const QpLanes<S> lanes = lanes_of<S>(nullptr, first, used);
  const QpPoint<const T> none{nullptr, nullptr, nullptr, nullptr, nullptr};
  load_matrices(g, work, task.problem, lanes, fresh);
  const QpVectorFacts<S> facts = load_vectors(g, work, task.problem, none, none, lanes);
  load_point(g, work, task.point, lanes, work.x, work.y, work.z);
  LPGD_FOR (g, j, n) work.rx[j] = S(0);
  LPGD_FOR (g, i, p) work.ry[i] = S(0);
  LPGD_FOR (g, i, M) work.rz[i] = S(0);
  g.sync();
  const S minus = S(T(-1));
  add_scaled(g, lanes, task.gradient.x, n, minus, work.rx);
  add_scaled(g, lanes, task.gradient.y, p, minus, work.ry);
  add_scaled(g, lanes, task.gradient.z, m, minus, work.rz);
  add_scaled(g, lanes, task.gradient.z_lb, dims.n_lb, minus, work.rz + m);
  add_scaled(g, lanes, task.gradient.z_ub, dims.n_ub, minus, work.rz + m + dims.n_lb);
  g.sync();
  const S residual = implicit_direction(g, work);
  const auto keep = mask_and(mask_and(facts.finite, is_finite(residual)),
                             less(S(T(0.5)), work.facts[kFactConvex]));
  LPGD_FOR (g, j, n) work.dx[j] = select(keep, work.dx[j], S(0));
  LPGD_FOR (g, i, p) work.dy[i] = select(keep, work.dy[i], S(0));
  LPGD_FOR (g, i, M) work.dz[i] = select(keep, work.dz[i], S(0));
  g.sync();
  store_point(g, work, lanes, used, work.dx, work.dy, work.dz, task.direction);
  if (g.lane() == 0)
    for (int l = 0; l < used; ++l)
      task.report.status[lanes.entry[l].slot] = mask_lane(keep, l) ? kQpOk : kQpNumericalError;
  g.sync();
}

LPGD_END_NAMESPACE
