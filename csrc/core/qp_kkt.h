// The KKT system of all methods here, solved by elimination:
//
//   P dx + A'dy + C'dz  = rx
//   A dx                = ry
//   C dx - theta dz     = rz     for the slots in use (w > 0);  dz = 0 for the others
//
// theta = s/z in the interior point, 0 for active constraints. Eliminating dz with w = 1/(theta +
// reg) gives H = P + C'diag(w)C + reg I = LL', V = A L^-T and the Schur complement VV'. The
// regularisation makes redundant rows, free variables and P = 0 factor; refinement against the
// system above takes its effect out again.
#pragma once

#include "qp_work.h"

LPGD_BEGIN_NAMESPACE

// out = alpha * out + C'v
template <class S, class Group>
LPGD_HD void slots_transposed(const Group& g, const QpWork<S>& work, const S* v, S* out,
                              RealOf<S> alpha) {
  const QpDims& dims = work.dims;
  multiply_rows(g, work.Gt, dims.n, dims.m, v, out, alpha);
  const S* lb = v + dims.m;
  const S* ub = lb + dims.n_lb;
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
  multiply_cols(g, work.Gt, dims.n, dims.m, x, out, RealOf<S>(0));
  S* lb = out + dims.m;
  S* ub = lb + dims.n_lb;
  if (dims.n_lb > 0)
    LPGD_FOR (g, j, dims.n) lb[j] = -x[j];
  if (dims.n_ub > 0)
    LPGD_FOR (g, j, dims.n) ub[j] = x[j];
  g.sync();
}

