// The simplex, the l1 ball, and the proxes of max and of the l_inf norm, which are what these
// projections leave (Moreau). All of them subtract one threshold: tau solves
// sum max(v - tau, 0) = radius with v = x or |x|. The sum is convex and falls, so Newton from the
// left only ever shrinks the set {v > tau}: no sort, and each step is one pass over the row.
#pragma once

#include "prox_math.h"

LPGD_BEGIN_NAMESPACE

template <bool Abs, bool Complement>
struct Threshold {
  template <class S>
  LPGD_INLINE static S size(S x) {
    if constexpr (Abs) return abs_of(x);
    return x;
  }

  // The threshold, given the sum of v and its maximum.
  template <class Group, class T>
  LPGD_INLINE static T solve(const Group& g, const ProxRow<T>& row, T radius, T sum, T highest) {
    const T count = static_cast<T>(row.n);
    T tau = max_of(highest - radius, (sum - radius) / count);
    if (!(tau < highest)) return highest;  // radius 0, or lost in the rounding of the maximum
    T before = count + 1;
    for (std::int64_t step = 0; step <= row.n; ++step) {
      const auto above = reduce<T, 2>(g, row.n, [&](auto at, auto* term) {
        using S = decltype(at.load(row.x));
        const S v = size(at.load(row.x));
        const auto in = less(S(tau), v);
        term[0] = select(in, v, S(0));
        term[1] = select(in, S(1), S(0));
      });
      if (above[1] == T(0) || above[1] == before) break;
      before = above[1];
      tau = max_of(tau, (above[0] - radius) / before);
    }
    return tau;
  }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const T radius = row.p[0].scalar();
    const auto first = reduce<T, 2, true>(
        g, row.n, [&](auto at, auto* term) { term[0] = term[1] = size(at.load(row.x)); });
    const T sum = first[0], highest = first[1];
    if (!(sum == sum) || !(radius >= T(0)) || highest - highest != T(0)) return row.fail(g);
    if (Abs && sum <= radius) {
      if (!Complement) return row.copy(g);
      return row.write(g, row.out, [&](auto at) { return decltype(at.load(row.x))(0); });
    }
    const T tau = solve(g, row, radius, sum, highest);
    row.write(g, row.out, [&](auto at) {
      using S = decltype(at.load(row.x));
      const S x = at.load(row.x);
      if constexpr (Complement && Abs) {
        return max_of(min_of(x, S(tau)), S(-tau));
      } else if constexpr (Complement) {
        return min_of(x, S(tau));
      } else if constexpr (Abs) {
        return x - max_of(min_of(x, S(tau)), S(-tau));
      } else {
        return max_of(x - S(tau), S(0));
      }
    });
  }

  // Where the threshold acts: v > tau. g is averaged over these coordinates, with the signs of x.
  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    const T radius = row.p[0].scalar();
    auto signed_in = [&](auto at) {
      using S = decltype(at.load(row.x));
      const S x = at.load(row.x), out = at.load(row.out);
      const auto in = Complement ? mask_not(equal(x, out)) : mask_not(equal(out, S(0)));
      if constexpr (Abs) return when(in, sign_of(x));
      return when(in, S(1));
    };
    const auto totals = reduce<T, Abs ? 3 : 2>(g, row.n, [&](auto at, auto* term) {
      const auto s = signed_in(at);
      term[0] = s * at.load(row.gradient);
      term[1] = s * s + nan_or_zero(at.load(row.out));  // nan where the row has no result
      if constexpr (Abs) term[2] = size(at.load(row.x));
    });
    const T broken = totals[1] - totals[1];
    const bool inside = Abs && totals[Abs ? 2 : 0] <= radius;
    const T mean = totals[1] == T(0) || inside ? broken : totals[0] / totals[1];
    if (inside) {
      row.write(g, row.gx, [&](auto at) {
        using S = decltype(at.load(row.x));
        return Complement ? S(broken) : at.load(row.gradient) + S(broken);
      });
    } else {
      row.write(g, row.gx, [&](auto at) {
        using S = decltype(at.load(row.x));
        const S s = signed_in(at), v = at.load(row.gradient);
        const S kept = s * (s * v - S(mean));
        return (Complement ? v - kept : kept) + S(broken);
      });
    }
    row.give_scalar(g, 0, Complement ? -mean : mean);
  }
};

