// LPGD's difference quotient: from the solution and the two perturbed ones to the direction D and
// the midpoint M, with which the gradient of any parameter is dL/dw along D at M:
//   grad q = D_x, grad b = -D_y, grad h = -D_z, grad A = D_y M_x' + M_y D_x', ...
// exactly (not to first order), since L is bilinear in the parameters' partners.
// Paulus, Martius & Musil, ICML 2024; the envelopes' names are theirs.
#pragma once

#include "group.h"
#include "qp_types.h"

LPGD_BEGIN_NAMESPACE

// 0: usable, 1: no gradient at all, or no solution to differentiate (nothing to solve), 2: not
// finite (handed on as it is). `solved`: the statuses of the solve, or null.
template <class T, class Group>
LPGD_HD T upstream_kind(const Group& g, const QpPoint<const T>& gradient,
                        const std::int32_t* solved, std::int64_t item, int n, int p, int m,
                        int n_lb, int n_ub) {
  if (solved && solved[item] > kQpMaxIterations) return T(1);
  const T* parts[5] = {gradient.x, gradient.y, gradient.z, gradient.z_lb, gradient.z_ub};
  const int counts[5] = {n, p, m, n_lb, n_ub};
  T size = 0;
  for (int part = 0; part < 5; ++part)
    if (parts[part])
      LPGD_FOR (g, i, counts[part])
        size = max_nan(size, abs_of(parts[part][item * counts[part] + i]));
  size = g.max(size);
  return !is_finite(size) ? T(2) : (size == T(0) ? T(1) : T(0));
}

// Which perturbed solutions make up the quotient of one item.
template <class T>
struct QpQuotient {
  bool plus, minus;  // of z_+ and z_-; where one is not used, the solution itself stands in
  T scale;           // 1 / (distance in tau)
  std::int32_t status;
};

template <class T>
LPGD_HD QpQuotient<T> choose_quotient(T kind, int sides, bool plus_ok, bool minus_ok, T tau) {
  QpQuotient<T> out{false, false, T(0), kQpGradientOk};
  if (kind == T(1)) return out;
  if (kind == T(2)) {
    out.scale = (kind - kind) / (kind - kind);
    return out;
  }
  const bool want_plus = (sides & kQpLower) != 0, want_minus = (sides & kQpUpper) != 0;
  out.plus = plus_ok && (want_plus || !minus_ok);
  out.minus = minus_ok && (want_minus || !plus_ok);
  if (out.plus || out.minus) out.scale = (out.plus && out.minus ? T(0.5) : T(1)) / tau;
  if (!(out.plus || out.minus))
    out.status = kQpGradientZero;
  else if (out.plus != want_plus || out.minus != want_minus)
    out.status = kQpGradientOtherSide;
  return out;
}

template <class T, class Group>
LPGD_HD void quotient_rows(const Group& g, const QpQuotient<T>& quotient, std::int64_t item,
                           int count, const T* at, const T* plus, const T* minus, T* direction,
                           T* midpoint) {
  if (!direction) return;
  const std::int64_t row = item * count;
  LPGD_FOR (g, i, count) {
    const T a = quotient.plus ? plus[row + i] : at[row + i];
    const T b = quotient.minus ? minus[row + i] : at[row + i];
    direction[row + i] = (a - b) * quotient.scale;
    midpoint[row + i] = T(0.5) * (a + b);
  }
}

template <class T, class Group>
LPGD_HD void combine_item(const Group& g, const QpCombine<T>& task, std::int64_t item) {
  const int n = task.n, p = task.p, m = task.m;
  const QpQuotient<T> quotient =
      choose_quotient(task.kind[item], task.sides, task.plus_status[item] == kQpOk,
                      task.minus_status[item] == kQpOk, task.tau[item]);
  const QpPoint<const T>&at = task.at, &plus = task.plus, &minus = task.minus;
  const QpPoint<T>&d = task.direction, &mid = task.midpoint;
  quotient_rows(g, quotient, item, n, at.x, plus.x, minus.x, d.x, mid.x);
  quotient_rows(g, quotient, item, p, at.y, plus.y, minus.y, d.y, mid.y);
  quotient_rows(g, quotient, item, m, at.z, plus.z, minus.z, d.z, mid.z);
  quotient_rows(g, quotient, item, n, at.z_lb, plus.z_lb, minus.z_lb, d.z_lb, mid.z_lb);
  quotient_rows(g, quotient, item, n, at.z_ub, plus.z_ub, minus.z_ub, d.z_ub, mid.z_ub);
  if (g.lane() == 0) {
    const bool shrunk = quotient.status == kQpGradientOk && task.shrunk && task.shrunk[item];
    task.status[item] = shrunk ? static_cast<std::int32_t>(kQpGradientShrunk) : quotient.status;
  }
}

LPGD_END_NAMESPACE
