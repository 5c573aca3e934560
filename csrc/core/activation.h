// Logistic function and hyperbolic tangent for a number or a register of them, to rounding. The
// tangent is made of one e^x - 1, so that it loses no digits near zero; nan goes through.
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

// 1 / from! + r / (from + 1)! + r^2 / (from + 2)! + ..., pairs of terms by themselves, which
// shortens the chain of multiply-adds. A recursion, since its factors must be constants to any
// compiler: nvcc divides them out anew at every call if they are a loop's.
template <int from, class S>
LPGD_INLINE S exp_series(S r, S square) {
  using T = RealOf<S>;
  constexpr T even = inverse_factorial<T>(from), odd = inverse_factorial<T>(from + 1);
  const S pair = S(odd) * r + S(even);
  if constexpr (from + 1 >= ExpConstants<T>::degree)
    return pair;
  else
    return exp_series<from + 2>(r, square) * square + pair;
}

// e^x = scale + scale p for x within range, p a few units in the last place
template <class S>
struct Exponential {
  S scale, p;
};
template <class S>
LPGD_INLINE Exponential<S> exponential(S x) {
  using T = RealOf<S>;
  using K = ExpConstants<T>;
  const S t = x * S(T(1.44269504088896340736)) + S(K::rounder);
  const S k = t - S(K::rounder);
  const S r = x - k * S(K::ln2_high) - k * S(K::ln2_low);
  const S square = r * r;
  return {power_of_two_at(t), exp_series<2>(r, square) * square + r};
}

template <class S>
LPGD_INLINE S sigmoid_of(S x) {
  using T = RealOf<S>;
  using K = ExpConstants<T>;
  // the other way round nan would be lost: comparisons with it are false
  const Exponential<S> e = exponential(min_of(S(K::highest), max_of(S(K::lowest), -x)));
  return S(T(1)) / (e.scale * e.p + (e.scale + S(T(1))));
}

template <class S>
LPGD_INLINE S tanh_of(S x) {
  using T = RealOf<S>;
  using K = ExpConstants<T>;
  const Exponential<S> e = exponential(max_of(S(K::lowest), S(T(-2)) * abs_of(x)));
  const S below = e.scale * e.p + (e.scale - S(T(1)));  // e^(-2 |x|) - 1
  const S size = (S(T(0)) - below) / (S(T(2)) + below);
  return select(less(x, S(T(0))), -size, size);
}

LPGD_END_NAMESPACE
