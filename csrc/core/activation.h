// Logistic function and hyperbolic tangent for a number or a register of them, to rounding. Both
// are made of one expm1, so that neither loses digits near zero or saturation; nan goes through.
#pragma once

#include "scalar.h"
#if !defined(__CUDACC__)
#include "pack.h"
#endif

LPGD_BEGIN_NAMESPACE

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  using Bits = std::int32_t;
  static constexpr float rounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr int mantissa = 23;
  static constexpr Bits one = 127 << 23;
  static constexpr float ln2_high = 0.693359375F, ln2_low = -2.12194440e-4F;
  static constexpr float lowest = -87.0F, highest = 88.0F;
  static constexpr int degree = 7;
};
template <>
struct ExpConstants<double> {
  using Bits = std::int64_t;
  static constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int mantissa = 52;
  static constexpr Bits one = std::int64_t{1023} << 52;
  static constexpr double ln2_high = 6.93147180369123816490e-01;
  static constexpr double ln2_low = 1.90821492927058770002e-10;
  static constexpr double lowest = -708.0, highest = 709.0;
  static constexpr int degree = 13;
};

// 2^k for t = rounder + k: the low bits of t are k
template <class T>
LPGD_INLINE T power_of_two_at(T t) {
  using K = ExpConstants<T>;
  typename K::Bits bits;
  __builtin_memcpy(&bits, &t, sizeof(bits));
  bits = static_cast<typename K::Bits>((bits << K::mantissa) + K::one);
  T out;
  __builtin_memcpy(&out, &bits, sizeof(out));
  return out;
}
#if !defined(__CUDACC__)
template <class T, int W>
LPGD_INLINE Pack<T, W> power_of_two_at(Pack<T, W> t) {
  using K = ExpConstants<T>;
  using Bits = typename PackMask<T, W>::Vec;
  const Bits bits = (reinterpret_cast<Bits>(t.v) << K::mantissa) + K::one;
  return Pack<T, W>::wrap(reinterpret_cast<typename Pack<T, W>::Vec>(bits));
}
#endif

// 1 / 2!, 1 / 3!, ...
template <class T>
LPGD_INLINE constexpr T inverse_factorial(int n) {
  T out = 1;
  for (int i = 2; i <= n; ++i) out /= static_cast<T>(i);
  return out;
}

// p r^(degree - 1) + ... + r / 3! + 1 / 2!. A recursion, since its factors must be constants to any
// compiler: nvcc divides them out anew at every call if they are a loop's.
template <int degree, class S>
LPGD_INLINE S exp_series(S p, S r) {
  if constexpr (degree < 2) {
    return p;
  } else {
    constexpr RealOf<S> factor = inverse_factorial<RealOf<S>>(degree);
    return exp_series<degree - 1>(p * r + S(factor), r);
  }
}

// e^x - 1, relative error a few units in the last place
template <class S>
LPGD_INLINE S expm1_of(S x) {
  using T = RealOf<S>;
  using K = ExpConstants<T>;
  // written so that nan stays: comparisons with it are false
  x = select(less(x, S(K::lowest)), S(K::lowest), x);
  x = select(less(S(K::highest), x), S(K::highest), x);
  const S t = x * S(T(1.44269504088896340736)) + S(K::rounder);
  const S k = t - S(K::rounder);
  const S r = x - k * S(K::ln2_high) - k * S(K::ln2_low);
  constexpr T last = inverse_factorial<T>(K::degree);
  const S p = exp_series<K::degree - 1>(S(last), r) * r * r + r;
  const S scale = power_of_two_at(t);
  return scale * p + (scale - S(T(1)));
}

template <class S>
LPGD_INLINE S sigmoid_of(S x) {
  using T = RealOf<S>;
  return S(T(1)) / (S(T(2)) + expm1_of(-x));
}

template <class S>
LPGD_INLINE S tanh_of(S x) {
  using T = RealOf<S>;
  const S e = expm1_of(S(T(-2)) * abs_of(x));
  const S size = -e / (S(T(2)) + e);
  return select(less(x, S(T(0))), -size, size);
}

LPGD_END_NAMESPACE
