// Restarted Halpern primal-dual hybrid gradient for sparse QPs and LPs, a problem per lane of a
// register. Rows and columns are dealt out to the lanes of the group, and stay with them: between
// two syncs of a step a lane reads what others wrote and writes to places of its own.
//
// One step T of PDHG (Chambolle & Pock 2011; with a quadratic term, linearised: Condat 2013, Vu
// 2013), reflected and anchored at the point z0 of the last restart:
//   z <- (k + 1) / (k + 2) ((1 + r) T(z) - r z) + 1 / (k + 2) z0
// with restarts, primal weight and preconditioning of PDLP (Applegate et al. 2021, 2025); the
// Halpern form is Lu & Yang's (2024), infeasibility is read off the displacement T(z) - z
// (Applegate, Diaz, Lu & Lubin 2024).
#pragma once

#include "pdhg_work.h"

LPGD_BEGIN_NAMESPACE

// Steps between looks at the residuals; restarts happen there too.
constexpr int kPdhgPeriod = 32;
constexpr double kSufficientDecay = 0.2, kNecessaryDecay = 0.8, kLongShare = 0.36;
constexpr double kStepShare = 0.99;  // of 1 / ||C||
constexpr double kWeightSpan = 1e5;  // the primal weight stays within 1 / this and this

// A displacement below this share of the point has too few digits for a certificate.
template <class T>
inline constexpr T kRayFloor = T(sizeof(T) == 8 ? 1e-7 : 1e-3);
// Share of ||P|| from which a negative curvature is none of rounding.
template <class T>
inline constexpr T kBend = T(sizeof(T) == 8 ? 1e-9 : 1e-4);

template <class S>
struct PdhgMeasure {
  S primal, dual, gap, merit;  // as in QpMeasure
  S fixed;                     // ||T(z) - z|| in the norm of the step, squared
  S dx, dy;                    // squared distances to the anchor
  S no_point, no_bound;        // doubt left in the two certificates
  S curvature;                 // 1: P bends downwards along the step
};

template <class S>
struct PdhgSteps {
  S weight, tau, sigma;
};

template <class S, class V>
LPGD_HD PdhgSteps<S> steps_for(const PdhgWork<S, V>& work, const PdhgFacts<S>& facts, S ridge,
                               S weight) {
  using T = RealOf<S>;
  const S floor = S(T(1e-6));
  const S norm = max_of(S(work.matrices.norms[0]), floor) / S(T(kStepShare));
  const S smooth = facts.p_factor * S(work.matrices.norms[1]) + ridge;
  return {weight, S(1) / (weight * norm + smooth), weight / norm};
}

// z -> T(z) from x, y, Cy = C'y and Px: tx, ty, CTy = C'ty; Cxbar = C (2 tx - x). A function of its
// own, whose registers are for its loops alone.
template <class Group, class S, class V>
[[gnu::noinline]] LPGD_HD void pdhg_step(const Group& group, PdhgWork<S, V>& work,
                                         const PdhgFacts<S>& facts, const PdhgSteps<S>& steps,
                                         int p) {
  const PdhgMatrices<V>& a = work.matrices;
  const S p_factor = facts.p_factor, rho = p_factor * facts.rho;
  const S tau = steps.tau, sigma = steps.sigma;
  LPGD_FOR (group, j, a.n) {
    const S ridge = rho * S(a.column[j] * a.column[j]);
    const S slope = p_factor * work.Px[j] + ridge * work.x[j] + work.q[j] + work.Cy[j];
    const S to = max_of(work.lb[j], min_of(work.ub[j], work.x[j] - tau * slope));
    work.tx[j] = to;
    work.xbar[j] = to + to - work.x[j];
    if constexpr (kOneLane<Group>) work.CTy[j] = S(0);
  }
  group.sync();
  const PdhgLines<V> rows = rows_of(a);
  S* CTy = work.CTy;
  each_line(group, rows, work.xbar, [&](int i, S product) {
    S to = work.y[i] + sigma * (product - work.d[i]);
    if (i >= p) to = max_of(to, S(0));
    work.Cxbar[i] = product;
    work.ty[i] = to;
    if constexpr (kOneLane<Group>) add_line(rows, i, to, CTy);  // C is read once
  });
  group.sync();
  if constexpr (!kOneLane<Group>) columns_times(group, a, work.ty, work.CTy);
}

