// The KKT system of all methods here, solved by elimination:
//
//   P dx + C'dz         = rx
//   C dx - theta dz     = rz     for the slots in use (w > 0);  dz = 0 for the others
//
// theta = s/z for inequalities in the interior point, 0 for equalities and for active constraints.
// Eliminating dz with w = 1/(theta + reg) leaves H = P + C'diag(w)C + reg I = LL', one Cholesky. So
// equalities are rows with a large weight, not a Schur complement: where P has no curvature, they
// pin their directions in H itself, which a Schur complement would lose to cancellation (LPs,
// low-rank P). Redundant rows and free variables factor too.
//
// An LP with bounds and few rows is eliminated the other way ("by rows"): H without its rows is a
// diagonal D, and dx goes first. What is factored is C D^-1 C' + theta + reg of the rows of G and
// A, the normal equations of LP solvers. Refinement against the system above takes the effect of
// the regularisation out again.
#pragma once

#include "qp_load.h"

LPGD_BEGIN_NAMESPACE

// out = alpha * out + C'v; alpha is 0 or 1
template <class S, class Group>
LPGD_HD void slots_transposed(const Group& g, const QpWork<S>& work, const S* v, S* out,
                              RealOf<S> alpha) {
  const QpDims& dims = work.dims;
  multiply_rows(g, work.Rt, dims.n, dims.rows(), dims.stride_rows(), v, out, alpha);
  const S* lb = v + dims.lower();
  const S* ub = v + dims.upper();
  if (dims.n_lb > 0)
    LPGD_FOR (g, j, dims.n) out[j] -= lb[j];
  if (dims.n_ub > 0)
    LPGD_FOR (g, j, dims.n) out[j] += ub[j];
  g.sync();
}

// out = C x
template <class S, class Group>
LPGD_HD void slots_of(const Group& g, const QpWork<S>& work, const S* x, S* out) {
  const QpDims& dims = work.dims;
  multiply_cols(g, work.Rt, dims.n, dims.rows(), dims.stride_rows(), x, out, RealOf<S>(0));
  S* lb = out + dims.lower();
  S* ub = out + dims.upper();
  if (dims.n_lb > 0)
    LPGD_FOR (g, j, dims.n) lb[j] = -x[j];
  if (dims.n_ub > 0)
    LPGD_FOR (g, j, dims.n) ub[j] = x[j];
  g.sync();
}

// out = P x + rho D^2 x, P and x scaled, D the columns' scales
template <class S, class Group>
LPGD_HD void hessian_times(const Group& g, const QpWork<S>& work, S rho, const S* x, S* out) {
  const int n = work.dims.n;
  if (work.dims.quadratic)
    multiply_rows(g, work.P, n, n, work.dims.stride_n(), x, out, RealOf<S>(0));
  const S scale = *work.cost_scale;
  LPGD_FOR (g, j, n) {
    const S column = work.column_scale[j];
    out[j] = rho * (column * column) * x[j] + (work.dims.quadratic ? scale * out[j] : S(0));
  }
  g.sync();
}

template <class S, class Group>
LPGD_HD S max_abs(const Group& g, const S* v, int count) {
  S out = S(0);
  LPGD_FOR (g, i, count) out = max_nan(out, abs_of(v[i]));
  return g.max(out);
}

template <class S, class Group>
LPGD_HD S dot(const Group& g, const S* a, const S* b, int count) {
  S out = S(0);
  LPGD_FOR (g, i, count) out += a[i] * b[i];
  return g.sum(out);
}

// Factor for the weights in work.w, with rho of the proximal term and the regularisation.
// The weights of the rows of A are those that AtA was made with.
template <class S, class Group>
LPGD_HD void kkt_factor(const Group& g, QpWork<S>& work, S rho, S reg) {
  const QpDims& dims = work.dims;
  const int n = dims.n, ld = dims.stride_n();
  LPGD_FOR (g, j, n) {
    S value = reg + rho * (work.column_scale[j] * work.column_scale[j]);
    if (dims.n_lb > 0) value += work.w[dims.lower() + j];
    if (dims.n_ub > 0) value += work.w[dims.upper() + j];
    work.H_diag[j] = dims.by_rows ? S(1) / value : value;
  }
  g.sync();
  if (dims.by_rows) {
    const S off = S(RealOf<S>(1e30));  // of rows that are not in use: their multiplier is nil
    LPGD_FOR (g, i, dims.rows()) {
      const auto used = less(S(0), work.w[i]);
      work.tm[i] = select(used, S(1) / select(used, work.w[i], S(1)), off);
    }
    g.sync();
    const NormalMatrix<S> rows{dims.rows(), dims.stride_rows(), S(1), nullptr, nullptr,   work.tm,
                               work.R,      work.H_diag,        n,    ld,      work.panel};
    cholesky(g, rows, Factor<S>{dims.rows(), dims.stride_rows(), work.L, work.L_inv});
    return;
  }
  const NormalMatrix<S> normal{n,
                               ld,
                               *work.cost_scale,
                               dims.quadratic ? work.P : nullptr,
                               dims.p > 0 ? work.AtA : nullptr,
                               work.H_diag,
                               dims.m > 0 ? work.Rt : nullptr,
                               work.w,
                               dims.m,
                               dims.stride_rows(),
                               work.panel};
  cholesky(g, normal, Factor<S>{n, ld, work.L, work.L_inv});
}

