// The batched QP: what one pack (CPU) or one block (CUDA) does for its entries.
#pragma once

#include "qp_active.h"

LPGD_BEGIN_NAMESPACE

// Active-set iterations of a warm re-solve before it is left to the interior point.
constexpr int kWarmIterations = 8;
constexpr int kPolishIterations = 8;
constexpr double kPolishFrom = 1e-2;  // the merit
constexpr int kRefinements = 4;

template <class S, class Src, class Group>
LPGD_HD void store_report(const Group& g, const QpLanes<S, Src>& lanes, int used,
                          const QpOutcome<S>& out, const QpReport<Src>& report) {
  if (g.lane() != 0) return;
  for (int l = 0; l < used; ++l) {
    const std::int64_t slot = lanes.entry[l].slot;
    report.status[slot] = static_cast<std::int32_t>(get_lane(out.status, l));
    if (report.iterations)
      report.iterations[slot] = static_cast<std::int32_t>(get_lane(out.iterations, l));
    if (report.residuals) {
      report.residuals[3 * slot] = static_cast<Src>(get_lane(out.measure.primal, l));
      report.residuals[3 * slot + 1] = static_cast<Src>(get_lane(out.measure.dual, l));
      report.residuals[3 * slot + 2] = static_cast<Src>(get_lane(out.measure.gap, l));
    }
  }
}

// The polish of what is near a solution: active-set steps from best_x, best_z, which then hold the
// result, as x, z do. A lane takes it with a merit below its `accept`, where it is truly better.
template <class S, class Group>
LPGD_HD void polish(const Group& g, QpWork<S>& work, S rho, RealOf<S> eps, S accept,
                    MaskOf<S> lanes, QpOutcome<S>& out) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  const auto near = mask_and(lanes, less(out.measure.merit, S(T(kPolishFrom))));
  if (!any_lane(near)) return;
  LPGD_FOR (g, j, n) work.x[j] = work.best_x[j];
  LPGD_FOR (g, i, M) work.z[i] = work.best_z[i];
  g.sync();
  QpOutcome<S> polished = out;
  auto taken =
      active_set(g, work, rho, S(eps), accept, kPolishIterations, kRefinements, near, polished);
  const S merit = polished.measure.merit;
  taken = mask_and(taken, mask_or(less(merit, out.measure.merit), less(merit, S(T(1e-2) * eps))));
  LPGD_FOR (g, j, n) work.best_x[j] = select(taken, work.x[j], work.best_x[j]);
  LPGD_FOR (g, i, M) work.best_z[i] = select(taken, work.z[i], work.best_z[i]);
  g.sync();
  take_measure(taken, polished.measure, out.measure);
  out.status = select(mask_and(taken, less(merit, S(eps))), S(T(kQpOk)), out.status);
}

// Interior point and polish; x, z hold the result. Where P is positive definite, active-set steps
// find the solution long before the interior point is done (they need no curvature from it), so
// they are tried early, and it goes on only where they fail.
template <class S, class Group>
LPGD_HD QpOutcome<S> solve_cold(const Group& g, QpWork<S>& work, S rho, RealOf<S> eps, int max_iter,
                                MaskOf<S> usable) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  QpOutcome<S> out;
  out.status = S(T(kQpMaxIterations));
  out.iterations = S(0);
  out.measure = QpMeasure<S>{S(0), S(0), S(0), S(0), S(0)};
  const S tolerance = S(eps);
  const auto feasible = [&] { return less(out.status, S(T(kQpMaxIterations) + T(0.5))); };
  const auto strict = mask_and(usable, less(S(T(0.5)), work.facts[kFactStrict]));
  const S early = max_of(tolerance, select(strict, S(T(kPolishFrom)), tolerance));
  starting_point(g, work, rho);
  interior_point(g, work, rho, early, max_iter, usable, out);
  LPGD_FOR (g, i, M) work.best_s[i] = work.s[i];
  const auto stopped = mask_and(strict, less(out.measure.merit, early));
  const S before = max_of(tolerance, out.measure.merit);
  polish(g, work, rho, eps, select(stopped, tolerance, before), mask_and(usable, feasible()), out);
  const auto left = mask_and(stopped, less(tolerance, out.measure.merit));
  LPGD_FOR (g, j, n) work.x[j] = work.best_x[j];
  LPGD_FOR (g, i, M) work.z[i] = work.best_z[i];
  g.sync();
  if (!any_lane(left)) return out;
  LPGD_FOR (g, i, M) work.s[i] = work.best_s[i];
  g.sync();
  out.status = select(left, S(T(kQpMaxIterations)), out.status);
  interior_point(g, work, rho, tolerance, max_iter, left, out);
  polish(g, work, rho, eps, max_of(tolerance, out.measure.merit), mask_and(left, feasible()), out);
  LPGD_FOR (g, j, n) work.x[j] = work.best_x[j];
  LPGD_FOR (g, i, M) work.z[i] = work.best_z[i];
  g.sync();
  return out;
}

