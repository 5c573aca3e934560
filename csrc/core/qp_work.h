// Workspace of one problem (or one pack of problems) and its loading from the batch.
//
// All inequalities are slots i = 0..M-1 of C x + s = d, s >= 0: first the rows of G, then -x <=
// -lb, then x <= ub. Rows of G are matrix rows; bounds only touch diagonals.
#pragma once

#include "dense.h"
#include "qp_types.h"

LPGD_BEGIN_NAMESPACE

struct QpDims {
  int n, m, p, n_lb, n_ub;
  bool quadratic;
  LPGD_HOST_TOO int slots() const { return m + n_lb + n_ub; }
};

template <class T>
LPGD_HOST_TOO QpDims dims_of(const QpProblem<T>& problem) {
  return QpDims{problem.n,
                problem.m,
                problem.p,
                problem.lb ? problem.n : 0,
                problem.ub ? problem.n : 0,
                problem.P != nullptr};
}

// Facts of a pack's matrices, kept beside them for as long as they are.
enum QpFact : int { kFactFinite, kFactConvex, kFactScaleP, kFacts };

// Named slices of one allocation, counted in scalars.
template <class S>
struct QpWork {
  QpDims dims;
  S *P, *Gt, *A, *q, *b, *d, *on, *equal_slot;                           // data
  S *L, *L_inv, *V, *Sy, *Sy_inv, *H_diag, *y_diag, *w, *theta, *panel;  // factorisation
  S *x, *y, *z, *s;                                                      // iterate
  S *dx, *dy, *dz, *ds;                                                  // step
  S *rx, *ry, *rz;                                                       // right-hand sides
  S *ex, *ey, *ez, *cx, *cy, *cz;                                        // refinement
  S *tn, *tm, *Px, *Cx;                                                  // scratch
  S *best_x, *best_y, *best_z;  // best iterate, or the start point
  S* anchor;                    // x* of the proximal term
  S* facts;                     // [kFacts] what is known of the matrices: see load_matrices

  // Called with base = null to count.
  LPGD_HOST_TOO std::size_t bind(const QpDims& size, S* base) {
    dims = size;
    const std::size_t n = size.n, m = size.m, p = size.p, M = size.slots();
    std::size_t used = 0;
    auto take = [&](std::size_t count) {
      S* at = base ? base + used : nullptr;
      used += count;
      return at;
    };
    P = take(size.quadratic ? n * n : 0);
    Gt = take(n * m);
    A = take(p * n);
    q = take(n);
    b = take(p);
    d = take(M);
    on = take(M);
    equal_slot = take(M);
    L = take(n * n);
    L_inv = take(n);
    V = take(p * n);
    Sy = take(p * p);
    Sy_inv = take(p);
    H_diag = take(n);
    y_diag = take(p);
    w = take(M);
    theta = take(M);
    panel = take(kTileCols * m);
    x = take(n);
    y = take(p);
    z = take(M);
    s = take(M);
    dx = take(n);
    dy = take(p);
    dz = take(M);
    ds = take(M);
    rx = take(n);
    ry = take(p);
    rz = take(M);
    ex = take(n);
    ey = take(p);
    ez = take(M);
    cx = take(n);
    cy = take(p);
    cz = take(M);
    tn = take(n);
    tm = take(M > p ? M : p);
    Px = take(n);
    Cx = take(M);
    best_x = take(n);
    best_y = take(p);
    best_z = take(M);
    anchor = take(n);
    facts = take(kFacts);
    return used;
  }
};

template <class S>
LPGD_HOST_TOO std::size_t qp_work_scalars(const QpDims& dims) {
  QpWork<S> work;
  return work.bind(dims, nullptr);
}

// The entries of a pack; a pack's spare lanes repeat its last problem.
template <class S>
struct QpLanes {
  using T = RealOf<S>;
  QpEntry<T> entry[ScalarTraits<S>::lanes];
  S shift, rho;
};