// Residuals of T(z), its distances, and the certificates in T(z) - z. Fills CTx and PTx.
template <class Group, class S, class V>
LPGD_HD PdhgMeasure<S> pdhg_measure(const Group& group, PdhgWork<S, V>& work,
                                    const PdhgFacts<S>& facts, const PdhgSteps<S>& steps, int p) {
  using T = RealOf<S>;
  const PdhgMatrices<V>& a = work.matrices;
  const S zero = S(0), one = S(1), infinity = S(T(__builtin_inf()));
  const S rho = facts.p_factor * facts.rho;
  rows_times(group, a, work.tx, work.CTx);
  hessian_times(group, a, work.tx, work.PTx);
  PdhgMeasure<S> out{zero, zero, zero, zero, zero, zero, zero, zero, zero, zero};
  S size_dual = zero, relative = zero, objective = zero, quadratic = zero, dual_objective = zero;
  S ray_x = zero, off_x = zero, step_x = zero, all_x = zero, data_q = zero;
  S ray_y = zero, off_y = zero, step_y = zero, all_y = zero, data_d = zero;
  S dxPdx = zero, dxdx = zero;
  LPGD_FOR (group, j, a.n) {
    const S column = S(a.column[j]), ridge = rho * column * column;
    const S unit = one / (column * facts.gamma);  // of costs
    const S x = work.tx[j], dx = x - work.x[j];
    const S Px = facts.p_factor * work.PTx[j] + ridge * x;
    const S slope = Px + work.q[j] + work.CTy[j];
    const auto has_lb = less(-infinity, work.lb[j]), has_ub = less(work.ub[j], infinity);
    const S z_lb = select(has_lb, max_of(slope, zero), zero);
    const S z_ub = select(has_ub, max_of(-slope, zero), zero);
    const S residual = slope - z_lb + z_ub;
    out.dual = max_nan(out.dual, abs_of(residual) * unit);
    const S size = max_of(max_of(abs_of(work.q[j]), abs_of(Px)), abs_of(work.CTy[j]));
    size_dual = max_of(size_dual, size * unit);
    quadratic += x * Px;
    objective += work.q[j] * x;
    dual_objective +=
        select(has_lb, work.lb[j] * z_lb, zero) - select(has_ub, work.ub[j] * z_ub, zero);
    out.fixed += dx * dx / steps.tau;
    const S far = x - work.x0[j];
    out.dx += far * far;
    // dual ray: P dx = 0, C dx <= 0, within the bounds' recession, q'dx < 0
    const S Pdx = facts.p_factor * (work.PTx[j] - work.Px[j]) + ridge * dx;
    const S dx_given = dx * column / facts.beta;
    const S leaves = max_of(select(has_lb, -dx_given, zero), select(has_ub, dx_given, zero));
    ray_x += work.q[j] * dx;
    off_x = max_nan(off_x, max_of(leaves, abs_of(Pdx) * unit));
    step_x = max_of(step_x, abs_of(dx_given));
    all_x = max_of(all_x, abs_of(x) * column / facts.beta);
    data_q = max_of(data_q, abs_of(work.q[j]) * unit);
    dxPdx += dx * Pdx;
    dxdx += dx * dx;
    // primal ray: the box's least (C'dy)'x against d'dy
    const S r = work.CTy[j] - work.Cy[j];
    const S least = select(less(zero, r), work.lb[j], work.ub[j]);
    const auto finite = less(abs_of(least), infinity);
    ray_y += select(finite, r * least, zero);
    off_y = max_nan(off_y, select(finite, zero, abs_of(r)) * unit);
  }
  LPGD_FOR (group, i, a.M) {
    const S row = S(a.row[i]), d = work.d[i], y = work.ty[i], dy = y - work.y[i];
    const S unit = one / (row * facts.beta);  // of right-hand sides
    const auto on = less(d, infinity);
    const S Cx = work.CTx[i], Cdx = work.Cxbar[i] - Cx;
    const S over = select(on, Cx - d, zero);
    const S residual = i < p ? over : max_of(over, zero);
    out.primal = max_nan(out.primal, abs_of(residual) * unit);
    const S size = one + max_of(select(on, abs_of(d), zero), select(on, abs_of(Cx), zero)) * unit;
    relative = max_nan(relative, abs_of(residual) * unit / size);
    dual_objective -= select(on, d * y, zero);
    out.fixed += dy * dy / steps.sigma - S(T(2)) * dy * Cdx;
    const S far = y - work.y0[i];
    out.dy += far * far;
    const S dy_given = dy * row / facts.gamma;
    ray_y -= select(on, d * dy, zero);
    if (i >= p) off_y = max_nan(off_y, max_of(-dy_given, zero));
    step_y = max_of(step_y, abs_of(dy_given));
    all_y = max_of(all_y, abs_of(y) * row / facts.gamma);
    data_d = max_of(data_d, select(on, abs_of(d), zero) * unit);
    const S up = i < p ? abs_of(Cdx) : max_of(Cdx, zero);
    off_x = max_nan(off_x, select(on, up * unit, zero));
  }
  if constexpr (!kOneLane<Group>) {
    for (S* total : {&quadratic, &objective, &dual_objective, &out.fixed, &out.dx, &out.dy, &ray_x,
                     &ray_y, &dxPdx, &dxdx})
      *total = group.sum(*total);
    for (S* largest : {&out.primal, &out.dual, &size_dual, &relative, &off_x, &step_x, &all_x,
                       &data_q, &off_y, &step_y, &all_y, &data_d})
      *largest = group.max(*largest);
  }
  const S money = one / (facts.beta * facts.gamma);
  const S primal_value = (S(T(0.5)) * quadratic + objective) * money;
  const S dual_value = (dual_objective - S(T(0.5)) * quadratic) * money;
  out.gap = abs_of(primal_value - dual_value);
  const S gap_size = one + min_of(abs_of(primal_value), abs_of(dual_value));
  out.merit = max_nan(max_nan(relative, out.dual / (one + size_dual)), out.gap / gap_size);
  // squares of a norm, but for rounding
  out.fixed = max_of(out.fixed, zero);
  out.no_point = out.no_bound = one;
  const auto doubt = [&](S value, S off, S step, S all, S data) {
    const auto there = mask_and(less(S(kRayFloor<T>) * (one + all), step), less(zero, value));
    const S share = off * (one + data) / select(there, value, one);
    return select(mask_and(there, equal(share, share)), share, one);
  };
  out.no_point = doubt(ray_y * money, off_y, step_y, all_y, data_d);
  out.no_bound = doubt(-ray_x * money, off_x, step_x, all_x, data_q);
  const S bend = -S(T(kBend<T>)) * (facts.p_factor * S(a.norms[1]) + rho) * dxdx;
  out.curvature = one_where<S>(less(dxPdx, bend));
  return out;
}