// The same by rows. Leaves C dx in work.Cdx; Cdz is scratch.
template <class S, class Group>
LPGD_HD void kkt_solve_rows(const Group& g, const QpWork<S>& work, const S* rx, const S* rz, S* dx,
                            S* dz) {
  const QpDims& dims = work.dims;
  const int n = dims.n, rows = dims.rows(), ld = dims.stride_rows(), M = dims.slots();
  LPGD_FOR (g, j, n) {
    S value = rx[j];
    if (dims.n_lb > 0) value -= work.w[dims.lower() + j] * rz[dims.lower() + j];
    if (dims.n_ub > 0) value += work.w[dims.upper() + j] * rz[dims.upper() + j];
    dx[j] = work.H_diag[j] * value;
  }
  g.sync();
  multiply_cols(g, work.Rt, n, rows, ld, dx, dz, RealOf<S>(0));
  LPGD_FOR (g, i, rows) dz[i] = select(less(S(0), work.w[i]), dz[i] - rz[i], S(0));
  g.sync();
  const Factor<S> factor{rows, ld, work.L, work.L_inv};
  solve_lower(g, factor, dz);
  solve_upper(g, factor, dz);
  LPGD_FOR (g, i, rows) dz[i] = select(less(S(0), work.w[i]), dz[i], S(0));
  g.sync();
  multiply_rows(g, work.Rt, n, rows, ld, dz, work.Cdz, RealOf<S>(0));
  LPGD_FOR (g, j, n) dx[j] -= work.H_diag[j] * work.Cdz[j];
  g.sync();
  slots_of(g, work, dx, work.Cdx);
  LPGD_FOR (g, i, M)
    if (i >= rows) dz[i] = work.w[i] * (work.Cdx[i] - rz[i]);
  g.sync();
}

// One solve with the factor; right-hand sides are kept. Leaves C dx in work.Cdx.
template <class S, class Group>
LPGD_HD void kkt_solve(const Group& g, const QpWork<S>& work, const S* rx, const S* rz, S* dx,
                       S* dz) {
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  if (dims.by_rows) return kkt_solve_rows(g, work, rx, rz, dx, dz);
  LPGD_FOR (g, i, M) work.tm[i] = work.w[i] * rz[i];
  LPGD_FOR (g, j, n) dx[j] = rx[j];
  g.sync();
  slots_transposed(g, work, work.tm, dx, RealOf<S>(1));
  const Factor<S> factor{n, dims.stride_n(), work.L, work.L_inv};
  solve_lower(g, factor, dx);
  solve_upper(g, factor, dx);
  slots_of(g, work, dx, work.Cdx);
  LPGD_FOR (g, i, M) dz[i] = work.w[i] * (work.Cdx[i] - rz[i]);
  g.sync();
}

// Residual of the unregularised system, into ex and ez; returns its maximum norm. Leaves the
// products of the step in work.Pdx, Cdz and Cdx; `has_Cdx`: that one is there.
template <class S, class Group>
LPGD_HD S kkt_residual(const Group& g, const QpWork<S>& work, S rho, const S* rx, const S* rz,
                       const S* dx, const S* dz, bool has_Cdx) {
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  hessian_times(g, work, rho, dx, work.Pdx);
  slots_transposed(g, work, dz, work.Cdz, RealOf<S>(0));
  if (!has_Cdx) slots_of(g, work, dx, work.Cdx);
  S norm = S(0);
  LPGD_FOR (g, j, n) {
    work.ex[j] = rx[j] - work.Pdx[j] - work.Cdz[j];
    norm = max_nan(norm, abs_of(work.ex[j]));
  }
  LPGD_FOR (g, i, M) {
    const S error = rz[i] - work.Cdx[i] + work.theta[i] * dz[i];
    work.ez[i] = select(less(S(0), work.w[i]), error, S(0));
    norm = max_nan(norm, abs_of(work.ez[i]));
  }
  norm = g.max(norm);
  g.sync();
  return norm;
}

// Solve with up to `steps` of refinement, while the residual is above `target`. A lane takes
// corrections while each halves its residual, and gives back one that did not lessen it. Leaves the
// residual and the products of the step as kkt_residual does, and returns its norm.
template <class S, class Group>
LPGD_HD S kkt_solve_refined(const Group& g, const QpWork<S>& work, S rho, const S* rx, const S* rz,
                            S* dx, S* dz, int steps, S target) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, M = dims.slots();
  kkt_solve(g, work, rx, rz, dx, dz);
  S norm = kkt_residual(g, work, rho, rx, rz, dx, dz, true);
  auto open = less(target, norm);
  for (int step = 0; step < steps && any_lane(open); ++step) {
    kkt_solve(g, work, work.ex, work.ez, work.cx, work.cz);
    LPGD_FOR (g, j, n) dx[j] += select(open, work.cx[j], S(0));
    LPGD_FOR (g, i, M) dz[i] += select(open, work.cz[i], S(0));
    g.sync();
    S next = kkt_residual(g, work, rho, rx, rz, dx, dz, false);
    const auto worse = mask_and(open, mask_not(less(next, norm)));
    open = mask_and(mask_and(open, less(next, S(T(0.5)) * norm)), less(target, next));
    if (any_lane(worse)) {
      LPGD_FOR (g, j, n) dx[j] -= select(worse, work.cx[j], S(0));
      LPGD_FOR (g, i, M) dz[i] -= select(worse, work.cz[i], S(0));
      g.sync();
      next = kkt_residual(g, work, rho, rx, rz, dx, dz, false);
    }
    norm = next;
  }
  return norm;
}

// What refinement can reach, for right-hand sides of this size.
template <class S, class Group>
LPGD_HD S refine_target(const Group& g, const QpWork<S>& work, const S* rx, const S* rz) {
  const S size = max_nan(max_abs(g, rx, work.dims.n), max_abs(g, rz, work.dims.slots()));
  return S(Precision<RealOf<S>>::refine_target) * size;
}

LPGD_END_NAMESPACE