// out = P x + rho x
template <class S, class Group>
LPGD_HD void hessian_times(const Group& g, const QpWork<S>& work, S rho, const S* x, S* out) {
  LPGD_FOR (g, j, work.dims.n) out[j] = rho * x[j];
  g.sync();
  if (work.dims.quadratic) multiply_rows(g, work.P, work.dims.n, work.dims.n, x, out, RealOf<S>(1));
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

// Factor for the weights in work.w; `diagonal` is rho of the proximal term plus the regularisation;
// dependent rows of A lose their pivot, or with `dual_reg` keep one.
template <class S, class Group>
LPGD_HD void kkt_factor(const Group& g, QpWork<S>& work, S diagonal, S dual_reg = S(0)) {
  const QpDims& dims = work.dims;
  const int n = dims.n, m = dims.m, p = dims.p;
  LPGD_FOR (g, j, n) {
    S value = diagonal;
    if (dims.n_lb > 0) value += work.w[m + j];
    if (dims.n_ub > 0) value += work.w[m + dims.n_lb + j];
    work.H_diag[j] = value;
  }
  g.sync();
  const NormalMatrix<S> normal{n,           dims.quadratic ? work.P : nullptr,
                               work.H_diag, m > 0 ? work.Gt : nullptr,
                               work.w,      m,
                               work.panel};
  cholesky(g, normal, Factor<S>{n, work.L, work.L_inv}, work.A, work.V, p);
  if (p > 0) {
    LPGD_FOR (g, i, p) work.y_diag[i] = dual_reg;
    g.sync();
    const NormalMatrix<S> schur{p, nullptr, work.y_diag, work.V, nullptr, n, nullptr};
    cholesky(g, schur, Factor<S>{p, work.Sy, work.Sy_inv});
  }
}

// One solve with the factor; right-hand sides are kept.
template <class S, class Group>
LPGD_HD void kkt_solve(const Group& g, const QpWork<S>& work, const S* rx, const S* ry, const S* rz,
                       S* dx, S* dy, S* dz) {
  const QpDims& dims = work.dims;
  const int n = dims.n, p = dims.p, M = dims.slots();
  LPGD_FOR (g, i, M) work.tm[i] = work.w[i] * rz[i];
  LPGD_FOR (g, j, n) dx[j] = rx[j];
  g.sync();
  slots_transposed(g, work, work.tm, dx, RealOf<S>(1));
  solve_lower(g, Factor<S>{n, work.L, work.L_inv}, dx);
  if (p > 0) {
    LPGD_FOR (g, i, p) dy[i] = ry[i];
    g.sync();
    multiply_rows(g, work.V, p, n, dx, dy, RealOf<S>(-1));
    solve_lower(g, Factor<S>{p, work.Sy, work.Sy_inv}, dy);
    solve_upper(g, Factor<S>{p, work.Sy, work.Sy_inv}, dy);
    LPGD_FOR (g, i, p) work.tm[i] = -dy[i];
    g.sync();
    multiply_cols(g, work.V, p, n, work.tm, dx, RealOf<S>(1));
  }
  solve_upper(g, Factor<S>{n, work.L, work.L_inv}, dx);
  slots_of(g, work, dx, work.tm);
  LPGD_FOR (g, i, M) dz[i] = work.w[i] * (work.tm[i] - rz[i]);
  g.sync();
}

// Residual of the unregularised system, into ex, ey, ez; returns its maximum norm.
template <class S, class Group>
LPGD_HD S kkt_residual(const Group& g, const QpWork<S>& work, S rho, const S* rx, const S* ry,
                       const S* rz, const S* dx, const S* dy, const S* dz) {
  const QpDims& dims = work.dims;
  const int n = dims.n, p = dims.p, M = dims.slots();
  hessian_times(g, work, rho, dx, work.ex);
  if (p > 0) {
    multiply_cols(g, work.A, p, n, dy, work.ex, RealOf<S>(1));
    LPGD_FOR (g, i, p) work.ey[i] = ry[i];
    g.sync();
    LPGD_FOR (g, j, n) work.tn[j] = -dx[j];
    g.sync();
    multiply_rows(g, work.A, p, n, work.tn, work.ey, RealOf<S>(1));
  }
  slots_transposed(g, work, dz, work.ex, RealOf<S>(1));
  slots_of(g, work, dx, work.ez);
  LPGD_FOR (g, j, n) work.ex[j] = rx[j] - work.ex[j];
  LPGD_FOR (g, i, M)
    work.ez[i] = select(less(S(0), work.w[i]), rz[i] - work.ez[i] + work.theta[i] * dz[i], S(0));
  g.sync();
  return max_nan(max_nan(max_abs(g, work.ex, n), max_abs(g, work.ey, p)), max_abs(g, work.ez, M));
}

// Solve with up to `steps` of refinement. A lane takes a correction while it more than halves its
// residual, and gives back the last one if it did not.
template <class S, class Group>
LPGD_HD void kkt_solve_refined(const Group& g, const QpWork<S>& work, S rho, const S* rx,
                               const S* ry, const S* rz, S* dx, S* dy, S* dz, int steps) {
  using T = RealOf<S>;
  const QpDims& dims = work.dims;
  const int n = dims.n, p = dims.p, M = dims.slots();
  kkt_solve(g, work, rx, ry, rz, dx, dy, dz);
  if (steps == 0) return;
  const S size = max_nan(max_nan(max_abs(g, rx, n), max_abs(g, ry, p)), max_abs(g, rz, M));
  const S target = S(Precision<T>::refine_target) * size;
  S norm = kkt_residual(g, work, rho, rx, ry, rz, dx, dy, dz);
  auto open = less(target, norm);
  for (int step = 0; step < steps && any_lane(open); ++step) {
    kkt_solve(g, work, work.ex, work.ey, work.ez, work.cx, work.cy, work.cz);
    const S take = select(open, S(1), S(0));
    LPGD_FOR (g, j, n) dx[j] += select(open, work.cx[j], S(0));
    LPGD_FOR (g, i, p) dy[i] += select(open, work.cy[i], S(0));
    LPGD_FOR (g, i, M) dz[i] += select(open, work.cz[i], S(0));
    g.sync();
    const S next = kkt_residual(g, work, rho, rx, ry, rz, dx, dy, dz);
    const auto worse = mask_and(open, mask_not(less(next, norm)));
    if (any_lane(worse)) {
      LPGD_FOR (g, j, n) dx[j] -= select(worse, work.cx[j], S(0));
      LPGD_FOR (g, i, p) dy[i] -= select(worse, work.cy[i], S(0));
      LPGD_FOR (g, i, M) dz[i] -= select(worse, work.cz[i], S(0));
      g.sync();
    }
    open = mask_and(mask_and(open, less(next, S(T(0.5)) * norm)), less(target, next));
    norm = select(less(S(0), take), next, norm);
  }
}

LPGD_END_NAMESPACE