// Solve entries [first, first + used) of the task. `fresh`: the workspace holds no matrices yet.
template <class S, class Src, class Group>
LPGD_HD void solve_entries(const Group& g, QpWork<S>& work, const QpTask<Src>& task,
                           std::int64_t first, int used, bool fresh) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  const QpLanes<S, Src> lanes = lanes_of<S>(task.entries, first, used);
  load_matrices(g, work, task.problem, lanes, fresh);
  const QpVectorFacts<S> facts =
      load_vectors(g, work, task.problem, task.point, task.gradient, lanes);
  const auto convex = less(S(T(0.5)), work.facts[kFactConvex]);
  const auto sound = mask_and(facts.finite, convex);
  const auto usable = mask_and(sound, mask_not(facts.crossed));
  const S rho = lanes.rho * *work.cost_scale;
  const T tolerance = static_cast<T>(task.settings.eps);
  const S eps = S(tolerance);

  QpOutcome<S> out;
  out.status = S(T(kQpMaxIterations));
  out.iterations = S(0);
  out.measure = QpMeasure<S>{S(0), S(0), S(0), S(0), S(0)};
  if (task.method == QpMethod::kActiveSet) {
    load_point(g, work, task.point, lanes, work.x, work.z);
    const auto held =
        active_set(g, work, rho, eps, eps, kWarmIterations, kRefinements, usable, out);
    out.status = select(held, S(T(kQpOk)), out.status);
  } else {
    out = solve_cold(g, work, rho, tolerance, task.settings.max_iter, usable);
  }
  unscale_duals(g, work, work.z, work.z);
  // Unusable items and numbers that broke: a status and zeros, never nan.
  S broken = S(0);
  LPGD_FOR (g, j, n) broken = max_of(broken, indicator<S>(mask_not(is_finite(work.x[j]))));
  LPGD_FOR (g, i, M) broken = max_of(broken, indicator<S>(mask_not(is_finite(work.z[i]))));
  broken = g.max(broken);
  out.status = select(less(S(0), broken), S(T(kQpNumericalError)), out.status);
  out.status = select(facts.crossed, S(T(kQpPrimalInfeasible)), out.status);
  out.status = select(sound, out.status, S(T(kQpNumericalError)));
  const auto keep = mask_and(usable, mask_not(less(S(0), broken)));
  const S lost = S(1) / S(0);
  take_measure(mask_not(keep), QpMeasure<S>{lost, lost, lost, lost, lost}, out.measure);
  out.iterations = select(keep, out.iterations, S(0));
  LPGD_FOR (g, j, n) work.x[j] = select(keep, work.x[j], S(0));
  LPGD_FOR (g, i, M) work.z[i] = select(keep, work.z[i], S(0));
  g.sync();
  store_point(g, work, lanes, used, work.x, work.z, task.solution);
  store_report(g, lanes, used, out, task.report);
  g.sync();
}

// Lanes whose forward solve ended with a point: ok, or max_iterations. All others have no gradient.
template <class S, class Src>
LPGD_HD MaskOf<S> has_point(const QpLanes<S, Src>& lanes, const std::int32_t* status) {
  S failed = S(0);
  for (int l = 0; l < ScalarTraits<S>::lanes; ++l)
    if (status && status[lanes.entry[l].item] > kQpMaxIterations) set_lane(failed, l, RealOf<S>(1));
  return equal(failed, S(0));
}

template <class S, class Src, class Group>
LPGD_HD void implicit_entries(const Group& g, QpWork<S>& work, const QpImplicitTask<Src>& task,
                              std::int64_t first, int used, bool fresh) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  const QpLanes<S, Src> lanes = lanes_of<S>(static_cast<const QpEntry<Src>*>(nullptr), first, used);
  const QpPoint<const Src> none{nullptr, nullptr, nullptr, nullptr, nullptr};
  load_matrices(g, work, task.problem, lanes, fresh);
  const QpVectorFacts<S> facts = load_vectors(g, work, task.problem, none, none, lanes);
  load_point(g, work, task.point, lanes, work.x, work.z);
  LPGD_FOR (g, j, n) work.rx[j] = S(0);
  LPGD_FOR (g, i, M) work.rz[i] = S(0);
  g.sync();
  add_scaled(g, lanes, task.gradient.x, n, -*work.cost_scale, work.rx);
  add_dual_gradient(g, work, lanes, task.point, task.gradient, S(T(-1)), work.rz);
  S upstream = S(0);
  LPGD_FOR (g, j, n) upstream += work.rx[j] - work.rx[j];
  g.sync();
  LPGD_FOR (g, i, M) {
    work.rz[i] = work.rz[i] * slot_scale(work, i);
    upstream += work.rz[i] - work.rz[i];
  }
  upstream = g.sum(upstream);
  g.sync();
  const S residual = implicit_direction(g, work);
  unscale_duals(g, work, work.z, work.dz);
  // A failed item has no gradient; an upstream gradient that is not finite is handed on.
  const auto there = has_point(lanes, task.solved);
  const auto sound = mask_and(facts.finite, less(S(T(0.5)), work.facts[kFactConvex]));
  const auto done = mask_and(sound, is_finite(residual));
  const auto keep = mask_and(there, done);
  const auto pass = mask_and(there, mask_not(is_finite(upstream)));
  LPGD_FOR (g, j, n) work.dx[j] = select(pass, upstream, select(keep, work.dx[j], S(0)));
  LPGD_FOR (g, i, M) work.dz[i] = select(pass, upstream, select(keep, work.dz[i], S(0)));
  g.sync();
  store_point(g, work, lanes, used, work.dx, work.dz, task.direction);
  if (g.lane() == 0)
    for (int l = 0; l < used; ++l)
      task.report.status[lanes.entry[l].slot] = mask_lane(done, l) ? kQpOk : kQpNumericalError;
  g.sync();
}

LPGD_END_NAMESPACE
