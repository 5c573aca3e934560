// A SIMD register whose lanes are problems of the batch. Host only (GCC and clang vector
// extensions).
#pragma once

#include "scalar.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

LPGD_BEGIN_NAMESPACE

#if defined(__AVX512F__)
// For AVX-512 GCC makes a comparison and a blend of what is one instruction, for nan and zeros too:
// the second number, unless the first is smaller (larger).
namespace detail {
LPGD_INLINE __m512d smaller(__m512d a, __m512d b) { return _mm512_maskz_min_pd(0xff, a, b); }
LPGD_INLINE __m512 smaller(__m512 a, __m512 b) { return _mm512_maskz_min_ps(0xffff, a, b); }
LPGD_INLINE __m256d smaller(__m256d a, __m256d b) { return _mm256_min_pd(a, b); }
LPGD_INLINE __m256 smaller(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
LPGD_INLINE __m512d larger(__m512d a, __m512d b) { return _mm512_maskz_max_pd(0xff, a, b); }
LPGD_INLINE __m512 larger(__m512 a, __m512 b) { return _mm512_maskz_max_ps(0xffff, a, b); }
LPGD_INLINE __m256d larger(__m256d a, __m256d b) { return _mm256_max_pd(a, b); }
LPGD_INLINE __m256 larger(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
}  // namespace detail
#endif

template <class T>
struct LaneInt;
template <>
struct LaneInt<double> {
  using type = std::int64_t;
};
template <>
struct LaneInt<float> {
  using type = std::int32_t;
};

template <class T, int W>
struct PackMask {
  using Lane = typename LaneInt<T>::type;
  typedef Lane Vec __attribute__((vector_size(W * sizeof(T))));
  Vec v;
  LPGD_INLINE static PackMask wrap(Vec mask) {
    PackMask out;
    out.v = mask;
    return out;
  }
};

template <class T, int W>
struct Pack {
  typedef T Vec __attribute__((vector_size(W * sizeof(T))));
  Vec v;
  Pack() = default;
  LPGD_INLINE Pack(T value) : v(Vec{} + value) {}  // NOLINT: numbers are packs of equal lanes
  // Not a constructor: while W is unknown, GCC takes Vec for T and calls it a redeclaration.
  LPGD_INLINE static Pack wrap(Vec vec) {
    Pack out;
    out.v = vec;
    return out;
  }

  LPGD_INLINE static Pack load(const T* from) {
    Pack out;
    __builtin_memcpy(&out.v, from, sizeof(out.v));
    return out;
  }
  LPGD_INLINE void store(T* to) const { __builtin_memcpy(to, &v, sizeof(v)); }

  LPGD_INLINE Pack operator-() const { return wrap(-v); }
  LPGD_INLINE friend Pack operator+(Pack a, Pack b) { return wrap(a.v + b.v); }
  LPGD_INLINE friend Pack operator-(Pack a, Pack b) { return wrap(a.v - b.v); }
  LPGD_INLINE friend Pack operator*(Pack a, Pack b) { return wrap(a.v * b.v); }
  LPGD_INLINE friend Pack operator/(Pack a, Pack b) { return wrap(a.v / b.v); }
  LPGD_INLINE Pack& operator+=(Pack b) {
    v += b.v;
    return *this;
  }
  LPGD_INLINE Pack& operator-=(Pack b) {
    v -= b.v;
    return *this;
  }
};

template <class T, int W>
struct ScalarTraits<Pack<T, W>> {
  using Real = T;
  using Mask = PackMask<T, W>;
  static constexpr int lanes = W;
};

#define LPGD_PACK           \
  template <class T, int W> \
  LPGD_INLINE
LPGD_PACK PackMask<T, W> less(Pack<T, W> a, Pack<T, W> b) {
  return PackMask<T, W>::wrap(a.v < b.v);
}
LPGD_PACK PackMask<T, W> equal(Pack<T, W> a, Pack<T, W> b) {
  return PackMask<T, W>::wrap(a.v == b.v);
}
LPGD_PACK PackMask<T, W> is_finite(Pack<T, W> a) { return equal(a - a, Pack<T, W>(T(0))); }
LPGD_PACK PackMask<T, W> mask_and(PackMask<T, W> a, PackMask<T, W> b) {
  return PackMask<T, W>::wrap(a.v & b.v);
}
LPGD_PACK PackMask<T, W> mask_or(PackMask<T, W> a, PackMask<T, W> b) {
  return PackMask<T, W>::wrap(a.v | b.v);
}
LPGD_PACK PackMask<T, W> mask_not(PackMask<T, W> a) { return PackMask<T, W>::wrap(~a.v); }
LPGD_PACK bool mask_lane(PackMask<T, W> a, int lane) { return a.v[lane] != 0; }
LPGD_PACK Pack<T, W> select(PackMask<T, W> mask, Pack<T, W> yes, Pack<T, W> no) {
  return Pack<T, W>::wrap(mask.v ? yes.v : no.v);
}
LPGD_PACK Pack<T, W> min_of(Pack<T, W> a, Pack<T, W> b) {
#if defined(__AVX512F__)
  if constexpr (W * sizeof(T) >= 32) return Pack<T, W>::wrap(detail::smaller(a.v, b.v));
#endif
  return select(less(a, b), a, b);
}
LPGD_PACK Pack<T, W> max_of(Pack<T, W> a, Pack<T, W> b) {
#if defined(__AVX512F__)
  if constexpr (W * sizeof(T) >= 32) return Pack<T, W>::wrap(detail::larger(a.v, b.v));
#endif
  return select(less(b, a), a, b);
}
LPGD_PACK Pack<T, W> abs_of(Pack<T, W> a) { return max_of(a, -a); }
LPGD_PACK T get_lane(const Pack<T, W>& a, int lane) { return a.v[lane]; }
LPGD_PACK void set_lane(Pack<T, W>& a, int lane, T value) { a.v[lane] = value; }
// By halves: the upper to the lower one, until one lane is left.
LPGD_PACK T sum_lanes(Pack<T, W> a) {
  LPGD_UNROLL
  for (int half = W / 2; half > 0; half /= 2) {
    typename PackMask<T, W>::Vec order{};
    LPGD_UNROLL
    for (int lane = 0; lane < W; ++lane) order[lane] = (lane + half) % W;
    a.v += __builtin_shuffle(a.v, order);
  }
  return a.v[0];
}
LPGD_PACK Pack<T, W> sqrt_of(Pack<T, W> a) {
  for (int lane = 0; lane < W; ++lane) a.v[lane] = sqrt_of(a.v[lane]);
  return a;
}
LPGD_PACK Pack<T, W> inverse_power_of_two(Pack<T, W> a) {
  // as for one number (scalar.h), on the bits of all lanes
  constexpr bool kDouble = sizeof(T) == 8;
  const Pack<T, W> held = min_of(max_of(a, Pack<T, W>(T(kDouble ? 1e-150 : 1e-18))),
                                 Pack<T, W>(T(kDouble ? 1e150 : 1e18)));
  using Bits = typename PackMask<T, W>::Vec;
  using Lane = typename PackMask<T, W>::Lane;
  constexpr Lane kExponent = static_cast<Lane>(kDouble ? 0x7ffLL << 52 : 0xffLL << 23);
  constexpr Lane kTwo = static_cast<Lane>(kDouble ? 2046LL << 52 : 254LL << 23);
  const Bits bits = kTwo - (reinterpret_cast<Bits>(held.v) & kExponent);
  const auto power = Pack<T, W>::wrap(reinterpret_cast<typename Pack<T, W>::Vec>(bits));
  return select(less(Pack<T, W>(T(0)), a), power, Pack<T, W>(T(1)));
}
LPGD_PACK bool any_lane(PackMask<T, W> a) {
  typename PackMask<T, W>::Lane bits = 0;
  for (int lane = 0; lane < W; ++lane) bits |= a.v[lane];
  return bits != 0;
}
LPGD_PACK bool all_lanes(PackMask<T, W> a) { return !any_lane(mask_not(a)); }
#undef LPGD_PACK

LPGD_END_NAMESPACE
