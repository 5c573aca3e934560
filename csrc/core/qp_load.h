// From the batch into the workspace and back: gathering the lanes of a pack, scaling, checking.
#pragma once

#include "qp_scale.h"

LPGD_BEGIN_NAMESPACE

template <class S, class Src>
LPGD_INLINE S gather(const QpLanes<S, Src>& lanes, const Src* base, std::int64_t stride,
                     std::int64_t offset) {
  S out;
  for (int l = 0; l < ScalarTraits<S>::lanes; ++l)
    set_lane(out, l, static_cast<RealOf<S>>(base[lanes.entry[l].item * stride + offset]));
  return out;
}

template <class S, class Src, class Group>
LPGD_HD void load_vector(const Group& g, const QpLanes<S, Src>& lanes, const Src* base,
                         std::int64_t stride, int count, S* out) {
  LPGD_FOR (g, i, count) out[i] = gather<S>(lanes, base, stride, i);
}

// x += coefficient * row of `direction` (a null direction is zero)
template <class S, class Src, class Group>
LPGD_HD void add_scaled(const Group& g, const QpLanes<S, Src>& lanes, const Src* direction,
                        int count, S coefficient, S* x) {
  if (!direction) return;
  LPGD_FOR (g, i, count) x[i] += coefficient * gather<S>(lanes, direction, count, i);
}

// Is P + shift I positive definite? Rounding of a semidefinite P passes, anything worse does not.
// The rounding is that of the array P came in, `Src`.
template <class Src, class S, class Group>
LPGD_HD void check_convexity(const Group& g, QpWork<S>& work) {
  const int n = work.dims.n;
  const S scale = select(less(S(0), work.facts[kFactScaleP]), work.facts[kFactScaleP], S(1));
  const S shift = S(static_cast<RealOf<S>>(Precision<Src>::convexity_shift)) * scale;
  LPGD_FOR (g, j, n) work.H_diag[j] = shift;
  g.sync();
  const int ld = work.dims.stride_n();
  const NormalMatrix<S> mat{n,       ld,      S(1), work.P, nullptr, work.H_diag,
                            nullptr, nullptr, 0,    0,      nullptr};
  const S smallest = cholesky(g, mat, Factor<S>{n, ld, work.L, work.L_inv});
  if (g.lane() == 0) {
    const S strict = S(static_cast<RealOf<S>>(Precision<Src>::strict_convexity)) * scale;
    work.facts[kFactConvex] = indicator<S>(less(S(0), smallest));
    work.facts[kFactStrict] = indicator<S>(less(strict, smallest));
  }
  g.sync();
}

// P, symmetrised. Non-finite numbers are found on the way: v - v is 0 for a finite v, else nan.
template <class S, class Src, class Group>
LPGD_HD void load_hessian(const Group& g, QpWork<S>& work, const QpProblem<Src>& problem,
                          const QpLanes<S, Src>& lanes) {
  const int n = work.dims.n, ld = work.dims.stride_n();
  S finite = S(0), scale = S(0);
  LPGD_FOR (g, i, n)
    for (int j = 0; j <= i; ++j) {
      const std::int64_t above = static_cast<std::int64_t>(j) * n + i;
      const std::int64_t below = static_cast<std::int64_t>(i) * n + j;
      const S value = S(RealOf<S>(0.5)) * (gather<S>(lanes, problem.P, problem.stride_P, below) +
                                           gather<S>(lanes, problem.P, problem.stride_P, above));
      work.P[i * ld + j] = value;
      work.P[j * ld + i] = value;
      finite += value - value;
      if (i == j) scale = max_of(scale, abs_of(value));
    }
  finite = g.sum(finite);
  scale = g.max(scale);
  if (g.lane() == 0) {
    work.facts[kFactFiniteP] = finite;
    work.facts[kFactScaleP] = scale;
  }
  g.sync();
}

