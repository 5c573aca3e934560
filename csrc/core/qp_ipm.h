// Primal-dual interior point, Mehrotra's predictor-corrector (Mehrotra 1992; Nocedal & Wright, ch.
// 16). Lanes of a pack that have finished are frozen: their numbers stay what they would have been
// alone.
#pragma once

#include "qp_residual.h"

LPGD_BEGIN_NAMESPACE

template <class S>
struct QpOutcome {
  S status;  // QpStatus as a number, so that packs can hold it
  S iterations;
  QpMeasure<S> measure;
};

// Iterations without progress that end a lane. Rays of infeasible problems take their time.
constexpr int kStallSteps = 15;

// The lanes in `mask` take over a measure.
template <class S>
LPGD_INLINE void take_measure(MaskOf<S> mask, const QpMeasure<S>& from, QpMeasure<S>& to) {
  to.primal = select(mask, from.primal, to.primal);
  to.dual = select(mask, from.dual, to.dual);
  to.gap = select(mask, from.gap, to.gap);
  to.merit = select(mask, from.merit, to.merit);
  to.z_scale = select(mask, from.z_scale, to.z_scale);
}

namespace detail {

// Largest step in (0, 1] that keeps v + step * dv >= 0 in the slots in use that are not equalities.
template <class S, class Group>
LPGD_HD S step_to_boundary(const Group& g, const QpWork<S>& work, const S* v, const S* dv) {
  S step = S(1);
  LPGD_FOR (g, i, work.dims.slots()) {
    const auto blocking = mask_and(less(dv[i], S(0)), less(work.equal_slot[i], work.on[i]));
    const S ratio = v[i] / select(blocking, -dv[i], S(1));
    step = select(mask_and(blocking, less(ratio, step)), ratio, step);
  }
  return g.min(step);
}

// Weights of the slots for the interior point: w = 1 / (s/z + reg), equalities by their own reg.
template <class S, class Group>
LPGD_HD void interior_weights(const Group& g, QpWork<S>& work, bool unit) {
  using T = RealOf<S>;
  LPGD_FOR (g, i, work.dims.slots()) {
    const auto equality = less(S(0), work.equal_slot[i]);
    const auto inner = less(work.equal_slot[i], work.on[i]);
    const S ratio = unit ? S(1) : work.s[i] / select(inner, work.z[i], S(1));
    const S theta = select(equality, S(0), ratio);
    const S reg = select(equality, S(work.effort.equality_reg), S(Precision<T>::slot_reg));
    work.theta[i] = theta;
    work.w[i] = work.on[i] / (theta + reg);
  }
  g.sync();
}

}  // namespace detail

// Mehrotra's starting point: least squares for all constraints, then shifted into the interior.
template <class S, class Group>
LPGD_HD void starting_point(const Group& g, QpWork<S>& work, S rho) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  detail::interior_weights(g, work, true);
  kkt_factor(g, work, rho, S(work.effort.primal_reg));
  LPGD_FOR (g, j, n) work.rx[j] = -work.q[j];
  LPGD_FOR (g, i, M) work.rz[i] = work.d[i];
  g.sync();
  const S target = refine_target(g, work, work.rx, work.rz);
  kkt_solve_refined(g, work, rho, work.rx, work.rz, work.x, work.z, 2, target);
  S low_s = S(0), low_z = S(0);
  LPGD_FOR (g, i, M) {
    const S inner = work.on[i] - work.equal_slot[i];
    work.s[i] = -work.z[i] * inner;  // C x - z = d
    low_s = max_of(low_s, -work.s[i]);
    low_z = max_of(low_z, -work.z[i] * inner);
  }
  const S shift_s = S(T(1.5)) * g.max(low_s);
  const S shift_z = S(T(1.5)) * g.max(low_z);
  S product = S(0), sum_s = S(0), sum_z = S(0);
  LPGD_FOR (g, i, M) {
    const S inner = work.on[i] - work.equal_slot[i];
    const S s = (work.s[i] + shift_s) * inner, z = (work.z[i] + shift_z) * inner;
    product += s * z;
    sum_s += s;
    sum_z += z;
  }
  product = g.sum(product);
  sum_s = g.sum(sum_s);
  sum_z = g.sum(sum_z);
  const S small = S(work.effort.least_start);
  const S more_s =
      shift_s + max_of(S(T(0.5)) * product / max_of(sum_z, S(Precision<T>::tiny)), small);
  const S more_z =
      shift_z + max_of(S(T(0.5)) * product / max_of(sum_s, S(Precision<T>::tiny)), small);
  LPGD_FOR (g, i, M) {
    const auto inner = less(work.equal_slot[i], work.on[i]);
    const auto equality = less(S(0), work.equal_slot[i]);
    work.s[i] = select(inner, work.s[i] + more_s, S(0));
    work.z[i] = select(inner, work.z[i] + more_z, select(equality, work.z[i], S(0)));
  }
  g.sync();
}

