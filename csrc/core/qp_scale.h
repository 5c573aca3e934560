// The units that a problem is solved in: one for each variable, where they are far apart, and one
// for all of x.
#pragma once

#include "qp_work.h"

LPGD_BEGIN_NAMESPACE

// 1 for a true lane, 0 for a false one
template <class S>
LPGD_INLINE S indicator(MaskOf<S> mask) {
  return select(mask, S(1), S(0));
}

// Columns whose sizes are further apart than this are scaled. Closer ones are left as they are:
// what a tolerance means in them is the caller's.
constexpr double kColumnSpread = 0x1p8;
constexpr int kColumnRounds = 3;
constexpr double kLeastSeen = 1e-7;  // scaled; a variable below it may be 0
template <class T>
constexpr T kLargestColumnScale = T(sizeof(T) == 8 ? 0x1p60 : 0x1p20);
// That of one scaling by inverse_power_of_two: another one on top could be infinite.
template <class T>
constexpr T kLargestRowScale = T(sizeof(T) == 8 ? 0x1p499 : 0x1p60);

// The size of each column: of its largest entry in the scaled rows, or of the root of its entry on
// P's diagonal, relative to the largest. P is semidefinite, so that the diagonal bounds the rest.
template <class S, class Group>
LPGD_HD void column_sizes(const Group& g, const QpWork<S>& work, S* sizes) {
  const int n = work.dims.n, rows = work.dims.rows();
  const S largest = work.facts[kFactScaleP];
  const S share = S(1) / select(less(S(0), largest), largest, S(1));
  LPGD_FOR (g, j, n) {
    S size = S(0);
    if (work.dims.quadratic) size = sqrt_of(abs_of(work.P[j * work.dims.stride_n() + j]) * share);
    const S* column = work.Rt + j * work.dims.stride_rows();
    for (int i = 0; i < rows; ++i) size = max_of(size, abs_of(column[i]));
    sizes[j] = size;
  }
  g.sync();
}

// Columns by 1 / sizes in `lanes`, then their rows again so that the largest entries are in [1, 2).
// The other lanes are multiplied by 1: they have the numbers that they have without these
// neighbours.
template <class S, class Group>
LPGD_HD void scale_once(const Group& g, QpWork<S>& work, MaskOf<S> lanes, S* sizes) {
  const QpDims& dims = work.dims;
  const int n = dims.n, ld = dims.stride_rows();
  const S most = S(kLargestColumnScale<RealOf<S>>);
  const S most_rows = S(kLargestRowScale<RealOf<S>>);
  LPGD_FOR (g, j, n) {
    const S before = work.column_scale[j];
    const S wanted = select(lanes, before * inverse_power_of_two(sizes[j]), before);
    const S held = max_of(S(1) / most, min_of(wanted, most));
    sizes[j] = held / before;
    work.column_scale[j] = held;
  }
  g.sync();
  LPGD_FOR (g, i, dims.rows()) {
    S largest = S(0);
    for (int j = 0; j < n; ++j) {
      S& entry = work.Rt[j * ld + i];
      entry = sizes[j] * entry;
      largest = max_of(largest, abs_of(entry));
    }
    const S before = work.slot_scale[i];
    const S wanted = select(lanes, before * inverse_power_of_two(largest), before);
    const S held = max_of(S(1) / most_rows, min_of(wanted, most_rows));
    const S scale = held / before;
    for (int j = 0; j < n; ++j) work.Rt[j * ld + i] = scale * work.Rt[j * ld + i];
    work.slot_scale[i] = held;
  }
  S diagonal = S(0);
  if (dims.quadratic)
    LPGD_FOR (g, i, n) {
      S* row = work.P + i * dims.stride_n();
      for (int j = 0; j < n; ++j) row[j] = (sizes[i] * sizes[j]) * row[j];
      diagonal = max_of(diagonal, abs_of(row[i]));
    }
  diagonal = g.max(diagonal);
  if (g.lane() == 0) work.facts[kFactScaleP] = diagonal;
  g.sync();
}

template <class S, class Group>
LPGD_HD void scale_bounds(const Group& g, QpWork<S>& work) {
  const QpDims& dims = work.dims;
  LPGD_FOR (g, j, dims.n_lb) work.slot_scale[dims.lower() + j] = S(1) / work.column_scale[j];
  LPGD_FOR (g, j, dims.n_ub) work.slot_scale[dims.upper() + j] = S(1) / work.column_scale[j];
  g.sync();
}

