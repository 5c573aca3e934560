// Active-set systems: the polish that makes an interior-point solution exact, the warm re-solve of
// a perturbed problem, and the derivative of the solution.
#pragma once

#include "qp_ipm.h"

LPGD_BEGIN_NAMESPACE

constexpr int kImplicitRefinements = 6;

namespace detail {

// work.w and work.theta for the slots marked in `set` (0 or 1); returns the diagonal
// regularisation.
template <class S, class Group>
LPGD_HD S active_weights(const Group& g, QpWork<S>& work, const S* set) {
  using T = RealOf<S>;
  LPGD_FOR (g, i, work.dims.slots()) {
    work.theta[i] = S(0);
    work.w[i] = set[i] / S(work.effort.equality_reg);
  }
  g.sync();
  return S(Precision<T>::active_primal_reg);
}

// The guess of the active set, 1 or 0 in work.s: slots whose slack is less than their multiplier.
template <class S, class Group>
LPGD_HD void guess_active(const Group& g, QpWork<S>& work) {
  slots_of(g, work, work.x, work.Cx);
  LPGD_FOR (g, i, work.dims.slots()) {
    const S slack = work.d[i] - work.Cx[i];
    const auto active = mask_or(less(S(0), work.equal_slot[i]), less(slack, work.z[i]));
    work.s[i] = select(active, work.on[i], S(0));
  }
  g.sync();
}

// How wrong the signs are: active rows have a multiplier below zero, the others are violated;
// relative, the worst of all. The set with these rows moved goes to work.ds, their number to
// `moved`.
template <class S, class Group>
LPGD_HD S judge_signs(const Group& g, QpWork<S>& work, MaskOf<S> open, S z_scale, S& moved) {
  const S sign = S(Precision<RealOf<S>>::sign_tolerance);
  S wrong = S(0), count = S(0);
  LPGD_FOR (g, i, work.dims.slots()) {
    const auto inner = less(work.equal_slot[i], work.on[i]);
    const auto in = less(S(0), work.s[i]);
    const S slack = (work.d[i] - work.Cx[i]) / (S(1) + abs_of(work.d[i]));
    const S worst = select(inner, -select(in, work.z[i] / z_scale, slack), S(0));
    wrong = max_nan(wrong, worst);
    work.ds[i] = select(mask_and(open, less(sign, worst)), S(1) - work.s[i], work.s[i]);
    count += abs_of(work.ds[i] - work.s[i]);
  }
  wrong = g.max(wrong);
  moved = g.sum(count);
  g.sync();
  return wrong;
}

}  // namespace detail