template <class S>
LPGD_HD QpLanes<S> lanes_of(const QpEntry<RealOf<S>>* entries, std::int64_t first, int used) {
  QpLanes<S> lanes;
  for (int l = 0; l < ScalarTraits<S>::lanes; ++l) {
    const std::int64_t index = first + (l < used ? l : used - 1);
    lanes.entry[l] = entries ? entries[index] : QpEntry<RealOf<S>>{index, index, 0, 0};
    set_lane(lanes.shift, l, lanes.entry[l].shift);
    set_lane(lanes.rho, l, lanes.entry[l].rho);
  }
  return lanes;
}

template <class S>
LPGD_INLINE S gather(const QpLanes<S>& lanes, const RealOf<S>* base, std::int64_t stride,
                     std::int64_t offset) {
  S out;
  for (int l = 0; l < ScalarTraits<S>::lanes; ++l)
    set_lane(out, l, base[lanes.entry[l].item * stride + offset]);
  return out;
}

template <class S, class Group>
LPGD_HD void load_vector(const Group& g, const QpLanes<S>& lanes, const RealOf<S>* base,
                         std::int64_t stride, int count, S* out) {
  LPGD_FOR (g, i, count) out[i] = gather<S>(lanes, base, stride, i);
}

// x += coefficient * row of `direction` (a null direction is zero)
template <class S, class Group>
LPGD_HD void add_scaled(const Group& g, const QpLanes<S>& lanes, const RealOf<S>* direction,
                        int count, S coefficient, S* x) {
  if (!direction) return;
  LPGD_FOR (g, i, count) x[i] += coefficient * gather<S>(lanes, direction, count, i);
}

// Matrices, P symmetrised. Shared ones stay in the workspace from one pack to the next. Non-finite
// numbers are found on the way: v - v is 0 for a finite v and nan otherwise.
template <class S, class Group>
LPGD_HD void load_matrices(const Group& g, QpWork<S>& work, const QpProblem<RealOf<S>>& problem,
                           const QpLanes<S>& lanes, bool first) {
  using T = RealOf<S>;
  const int n = work.dims.n, m = work.dims.m, p = work.dims.p;
  const bool new_P = work.dims.quadratic && (first || problem.stride_P != 0);
  const bool new_G = m > 0 && (first || problem.stride_G != 0);
  const bool new_A = p > 0 && (first || problem.stride_A != 0);
  if (!(first || new_P || new_G || new_A)) return;
  S finite = S(0), scale = S(0);
  // A matrix that stays in place was checked when it came; a nan of it is still in facts.
  if (!first) finite = work.facts[kFactFinite];
  g.sync();
  if (new_P)
    LPGD_FOR (g, i, n)
      for (int j = 0; j <= i; ++j) {
        const S upper = gather<S>(lanes, problem.P, problem.stride_P, std::int64_t(j) * n + i);
        const S lower = gather<S>(lanes, problem.P, problem.stride_P, std::int64_t(i) * n + j);
        const S value = S(T(0.5)) * (lower + upper);
        work.P[i * n + j] = value;
        work.P[j * n + i] = value;
        finite += value - value;
        if (i == j) scale = max_of(scale, abs_of(value));
      }
  if (new_G)
    LPGD_FOR (g, k, m)
      for (int j = 0; j < n; ++j) {
        const S value = gather<S>(lanes, problem.G, problem.stride_G, std::int64_t(k) * n + j);
        work.Gt[j * m + k] = value;
        finite += value - value;
      }
  if (new_A)
    LPGD_FOR (g, i, p * n) {
      const S value = gather<S>(lanes, problem.A, problem.stride_A, i);
      work.A[i] = value;
      finite += value - value;
    }
  finite = g.sum(finite);
  scale = g.max(scale);
  if (g.lane() == 0) {
    work.facts[kFactFinite] = finite;
    if (new_P) work.facts[kFactScaleP] = select(less(S(0), scale), scale, S(1));
    if (!work.dims.quadratic) {
      work.facts[kFactScaleP] = S(1);
      work.facts[kFactConvex] = S(1);
    }
  }
  g.sync();
  if (new_P) {
    // Indefinite means that P + shift I has no Cholesky factor; rounding of a semidefinite P
    // passes.
    const S shift = S(Precision<T>::convexity_shift) * work.facts[kFactScaleP];
    LPGD_FOR (g, j, n) work.H_diag[j] = shift;
    g.sync();
    const NormalMatrix<S> mat{n, work.P, work.H_diag, nullptr, nullptr, 0, nullptr};
    const S smallest = cholesky(g, mat, Factor<S>{n, work.L, work.L_inv});
    if (g.lane() == 0) work.facts[kFactConvex] = select(less(S(0), smallest), S(1), S(0));
    g.sync();
  }
}

