// Projections onto <a, p> = b: the whole plane, one side of it, its part inside a box.
// p = clamp(x - tau a, lo, hi), with tau such that <a, p> = b.
#pragma once

#include "prox_math.h"

LPGD_BEGIN_NAMESPACE

// The derivative where `free_at` tells the coordinates that move with tau, the others being held:
// c = <a, g>_free / <a, a>_free, and p_i = x_i - tau a_i there.
template <class Group, class T, class Free>
LPGD_INLINE void plane_vjp(const Group& g, const ProxRow<T>& row, const RowParameter<T>& a, int k_a,
                           int k_b, T broken, const Free& free_at) {
  const auto totals = reduce<T, 3>(g, row.n, [&](auto at, auto* term) {
    const auto on = free_at(at), normal = at.load(a);
    term[0] = on * normal * at.load(row.gradient);
    term[1] = on * normal * normal;
    term[2] = on * normal * (at.load(row.x) - at.load(row.out));
  });
  const bool none = !(totals[1] > T(0));
  const T c = none ? broken : totals[0] / totals[1] + broken;
  const T tau = none ? T(0) : totals[2] / totals[1];
  row.write(g, row.gx, [&](auto at) {
    return free_at(at) * (at.load(row.gradient) - at.load(a) * c) + broken;
  });
  row.give(g, k_a, [&](auto at) {
    return free_at(at) * (at.load(a) * c - at.load(row.gradient)) * tau - at.load(row.out) * c;
  });
  row.give_scalar(g, k_b, c);
}

template <bool Half>
struct Plane {  // p0 = a, p1 = b
  template <class Group, class T>
  LPGD_INLINE static T excess(const Group& g, const ProxRow<T>& row, T* squares) {
    const auto totals = reduce<T, 2>(g, row.n, [&](auto at, auto* term) {
      const auto normal = at.load(row.p[0]);
      term[0] = normal * at.load(row.x);
      term[1] = normal * normal;
    });
    *squares = totals[1];
    return totals[0] - row.p[1].scalar();
  }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    T squares;
    const T over = excess(g, row, &squares);
    if (Half && over <= T(0)) return row.copy(g);
    // a = 0 has a plane only where b = 0, a half-space where b >= 0
    if (!(over - over == T(0)) || (squares == T(0) && over != T(0))) return row.fail(g);
    const T tau = squares == T(0) ? T(0) : over / squares;
    row.write(g, row.out, [&](auto at) { return at.load(row.x) - at.load(row.p[0]) * tau; });
  }

  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    T squares;
    const T over = excess(g, row, &squares);
    const bool failed = !(over - over == T(0)) || (squares == T(0) && over > T(0));
    const T broken = failed ? std::numeric_limits<T>::quiet_NaN() : T(0);
    if (Half && over <= T(0)) {
      row.write(g, row.gx, [&](auto at) { return at.load(row.gradient); });
      row.give(g, 0, [&](auto at) { return decltype(at.load(row.x))(0); });
      row.give_scalar(g, 1, T(0));
      return;
    }
    plane_vjp(g, row, row.p[0], 0, 1, broken, [&](auto at) { return decltype(at.load(row.x))(1); });
  }
};
using Hyperplane = Plane<false>;
using Halfspace = Plane<true>;

