// Lanes that change places between two registers along an array, and between register-wide numbers,
// which have one lane.
#pragma once

#include "lanes.h"

LPGD_BEGIN_NAMESPACE

#if !defined(__CUDACC__)
// Of the 2 W lanes of a and b, one after the other: those at even places, at odd ones; and back:
// the lanes of a and b in turn, the first and the second half of them.
template <class T, int W>
LPGD_INLINE Pack<T, W> even_lanes(Pack<T, W> a, Pack<T, W> b) {
  typename PackMask<T, W>::Vec order{};
  LPGD_UNROLL
  for (int lane = 0; lane < W; ++lane) order[lane] = 2 * lane;
  return Pack<T, W>::wrap(__builtin_shuffle(a.v, b.v, order));
}
template <class T, int W>
LPGD_INLINE Pack<T, W> odd_lanes(Pack<T, W> a, Pack<T, W> b) {
  typename PackMask<T, W>::Vec order{};
  LPGD_UNROLL
  for (int lane = 0; lane < W; ++lane) order[lane] = 2 * lane + 1;
  return Pack<T, W>::wrap(__builtin_shuffle(a.v, b.v, order));
}
template <class T, int W>
LPGD_INLINE Pack<T, W> zip_low(Pack<T, W> a, Pack<T, W> b) {
  typename PackMask<T, W>::Vec order{};
  LPGD_UNROLL
  for (int lane = 0; lane < W; ++lane) order[lane] = lane / 2 + lane % 2 * W;
  return Pack<T, W>::wrap(__builtin_shuffle(a.v, b.v, order));
}
template <class T, int W>
LPGD_INLINE Pack<T, W> zip_high(Pack<T, W> a, Pack<T, W> b) {
  typename PackMask<T, W>::Vec order{};
  LPGD_UNROLL
  for (int lane = 0; lane < W; ++lane) order[lane] = (W + lane) / 2 + lane % 2 * W;
  return Pack<T, W>::wrap(__builtin_shuffle(a.v, b.v, order));
}
// One place on: a's last lane, then b's first ones; and one place back: a's last ones, then b's
// first lane.
template <class T, int W>
LPGD_INLINE Pack<T, W> one_later(Pack<T, W> a, Pack<T, W> b) {
  typename PackMask<T, W>::Vec order{};
  LPGD_UNROLL
  for (int lane = 0; lane < W; ++lane) order[lane] = W - 1 + lane;
  return Pack<T, W>::wrap(__builtin_shuffle(a.v, b.v, order));
}
template <class T, int W>
LPGD_INLINE Pack<T, W> one_sooner(Pack<T, W> a, Pack<T, W> b) {
  typename PackMask<T, W>::Vec order{};
  LPGD_UNROLL
  for (int lane = 0; lane < W; ++lane) order[lane] = lane + 1;
  return Pack<T, W>::wrap(__builtin_shuffle(a.v, b.v, order));
}
// Of two registers, the sums of their lanes `half` apart: a's at places without that bit, b's at
// the others.
template <class T, int W>
LPGD_INLINE Pack<T, W> fold_lanes(Pack<T, W> a, Pack<T, W> b, int half) {
  typename PackMask<T, W>::Vec one{}, other{};
  LPGD_UNROLL
  for (int lane = 0; lane < W; ++lane) {
    one[lane] = (lane & half) != 0 ? W + (lane & ~half) : lane;
    other[lane] = (lane & half) != 0 ? W + lane : lane | half;
  }
  return Pack<T, W>::wrap(__builtin_shuffle(a.v, b.v, one) + __builtin_shuffle(a.v, b.v, other));
}
#endif

// With one lane.
LPGD_INLINE double fold_lanes(double a, double, int) { return a; }
LPGD_INLINE float fold_lanes(float a, float, int) { return a; }
LPGD_INLINE double one_later(double a, double) { return a; }
LPGD_INLINE float one_later(float a, float) { return a; }
LPGD_INLINE double one_sooner(double, double b) { return b; }
LPGD_INLINE float one_sooner(float, float b) { return b; }

// The sum of the lanes of each of as many registers as there are lanes, in a register: each step
// halves their number, and the order is that of sum_lanes.
template <class V>
LPGD_INLINE V lane_sums(V (&v)[ScalarTraits<V>::lanes]) {
  LPGD_UNROLL
  for (int half = ScalarTraits<V>::lanes / 2; half > 0; half /= 2) {
    LPGD_UNROLL
    for (int i = 0; i < half; ++i) v[i] = fold_lanes(v[i], v[i + half], half);
  }
  return v[0];
}

// The same for the registers from `first` on in an array, row by row, zeros beyond it.
template <int R, int C, class V>
LPGD_INLINE V lane_sums(const V (&sums)[R][C], int first) {
  constexpr int W = ScalarTraits<V>::lanes;
  V v[W];
  LPGD_UNROLL
  for (int i = 0; i < W; ++i)
    v[i] = first + i < R * C ? sums[(first + i) / C][(first + i) % C] : V(RealOf<V>(0));
  return lane_sums(v);
}

// Four registers in a row by places modulo four, and back.
template <class S>
LPGD_INLINE void split_by_four(const S (&row)[4], S (&phase)[4]) {
  if constexpr (ScalarTraits<S>::lanes == 1) {
    for (int j = 0; j < 4; ++j) phase[j] = row[j];
  } else {
    const S even0 = even_lanes(row[0], row[1]), even1 = even_lanes(row[2], row[3]);
    const S odd0 = odd_lanes(row[0], row[1]), odd1 = odd_lanes(row[2], row[3]);
    phase[0] = even_lanes(even0, even1);
    phase[1] = even_lanes(odd0, odd1);
    phase[2] = odd_lanes(even0, even1);
    phase[3] = odd_lanes(odd0, odd1);
  }
}
template <class S>
LPGD_INLINE void interleave_four(const S (&phase)[4], S (&row)[4]) {
  if constexpr (ScalarTraits<S>::lanes == 1) {
    for (int j = 0; j < 4; ++j) row[j] = phase[j];
  } else {
    const S even0 = zip_low(phase[0], phase[2]), even1 = zip_high(phase[0], phase[2]);
    const S odd0 = zip_low(phase[1], phase[3]), odd1 = zip_high(phase[1], phase[3]);
    row[0] = zip_low(even0, odd0);
    row[1] = zip_high(even0, odd0);
    row[2] = zip_low(even1, odd1);
    row[3] = zip_high(even1, odd1);
  }
}

LPGD_END_NAMESPACE