// Brings variables of very different units to one size (Ruiz, "A scaling algorithm to equilibrate
// both rows and columns norms in matrices", 2001, with powers of two, which round nothing). With
// units 1e-4 to 1e4 in one problem a residual relative to the largest says nothing of the smallest.
// The weight rho of the proximal term has no part in it: it may differ where the matrices don't.
template <class S, class Group>
LPGD_HD void scale_columns(const Group& g, QpWork<S>& work) {
  const QpDims& dims = work.dims;
  const int n = dims.n;
  S* sizes = work.dx;
  column_sizes(g, work, sizes);
  S smallest = S(1) / S(0), largest = S(0);
  LPGD_FOR (g, j, n) {
    smallest = select(less(S(0), sizes[j]), min_of(smallest, sizes[j]), smallest);
    largest = max_of(largest, sizes[j]);
    work.column_scale[j] = S(1);
  }
  smallest = g.min(smallest);
  largest = g.max(largest);
  const auto far = mask_and(less(S(kColumnSpread) * smallest, largest), is_finite(largest));
  if (g.lane() == 0) work.facts[kFactColumns] = indicator<S>(far);
  g.sync();
  if (any_lane(far))
    for (int round = 0; round < kColumnRounds; ++round) {
      if (round > 0) column_sizes(g, work, sizes);
      scale_once(g, work, far, sizes);
    }
  scale_bounds(g, work);
}

// Counts each variable in the size that a point x, in the units given, has it: what the matrices
// can't say of a problem whose rows meet few of the variables. Those at 0 stay as they are.
template <class S, class Group>
LPGD_HD void scale_columns_by(const Group& g, QpWork<S>& work, MaskOf<S> lanes, const S* x) {
  using T = RealOf<S>;
  const S unit = *work.x_scale, least = S(T(kLeastSeen));
  S* sizes = work.dx;
  LPGD_FOR (g, j, work.dims.n) {
    const S size = abs_of(x[j]) / (work.column_scale[j] * unit);
    const auto seen = mask_and(less(least, size), is_finite(size));
    sizes[j] = S(1) / (unit * select(seen, size, S(1)));
  }
  g.sync();
  scale_once(g, work, lanes, sizes);
  scale_bounds(g, work);
  if (g.lane() == 0) work.facts[kFactStale] = indicator<S>(lanes);
  g.sync();
}

// Sizes of x from where on it is counted in another unit than 1, below and above.
constexpr double kSmallX = 0x1p-7;
constexpr double kLargeX = 0x1p10;

// The unit of x, where the data alone tells it: small where every number that bounds x or pulls on
// it is, large where it takes a large x to meet a constraint, or where all of them are; 1 if in
// doubt, as loose bounds are large beside a small x. `seen`: the size of a point near the solution.
// From the unscaled d; `cost` is the largest entry of q.
template <class S, class Group>
LPGD_HD S unit_of_x(const Group& g, const QpWork<S>& work, S cost, S curvature, S seen) {
  using T = RealOf<S>;
  const S small = S(T(kSmallX)), large = S(T(kLargeX));
  const auto curved = mask_and(less(S(0), curvature), less(S(0), cost));
  const S free_size = cost / select(curved, curvature, S(1));
  S most = select(curved, free_size, S(0)), required = S(0);
  S least = select(curved, free_size, S(1) / S(0));
  LPGD_FOR (g, i, work.dims.slots()) {
    const S value = work.d[i] * work.slot_scale[i];
    const S size = abs_of(value);
    const auto counts = mask_and(less(S(0), work.on[i]), less(S(0), size));
    const auto binds = mask_or(less(S(0), work.equal_slot[i]), less(value, S(0)));
    most = select(counts, max_of(most, size), most);
    least = select(counts, min_of(least, size), least);
    required = select(mask_and(counts, binds), max_of(required, size), required);
  }
  most = g.max(most);
  least = g.min(least);
  required = max_of(g.max(required), seen);
  S unit = select(mask_and(less(most, small), less(S(0), most)), most, S(1));
  unit = select(mask_and(less(large, least), is_finite(least)), least, unit);
  return select(less(large, required), max_of(unit, required), unit);
}

// The scales wanted of x and of the objective; 0: to be found.
template <class S>
struct QpScales {
  S x, cost;
};

LPGD_END_NAMESPACE