// The point T(z) in the caller's units, into the item's row. False where a number of it is none
// there: it may have left its type's range on the way from the scaled problem.
template <class Group, class S, class V, class T>
LPGD_HD bool store_pdhg(const Group& group, const PdhgWork<S, V>& work, const PdhgTask<T>& task,
                        const PdhgFacts<S>& facts, std::int64_t item, int lane) {
  const PdhgMatrices<V>& a = work.matrices;
  const int n = a.n, p = task.problem.p, m = task.problem.m;
  const S rho = facts.p_factor * facts.rho;
  bool finite = true;
  const auto put = [&](T* to, S value) {
    *to = static_cast<T>(get_lane(value, lane));
    finite = finite && *to - *to == T(0);
  };
  LPGD_FOR (group, j, n) {
    const S column = S(a.column[j]);
    put(task.solution.x + item * n + j, work.tx[j] * column / facts.beta);
    const S slope = (facts.p_factor * work.PTx[j] + rho * column * column * work.tx[j] + work.q[j] +
                     work.CTy[j]) /
                    (column * facts.gamma);
    const S infinity = S(RealOf<S>(__builtin_inf()));
    const auto has_lb = less(-infinity, work.lb[j]), has_ub = less(work.ub[j], infinity);
    if (task.solution.z_lb)
      put(task.solution.z_lb + item * n + j, select(has_lb, max_of(slope, S(0)), S(0)));
    if (task.solution.z_ub)
      put(task.solution.z_ub + item * n + j, select(has_ub, max_of(-slope, S(0)), S(0)));
  }
  LPGD_FOR (group, i, a.M) {
    T* to = i < p ? task.solution.y + item * p + i : task.solution.z + item * m + (i - p);
    put(to, work.ty[i] * S(a.row[i]) / facts.gamma);
  }
  return group.max(finite ? T(0) : T(1)) == T(0);
}

