// Operators that work on each coordinate alone: argmin_p 1/2 (p - x)^2 + f(p). For each the value,
// and the derivatives with respect to x and the parameters: d[0], d[1], d[2]. Selects only, no
// branches, so that they run on registers. At a kink d is that of the flatter side;
// lpgd_native/prox/separable.py says which.
#pragma once

#include "prox_math.h"

LPGD_BEGIN_NAMESPACE

// parameters are not negative, unless an operator says otherwise; what is not valid becomes nan
struct OneWeight {
  template <class S>
  LPGD_INLINE static MaskOf<S> valid(const S* p) {
    return not_negative(p[0]);
  }
};
struct TwoWeights {
  template <class S>
  LPGD_INLINE static MaskOf<S> valid(const S* p) {
    return mask_and(not_negative(p[0]), not_negative(p[1]));
  }
};

template <class S>
LPGD_INLINE S clamp_of(S v, S low, S high) {
  return min_of(max_of(v, low), high);
}

// w |p|
struct SoftThreshold : OneWeight {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return x - clamp_of(x, -p[0], p[0]);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const auto kept = less(p[0], abs_of(x));
    d[0] = when(kept, S(1));
    d[1] = when(kept, -sign_of(x));
  }
};

// w [p != 0]
struct HardThreshold : OneWeight {
  template <class S>
  LPGD_INLINE static MaskOf<S> kept(S x, const S* p) {
    return less(p[0] + p[0], x * x);
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return when(kept(x, p), x);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    d[0] = when(kept(x, p), S(1));
    d[1] = S(0);
  }
};

// w / 2 p^2
struct Shrink : OneWeight {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return x / (S(1) + p[0]);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    d[0] = S(1) / (S(1) + p[0]);
    d[1] = -x * d[0] * d[0];
  }
};

// p0 |p| + p1 / 2 p^2
struct ElasticNet : TwoWeights {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return SoftThreshold::value(x, p) / (S(1) + p[1]);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const S scale = S(1) / (S(1) + p[1]);
    SoftThreshold::derivative(x, p, d);
    d[2] = -SoftThreshold::value(x, p) * scale * scale;
    d[0] = d[0] * scale;
    d[1] = d[1] * scale;
  }
};

// w h(p), h = p^2 / 2 for |p| <= delta, else delta (|p| - delta / 2)
struct Huber : TwoWeights {
  template <class S>
  LPGD_INLINE static MaskOf<S> linear(S x, const S* p) {
    return less(p[1] * (S(1) + p[0]), abs_of(x));
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return select(linear(x, p), x - sign_of(x) * p[0] * p[1], x / (S(1) + p[0]));
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const auto far = linear(x, p);
    const S scale = S(1) / (S(1) + p[0]);
    d[0] = select(far, S(1), scale);
    d[1] = select(far, -sign_of(x) * p[1], -x * scale * scale);
    d[2] = when(far, -sign_of(x) * p[0]);
  }
};

// w max(0, 1 - p)
struct Hinge : OneWeight {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return max_of(x, min_of(x + p[0], S(1)));
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const auto below = less(x + p[0], S(1));
    d[0] = when(mask_or(below, less(S(1), x)), S(1));
    d[1] = when(below, S(1));
  }
};

// the indicator of [p0, p1]
struct Box {
  template <class S>
  LPGD_INLINE static MaskOf<S> valid(const S* p) {
    return mask_or(less(p[0], p[1]), equal(p[0], p[1]));
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return clamp_of(x, p[0], p[1]);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const auto above_low = less(p[0], x);
    const auto below_high = less(x, p[1]);
    d[0] = when(mask_and(above_low, below_high), S(1));
    d[1] = when(mask_not(above_low), S(1));
    d[2] = when(mask_and(above_low, mask_not(below_high)), S(1));
  }
};

struct Nonnegative {
  template <class S>
  LPGD_INLINE static MaskOf<S> valid(const S*) {
    return equal(S(0), S(0));
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S*) {
    return max_of(x, S(0));
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S*, S* d) {
    d[0] = when(less(S(0), x), S(1));
  }
};

// the indicator of |p| <= radius
struct Clip : OneWeight {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    return clamp_of(x, -p[0], p[0]);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const auto inside = less(abs_of(x), p[0]);
    d[0] = when(inside, S(1));
    d[1] = select(inside, S(0), sign_of(x));
  }
};

