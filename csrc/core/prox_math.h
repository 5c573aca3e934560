// exp and log of registers, within two units in the last place: libm works on one number at a time,
// and its vector twins come with -ffast-math alone. Numbers use libm, or CUDA's own.
#pragma once

#include <cmath>
#include <limits>

#include "prox_lanes.h"

LPGD_BEGIN_NAMESPACE

#if defined(__CUDACC__)
LPGD_INLINE double exp_of(double v) { return ::exp(v); }
LPGD_INLINE float exp_of(float v) { return ::expf(v); }
LPGD_INLINE double log_of(double v) { return ::log(v); }
LPGD_INLINE float log_of(float v) { return ::logf(v); }
#else
LPGD_INLINE double exp_of(double v) { return __builtin_exp(v); }
LPGD_INLINE float exp_of(float v) { return __builtin_expf(v); }
LPGD_INLINE double log_of(double v) { return __builtin_log(v); }
LPGD_INLINE float log_of(float v) { return __builtin_logf(v); }

template <class T>
struct FloatBits;
template <>
struct FloatBits<double> {
  using Unsigned = std::uint64_t;
  static constexpr int mantissa = 52;
  static constexpr Unsigned bias = 1023;
  static constexpr double to_integer = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds
  static constexpr double two_mantissa = 4503599627370496.0;
  static constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
  static constexpr double exp_lowest = -708, exp_highest = 709;
  static constexpr int exp_terms = 14, log_terms = 12;
};
template <>
struct FloatBits<float> {
  using Unsigned = std::uint32_t;
  static constexpr int mantissa = 23;
  static constexpr Unsigned bias = 127;
  static constexpr float to_integer = 12582912.0F;
  static constexpr float two_mantissa = 8388608.0F;
  static constexpr float ln2_high = 0x1.62e400p-1F, ln2_low = 0x1.7f7d1cp-20F;
  static constexpr float exp_lowest = -87, exp_highest = 88;
  static constexpr int exp_terms = 8, log_terms = 6;
};

// a * b + c, rounded once
template <class T, int W>
LPGD_INLINE Pack<T, W> fma_of(Pack<T, W> a, Pack<T, W> b, Pack<T, W> c) {
  Pack<T, W> out;
  for (int lane = 0; lane < W; ++lane) {
    if constexpr (sizeof(T) == sizeof(double)) {
      out.v[lane] = __builtin_fma(a.v[lane], b.v[lane], c.v[lane]);
    } else {
      out.v[lane] = __builtin_fmaf(a.v[lane], b.v[lane], c.v[lane]);
    }
  }
  return out;
}

template <class T, int N>
struct Coefficients {
  T at[N];
};
template <class T, int N>
constexpr Coefficients<T, N> exp_series() {  // 1 / k!
  Coefficients<T, N> out{};
  double term = 1;
  for (int k = 0; k < N; ++k) {
    out.at[k] = static_cast<T>(term);
    term /= k + 1;
  }
  return out;
}
template <class T, int N>
constexpr Coefficients<T, N> atanh_series() {  // 1 / (2 k + 1)
  Coefficients<T, N> out{};
  for (int k = 0; k < N; ++k) out.at[k] = static_cast<T>(1.0 / (2 * k + 1));
  return out;
}

// The series at v, even and odd powers in two chains: each addition waits for the one before it
template <class T, int W, int N>
LPGD_INLINE Pack<T, W> series(const Coefficients<T, N>& c, Pack<T, W> v) {
  static_assert(N % 2 == 0);
  using S = Pack<T, W>;
  const S square = v * v;
  S even = S(c.at[N - 2]), odd = S(c.at[N - 1]);
  _Pragma("GCC unroll 16") for (int k = N - 4; k >= 0; k -= 2) {
    even = fma_of(even, square, S(c.at[k]));
    odd = fma_of(odd, square, S(c.at[k + 1]));
  }
  return fma_of(odd, v, even);
}

// 0 below the smallest normal number, inf above the largest
template <class T, int W>
LPGD_INLINE Pack<T, W> exp_of(Pack<T, W> v) {
  using B = FloatBits<T>;
  using S = Pack<T, W>;
  typedef typename B::Unsigned Bits __attribute__((vector_size(W * sizeof(T))));
  const S held = min_of(max_of(v, S(B::exp_lowest)), S(B::exp_highest));
  const S shifted = held * S(T(1.4426950408889634)) + S(B::to_integer);
  const S k = shifted - S(B::to_integer);
  const S r = (held - k * S(B::ln2_high)) - k * S(B::ln2_low);
  constexpr auto kSeries = exp_series<T, B::exp_terms>();
  const S sum = series(kSeries, r);  // |r| <= ln(2) / 2
  Bits bits = (reinterpret_cast<Bits>(shifted.v) + B::bias) << B::mantissa;
  const S power = S::wrap(reinterpret_cast<typename S::Vec>(bits));
  S out = sum * power;
  out = select(less(v, S(B::exp_lowest)), S(T(0)), out);
  out = select(less(S(B::exp_highest), v), S(std::numeric_limits<T>::infinity()), out);
  return select(equal(v, v), out, v);
}

// of positive normal numbers; smaller ones count as the smallest
template <class T, int W>
LPGD_INLINE Pack<T, W> log_of(Pack<T, W> v) {
  using B = FloatBits<T>;
  using S = Pack<T, W>;
  typedef typename B::Unsigned Bits __attribute__((vector_size(W * sizeof(T))));
  const Bits bits = reinterpret_cast<Bits>(max_of(v, S(std::numeric_limits<T>::min())).v);
  const Bits integer = reinterpret_cast<Bits>(S(B::two_mantissa).v);
  S e = S::wrap(reinterpret_cast<typename S::Vec>((bits >> B::mantissa) | integer)) -
        S(B::two_mantissa) - S(T(B::bias));
  const Bits one = reinterpret_cast<Bits>(S(T(1)).v);
  const Bits below = (Bits{} + 1) << B::mantissa;
  S m = S::wrap(reinterpret_cast<typename S::Vec>((bits & (below - 1)) | one));
  const auto high = less(S(T(1.4142135623730951)), m);
  m = select(high, m * S(T(0.5)), m);
  e = select(high, e + S(T(1)), e);
  const S s = (m - S(T(1))) / (m + S(T(1)));
  const S q = s * s;
  constexpr auto kSeries = atanh_series<T, B::log_terms>();
  // 2 atanh(s) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...), |s| <= 0.172
  const S sum = series(kSeries, q);
  const S out = e * S(B::ln2_high) + (S(T(2)) * s * sum + e * S(B::ln2_low));
  return select(is_finite(v), out, v);
}
#endif

template <class S>
LPGD_INLINE S sign_of(S v) {
  return select(less(v, S(0)), S(-1), select(less(S(0), v), S(1), S(0)));
}
template <class S>
LPGD_INLINE S when(MaskOf<S> mask, S value) {
  return select(mask, value, S(0));
}
template <class S>
LPGD_INLINE S nan_or_zero(S v) {
  return select(equal(v, v), S(0), v);
}
template <class S>
LPGD_INLINE MaskOf<S> not_negative(S v) {  // false for nan
  return mask_or(less(S(0), v), equal(v, S(0)));
}

LPGD_END_NAMESPACE