// Zeros in place of a point that is none.
template <class Group, class T>
LPGD_HD void clear_pdhg(const Group& group, const PdhgTask<T>& task, std::int64_t item) {
  const int n = task.problem.n, p = task.problem.p, m = task.problem.m;
  LPGD_FOR (group, j, n) {
    task.solution.x[item * n + j] = T(0);
    if (task.solution.z_lb) task.solution.z_lb[item * n + j] = T(0);
    if (task.solution.z_ub) task.solution.z_ub[item * n + j] = T(0);
  }
  LPGD_FOR (group, i, p) task.solution.y[item * p + i] = T(0);
  LPGD_FOR (group, i, m) task.solution.z[item * m + i] = T(0);
}

template <class Group, class T>
LPGD_HD void report_pdhg(const Group& group, const PdhgTask<T>& task, std::int64_t item, T primal,
                         T dual, T gap, QpStatus status, int iterations) {
  if (group.lane() != 0) return;
  const bool keep = status != kQpNumericalError;
  const T none = T(__builtin_inf());
  task.report.status[item] = status;
  task.report.iterations[item] = iterations;
  task.report.residuals[3 * item] = keep ? primal : none;
  task.report.residuals[3 * item + 1] = keep ? dual : none;
  task.report.residuals[3 * item + 2] = keep ? gap : none;
}

// An item that was not tried
template <class Group, class T>
LPGD_HD void refuse_pdhg(const Group& group, const PdhgTask<T>& task, std::int64_t item,
                         QpStatus status) {
  const T none = T(__builtin_inf());
  clear_pdhg(group, task, item);
  report_pdhg(group, task, item, none, none, none, status, 0);
}