// `count` rows of G or A from slot `first` on, each scaled by a power of two: its largest entry in
// [1, 2).
template <class S, class Src, class Group>
LPGD_HD void load_rows(const Group& g, QpWork<S>& work, const QpLanes<S, Src>& lanes,
                       const Src* source, std::int64_t stride, int first, int count,
                       S* finite_out) {
  const int n = work.dims.n, ld = work.dims.stride_rows();
  S finite = S(0);
  LPGD_FOR (g, k, count) {
    const std::int64_t start = static_cast<std::int64_t>(k) * n;
    S largest = S(0);
    for (int j = 0; j < n; ++j) {
      const S value = gather<S>(lanes, source, stride, start + j);
      work.Rt[j * ld + first + k] = value;
      finite += value - value;
      largest = max_of(largest, abs_of(value));
    }
    const S scale = inverse_power_of_two(largest);
    for (int j = 0; j < n; ++j) work.Rt[j * ld + first + k] = scale * work.Rt[j * ld + first + k];
    work.slot_scale[first + k] = scale;
  }
  finite = g.sum(finite);
  if (g.lane() == 0) *finite_out = finite;
  g.sync();
}

// R from Rt
template <class S, class Group>
LPGD_HD void transpose_rows(const Group& g, QpWork<S>& work) {
  const int ld = work.dims.stride_rows();
  LPGD_FOR (g, i, work.dims.rows())
    for (int j = 0; j < work.dims.n; ++j)
      work.R[i * work.dims.stride_n() + j] = work.Rt[j * ld + i];
  g.sync();
}

// The weight of an equality never changes, so its part of every normal matrix doesn't.
template <class S, class Group>
LPGD_HD void load_gram(const Group& g, QpWork<S>& work) {
  const QpDims& dims = work.dims;
  gram(g, work.Rt + dims.m, dims.n, dims.p, dims.stride_rows(), S(1 / work.effort.equality_reg),
       work.AtA, dims.stride_n());
}

// Shared matrices stay in the workspace from one pack to the next. `check`: P may not be convex.
template <class S, class Src, class Group>
LPGD_HD void load_matrices(const Group& g, QpWork<S>& work, const QpProblem<Src>& problem,
                           const QpLanes<S, Src>& lanes, bool first, bool check) {
  const int m = work.dims.m, p = work.dims.p;
  const bool quadratic = work.dims.quadratic;
  const bool own_P = quadratic && problem.stride_P != 0, own_G = m > 0 && problem.stride_G != 0;
  const bool own_A = p > 0 && problem.stride_A != 0;
  const bool own = own_P || own_G || own_A;
  // columns are scaled by what all matrices say, so the shared ones carry what their last partners
  // said
  const bool all = first || (own && any_lane(less(S(0), work.facts[kFactColumns]))) ||
                   any_lane(less(S(0), work.facts[kFactStale]));
  if (!all && !own) return;
  if (all) {
    g.sync();  // every lane has read the facts
    LPGD_FOR (g, k, kFacts) work.facts[k] = S(0);
    g.sync();
    if (g.lane() == 0) work.facts[kFactConvex] = S(1);
    g.sync();
  }
  if (quadratic && (all || own_P)) load_hessian(g, work, problem, lanes);
  if (m > 0 && (all || own_G))
    load_rows(g, work, lanes, problem.G, problem.stride_G, 0, m, &work.facts[kFactFiniteG]);
  if (p > 0 && (all || own_A))
    load_rows(g, work, lanes, problem.A, problem.stride_A, m, p, &work.facts[kFactFiniteA]);
  scale_columns(g, work);
  const bool scaled = any_lane(less(S(0), work.facts[kFactColumns]));
  if (quadratic && check && (all || own_P || scaled)) check_convexity<Src>(g, work);
  if (work.dims.by_rows && (all || own_G || own_A || scaled)) transpose_rows(g, work);
  if (p > 0 && !work.dims.by_rows && (all || own_A || scaled)) load_gram(g, work);
}

// What the vectors alone decide: status of lanes whose data is not usable.
template <class S>
struct QpVectorFacts {
  MaskOf<S> finite;   // every number is usable (infinite bounds are)
  MaskOf<S> crossed;  // lb > ub, or a bound that excludes everything
};

