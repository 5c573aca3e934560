// Workspace of one problem (or one pack of problems).
//
// All constraints are slots i = 0..M-1 of C x + s = d: first the rows of G (s >= 0), then those
// of A (s = 0, an equality slot), then -x <= -lb, then x <= ub. The rows of G and A are kept
// transposed in one matrix; bounds only touch diagonals. The multipliers z of all slots include y.
//
// Inside, the problem is scaled: the objective by cost_scale and the slots by slot_scale, powers of
// two that bring the largest entries near 1, so that tolerances mean the same in any units. x, and
// with it q and d, is counted in x_scale, a power of two that is 1 unless the data says that x is
// far from 1 (unit_of_x); and each variable in column_scale besides, powers of two that are 1
// unless the variables' units are far apart (qp_scale.h). So x = x_given / (x_scale * column_scale)
// and z = z_given * cost_scale / (slot_scale * x_scale).
#pragma once

#include "dense.h"
#include "qp_types.h"

LPGD_BEGIN_NAMESPACE

struct QpDims {
  int n, m, p, n_lb, n_ub;
  bool quadratic;
  bool by_rows;  // the KKT systems are eliminated to the rows of G and A, not to x (qp_kkt.h)
  int width;     // rows of matrices are padded to whole vectors of it (RowVector)
  LPGD_HOST_TOO int stride_n() const { return row_stride(n, width); }          // of P and L
  LPGD_HOST_TOO int stride_rows() const { return row_stride(rows(), width); }  // of Rt and panel
  LPGD_HOST_TOO int rows() const { return m + p; }
  LPGD_HOST_TOO int lower() const { return m + p; }         // first slot of lb
  LPGD_HOST_TOO int upper() const { return m + p + n_lb; }  // first slot of ub
  LPGD_HOST_TOO int slots() const { return m + p + n_lb + n_ub; }
};

template <class T>
LPGD_HOST_TOO QpDims dims_of(const QpProblem<T>& problem, int width = 1) {
  const bool bounded = problem.lb || problem.ub;
  return QpDims{problem.n,
                problem.m,
                problem.p,
                problem.lb ? problem.n : 0,
                problem.ub ? problem.n : 0,
                problem.P != nullptr,
                !problem.P && bounded && 2 * (problem.m + problem.p) <= problem.n,
                width};
}

// Facts of a pack's matrices, kept beside them for as long as they are.
enum QpFact : int {
  kFactFiniteP,
  kFactFiniteG,
  kFactFiniteA,
  kFactConvex,
  kFactScaleP,   // largest diagonal entry of P
  kFactStrict,   // P is positive definite by a margin
  kFactColumns,  // a column_scale is not 1
  kFactStale,    // the columns are scaled by what one solution said
  kFacts
};

// How an attempt at a problem goes about it. The first is the fast one; the second, for what
// rounding or a start near the boundary kept from its end, trades speed for care: equalities weigh
// less in the normal matrix, so that they swallow less of the rest, and refinement makes up for it.
template <class T>
struct QpEffort {
  T equality_reg, primal_reg;
  T least_start;    // of slacks and multipliers
  int refinements;  // of a step
};

template <class T>
LPGD_INLINE QpEffort<T> usual_effort() {
  return {Precision<T>::equality_reg, Precision<T>::primal_reg, T(1e-3), 1};
}
template <class T>
LPGD_INLINE QpEffort<T> careful_effort() {
  return {Precision<T>::careful_equality_reg, Precision<T>::careful_primal_reg, T(10), 5};
}

// Named slices of one allocation, counted in scalars.
template <class S>
struct QpWork {
  QpDims dims;
  S *P, *Rt, *q, *d, *on, *equal_slot, *slot_scale;  // data; Rt is [n, stride_rows]
  S* R;                                              // by rows: Rt's transpose, [rows, stride_n]
  S* AtA;                                            // A'A / equality_reg, A scaled
  S *L, *L_inv, *H_diag, *w, *theta, *panel;         // factorisation
  S *x, *z, *s;                                      // iterate
  S *dx, *dz, *ds;                                   // step
  S *rx, *rz;                                        // right-hand sides
  S *ex, *ez, *cx, *cz;                              // refinement
  S *Px, *Cz, *Cx;                                   // P x + rho x, C'z, C x of the iterate
  S *Pdx, *Cdz, *Cdx;                                // the same of a step
  S* tm;                                             // scratch
  S *best_x, *best_z, *best_s;                       // best iterate; s: the last one
  S *last_x, *last_Px, *last_Cx, *last_z, *last_Cz;  // iterate before, for certificates
  S *ray_x, *ray_z;                                  // what comes closest to a certificate
  S* anchor;                                         // x* of the proximal term
  S* column_scale;                                   // [n]
  S *cost_scale, *x_scale;                           // [1]
  S* facts;  // [kFacts] what is known of the matrices: see load_matrices
  QpEffort<RealOf<S>> effort;