// the larger root of p^2 - t p - c = 0, c >= 0, without cancellation; s is the root of the
// discriminant
template <class S>
LPGD_INLINE S larger_root(S t, S c, S* s) {
  *s = sqrt_of(t * t + S(4) * c);
  const auto falling = less(t, S(0));
  const S sum = *s + abs_of(t);
  const S part = select(equal(sum, S(0)), S(0), (c + c) / sum);
  return select(falling, part, S(0.5F) * sum);
}
// numerator / s, s = 0 only where p is at the end of its range: 0 there
template <class S>
LPGD_INLINE S over(S numerator, S s) {
  return select(equal(s, S(0)), S(0), numerator / s);
}

// -w log p
struct LogBarrier : OneWeight {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    S s;
    return larger_root(x, p[0], &s);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    S s;
    const S out = larger_root(x, p[0], &s);
    d[0] = over(out, s);
    d[1] = over(S(1), s);
  }
};

// w (p - y log p): p0 = w, p1 = y
struct Poisson : TwoWeights {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    S s;
    return larger_root(x - p[0], p[0] * p[1], &s);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    S s;
    const S out = larger_root(x - p[0], p[0] * p[1], &s);
    d[0] = over(out, s);
    d[1] = over(p[1], s) - d[0];
    d[2] = over(p[0], s);
  }
};

// w p log p: p = w omega(x / w - 1 - log w), omega + log omega = z (Wright's function, the Lambert
// W of exp z). Halley-like steps of Fritsch, Shafer & Crowley (1973): the error to its fourth
// power.
struct Entropy : OneWeight {
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    const S w = max_of(p[0], S(std::numeric_limits<RealOf<S>>::min()));
    const S z = x / w - S(1) - log_of(w);
    const S start = exp_of(min_of(z, S(1)));
    const S large = z - log_of(max_of(z, S(1)));
    // below 1 within a third of omega, above within a sixth
    S omega = select(less(S(1), z), large, start / (S(1) + start));
    omega = max_of(omega, S(std::numeric_limits<RealOf<S>>::min()));
    constexpr int kSteps = sizeof(RealOf<S>) == 8 ? 3 : 2;
    LPGD_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      const S r = z - omega - log_of(omega);
      const S one = S(1) + omega;
      const S q = S(2) * one * (one + S(2.0F / 3.0F) * r);
      omega = omega * (S(1) + (r / one) * (q - r) / (q - S(2) * r));
      omega = max_of(omega, S(std::numeric_limits<RealOf<S>>::min()));
    }
    const S tiny = S(sizeof(RealOf<S>) == 8 ? RealOf<S>(-700) : RealOf<S>(-85));
    omega = select(less(z, tiny), S(0), omega);
    return select(equal(p[0], S(0)), max_of(x, S(0)), w * omega);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const S out = value(x, p);
    const auto none = equal(p[0], S(0));
    d[0] = select(none, when(less(S(0), x), S(1)), out / (out + p[0]));
    d[1] = -when(mask_not(equal(out, S(0))), (S(1) + log_of(out)) * d[0]);
  }
};

// w log(1 + exp(-p)): Newton on p - x - w / (1 + exp p), from the side where it is monotone
struct Logistic : OneWeight {
  // 1 / (1 + exp p), and its slope's size
  template <class S>
  LPGD_INLINE static S tail(S p, S* slope) {
    const S e = exp_of(-abs_of(p));
    const S small = e / (S(1) + e);
    *slope = small / (S(1) + e);
    return select(less(p, S(0)), S(1) - small, small);
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    const auto left = less(x + S(0.5F) * p[0], S(0));  // the root is negative
    S out = select(left, min_of(S(0), x + p[0]), max_of(S(0), x));
    const S close = S(RealOf<S>(2) * std::numeric_limits<RealOf<S>>::epsilon());
    for (int step = 0; step < 60; ++step) {
      S slope;
      const S sigma = tail(out, &slope);
      const S move = (out - x - p[0] * sigma) / (S(1) + p[0] * slope);
      const auto far = less(close * (S(1) + abs_of(out)), abs_of(move));
      out = select(far, out - move, out);  // done: no later step may depend on the neighbours
      if (!any_lane(far)) break;
    }
    return out;
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    S slope;
    const S sigma = tail(value(x, p), &slope);
    d[0] = S(1) / (S(1) + p[0] * slope);
    d[1] = sigma * d[0];
  }
};