// on and equal_slot, from the right-hand sides in work.d. A huge right-hand side switches its slot
// off; a huge negative one can't be met at all; an equality takes neither. A variable fixed by
// lb = ub leaves no interior: its lower slot becomes an equality, whose multiplier z_lb - z_ub is
// free, and the upper slot is switched off.
template <class S, class Group>
LPGD_HD QpVectorFacts<S> classify_slots(const Group& g, QpWork<S>& work) {
  const QpDims& dims = work.dims;
  const int m = dims.m, p = dims.p, lb0 = dims.lower(), ub0 = dims.upper();
  const S infinite = S(Precision<RealOf<S>>::infinite_bound);
  S unusable = S(0), crossed = S(0);
  if (dims.n_lb > 0 && dims.n_ub > 0)
    LPGD_FOR (g, j, dims.n)
      crossed = max_of(crossed, indicator<S>(less(work.d[ub0 + j], -work.d[lb0 + j])));
  g.sync();
  LPGD_FOR (g, i, dims.slots()) {
    const S value = work.d[i];
    const bool equality = i >= m && i < m + p;
    const S size = i < m + p ? abs_of(value) * work.slot_scale[i] : abs_of(value);
    const auto bounded = less(size, infinite);
    if (equality) {
      unusable = max_of(unusable, indicator<S>(mask_not(is_finite(value))));
    } else {
      unusable = max_of(unusable, indicator<S>(mask_not(equal(value, value))));
      crossed = max_of(crossed, indicator<S>(mask_and(mask_not(bounded), less(value, S(0)))));
    }
    work.on[i] = equality ? S(1) : indicator<S>(bounded);
    work.equal_slot[i] = equality ? S(1) : S(0);
  }
  g.sync();
  if (dims.n_lb > 0 && dims.n_ub > 0)
    LPGD_FOR (g, j, dims.n) {
      const auto both = less(S(0), work.on[lb0 + j] * work.on[ub0 + j]);
      const auto fixed = mask_and(both, equal(-work.d[lb0 + j], work.d[ub0 + j]));
      work.equal_slot[lb0 + j] = indicator<S>(fixed);
      work.on[ub0 + j] = select(fixed, S(0), work.on[ub0 + j]);
    }
  g.sync();
  return {equal(g.max(unusable), S(0)), less(S(0), g.max(crossed))};
}

// Adds coefficient * dl/d(multiplier) to the values of the slots. The multiplier of a fixed
// variable stands for z_lb where it is positive and for -z_ub where it is negative.
template <class S, class Src, class Group>
LPGD_HD void add_dual_gradient(const Group& g, const QpWork<S>& work, const QpLanes<S, Src>& lanes,
                               const QpPoint<const Src>& point, const QpPoint<const Src>& gradient,
                               S coefficient, S* values) {
  const QpDims& dims = work.dims;
  const int n = dims.n;
  add_scaled(g, lanes, gradient.z, dims.m, coefficient, values);
  add_scaled(g, lanes, gradient.y, dims.p, coefficient, values + dims.m);
  add_scaled(g, lanes, gradient.z_lb, dims.n_lb, coefficient, values + dims.lower());
  add_scaled(g, lanes, gradient.z_ub, dims.n_ub, coefficient, values + dims.upper());
  if (dims.n_lb == 0 || dims.n_ub == 0 || !(gradient.z_lb || gradient.z_ub)) return;
  LPGD_FOR (g, j, n) {
    const S multiplier = gather<S>(lanes, point.z_lb, n, j) - gather<S>(lanes, point.z_ub, n, j);
    const auto upper =
        mask_and(less(S(0), work.equal_slot[dims.lower() + j]), less(multiplier, S(0)));
    const S of_lb = gradient.z_lb ? gather<S>(lanes, gradient.z_lb, n, j) : S(0);
    const S of_ub = gradient.z_ub ? gather<S>(lanes, gradient.z_ub, n, j) : S(0);
    values[dims.lower() + j] -= select(upper, coefficient * (of_lb + of_ub), S(0));
  }
}