  // Called with base = null to count. Padded rows need memory that is zero at first.
  LPGD_HOST_TOO std::size_t bind(const QpDims& size, S* base) {
    dims = size;
    effort = usual_effort<RealOf<S>>();
    const std::size_t n = size.n, rows = size.rows(), M = size.slots();
    std::size_t used = 0;
    auto take = [&](std::size_t count) {
      S* at = base ? base + used : nullptr;
      used += count;
      return at;
    };
    const std::size_t stride_n = size.stride_n(), stride_rows = size.stride_rows();
    P = take(size.quadratic ? n * stride_n : 0);
    Rt = take(n * stride_rows);
    L = take(n * stride_n);
    AtA = take(size.p > 0 && !size.by_rows ? n * stride_n : 0);
    R = take(size.by_rows ? rows * stride_n : 0);
    panel = take(kTileCols * (size.by_rows ? stride_n : stride_rows));
    q = take(n);
    L_inv = take(n);
    H_diag = take(n);
    x = take(n);
    dx = take(n);
    rx = take(n);
    ex = take(n);
    cx = take(n);
    Px = take(n);
    Cz = take(n);
    Pdx = take(n);
    Cdz = take(n);
    best_x = take(n);
    anchor = take(n);
    d = take(M);
    on = take(M);
    equal_slot = take(M);
    w = take(M);
    theta = take(M);
    z = take(M);
    s = take(M);
    dz = take(M);
    ds = take(M);
    rz = take(M);
    ez = take(M);
    cz = take(M);
    tm = take(M);
    Cx = take(M);
    Cdx = take(M);
    best_z = take(M);
    best_s = take(M);
    slot_scale = take(M);
    column_scale = take(n);
    last_x = take(n);
    last_Px = take(n);
    last_Cz = take(n);
    last_z = take(M);
    last_Cx = take(M);
    ray_x = take(n);
    ray_z = take(M);
    cost_scale = take(1);
    x_scale = take(1);
    facts = take(kFacts);
    return used;
  }
};

template <class S>
LPGD_HOST_TOO std::size_t qp_work_scalars(const QpDims& dims) {
  QpWork<S> work;
  return work.bind(dims, nullptr);
}

// The entries of a pack; a pack's spare lanes repeat its last problem. `Src` is the number type of
// the batch's arrays, which may be narrower than the lanes.
template <class S, class Src>
struct QpLanes {
  QpEntry<Src> entry[ScalarTraits<S>::lanes];
  S shift, rho;
};

template <class S, class Src>
LPGD_HD QpLanes<S, Src> lanes_of(const QpEntry<Src>* entries, std::int64_t first, int used) {
  QpLanes<S, Src> lanes;
  for (int l = 0; l < ScalarTraits<S>::lanes; ++l) {
    const std::int64_t index = first + (l < used ? l : used - 1);
    lanes.entry[l] = entries ? entries[index] : QpEntry<Src>{index, index, 0, 0};
    set_lane(lanes.shift, l, static_cast<RealOf<S>>(lanes.entry[l].shift));
    set_lane(lanes.rho, l, static_cast<RealOf<S>>(lanes.entry[l].rho));
  }
  return lanes;
}

// The same lanes, for reading from the rows that they write to.
template <class S, class Src>
LPGD_HD QpLanes<S, Src> by_slot(QpLanes<S, Src> lanes) {
  for (int l = 0; l < ScalarTraits<S>::lanes; ++l) lanes.entry[l].item = lanes.entry[l].slot;
  return lanes;
}

LPGD_END_NAMESPACE