// w sqrt|p|: u = sqrt|p| is the largest root of u^3 - |x| u + w / 2, by Newton from above; zero up
// to |x| = 3/2 w^(2/3) (Xu, Chang, Xu & Zhang 2012)
struct HalfThreshold : OneWeight {
  template <class S>
  LPGD_INLINE static MaskOf<S> kept(S size, const S* p) {
    // scaled, so that the cube does not overflow
    return less(S(1.5F) * sqrt_of(S(1.5F)) * p[0], size * sqrt_of(size));
  }
  template <class S>
  LPGD_INLINE static S root(S size, const S* p) {
    S u = sqrt_of(size);
    constexpr int kSteps = sizeof(RealOf<S>) == 8 ? 6 : 5;
    for (int step = 0; step < kSteps; ++step)
      u = (S(2) * u * u * u - S(0.5F) * p[0]) / (S(3) * u * u - size);
    return u;
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    const S size = abs_of(x);
    const S u = root(size, p);
    return when(kept(size, p), select(less(x, S(0)), -u * u, u * u));
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const S size = abs_of(x);
    const auto on = kept(size, p);
    const S u = root(size, p);
    const S scale = u / (S(3) * u * u - size);
    d[0] = when(on, S(2) * u * scale);
    d[1] = when(on, select(less(x, S(0)), scale, -scale));
  }
};

// w |p| - p^2 / (2 gamma) up to |p| = gamma w, then constant; gamma > 1 (Zhang 2010)
struct MinimaxConcave {
  template <class S>
  LPGD_INLINE static MaskOf<S> valid(const S* p) {
    return mask_and(not_negative(p[0]), less(S(1), p[1]));
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    const S scale = p[1] / (p[1] - S(1));
    return select(less(p[1] * p[0], abs_of(x)), x, SoftThreshold::value(x, p) * scale);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const S inverse = S(1) / (p[1] - S(1));
    const auto far = less(p[1] * p[0], abs_of(x));
    SoftThreshold::derivative(x, p, d);
    d[2] = select(far, S(0), -SoftThreshold::value(x, p) * inverse * inverse);
    d[0] = select(far, S(1), d[0] * p[1] * inverse);
    d[1] = select(far, S(0), d[1] * p[1] * inverse);
  }
};

// SCAD: slope w up to w, falling to 0 at a w; a > 2 (Fan & Li 2001)
struct Scad {
  template <class S>
  LPGD_INLINE static MaskOf<S> valid(const S* p) {
    return mask_and(not_negative(p[0]), less(S(2), p[1]));
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    const S size = abs_of(x);
    const S middle = ((p[1] - S(1)) * x - sign_of(x) * p[1] * p[0]) / (p[1] - S(2));
    const S near = select(less(p[0] + p[0], size), middle, SoftThreshold::value(x, p));
    return select(less(p[1] * p[0], size), x, near);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const S size = abs_of(x), sign = sign_of(x);
    const S inverse = S(1) / (p[1] - S(2));
    const auto middle = less(p[0] + p[0], size);
    const auto far = less(p[1] * p[0], size);
    SoftThreshold::derivative(x, p, d);
    d[0] = select(far, S(1), select(middle, (p[1] - S(1)) * inverse, d[0]));
    d[1] = select(far, S(0), select(middle, -sign * p[1] * inverse, d[1]));
    d[2] = select(far, S(0), when(middle, sign * (p[0] + p[0] - size) * inverse * inverse));
  }
};

// zero up to p0, x from p1 on, a line between them; p0 < p1 (Gao & Bruce 1997)
struct FirmThreshold {
  template <class S>
  LPGD_INLINE static MaskOf<S> valid(const S* p) {
    return mask_and(not_negative(p[0]), less(p[0], p[1]));
  }
  template <class S>
  LPGD_INLINE static S value(S x, const S* p) {
    const S line = SoftThreshold::value(x, p) * (p[1] / (p[1] - p[0]));
    return select(less(p[1], abs_of(x)), x, line);
  }
  template <class S>
  LPGD_INLINE static void derivative(S x, const S* p, S* d) {
    const S size = abs_of(x), sign = sign_of(x);
    const S inverse = S(1) / (p[1] - p[0]);
    const auto on = less(p[0], size);
    const auto far = less(p[1], size);
    d[0] = select(far, S(1), when(on, p[1] * inverse));
    d[1] = select(far, S(0), when(on, sign * p[1] * (size - p[1]) * inverse * inverse));
    d[2] = select(far, S(0), when(on, sign * p[0] * (p[0] - size) * inverse * inverse));
  }
};

LPGD_END_NAMESPACE