// Right-hand sides, shifted where LPGD asks for it, and scaled. `point` gives the anchor of the
// proximal term.
template <class S, class Src, class Group>
LPGD_HD QpVectorFacts<S> load_vectors(const Group& g, QpWork<S>& work,
                                      const QpProblem<Src>& problem,
                                      const QpPoint<const Src>& point,
                                      const QpPoint<const Src>& gradient,
                                      const QpLanes<S, Src>& lanes, QpScales<S> wanted) {
  const QpDims& dims = work.dims;
  const int n = dims.n, m = dims.m, p = dims.p, lb0 = dims.lower(), ub0 = dims.upper();
  load_vector(g, lanes, problem.q, problem.stride_q, n, work.q);
  if (m > 0) load_vector(g, lanes, problem.h, problem.stride_h, m, work.d);
  if (p > 0) load_vector(g, lanes, problem.b, problem.stride_b, p, work.d + m);
  LPGD_FOR (g, j, dims.n_lb) work.d[lb0 + j] = -gather<S>(lanes, problem.lb, problem.stride_lb, j);
  LPGD_FOR (g, j, dims.n_ub) work.d[ub0 + j] = gather<S>(lanes, problem.ub, problem.stride_ub, j);
  g.sync();
  QpVectorFacts<S> facts = classify_slots(g, work);
  S seen = S(0);
  if (point.x) {
    add_scaled(g, lanes, gradient.x, n, lanes.shift, work.q);
    add_dual_gradient(g, work, lanes, point, gradient, -lanes.shift, work.d);
    load_vector(g, lanes, point.x, n, n, work.anchor);
    LPGD_FOR (g, j, n) {
      work.q[j] -= lanes.rho * work.anchor[j];
      seen = max_of(seen, abs_of(work.anchor[j]) / work.column_scale[j]);
    }
    seen = g.max(seen);
    g.sync();
  }
  S unusable = S(0), largest = S(0), column = S(1) / S(0);
  LPGD_FOR (g, j, n) {
    work.q[j] = work.column_scale[j] * work.q[j];
    unusable = max_of(unusable, indicator<S>(mask_not(is_finite(work.q[j]))));
    largest = max_of(largest, abs_of(work.q[j]));
    column = min_of(column, work.column_scale[j]);
  }
  largest = g.max(largest);
  column = g.min(column);
  const S curvature = work.facts[kFactScaleP] + lanes.rho * (column * column);
  const S found = unit_of_x(g, work, largest, curvature, seen);
  // inverse_power_of_two twice: a power of two
  const S inverse_x = inverse_power_of_two(select(less(S(0), wanted.x), wanted.x, found));
  LPGD_FOR (g, i, dims.slots()) {
    const S scaled = inverse_x * (work.d[i] * work.slot_scale[i]);
    const S value = select(less(S(0), work.on[i]), scaled, S(0));
    unusable = max_of(unusable, indicator<S>(mask_not(is_finite(value))));
    work.d[i] = value;
  }
  unusable = g.max(unusable);
  const S fitting = inverse_power_of_two(max_of(inverse_x * largest, curvature));
  const S scale = select(less(S(0), wanted.cost), wanted.cost, fitting);
  LPGD_FOR (g, j, n) work.q[j] = scale * (inverse_x * work.q[j]);
  if (g.lane() == 0) {
    *work.cost_scale = scale;
    *work.x_scale = S(1) / inverse_x;
  }
  g.sync();
  const S matrices = work.facts[kFactFiniteP] + work.facts[kFactFiniteG] + work.facts[kFactFiniteA];
  facts.finite = mask_and(facts.finite, equal(unusable + matrices, S(0)));
  return facts;
}

