// The batched QP: what one pack (CPU) or one block (CUDA) does for its entries.
#pragma once

#include "qp_active.h"

LPGD_BEGIN_NAMESPACE

constexpr int kPolishIterations = 8;
constexpr double kPolishFrom = 1e-2;  // the merit
constexpr double kFits = 1e-2;        // merit over eps, where an active set fits
constexpr double kBelowEps = 1e-3;    // merit over eps, where none does
constexpr int kRefinements = 4;
constexpr double kLargestGap = 1e-3;
constexpr double kGapOverEps = 1e3;  // what is called a solution; see far_from_optimal
constexpr double kPatience = 1e9;    // of active_set
constexpr double kBriefPatience = 0.5;

template <class S, class Src, class Group>
LPGD_HD void store_report(const Group& g, const QpLanes<S, Src>& lanes, int used, MaskOf<S> wanted,
                          const QpOutcome<S>& out, const QpReport<Src>& report) {
  if (g.lane() != 0) return;
  for (int l = 0; l < used; ++l) {
    if (!mask_lane(wanted, l)) continue;
    const std::int64_t slot = lanes.entry[l].slot;
    report.status[slot] = static_cast<std::int32_t>(get_lane(out.status, l));
    if (report.iterations)
      report.iterations[slot] = static_cast<std::int32_t>(get_lane(out.iterations, l));
    if (report.residuals) {
      // Between objectives beyond their type's range there is no difference: it is infinite.
      const auto put = [&](int place, RealOf<S> value) {
        if (!(value == value)) value = __builtin_inf();
        report.residuals[3 * slot + place] = static_cast<Src>(value);
      };
      put(0, get_lane(out.measure.primal, l));
      put(1, get_lane(out.measure.dual, l));
      put(2, get_lane(out.measure.gap, l));
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
  auto taken = active_set(g, work, rho, S(eps), accept, kPolishIterations, kRefinements,
                          T(kPatience), false, near, polished);
  const S merit = polished.measure.merit;
  taken = mask_and(taken, mask_or(less(merit, out.measure.merit), less(merit, S(T(kFits) * eps))));
  LPGD_FOR (g, j, n) work.best_x[j] = select(taken, work.x[j], work.best_x[j]);
  LPGD_FOR (g, i, M) work.best_z[i] = select(taken, work.z[i], work.best_z[i]);
  g.sync();
  take_measure(taken, polished.measure, out.measure);
  out.status = select(mask_and(taken, less(merit, S(eps))), S(T(kQpOk)), out.status);
}

template <class S>
LPGD_INLINE QpOutcome<S> no_outcome(S iterations) {
  return {S(RealOf<S>(kQpMaxIterations)), iterations, QpMeasure<S>{S(0), S(0), S(0), S(0), S(0)}};
}

// The interior point goes on in the lanes `left` until their merit is below `goal`, from the
// iterate that it stopped at (best_s keeps its slacks), and its result is polished.
template <class S, class Group>
LPGD_HD void solve_on(const Group& g, QpWork<S>& work, S rho, RealOf<S> eps, S goal, int max_iter,
                      MaskOf<S> left, bool prove, QpOutcome<S>& out) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  LPGD_FOR (g, j, n) work.x[j] = work.best_x[j];
  LPGD_FOR (g, i, M) {
    work.z[i] = work.best_z[i];
    work.s[i] = work.best_s[i];
  }
  g.sync();
  interior_point(g, work, rho, goal, max_iter, left, prove, out);
  LPGD_FOR (g, i, M) work.best_s[i] = work.s[i];
  g.sync();
  const auto point = mask_and(left, less(out.status, S(T(kQpMaxIterations) + T(0.5))));
  polish(g, work, rho, eps, max_of(S(eps), out.measure.merit), point, out);
}

// Interior point and polish, iterations counted on from `iterations`; x, z hold the result. Where P
// is positive definite, active-set steps find the solution long before the interior point is done
// (they need no curvature from it), so they are tried early, and it goes on only where they fail.
// Where no active set fits in the end either, it goes on below eps, as far as rounding lets it.
template <class S, class Group>
LPGD_HD QpOutcome<S> solve_cold(const Group& g, QpWork<S>& work, S rho, RealOf<S> eps, int max_iter,
                                MaskOf<S> usable, S iterations) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  QpOutcome<S> out = no_outcome(iterations);
  const S tolerance = S(eps);
  const S ok = S(T(kQpOk));
  const auto strict = mask_and(usable, less(S(T(0.5)), work.facts[kFactStrict]));
  const S early = max_of(tolerance, select(strict, S(T(kPolishFrom)), tolerance));
  starting_point(g, work, rho);
  interior_point(g, work, rho, early, max_iter, usable, true, out);
  LPGD_FOR (g, i, M) work.best_s[i] = work.s[i];
  const auto stopped = mask_and(strict, less(out.measure.merit, early));
  const S before = max_of(tolerance, out.measure.merit);
  const auto point = mask_and(usable, less(out.status, S(T(kQpMaxIterations) + T(0.5))));
  polish(g, work, rho, eps, select(stopped, tolerance, before), point, out);
  const auto left = mask_and(stopped, less(tolerance, out.measure.merit));
  if (any_lane(left)) {
    out.status = select(left, S(T(kQpMaxIterations)), out.status);
    solve_on(g, work, rho, eps, tolerance, max_iter, left, true, out);
  }
  const auto loose =
      mask_and(mask_and(usable, equal(out.status, ok)), less(S(T(kFits) * eps), out.measure.merit));
  if (any_lane(loose)) {
    solve_on(g, work, rho, eps, S(T(kBelowEps) * eps), max_iter, loose, false, out);
    out.status = select(loose, ok, out.status);
  }
  LPGD_FOR (g, j, n) work.x[j] = work.best_x[j];
  LPGD_FOR (g, i, M) work.z[i] = work.best_z[i];
  g.sync();
  return out;
}

