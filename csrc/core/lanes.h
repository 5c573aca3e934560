// Registers along an array, beside registers of problems: loads, stores, tails. In device code a
// lane of the group is the register's place, and a register is a number.
#pragma once

#include "scalar.h"
#if !defined(__CUDACC__)
#include "pack.h"
#endif
#if defined(__AVX2__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

LPGD_BEGIN_NAMESPACE

// The widest register of the instruction set. The x86-64 baseline works number by number: it has no
// blend instruction.
#if defined(__CUDACC__)
template <class T>
using Wide = T;
#elif defined(__AVX512F__)
template <class T>
using Wide = Pack<T, 64 / static_cast<int>(sizeof(T))>;
#elif defined(__AVX2__)
template <class T>
using Wide = Pack<T, 32 / static_cast<int>(sizeof(T))>;
#elif defined(__ARM_NEON)
template <class T>
using Wide = Pack<T, 16 / static_cast<int>(sizeof(T))>;
#else
template <class T>
using Wide = T;
#endif

template <class T>
constexpr int wide_lanes() {
  return ScalarTraits<Wide<T>>::lanes;
}

// All lanes the same. S(value) is 0 + value, an addition that -0 forbids to leave out; value - 0 is
// value.
template <class S, class T>
LPGD_INLINE S broadcast(T value) {
  if constexpr (ScalarTraits<S>::lanes == 1)
    return value;
  else
    return S::wrap(value - typename S::Vec{});
}

template <class S, class T>
LPGD_INLINE S load(const T* from) {
  S out;
  __builtin_memcpy(&out, from, sizeof(S));
  return out;
}

template <class S, class T>
LPGD_INLINE void store(T* to, const S& value) {
  __builtin_memcpy(to, &value, sizeof(S));
}

// acc[r][p] += a[r * step] * value[p]: every product of a matrix with registers of problems or of
// columns is a sum of these. Numbers of the matrix are broadcast from where they lie.
template <int R, int P, class S, class T>
LPGD_INLINE void add_multiples(const T* a, std::int64_t step, const S (&value)[P], S (&acc)[R][P]) {
  LPGD_UNROLL_ALL
  for (int r = 0; r < R; ++r) {
    const S factor = broadcast<S>(a[r * step]);
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) acc[r][p] += factor * value[p];
  }
}

// Past the caches, to an address that is a multiple of the register: the line that is overwritten
// need not be read first.
template <class S, class T>
LPGD_INLINE void stream(T* to, const S& value) {
#if defined(__AVX2__) && !defined(__CUDACC__)
  if constexpr (sizeof(S) == 64 && sizeof(T) == 8) {
    _mm512_stream_pd(to, reinterpret_cast<__m512d>(value.v));
  } else if constexpr (sizeof(S) == 64) {
    _mm512_stream_ps(to, reinterpret_cast<__m512>(value.v));
  } else if constexpr (sizeof(S) == 32 && sizeof(T) == 8) {
    _mm256_stream_pd(to, reinterpret_cast<__m256d>(value.v));
  } else if constexpr (sizeof(S) == 32) {
    _mm256_stream_ps(to, reinterpret_cast<__m256>(value.v));
  } else {
    store(to, value);
  }
#else
  store(to, value);
#endif
}

#if defined(__AVX512F__) && !defined(__CUDACC__)
LPGD_INLINE unsigned short first_lanes(int count) {
  return static_cast<unsigned short>((1U << count) - 1);
}
template <class S, class V>
LPGD_INLINE S as_register(V value) {
  return S::wrap(reinterpret_cast<decltype(S::v)>(value));
}
#endif

// The first `count` lanes; the others are zero. Their memory is not touched.
template <class S, class T>
LPGD_INLINE S load_some(const T* from, int count) {
#if defined(__AVX512F__) && !defined(__CUDACC__)
  if constexpr (sizeof(S) == 64 && sizeof(T) == 8)
    return as_register<S>(_mm512_maskz_loadu_pd(first_lanes(count), from));
  else if constexpr (sizeof(S) == 64 && sizeof(T) == 4)
    return as_register<S>(_mm512_maskz_loadu_ps(first_lanes(count), from));
#endif
  T buffer[sizeof(S) / sizeof(T)] = {};
  for (int i = 0; i < count; ++i) buffer[i] = from[i];
  return load<S>(buffer);
}

template <class S, class T>
LPGD_INLINE void store_some(T* to, const S& value, int count) {
#if defined(__AVX512F__) && !defined(__CUDACC__)
  if constexpr (sizeof(S) == 64 && sizeof(T) == 8)
    return _mm512_mask_storeu_pd(to, first_lanes(count), reinterpret_cast<__m512d>(value.v));
  else if constexpr (sizeof(S) == 64 && sizeof(T) == 4)
    return _mm512_mask_storeu_ps(to, first_lanes(count), reinterpret_cast<__m512>(value.v));
#endif
  T buffer[sizeof(S) / sizeof(T)];
  store(buffer, value);
  for (int i = 0; i < count; ++i) to[i] = buffer[i];
}

// Entry i of a matrix `width` wide. A division of 64-bit numbers is many instructions on a GPU, and
// few matrices need one.
struct Place {
  std::int64_t row;
  int column;
};
LPGD_INLINE Place place_of(std::int64_t i, int width) {
  if (i <= 0xffffffffLL) {
    const auto small = static_cast<std::uint32_t>(i), by = static_cast<std::uint32_t>(width);
    return {small / by, static_cast<int>(small % by)};
  }
  return {i / width, static_cast<int>(i % width)};
}

LPGD_END_NAMESPACE