// The given primal-dual point, scaled.
template <class S, class Src, class Group>
LPGD_HD void load_point(const Group& g, QpWork<S>& work, const QpPoint<const Src>& point,
                        const QpLanes<S, Src>& lanes, S* x, S* z) {
  const QpDims& dims = work.dims;
  load_vector(g, lanes, point.x, dims.n, dims.n, x);
  if (dims.m > 0) load_vector(g, lanes, point.z, dims.m, dims.m, z);
  if (dims.p > 0) load_vector(g, lanes, point.y, dims.p, dims.p, z + dims.m);
  if (dims.n_lb > 0) load_vector(g, lanes, point.z_lb, dims.n, dims.n, z + dims.lower());
  if (dims.n_ub > 0) load_vector(g, lanes, point.z_ub, dims.n, dims.n, z + dims.upper());
  g.sync();
  if (dims.n_lb > 0 && dims.n_ub > 0) {
    S* lb = z + dims.lower();
    S* ub = z + dims.upper();
    LPGD_FOR (g, j, dims.n) {
      const auto fixed = less(S(0), work.equal_slot[dims.lower() + j]);
      lb[j] -= select(fixed, ub[j], S(0));
      ub[j] = select(fixed, S(0), ub[j]);
    }
    g.sync();
  }
  const S inverse_x = S(1) / *work.x_scale;
  const S cost_scale = inverse_x * *work.cost_scale;
  LPGD_FOR (g, j, dims.n) x[j] = inverse_x * (x[j] / work.column_scale[j]);
  LPGD_FOR (g, i, dims.slots()) z[i] = z[i] * (cost_scale / work.slot_scale[i]);
  g.sync();
}

// Undoes the scaling of z (or of a direction, whose `unit` is 1) in place, and gives the multiplier
// of a fixed variable back to z_lb or z_ub by the sign of `sign_of` (the multiplier itself, scaled,
// for a direction).
template <class S, class Group>
LPGD_HD void unscale_duals(const Group& g, const QpWork<S>& work, S unit, const S* sign_of, S* z) {
  const QpDims& dims = work.dims;
  const S factor = unit / *work.cost_scale;
  LPGD_FOR (g, i, dims.slots()) z[i] = z[i] * (work.slot_scale[i] * factor);
  g.sync();
  if (dims.n_lb == 0 || dims.n_ub == 0) return;
  S* lb = z + dims.lower();
  S* ub = z + dims.upper();
  LPGD_FOR (g, j, dims.n) {
    const auto fixed = less(S(0), work.equal_slot[dims.lower() + j]);
    const auto negative = less(sign_of[dims.lower() + j], S(0));
    const S value = lb[j];
    ub[j] = select(fixed, select(negative, -value, S(0)), ub[j]);
    lb[j] = select(mask_and(fixed, negative), S(0), value);
  }
  g.sync();
}

template <class S, class Src, class Group>
LPGD_HD void store_rows(const Group& g, const QpLanes<S, Src>& lanes, int used, MaskOf<S> wanted,
                        const S* values, int count, Src* out) {
  if (!out) return;
  for (int l = 0; l < used; ++l)
    if (mask_lane(wanted, l))
      LPGD_FOR (g, i, count)
        out[lanes.entry[l].slot * count + i] = static_cast<Src>(get_lane(values[i], l));
}

template <class S, class Src, class Group>
LPGD_HD void store_point(const Group& g, const QpWork<S>& work, const QpLanes<S, Src>& lanes,
                         int used, MaskOf<S> wanted, const S* x, const S* z,
                         const QpPoint<Src>& out) {
  const QpDims& dims = work.dims;
  store_rows(g, lanes, used, wanted, x, dims.n, out.x);
  store_rows(g, lanes, used, wanted, z, dims.m, out.z);
  store_rows(g, lanes, used, wanted, z + dims.m, dims.p, out.y);
  store_rows(g, lanes, used, wanted, z + dims.lower(), dims.n_lb, out.z_lb);
  store_rows(g, lanes, used, wanted, z + dims.upper(), dims.n_ub, out.z_ub);
}

LPGD_END_NAMESPACE