// What the vectors alone decide: status of lanes whose data is not usable.
template <class S>
struct QpVectorFacts {
  MaskOf<S> finite;   // every number is usable (infinite bounds are)
  MaskOf<S> crossed;  // lb > ub, or a bound that excludes everything
};

// Right-hand sides, shifted where LPGD asks for it. `point` gives the anchor of the proximal term.
template <class S, class Group>
LPGD_HD QpVectorFacts<S> load_vectors(const Group& g, QpWork<S>& work,
                                      const QpProblem<RealOf<S>>& problem,
                                      const QpPoint<const RealOf<S>>& point,
                                      const QpPoint<const RealOf<S>>& gradient,
                                      const QpLanes<S>& lanes) {
  const QpDims& dims = work.dims;
  const int n = dims.n, m = dims.m, lb0 = m, ub0 = m + dims.n_lb;
  load_vector(g, lanes, problem.q, problem.stride_q, n, work.q);
  if (dims.p > 0) load_vector(g, lanes, problem.b, problem.stride_b, dims.p, work.b);
  if (m > 0) load_vector(g, lanes, problem.h, problem.stride_h, m, work.d);
  LPGD_FOR (g, j, dims.n_lb) work.d[lb0 + j] = -gather<S>(lanes, problem.lb, problem.stride_lb, j);
  LPGD_FOR (g, j, dims.n_ub) work.d[ub0 + j] = gather<S>(lanes, problem.ub, problem.stride_ub, j);
  g.sync();
  S crossed = S(0);
  if (dims.n_lb > 0 && dims.n_ub > 0)
    LPGD_FOR (g, j, n)
      crossed = max_of(crossed, select(less(work.d[ub0 + j], -work.d[lb0 + j]), S(1), S(0)));
  g.sync();
  // An infinite right-hand side switches its slot off; minus infinity can't be met at all.
  S unusable = S(0);
  LPGD_FOR (g, i, dims.slots()) {
    const S value = work.d[i];
    const auto finite = is_finite(value);
    unusable = max_of(unusable, select(equal(value, value), S(0), S(1)));
    crossed = max_of(crossed, select(mask_and(mask_not(finite), less(value, S(0))), S(1), S(0)));
    work.on[i] = select(finite, S(1), S(0));
    work.d[i] = select(finite, value, S(0));
    work.equal_slot[i] = S(0);
  }
  g.sync();
  // A variable fixed by lb = ub leaves no interior: its lower slot becomes an equality, whose
  // multiplier z_lb - z_ub is free; the upper slot is switched off.
  if (dims.n_lb > 0 && dims.n_ub > 0)
    LPGD_FOR (g, j, n) {
      const auto both = less(S(0), work.on[lb0 + j] * work.on[ub0 + j]);
      const auto fixed = mask_and(both, equal(-work.d[lb0 + j], work.d[ub0 + j]));
      work.equal_slot[lb0 + j] = select(fixed, S(1), S(0));
      work.on[ub0 + j] = select(fixed, S(0), work.on[ub0 + j]);
    }
  g.sync();
  add_scaled(g, lanes, gradient.x, n, lanes.shift, work.q);
  add_scaled(g, lanes, gradient.y, dims.p, -lanes.shift, work.b);
  add_scaled(g, lanes, gradient.z, m, -lanes.shift, work.d);
  add_scaled(g, lanes, gradient.z_lb, dims.n_lb, -lanes.shift, work.d + lb0);
  add_scaled(g, lanes, gradient.z_ub, dims.n_ub, -lanes.shift, work.d + ub0);
  if (point.x) {
    load_vector(g, lanes, point.x, n, n, work.anchor);
    LPGD_FOR (g, j, n) work.q[j] -= lanes.rho * work.anchor[j];
  }
  g.sync();
  LPGD_FOR (g, j, n) unusable = max_of(unusable, select(is_finite(work.q[j]), S(0), S(1)));
  LPGD_FOR (g, j, dims.p) unusable = max_of(unusable, select(is_finite(work.b[j]), S(0), S(1)));
  LPGD_FOR (g, i, dims.slots()) {
    unusable = max_of(unusable, select(is_finite(work.d[i]), S(0), S(1)));
    work.d[i] = work.d[i] * work.on[i];
  }
  unusable = g.max(unusable);
  crossed = g.max(crossed);
  g.sync();
  return {equal(unusable + work.facts[kFactFinite], S(0)), less(S(0), crossed)};
}