// Certificates in the scale promised: b'y + h'z - lb'z_lb + ub'z_ub = -1, and q'x = -1.
template <class S, class Group>
LPGD_HD void normalise_rays(const Group& g, QpWork<S>& work, S status) {
  using T = RealOf<S>;
  const auto primal = equal(status, S(T(kQpPrimalInfeasible)));
  const auto dual = equal(status, S(T(kQpDualInfeasible)));
  if (!any_lane(mask_or(primal, dual))) return;
  const int n = work.dims.n, M = work.dims.slots();
  const S unit = *work.cost_scale / (*work.x_scale * *work.x_scale);
  const S along_z = dot(g, work.d, work.z, M), along_x = dot(g, work.q, work.x, n);
  const S tiny = S(Precision<RealOf<S>>::tiny);  // below, a certificate of 1 is beyond the type
  const S scale_z = unit / select(less(along_z, S(0)), max_of(-along_z, tiny), S(1));
  const S scale_x = unit / select(less(along_x, S(0)), max_of(-along_x, tiny), S(1));
  LPGD_FOR (g, j, n) work.x[j] = select(dual, scale_x * work.x[j], work.x[j]);
  LPGD_FOR (g, i, M) work.z[i] = select(primal, scale_z * work.z[i], work.z[i]);
  g.sync();
}

// The certificate of crossed bounds, lb > ub: the multipliers of one such pair against each other.
template <class S, class Group>
LPGD_HD void crossed_certificate(const Group& g, QpWork<S>& work, MaskOf<S> crossed) {
  const QpDims& dims = work.dims;
  if (!any_lane(crossed) || dims.n_lb == 0 || dims.n_ub == 0) return;
  const int lb0 = dims.lower(), ub0 = dims.upper();
  const auto overlap = [&](int j) {
    const auto both = less(S(0), work.on[lb0 + j] * work.on[ub0 + j]);
    return select(both, -(work.d[lb0 + j] + work.d[ub0 + j]), S(0)) * *work.x_scale *
           work.column_scale[j];
  };
  S count = S(0);
  LPGD_FOR (g, j, dims.n) count += indicator<S>(less(S(0), overlap(j)));
  count = g.sum(count);
  const S tiny = S(Precision<RealOf<S>>::tiny);  // as above
  LPGD_FOR (g, j, dims.n) {
    const S gap = overlap(j);
    const auto here = mask_and(crossed, less(S(0), gap));
    const S weight = select(here, S(1) / (count * select(here, max_of(gap, tiny), S(1))), S(0));
    work.z[lb0 + j] = select(here, weight, work.z[lb0 + j]);
    work.z[ub0 + j] = select(here, weight, work.z[ub0 + j]);
  }
  g.sync();
}