// p0 = lo, p1 = hi, p2 = a, p3 = b; Newton on the piecewise linear <a, clamp(x - tau a, lo, hi)>,
// held in a bracket. A row without a solution is nan.
struct BoxHyperplane {
  template <class S, class A, class T>
  LPGD_INLINE static S point(const A& at, const ProxRow<T>& row, T tau) {
    const S moved = at.load(row.x) - at.load(row.p[2]) * S(tau);
    return min_of(max_of(moved, at.load(row.p[0])), at.load(row.p[1]));
  }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const T infinity = std::numeric_limits<T>::infinity();
    const T b = row.p[3].scalar();
    // the values that <a, p> takes on the box, their sizes, <a, x>, |a|^2
    const auto facts = reduce<T, 6>(g, row.n, [&](auto at, auto* term) {
      using S = decltype(at.load(row.x));
      const S lo = at.load(row.p[0]), hi = at.load(row.p[1]), a = at.load(row.p[2]);
      const S x = at.load(row.x);
      const auto still = equal(a, S(0));
      term[0] = select(still, S(0), min_of(a * lo, a * hi));
      term[1] = select(still, S(0), max_of(a * lo, a * hi));
      term[2] = a * x;
      term[3] = a * a;
      term[4] = select(mask_or(less(lo, hi), equal(lo, hi)), nan_or_zero(x), S(1));
      term[5] = abs_of(a * x);
    });
    const T slack = T(16) * std::numeric_limits<T>::epsilon() *
                    (abs_of(b) + (facts[1] - facts[0] < infinity ? facts[1] - facts[0] : T(0)));
    if (facts[4] != T(0) || !(facts[5] < infinity) || !(b - b == T(0)) || b < facts[0] - slack ||
        b > facts[1] + slack)
      return row.fail(g);
    T tau = facts[3] > T(0) ? (facts[2] - b) / facts[3] : T(0);
    T left = -infinity, right = infinity;  // <a, p> - b is positive at left, negative at right
    T reach = facts[3] > T(0) ? (facts[5] + abs_of(b)) / facts[3] : T(0);
    const T close = T(4) * std::numeric_limits<T>::epsilon();
    for (int step = 0; step < 200; ++step) {
      const auto now = reduce<T, 3>(g, row.n, [&](auto at, auto* term) {
        using S = decltype(at.load(row.x));
        const S p = point<S>(at, row, tau), a = at.load(row.p[2]);
        const auto on = mask_and(less(at.load(row.p[0]), p), less(p, at.load(row.p[1])));
        term[0] = a * p;
        term[1] = when(on, a * a);
        term[2] = abs_of(a * p);
      });
      const T over = now[0] - b;
      if (abs_of(over) <= close * (now[2] + abs_of(b))) break;
      if (over > T(0)) {
        left = tau;
      } else {
        right = tau;
      }
      T next = now[1] > T(0) ? tau + over / now[1] : (over > T(0) ? infinity : -infinity);
      if (!(left < next && next < right)) {
        reach = reach + reach;
        if (left == -infinity) {
          next = max_of(next, right - max_of(reach, abs_of(right) * close));
          if (!(next < right)) next = right - reach;
        } else if (right == infinity) {
          next = min_of(next, left + max_of(reach, abs_of(left) * close));
          if (!(left < next)) next = left + reach;
        } else {
          next = left + T(0.5) * (right - left);
        }
        if (!(left < next && next < right)) break;  // the bracket is two neighbours
      }
      tau = next;
    }
    row.write(g, row.out, [&](auto at) { return point<decltype(at.load(row.x))>(at, row, tau); });
  }

  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    const T bad = sum_of<T>(g, row.n, [&](auto at) { return nan_or_zero(at.load(row.out)); });
    auto free_at = [&](auto at) {
      using S = decltype(at.load(row.x));
      const S p = at.load(row.out);
      return when(mask_and(less(at.load(row.p[0]), p), less(p, at.load(row.p[1]))), S(1));
    };
    plane_vjp(g, row, row.p[2], 2, 3, bad, free_at);
    // what a held coordinate does on its own and through tau; c as in plane_vjp
    const auto totals = reduce<T, 2>(g, row.n, [&](auto at, auto* term) {
      const auto on = free_at(at), normal = at.load(row.p[2]);
      term[0] = on * normal * at.load(row.gradient);
      term[1] = on * normal * normal;
    });
    const T c = totals[1] > T(0) ? totals[0] / totals[1] : T(0);
    for (int side = 0; side < 2; ++side) {
      row.give(g, side, [&](auto at) {
        using S = decltype(at.load(row.x));
        const S p = at.load(row.out), lo = at.load(row.p[0]);
        const auto low = mask_not(less(lo, p));
        const auto at_bound =
            side == 0 ? low : mask_and(mask_not(low), mask_not(less(p, at.load(row.p[1]))));
        return when(at_bound, at.load(row.gradient) - at.load(row.p[2]) * c) + bad;
      });
    }
  }
};

LPGD_END_NAMESPACE