// Fixed variables: one free multiplier z_lb - z_ub inside, two nonnegative ones outside.
template <class S, class Group>
LPGD_HD void join_fixed(const Group& g, const QpWork<S>& work, S* z) {
  const QpDims& dims = work.dims;
  if (dims.n_lb == 0 || dims.n_ub == 0) return;
  S* lb = z + dims.m;
  S* ub = lb + dims.n_lb;
  LPGD_FOR (g, j, dims.n) {
    lb[j] -= work.equal_slot[dims.m + j] * ub[j];
    ub[j] = select(less(S(0), work.equal_slot[dims.m + j]), S(0), ub[j]);
  }
  g.sync();
}

template <class S, class Group>
LPGD_HD void split_fixed(const Group& g, const QpWork<S>& work, S* z) {
  const QpDims& dims = work.dims;
  if (dims.n_lb == 0 || dims.n_ub == 0) return;
  S* lb = z + dims.m;
  S* ub = lb + dims.n_lb;
  LPGD_FOR (g, j, dims.n) {
    const auto fixed = less(S(0), work.equal_slot[dims.m + j]);
    ub[j] = select(fixed, max_of(-lb[j], S(0)), ub[j]);
    lb[j] = select(fixed, max_of(lb[j], S(0)), lb[j]);
  }
  g.sync();
}

// The given primal-dual point into x, y, z.
template <class S, class Group>
LPGD_HD void load_point(const Group& g, QpWork<S>& work, const QpPoint<const RealOf<S>>& point,
                        const QpLanes<S>& lanes, S* x, S* y, S* z) {
  const QpDims& dims = work.dims;
  load_vector(g, lanes, point.x, dims.n, dims.n, x);
  if (dims.p > 0) load_vector(g, lanes, point.y, dims.p, dims.p, y);
  if (dims.m > 0) load_vector(g, lanes, point.z, dims.m, dims.m, z);
  if (dims.n_lb > 0) load_vector(g, lanes, point.z_lb, dims.n, dims.n, z + dims.m);
  if (dims.n_ub > 0) load_vector(g, lanes, point.z_ub, dims.n, dims.n, z + dims.m + dims.n_lb);
  g.sync();
  join_fixed(g, work, z);
}

template <class S, class Group>
LPGD_HD void store_rows(const Group& g, const QpLanes<S>& lanes, int used, const S* values,
                        int count, RealOf<S>* out) {
  if (!out) return;
  for (int l = 0; l < used; ++l)
    LPGD_FOR (g, i, count) out[lanes.entry[l].slot * count + i] = get_lane(values[i], l);
}

template <class S, class Group>
LPGD_HD void store_point(const Group& g, const QpWork<S>& work, const QpLanes<S>& lanes, int used,
                         const S* x, const S* y, const S* z, const QpPoint<RealOf<S>>& out) {
  const QpDims& dims = work.dims;
  store_rows(g, lanes, used, x, dims.n, out.x);
  store_rows(g, lanes, used, y, dims.p, out.y);
  store_rows(g, lanes, used, z, dims.m, out.z);
  store_rows(g, lanes, used, z + dims.m, dims.n_lb, out.z_lb);
  store_rows(g, lanes, used, z + dims.m + dims.n_lb, dims.n_ub, out.z_ub);
}

LPGD_END_NAMESPACE