// Lanes whose objectives are too far apart for a solution, relative to their terms in the units
// given: where these are large, a tolerance relative to 1 inside allows too much. x, z are scaled.
template <class S, class Group>
LPGD_HD MaskOf<S> far_from_optimal(const Group& g, const QpWork<S>& work, S gap, S eps) {
  S terms = S(0);
  LPGD_FOR (g, j, work.dims.n) terms += abs_of(work.q[j] * work.x[j]);
  LPGD_FOR (g, i, work.dims.slots()) terms += abs_of(work.d[i] * work.z[i]);
  const S unit = *work.x_scale;
  terms = unit * unit * g.sum(terms) / *work.cost_scale;
  using T = RealOf<S>;
  const S share = max_of(eps, min_of(S(T(kGapOverEps)) * eps, S(T(kLargestGap))));
  return less(share * (S(1) + terms), gap);
}

// x and z of the workspace in the units given, and a status for numbers that broke: zeros, never
// nan.
template <class S, class Group>
LPGD_HD void finish(const Group& g, QpWork<S>& work, const QpVectorFacts<S>& facts, MaskOf<S> sound,
                    S eps, QpOutcome<S>& out) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  const auto far = far_from_optimal(g, work, out.measure.gap, eps);
  out.status =
      select(mask_and(far, equal(out.status, S(T(kQpOk)))), S(T(kQpMaxIterations)), out.status);
  normalise_rays(g, work, out.status);
  const S unit = *work.x_scale;
  LPGD_FOR (g, j, n) work.x[j] = unit * (work.column_scale[j] * work.x[j]);
  unscale_duals(g, work, unit, work.z, work.z);
  S broken = S(0);
  LPGD_FOR (g, j, n) broken = max_of(broken, indicator<S>(mask_not(is_finite(work.x[j]))));
  LPGD_FOR (g, i, M) broken = max_of(broken, indicator<S>(mask_not(is_finite(work.z[i]))));
  broken = g.max(broken);
  out.status = select(less(S(0), broken), S(T(kQpNumericalError)), out.status);
  out.status = select(facts.crossed, S(T(kQpPrimalInfeasible)), out.status);
  out.status = select(sound, out.status, S(T(kQpNumericalError)));
  const auto usable = mask_and(sound, mask_not(facts.crossed));
  const auto keep = mask_and(usable, mask_not(less(S(0), broken)));
  const S lost = S(1) / S(0);
  take_measure(mask_not(keep), QpMeasure<S>{lost, lost, lost, lost, lost}, out.measure);
  out.iterations = select(keep, out.iterations, S(0));
  LPGD_FOR (g, j, n) work.x[j] = select(keep, work.x[j], S(0));
  LPGD_FOR (g, i, M) work.z[i] = select(keep, work.z[i], S(0));
  g.sync();
  crossed_certificate(g, work, mask_and(sound, facts.crossed));
}

// Another weight of the equalities for all that follows.
template <class S, class Group>
LPGD_HD void take_effort(const Group& g, QpWork<S>& work, const QpEffort<RealOf<S>>& effort) {
  if (work.dims.p > 0 && !work.dims.by_rows) {
    const S ratio = S(work.effort.equality_reg / effort.equality_reg);
    const int n = work.dims.n, ld = work.dims.stride_n();
    LPGD_FOR (g, j, n)
      for (int k = 0; k <= j; ++k) work.AtA[j * ld + k] = ratio * work.AtA[j * ld + k];
  }
  work.effort = effort;
  g.sync();
}

