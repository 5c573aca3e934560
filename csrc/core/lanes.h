// Registers along an array, beside registers of problems: loads, stores, tails, sums over lanes.
// Host only.
#pragma once

#include "pack.h"

LPGD_BEGIN_NAMESPACE

// The widest register of the instruction set. The x86-64 baseline works number by number: it has no
// blend instruction.
#if defined(__AVX512F__)
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

// The first `count` lanes; the others are zero.
template <class S, class T>
LPGD_INLINE S load_some(const T* from, int count) {
  T buffer[sizeof(S) / sizeof(T)] = {};
  for (int i = 0; i < count; ++i) buffer[i] = from[i];
  return load<S>(buffer);
}

template <class S, class T>
LPGD_INLINE void store_some(T* to, const S& value, int count) {
  T buffer[sizeof(S) / sizeof(T)];
  store(buffer, value);
  for (int i = 0; i < count; ++i) to[i] = buffer[i];
}

LPGD_END_NAMESPACE