// Solves the items of the lanes. `fresh`: the workspace holds no matrices of this task yet, or not
// those of these items.
template <class Group, class S, class V, class T>
LPGD_HD void pdhg_solve(const Group& group, PdhgWork<S, V>& work, const PdhgTask<T>& task,
                        const PdhgLanes& lanes, bool fresh) {
  using R = RealOf<S>;
  constexpr int W = ScalarTraits<S>::lanes;
  const PdhgProblem<T>& problem = task.problem;
  const PdhgMatrices<V>& a = work.matrices;
  const int n = problem.n, p = problem.p, M = p + problem.m;
  if (fresh) load_pdhg_matrices(group, work, problem, lanes);
  const PdhgFacts<S> facts = load_pdhg_vectors(group, work, problem, lanes);
  load_pdhg_start(group, work, task, lanes, facts);

  bool done[W];
  int open = 0;
  for (int l = 0; l < W; ++l) {
    const bool bad = get_lane(facts.bad, l) != R(0), crossed = get_lane(facts.crossed, l) != R(0);
    done[l] = l >= lanes.used || bad || crossed;
    open += done[l] ? 0 : 1;
    if (l >= lanes.used || !(bad || crossed)) continue;
    refuse_pdhg(group, task, lanes.item(l), bad ? kQpNumericalError : kQpPrimalInfeasible);
  }

  const S zero = S(0), one = S(1);
  // Without a quadratic term the step is firmly nonexpansive and may be reflected in full.
  const bool linear = !problem.P_crow && !problem.rho;
  const S reflect = S(R(linear ? 1.0 : 0.5));
  S ridge = zero;
  if (problem.rho) {
    LPGD_FOR (group, j, n) ridge = max_of(ridge, S(a.column[j] * a.column[j]));
    ridge = group.max(ridge) * facts.p_factor * facts.rho;
  }
  PdhgSteps<S> steps = steps_for(work, facts, ridge, one);
  S age = zero;  // steps since the lane's restart
  S first_fixed = S(R(-1)), last_fixed = S(R(__builtin_inf()));
  bool restarted = true;
  for (int step = 1; open > 0; ++step) {
    pdhg_step(group, work, facts, steps, p);
    const bool last = step >= task.settings.max_iter;
    const bool look = step % kPdhgPeriod == 0 || last;
    auto restart = less(one, zero);
    if (look || restarted) {
      const PdhgMeasure<S> measure = pdhg_measure(group, work, facts, steps, p);
      first_fixed = select(equal(age, zero), measure.fixed, first_fixed);
      if (look) {
        for (int l = 0; l < lanes.used; ++l) {
          if (done[l]) continue;
          const R merit = get_lane(measure.merit, l);
          const R certificate = R(Precision<R>::certificate);
          int status = -1;
          if (merit < R(task.settings.eps))
            status = kQpOk;
          else if (!(merit - merit == R(0)) || get_lane(measure.curvature, l) != R(0))
            status = kQpNumericalError;
          else if (get_lane(measure.no_point, l) < certificate)
            status = kQpPrimalInfeasible;
          else if (get_lane(measure.no_bound, l) < certificate)
            status = kQpDualInfeasible;
          else if (last)
            status = kQpMaxIterations;
          if (status < 0) continue;
          done[l] = true;
          --open;
          const std::int64_t item = lanes.item(l);
          if (status == kQpNumericalError || !store_pdhg(group, work, task, facts, item, l)) {
            status = kQpNumericalError;
            clear_pdhg(group, task, item);
          }
          report_pdhg(group, task, item, static_cast<T>(get_lane(measure.primal, l)),
                      static_cast<T>(get_lane(measure.dual, l)),
                      static_cast<T>(get_lane(measure.gap, l)), static_cast<QpStatus>(status),
                      step);
        }
        // squares, so the decays are too
        const S sufficient = S(R(kSufficientDecay * kSufficientDecay)) * first_fixed;
        const S necessary = S(R(kNecessaryDecay * kNecessaryDecay)) * first_fixed;
        const auto enough = less(measure.fixed, sufficient);
        const auto stalled =
            mask_and(less(measure.fixed, necessary), less(last_fixed, measure.fixed));
        const auto old = less(S(R(kLongShare) * R(step)), age);
        restart = mask_and(less(zero, age), mask_or(mask_or(enough, stalled), old));
        last_fixed = select(restart, S(R(__builtin_inf())), measure.fixed);
        // ||dy|| / ||dx|| of this round, averaged with the weight before in logarithms
        const S tiny = S(R(Precision<R>::tiny));
        const auto moved = mask_and(less(tiny, measure.dx), less(tiny, measure.dy));
        const auto sound = mask_and(moved, mask_and(is_finite(measure.dx), is_finite(measure.dy)));
        const S ratio = sqrt_of(select(sound, measure.dy, one) / select(sound, measure.dx, one));
        const S span = S(R(kWeightSpan));
        const S weight = max_of(one / span, min_of(span, sqrt_of(steps.weight * ratio)));
        steps =
            steps_for(work, facts, ridge, select(mask_and(restart, sound), weight, steps.weight));
      }
    }
    restarted = any_lane(restart);
    const S turn = (age + one) / (age + S(R(2)));
    const S on = select(restart, one, turn * (one + reflect));
    const S back = select(restart, zero, -turn * reflect);
    const S anchor = select(restart, zero, one - turn);
    LPGD_FOR (group, j, n) {
      work.x[j] = on * work.tx[j] + back * work.x[j] + anchor * work.x0[j];
      work.Cy[j] = on * work.CTy[j] + back * work.Cy[j] + anchor * work.Cy0[j];
    }
    LPGD_FOR (group, i, M) work.y[i] = on * work.ty[i] + back * work.y[i] + anchor * work.y0[i];
    if (restarted) {
      LPGD_FOR (group, j, n) {
        work.x0[j] = select(restart, work.tx[j], work.x0[j]);
        work.Cy0[j] = select(restart, work.CTy[j], work.Cy0[j]);
      }
      LPGD_FOR (group, i, M) work.y0[i] = select(restart, work.ty[i], work.y0[i]);
    }
    if (!linear) {
      group.sync();
      hessian_times(group, a, work.x, work.Px);
    }
    age = select(restart, zero, age + one);
  }
  group.sync();  // the workspace may be written again right after
}

LPGD_END_NAMESPACE