using SimplexProjection = Threshold<false, false>;
using L1BallProjection = Threshold<true, false>;
using Maximum = Threshold<false, true>;
using MaxNorm = Threshold<true, true>;

// sum w_i |p_i| <= radius: p_i = sign(x_i) max(|x_i| - tau w_i, 0), by the same Newton steps
struct WeightedL1Ball {
  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const T radius = row.p[1].scalar();
    const auto first = reduce<T, 3, true>(g, row.n, [&](auto at, auto* term) {
      using S = decltype(at.load(row.x));
      const S w = at.load(row.p[0]);
      term[0] = w * abs_of(at.load(row.x));
      term[1] = w * w;
      term[2] = select(not_negative(w), S(0), S(1));
    });
    if (first[2] != T(0) || !(radius >= T(0)) || first[0] - first[0] != T(0)) return row.fail(g);
    if (first[0] <= radius) return row.copy(g);
    T tau = max_of(T(0), (first[0] - radius) / first[1]);
    T before = T(-1);
    for (std::int64_t step = 0; step <= row.n; ++step) {
      const auto above = reduce<T, 3>(g, row.n, [&](auto at, auto* term) {
        using S = decltype(at.load(row.x));
        const S v = abs_of(at.load(row.x)), w = at.load(row.p[0]);
        const auto in = less(S(tau) * w, v);
        term[0] = select(in, w * v, S(0));
        term[1] = select(in, w * w, S(0));
        term[2] = select(in, S(1), S(0));
      });
      if (above[1] == T(0) || above[2] == before) break;
      before = above[2];
      tau = max_of(tau, (above[0] - radius) / above[1]);
    }
    row.write(g, row.out, [&](auto at) {
      using S = decltype(at.load(row.x));
      const S x = at.load(row.x), t = S(tau) * at.load(row.p[0]);
      return x - max_of(min_of(x, t), -t);
    });
  }

  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    const T radius = row.p[1].scalar();
    auto signed_in = [&](auto at) {  // the sign of x where |x| > tau w
      using S = decltype(at.load(row.x));
      return when(mask_not(equal(at.load(row.out), S(0))), sign_of(at.load(row.x)));
    };
    const auto totals = reduce<T, 4>(g, row.n, [&](auto at, auto* term) {
      const auto s = signed_in(at), w = at.load(row.p[0]);
      term[0] = w * s * at.load(row.gradient);
      term[1] = s * s * w * w;
      term[2] = w * (abs_of(at.load(row.x)) - abs_of(at.load(row.out))) * (s * s);
      term[3] = w * abs_of(at.load(row.x));
    });
    const T broken = totals[3] - totals[3];
    const bool inside = totals[3] <= radius || totals[1] == T(0);
    const T c = inside ? broken : totals[0] / totals[1];
    const T tau = inside ? T(0) : totals[2] / totals[1];
    row.write(g, row.gx, [&](auto at) {
      using S = decltype(at.load(row.x));
      const S s = signed_in(at), v = at.load(row.gradient);
      return inside ? v + S(broken) : s * (s * v - S(c) * at.load(row.p[0]));
    });
    row.give(g, 0, [&](auto at) {
      using S = decltype(at.load(row.x));
      const S s = signed_in(at), w = at.load(row.p[0]);
      const S full = -S(c) * abs_of(at.load(row.x)) - S(tau) * (s * at.load(row.gradient));
      const S off = S(tau) * S(c) * w;
      return inside ? S(broken) : s * s * (full + off + off);
    });
    row.give_scalar(g, 1, c);
  }
};

LPGD_END_NAMESPACE