// The second attempt: for lanes that ended without an answer and had iterations left, and for small
// x that tolerances relative to 1 say little about. It counts x in units of the size found; where
// the variables' units are far apart, each in its own.
template <class S, class Src, class Group>
LPGD_HD void try_again(const Group& g, QpWork<S>& work, const QpTask<Src>& task,
                       const QpLanes<S, Src>& lanes, int used, const QpVectorFacts<S>& facts,
                       MaskOf<S> sound, const QpOutcome<S>& before) {
  using T = RealOf<S>;
  const T tolerance = static_cast<T>(task.settings.eps);
  S size = S(0);
  LPGD_FOR (g, j, work.dims.n) size = max_nan(size, abs_of(work.x[j]) / work.column_scale[j]);
  size = g.max(size) / *work.x_scale;
  const auto usable = mask_and(sound, mask_not(facts.crossed));
  const auto failed = mask_or(equal(before.status, S(T(kQpMaxIterations))),
                              equal(before.status, S(T(kQpNumericalError))));
  const auto unanswered = mask_and(failed, less(before.iterations, S(T(task.settings.max_iter))));
  const auto vague =
      mask_and(equal(before.status, S(T(kQpOk))), less(S(tolerance) * size, before.measure.merit));
  const auto seen = mask_and(less(S(T(100) * tolerance), size), less(size, S(T(kSmallX))));
  const auto again = mask_and(usable, mask_or(unanswered, mask_and(vague, seen)));
  if (!any_lane(again)) return;
  const auto far = mask_or(seen, less(S(T(kLargeX)), size));
  const auto apart = mask_and(again, less(S(0), work.facts[kFactColumns]));
  if (any_lane(apart)) {
    scale_columns_by(g, work, apart, work.x);
    if (!work.dims.by_rows && work.dims.p > 0) load_gram(g, work);
    if (work.dims.by_rows) transpose_rows(g, work);
  }
  const S found = *work.x_scale * select(mask_and(far, is_finite(size)), size, S(1));
  const S unit = select(apart, S(1), found);
  load_vectors(g, work, task.problem, task.point, task.gradient, lanes, QpScales<S>{unit, S(0)});
  const auto usual = work.effort;
  take_effort(g, work, careful_effort<T>());
  QpOutcome<S> out = solve_cold(g, work, lanes.rho * *work.cost_scale, tolerance,
                                task.settings.max_iter, again, before.iterations);
  take_effort(g, work, usual);
  finish(g, work, facts, sound, S(tolerance), out);
  const auto answered = mask_or(less(out.measure.merit, before.measure.merit),
                                mask_or(equal(out.status, S(T(kQpPrimalInfeasible))),
                                        equal(out.status, S(T(kQpDualInfeasible)))));
  const auto solved = equal(out.status, S(T(kQpOk)));
  const auto better = mask_and(again, mask_or(solved, mask_and(failed, answered)));
  store_point(g, work, lanes, used, better, work.x, work.z, task.solution);
  store_report(g, lanes, used, better, out, task.report);
  g.sync();
}

// Solve entries [first, first + used) of the task. `fresh`: the workspace holds no matrices yet.
// What active-set iterations leave unsolved is stored as it is, for kActiveSetOn to go on from.
template <class S, class Src, class Group>
LPGD_HD void solve_entries(const Group& g, QpWork<S>& work, const QpTask<Src>& task,
                           std::int64_t first, int used, bool fresh) {
  using T = RealOf<S>;
  const QpLanes<S, Src> lanes = lanes_of<S>(task.entries, first, used);
  // what has a solution has been found to be convex
  const bool known = task.method != QpMethod::kInterior && task.method != QpMethod::kWarmStart;
  load_matrices(g, work, task.problem, lanes, fresh, !known);
  // a point of unknown worth says nothing of the units of x
  const QpPoint<const Src> none{nullptr, nullptr, nullptr, nullptr, nullptr};
  const QpPoint<const Src> anchor = task.method == QpMethod::kWarmStart ? none : task.point;
  const QpVectorFacts<S> facts =
      load_vectors(g, work, task.problem, anchor, task.gradient, lanes, QpScales<S>{S(0), S(0)});
  const auto convex = less(S(T(0.5)), work.facts[kFactConvex]);
  const auto sound = mask_and(facts.finite, convex);
  const auto usable = mask_and(sound, mask_not(facts.crossed));
  const S rho = lanes.rho * *work.cost_scale;
  const T tolerance = static_cast<T>(task.settings.eps);
  const S eps = S(tolerance);

  QpOutcome<S> out;
  bool cold = task.method == QpMethod::kInterior;
  if (!cold) {
    out = no_outcome(S(0));
    if (task.method == QpMethod::kActiveSetOn)
      load_point(g, work, as_given(task.solution), by_slot(lanes), work.x, work.z);
    else
      load_point(g, work, task.point, lanes, work.x, work.z);
    const T patience = T(task.method == QpMethod::kActiveSet ? kPatience : kBriefPatience);
    const auto held =
        active_set(g, work, rho, eps, eps, task.rounds, kRefinements, patience, false, usable, out);
    out.status = select(held, S(T(kQpOk)), out.status);
    cold = task.method == QpMethod::kWarmStart && !any_lane(held);
  }
  if (cold) out = solve_cold(g, work, rho, tolerance, task.settings.max_iter, usable, S(0));
  finish(g, work, facts, sound, eps, out);
  const auto all = equal(S(0), S(0));
  store_point(g, work, lanes, used, all, work.x, work.z, task.solution);
  store_report(g, lanes, used, all, out, task.report);
  g.sync();
  if (Precision<T>::second_attempt && cold)
    try_again(g, work, task, lanes, used, facts, sound, out);
}