// Primal-dual active-set iterations (Hintermueller, Ito & Kunisch 2002) from x, z in the workspace:
// guess the active rows, solve for them as equalities, move rows whose sign is wrong, repeat. A
// guess that holds gives the exact solution for the price of one factorisation. Signs are mended
// down to rounding: on a nearly degenerate problem a set whose signs are wrong by `eps` alone is
// another set, and x off by far more. Lanes that met a point with every sign right to `eps` and a
// merit below `accept` are returned; x, z hold the one whose signs were best (kept in last_x,
// last_z meanwhile), and `out` gets its measure. A lane is given up where the number of rows to
// move is not below `patience` times the one before; with a patience below 1, also where the first
// guess has an eighth of the rows to move. `again`: the first guess and the factor are those of the
// last call (last_Cx has kept the guess).
template <class S, class Group>
LPGD_HD MaskOf<S> active_set(const Group& g, QpWork<S>& work, S rho, S eps, S accept, int max_iter,
                             int refinements, RealOf<S> patience, bool again, MaskOf<S> lanes,
                             QpOutcome<S>& out) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  if (!again) detail::guess_active(g, work);
  LPGD_FOR (g, i, M) {
    if (again) work.s[i] = work.last_Cx[i];
    work.last_Cx[i] = work.s[i];
  }
  g.sync();
  auto open = lanes;
  auto done = mask_and(lanes, mask_not(lanes));
  S least_wrong = eps, moved_before = S(0);
  LPGD_FOR (g, i, M) moved_before += S(T(0.125)) * work.on[i];
  moved_before = patience < 1 ? g.sum(moved_before) / S(patience) : S(1) / S(0);
  for (int iter = 0; iter < max_iter && any_lane(open); ++iter) {
    const S reg = detail::active_weights(g, work, work.s);
    if (!again || iter > 0) kkt_factor(g, work, rho, reg);
    LPGD_FOR (g, i, M) work.z[i] = select(open, work.z[i] * work.s[i], work.z[i]);
    g.sync();
    QpMeasure<S> now;
    S wrong = S(0), moved = S(0);
    S previous = S(1) / S(Precision<T>::tiny);
    auto moving = open;
    for (int step = 0;; ++step) {
      now = measure(g, work, rho, work.x, work.z, static_cast<const S*>(nullptr));
      // The error of the equality-constrained problem alone; signs are judged by themselves.
      S error = S(0), size = S(0);
      LPGD_FOR (g, j, n) {
        error = max_nan(error, abs_of(work.rx[j]));
        size = max_of(size, abs_of(work.q[j]));
      }
      LPGD_FOR (g, i, M) {
        work.rz[i] = work.s[i] * (work.d[i] - work.Cx[i]);
        error = max_nan(error, abs_of(work.rz[i]));
        size = max_of(size, work.s[i] * abs_of(work.d[i]));
      }
      error = g.max(error);
      size = g.max(size);
      g.sync();
      if (step > 0) {
        wrong = detail::judge_signs(g, work, open, now.z_scale, moved);
        // A set that is clearly not the one needs no refinement.
        moving = mask_and(moving, less(wrong, S(Precision<T>::clearly_wrong)));
      }
      moving = mask_and(moving, less(error, S(T(0.5)) * previous));
      moving = mask_and(moving, less(S(Precision<T>::exact) * size, error));
      previous = error;
      if (step == refinements || !any_lane(moving)) break;
      kkt_solve(g, work, work.rx, work.rz, work.dx, work.dz);
      const S zero = S(0);
      LPGD_FOR (g, j, n) work.x[j] += select(moving, work.dx[j], zero);
      LPGD_FOR (g, i, M) work.z[i] += select(moving, work.dz[i], zero);
      g.sync();
    }
    const S sign = S(Precision<T>::sign_tolerance);
    const auto right = less(wrong, sign);
    const auto held =
        mask_and(mask_and(open, less(wrong, max_of(least_wrong, sign))), less(now.merit, accept));
    least_wrong = select(held, wrong, least_wrong);
    LPGD_FOR (g, j, n) work.last_x[j] = select(held, work.x[j], work.last_x[j]);
    LPGD_FOR (g, i, M) work.last_z[i] = select(held, work.z[i], work.last_z[i]);
    take_measure(held, now, out.measure);
    out.iterations = select(open, out.iterations + S(1), out.iterations);
    done = mask_or(done, held);
    // No sign left to mend: more iterations would repeat this one.
    open = mask_and(mask_and(open, mask_not(right)), is_finite(wrong));
    open = mask_and(open, less(moved, S(patience) * moved_before));
    moved_before = moved;
    LPGD_FOR (g, i, M) work.s[i] = work.ds[i];
    g.sync();
  }
  LPGD_FOR (g, j, n) work.x[j] = select(done, work.last_x[j], work.x[j]);
  LPGD_FOR (g, i, M) {
    const auto inner = less(work.equal_slot[i], work.on[i]);
    const S kept = select(inner, max_of(work.last_z[i], S(0)), work.last_z[i]);
    work.z[i] = select(done, kept, work.z[i]);
  }
  g.sync();
  return done;
}

// The derivative: rx, rz hold minus the loss gradients, scaled; x, z the solution. Result in dx,
// dz.
//
// Where the system is singular (a face of minimisers, redundant active rows), the right-hand side
// may have a part that it can't produce. The regularised solve answers that part with 1/reg times
// itself, and the residual keeps it. Solving again without it gives the least-squares solution of
// least norm.
template <class S, class Group>
LPGD_HD S implicit_direction(const Group& g, QpWork<S>& work) {
  using T = RealOf<S>;
  const int n = work.dims.n, M = work.dims.slots();
  detail::guess_active(g, work);
  const S reg = detail::active_weights(g, work, work.s);
  kkt_factor(g, work, S(0), reg);
  LPGD_FOR (g, i, M) work.rz[i] = work.rz[i] * work.s[i];
  g.sync();
  const S size = max_nan(max_abs(g, work.rx, n), max_abs(g, work.rz, M));
  const S target = S(Precision<T>::refine_target) * size;
  const auto solve = [&] {
    return kkt_solve_refined(g, work, S(0), work.rx, work.rz, work.dx, work.dz,
                             kImplicitRefinements, target);
  };
  S left = solve();
  const auto unreachable = less(S(Precision<T>::unreachable) * size, left);
  if (any_lane(unreachable)) {
    LPGD_FOR (g, j, n) work.rx[j] -= select(unreachable, work.ex[j], S(0));
    LPGD_FOR (g, i, M) work.rz[i] -= select(unreachable, work.ez[i], S(0));
    g.sync();
    left = solve();
  }
  return left;
}

LPGD_END_NAMESPACE