// Iterates from x, z, s until each lane of `active` has a merit below its `eps`; the best point
// goes to best_x, best_z. Iterations are counted on from out.iterations, to `max_iter` at most.
// `prove`: look for certificates of infeasibility.
template <class S, class Group>
LPGD_HD void interior_point(const Group& g, QpWork<S>& work, S rho, S eps, int max_iter,
                            MaskOf<S> active, bool prove, QpOutcome<S>& out) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  const S reg = S(work.effort.primal_reg);
  S count = S(0);
  LPGD_FOR (g, i, M) count += work.on[i] - work.equal_slot[i];
  count = max_of(g.sum(count), S(1));

  S since_best = S(0), least_no_point = S(1), least_no_bound = S(1);
  auto open = active;
  auto stuck = mask_and(active, mask_not(active));
  evaluate(g, work, rho, work.x, work.z);
  for (int iter = 0;; ++iter) {
    // The products of the iterate are carried along with its steps; before a lane is called solved
    // they are taken afresh, free of what rounding has added up.
    QpMeasure<S> now = measure_products(g, work, work.x, work.z, work.s);
    const auto arriving = mask_and(open, less(now.merit, eps + eps));
    if (iter > 0 && any_lane(arriving)) {
      refresh(g, work, rho, arriving);
      now = measure_products(g, work, work.x, work.z, work.s);
    }
    if (iter == 0) take_measure(active, now, out.measure);
    const auto better = mask_and(open, less(now.merit, out.measure.merit));
    const auto kept = iter == 0 ? active : better;
    LPGD_FOR (g, j, n) work.best_x[j] = select(kept, work.x[j], work.best_x[j]);
    LPGD_FOR (g, i, M) work.best_z[i] = select(kept, work.z[i], work.best_z[i]);
    g.sync();
    const auto progress = less(now.merit, S(T(0.9)) * out.measure.merit);
    since_best = select(progress, S(0), since_best + S(1));
    take_measure(better, now, out.measure);
    const auto solved = mask_and(open, less(out.measure.merit, eps));
    out.status = select(solved, S(T(kQpOk)), out.status);
    open = mask_and(open, mask_not(solved));
    // A stall is rounding: no progress for several steps, or numbers that are no longer numbers.
    const auto stalled =
        mask_or(less(S(T(kStallSteps)), since_best), mask_not(is_finite(now.merit)));
    if (prove && iter > 0 && any_lane(open)) {
      const S no_point = proves_primal_infeasible(g, work, open, least_no_point);
      const S no_bound = proves_dual_infeasible(g, work, open, least_no_bound);
      const auto primal = mask_and(open, less(no_point, S(Precision<T>::certificate)));
      const auto dual = mask_and(open, less(no_bound, S(Precision<T>::certificate)));
      out.status = select(dual, S(T(kQpDualInfeasible)), out.status);
      out.status = select(primal, S(T(kQpPrimalInfeasible)), out.status);
      open = mask_and(open, mask_not(mask_or(primal, dual)));
    }
    remember_iterate(g, work);
    stuck = mask_or(stuck, mask_and(open, stalled));
    open = mask_and(open, mask_not(stalled));
    open = mask_and(open, less(out.iterations, S(T(max_iter))));
    if (!any_lane(open)) break;
    out.iterations = select(open, out.iterations + S(T(1)), out.iterations);

    const S mu = dot(g, work.s, work.z, M) / count;
    const S largest = max_of(max_abs(g, work.rx, n), max_abs(g, work.rz, M));
    detail::interior_weights(g, work, false);
    kkt_factor(g, work, rho, reg);
    // Predictor: straight at the solution. rz of measure() is d - Cx - s.
    LPGD_FOR (g, i, M) work.ez[i] = work.rz[i] + work.s[i];
    g.sync();
    kkt_solve(g, work, work.rx, work.ez, work.dx, work.dz);
    LPGD_FOR (g, i, M) {
      const S inner = work.on[i] - work.equal_slot[i];
      work.ds[i] = inner * (work.rz[i] - work.Cdx[i]);
    }
    g.sync();
    const S to_s = detail::step_to_boundary(g, work, work.s, work.ds);
    const S to_z = detail::step_to_boundary(g, work, work.z, work.dz);
    S after = S(0);
    LPGD_FOR (g, i, M)
      after += (work.on[i] - work.equal_slot[i]) * (work.s[i] + to_s * work.ds[i]) *
               (work.z[i] + to_z * work.dz[i]);
    after = g.sum(after) / count;
    S sigma = after / max_of(mu, S(Precision<T>::tiny));
    sigma = min_of(sigma * sigma * sigma, S(1));
    // Corrector: centred, with the second-order term of the predictor.
    LPGD_FOR (g, i, M) {
      const auto inner = less(work.equal_slot[i], work.on[i]);
      const S centre = (work.ds[i] * work.dz[i] - sigma * mu) / select(inner, work.z[i], S(1));
      work.tm[i] = work.rz[i] + select(inner, work.s[i] + centre, S(0));
    }
    g.sync();
    LPGD_FOR (g, i, M) {
      work.ds[i] = work.rz[i];  // d - C x - s, which the step of s needs after the solve
      work.rz[i] = work.tm[i];
    }
    g.sync();
    // An error well below what is left to do slows nothing down.
    const S target = S(Precision<T>::step_target) * max_of(max_of(mu, eps), largest);
    kkt_solve_refined(g, work, rho, work.rx, work.rz, work.dx, work.dz, work.effort.refinements,
                      target);
    LPGD_FOR (g, i, M) work.ds[i] = (work.on[i] - work.equal_slot[i]) * (work.ds[i] - work.Cdx[i]);
    g.sync();
    const S most = S(T(1)) - min_of(S(T(0.01)), mu + S(T(1e-4)));
    S step_s = min_of(most * detail::step_to_boundary(g, work, work.s, work.ds), S(1));
    S step_z = min_of(most * detail::step_to_boundary(g, work, work.z, work.dz), S(1));
    // With P the dual residual depends on x: one step for both keeps it shrinking.
    const auto coupled = less(S(0), rho + S(dims.quadratic ? T(1) : T(0)));
    const S shorter = min_of(step_s, step_z);
    step_s = select(coupled, shorter, step_s);
    step_z = select(coupled, shorter, step_z);
    step_s = select(open, step_s, S(0));
    step_z = select(open, step_z, S(0));
    const S zero = S(0);
    LPGD_FOR (g, j, n) {
      work.x[j] += select(open, step_s * work.dx[j], zero);
      work.Px[j] += select(open, step_s * work.Pdx[j], zero);
      work.Cz[j] += select(open, step_z * work.Cdz[j], zero);
    }
    LPGD_FOR (g, i, M) {
      work.s[i] += select(open, step_s * work.ds[i], zero);
      work.z[i] += select(open, step_z * work.dz[i], zero);
      work.Cx[i] += select(open, step_s * work.Cdx[i], zero);
    }
    g.sync();
  }
  if (!prove) return;
  // A lane that stalled nowhere near a solution is called by the better of its proofs, if that was
  // good enough to be one at a lesser size.
  const auto lost = mask_and(stuck, less(S(T(1e-2)), out.measure.merit));
  const S weak = S(Precision<T>::weak_certificate);
  const auto primal = mask_and(less(least_no_point, weak), less(least_no_point, least_no_bound));
  const auto dual = mask_and(less(least_no_bound, weak), mask_not(primal));
  out.status = select(mask_and(lost, primal), S(T(kQpPrimalInfeasible)), out.status);
  out.status = select(mask_and(lost, dual), S(T(kQpDualInfeasible)), out.status);
  take_rays(g, work, active, out.status);
}

LPGD_END_NAMESPACE