// Both sides of LPGD's average: one active-set iteration each, from the solution, whose active set
// they share at first, and with it the factorisation.
template <class S, class Src, class Group>
LPGD_HD void solve_pairs(const Group& g, QpWork<S>& work, const QpTask<Src>& task,
                         std::int64_t first, int used, bool fresh) {
  using T = RealOf<S>;
  QpLanes<S, Src> lanes = lanes_of<S>(task.entries, first, used);
  load_matrices(g, work, task.problem, lanes, fresh, false);
  const S eps = S(static_cast<T>(task.settings.eps));
  QpScales<S> scales{S(0), S(0)};
  for (int side = 0; side < 2; ++side) {
    const QpVectorFacts<S> facts =
        load_vectors(g, work, task.problem, task.point, task.gradient, lanes, scales);
    scales = QpScales<S>{*work.x_scale, *work.cost_scale};  // those that the factor was made with
    const auto usable = mask_and(facts.finite, mask_not(facts.crossed));
    load_point(g, work, task.point, lanes, work.x, work.z);
    QpOutcome<S> out = no_outcome(S(0));
    const auto held = active_set(g, work, lanes.rho * scales.cost, eps, eps, 1, kRefinements,
                                 T(kPatience), side == 1, usable, out);
    out.status = select(held, S(T(kQpOk)), out.status);
    finish(g, work, facts, facts.finite, eps, out);
    const auto all = equal(S(0), S(0));
    store_point(g, work, lanes, used, all, work.x, work.z, task.solution);
    store_report(g, lanes, used, all, out, task.report);
    g.sync();
    lanes.shift = -lanes.shift;
    for (int l = 0; l < ScalarTraits<S>::lanes; ++l) lanes.entry[l].slot += task.problem.batch;
  }
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
  load_matrices(g, work, task.problem, lanes, fresh, !task.solved);
  const QpVectorFacts<S> facts =
      load_vectors(g, work, task.problem, none, none, lanes, QpScales<S>{S(0), S(0)});
  load_point(g, work, task.point, lanes, work.x, work.z);
  LPGD_FOR (g, j, n) work.rx[j] = S(0);
  LPGD_FOR (g, i, M) work.rz[i] = S(0);
  g.sync();
  add_scaled(g, lanes, task.gradient.x, n, -*work.cost_scale, work.rx);
  LPGD_FOR (g, j, n) work.rx[j] = work.column_scale[j] * work.rx[j];
  add_dual_gradient(g, work, lanes, task.point, task.gradient, S(T(-1)), work.rz);
  S upstream = S(0);
  LPGD_FOR (g, j, n) upstream += work.rx[j] - work.rx[j];
  g.sync();
  LPGD_FOR (g, i, M) {
    work.rz[i] = work.rz[i] * work.slot_scale[i];
    upstream += work.rz[i] - work.rz[i];
  }
  upstream = g.sum(upstream);
  g.sync();
  const S residual = implicit_direction(g, work);
  unscale_duals(g, work, S(1), work.z, work.dz);
  // A failed item has no gradient; an upstream gradient that is not finite is handed on.
  const auto there = has_point(lanes, task.solved);
  const auto sound = mask_and(facts.finite, less(S(T(0.5)), work.facts[kFactConvex]));
  const auto done = mask_and(sound, is_finite(residual));
  const auto keep = mask_and(there, done);
  const auto pass = mask_and(there, mask_not(is_finite(upstream)));
  LPGD_FOR (g, j, n)
    work.dx[j] = select(pass, upstream, select(keep, work.column_scale[j] * work.dx[j], S(0)));
  LPGD_FOR (g, i, M) work.dz[i] = select(pass, upstream, select(keep, work.dz[i], S(0)));
  g.sync();
  store_point(g, work, lanes, used, equal(S(0), S(0)), work.dx, work.dz, task.direction);
  if (g.lane() == 0)
    for (int l = 0; l < used; ++l)
      task.report.status[lanes.entry[l].slot] = mask_lane(done, l) ? kQpOk : kQpNumericalError;
  g.sync();
}

LPGD_END_NAMESPACE
