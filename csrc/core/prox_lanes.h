// Loops along a row. A body gets an `At`, a place in the row: one coordinate, or, on the CPU, as
// many as a register holds. So a formula is written once, for numbers and for registers.
#pragma once

#include <limits>
#include <type_traits>

#include "group.h"
#include "lanes.h"
#include "prox_types.h"

LPGD_BEGIN_NAMESPACE

// A row's share of a parameter: its numbers, or (step 0) the one number of all coordinates
template <class T>
struct RowParameter {
  const T* data;
  std::int64_t step;
  LPGD_INLINE T operator[](std::int64_t i) const { return data[i * step]; }
  LPGD_INLINE T scalar() const { return data[0]; }
};

template <class T>
LPGD_INLINE RowParameter<T> row_of(const ProxParameter<T>& parameter, std::int64_t row) {
  return {parameter.data + row * parameter.row_step, parameter.step};
}

template <class S>
struct At {
  using T = RealOf<S>;
  std::int64_t i;

  LPGD_INLINE S load(const T* data) const {
    if constexpr (ScalarTraits<S>::lanes == 1) {
      return data[i];
    } else {
      return S::load(data + i);
    }
  }
  LPGD_INLINE S load(const RowParameter<T>& parameter) const {
    return parameter.step == 0 ? broadcast<S>(parameter.data[0]) : load(parameter.data);
  }
  LPGD_INLINE void store(T* data, S value) const {
    if constexpr (ScalarTraits<S>::lanes == 1) {
      data[i] = value;
    } else {
      value.store(data + i);
    }
  }
};

template <class T, class Group, class F>
LPGD_INLINE void each(const Group& g, std::int64_t n, const F& f) {
  std::int64_t i = 0;
  if constexpr (std::is_same_v<Group, SerialGroup> && ScalarTraits<Wide<T>>::lanes > 1) {
    constexpr int kWidth = ScalarTraits<Wide<T>>::lanes;
    for (; i + kWidth <= n; i += kWidth) f(At<Wide<T>>{i});
  }
  for (i += g.lane(); i < n; i += g.size()) f(At<T>{i});
}

// to[i] = f(at), which does not read what it writes. `streaming`: past the caches.
template <class T, class Group, class F>
LPGD_INLINE void fill(const Group& g, std::int64_t n, T* to, bool streaming, const F& f) {
  if constexpr (std::is_same_v<Group, SerialGroup> && ScalarTraits<Wide<T>>::lanes > 1) {
    using S = Wide<T>;
    constexpr std::int64_t kWidth = ScalarTraits<S>::lanes;
    if (streaming && n >= 2 * kWidth) {
      // the first register as it lies, then, over a part of it, from an aligned address on
      At<S>{0}.store(to, f(At<S>{0}));
      const auto past =
          static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(to) % sizeof(S) / sizeof(T));
      std::int64_t i = kWidth - past;
      for (; i + kWidth <= n; i += kWidth) stream(to + i, f(At<S>{i}));
      for (; i < n; ++i) At<T>{i}.store(to, f(At<T>{i}));
      return;
    }
  }
  each<T>(g, n, [&](auto at) { at.store(to, f(at)); });
}

template <class S>
LPGD_INLINE RealOf<S> max_lanes(S value) {
  RealOf<S> out = get_lane(value, 0);
  for (int lane = 1; lane < ScalarTraits<S>::lanes; ++lane)
    out = max_of(out, RealOf<S>(get_lane(value, lane)));
  return out;
}

template <class T, int K>
struct Sums {
  T v[K];
  LPGD_INLINE T operator[](int k) const { return v[k]; }
};

// K sums over the row, of terms that f(at, term) writes; with `Max`, the last is a maximum instead
// (which drops nan: the sums have it). Several accumulators, since an addition takes four cycles.
template <class T, int K, bool Max = false, class Group, class F>
LPGD_INLINE Sums<T, K> reduce(const Group& g, std::int64_t n, const F& f) {
  constexpr int kSums = Max ? K - 1 : K;
  const T lowest = -std::numeric_limits<T>::infinity();
  Sums<T, K> out;
  for (int k = 0; k < K; ++k) out.v[k] = k < kSums ? T(0) : lowest;
  std::int64_t i = 0;
  if constexpr (std::is_same_v<Group, SerialGroup> && ScalarTraits<Wide<T>>::lanes > 1) {
    using S = Wide<T>;
    constexpr int kWidth = ScalarTraits<S>::lanes, kWays = 4;
    S total[kWays][K];
    for (int way = 0; way < kWays; ++way)
      for (int k = 0; k < K; ++k) total[way][k] = S(k < kSums ? T(0) : lowest);
    auto add = [&](std::int64_t at, S* to) {
      S term[K];
      f(At<S>{at}, term);
      for (int k = 0; k < kSums; ++k) to[k] += term[k];
      if constexpr (Max) to[kSums] = max_of(to[kSums], term[kSums]);
    };
    for (; i + kWays * kWidth <= n; i += kWays * kWidth) {
      LPGD_UNROLL
      for (int way = 0; way < kWays; ++way) add(i + way * kWidth, total[way]);
    }
    for (; i + kWidth <= n; i += kWidth) add(i, total[0]);
    for (int k = 0; k < kSums; ++k)
      out.v[k] = sum_lanes((total[0][k] + total[1][k]) + (total[2][k] + total[3][k]));
    if constexpr (Max)
      out.v[kSums] = max_lanes(max_of(max_of(total[0][kSums], total[1][kSums]),
                                      max_of(total[2][kSums], total[3][kSums])));
  }
  for (i += g.lane(); i < n; i += g.size()) {
    T term[K];
    f(At<T>{i}, term);
    for (int k = 0; k < kSums; ++k) out.v[k] += term[k];
    if constexpr (Max) out.v[kSums] = max_of(out.v[kSums], term[kSums]);
  }
  for (int k = 0; k < kSums; ++k) out.v[k] = g.sum(out.v[k]);
  if constexpr (Max) out.v[kSums] = g.max(out.v[kSums]);
  return out;
}

template <class T, class Group, class F>
LPGD_INLINE T sum_of(const Group& g, std::int64_t n, const F& f) {
  return reduce<T, 1>(g, n, [&](auto at, auto* term) { term[0] = f(at); })[0];
}

// The end of the run of equal values that starts at `begin`; nan is a run of its own.
template <class T>
LPGD_INLINE std::int64_t run_end(const T* values, std::int64_t begin, std::int64_t n) {
  const T level = values[begin];
  std::int64_t i = begin + 1;
  if constexpr (ScalarTraits<Wide<T>>::lanes > 1) {
    using S = Wide<T>;
    constexpr std::int64_t kWidth = ScalarTraits<S>::lanes;
    const std::int64_t first = begin + 16 < n ? begin + 16 : n;
    while (i < first && values[i] == level) ++i;
    if (i < first) return i;
    for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
      auto same = [&](int k) {
        return equal(S::load(values + i + k * kWidth), broadcast<S>(level));
      };
      if (!all_lanes(mask_and(mask_and(same(0), same(1)), mask_and(same(2), same(3))))) break;
    }
  }
  while (i < n && values[i] == level) ++i;
  return i;
}

// values[begin] + ... + values[end - 1] in double, by eight sums
template <class T>
LPGD_INLINE double run_sum(const T* values, std::int64_t begin, std::int64_t end) {
  double part[8] = {}, rest = 0;
  std::int64_t i = begin;
  for (; i + 8 <= end; i += 8)
    for (int k = 0; k < 8; ++k) part[k] += static_cast<double>(values[i + k]);
  for (; i < end; ++i) rest += static_cast<double>(values[i]);
  return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7])) +
         rest;
}

// One row of a task, as an operator sees it
template <class T>
struct ProxRow {
  std::int64_t n;
  const T* x;
  RowParameter<T> p[kProxParameters];
  const std::int32_t* index;
  std::int32_t groups;
  T* out;
  std::int32_t* order;
  bool sorted;
  bool streaming;
  const T* gradient;
  T* gx;
  T* gp[kProxParameters];        // null: not asked for
  bool each_p[kProxParameters];  // per coordinate, else the sum
  void* scratch;

  // the row's result, or its gradient
  template <class Group, class F>
  LPGD_INLINE void write(const Group& g, T* to, const F& f) const {
    fill(g, n, to, streaming, f);
  }
  // one number for [begin, end) of it, walked by one lane
  LPGD_INLINE void write_run(T* to, std::int64_t begin, std::int64_t end, T value) const {
    if (end - begin < 16) {
      for (std::int64_t i = begin; i < end; ++i) to[i] = value;
      return;
    }
    fill(SerialGroup{}, end - begin, to + begin, streaming, [&](auto at) {
      using S = decltype(at.load(to));
      return S(value);
    });
  }
  // the row's result where it has none: nan in x, a negative radius
  template <class Group>
  LPGD_HD void fail(const Group& g) const {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    write(g, out, [&](auto at) {
      const auto v = at.load(x);
      return decltype(v + v)(nan);
    });
  }
  template <class Group>
  LPGD_INLINE void copy(const Group& g) const {
    write(g, out, [&](auto at) { return at.load(x); });
  }
  // the gradient of a parameter that the row has one of, or f(at) where it has one a coordinate
  template <class Group, class F>
  LPGD_INLINE void give(const Group& g, int k, const F& f) const {
    if (gp[k] == nullptr) return;
    if (each_p[k]) {
      each<T>(g, n, [&](auto at) { at.store(gp[k], f(at)); });
    } else {
      const T total = sum_of<T>(g, n, f);
      if (g.lane() == 0) gp[k][0] = total;
    }
  }
  // a parameter that a row has one of by its nature
  template <class Group>
  LPGD_INLINE void give_scalar(const Group& g, int k, T value) const {
    if (gp[k] == nullptr) return;
    if (!each_p[k]) {
      if (g.lane() == 0) gp[k][0] = value;
      return;
    }
    LPGD_FOR (g, i, static_cast<int>(n)) gp[k][i] = i == 0 ? value : T(0);
  }
};

template <class T>
LPGD_INLINE ProxRow<T> row_of(const ProxTask<T>& task, std::int64_t row, void* scratch) {
  ProxRow<T> out{};
  const std::int64_t begin = row * task.n;
  out.n = task.n;
  out.x = task.x + begin;
  out.index = task.index;
  out.groups = task.groups;
  out.out = task.out + begin;
  out.order = task.order != nullptr ? task.order + begin : nullptr;
  out.sorted = task.sorted;
  out.streaming = task.streaming;
  out.gradient = task.gradient != nullptr ? task.gradient + begin : nullptr;
  out.gx = task.gradient_x != nullptr ? task.gradient_x + begin : nullptr;
  out.scratch = scratch;
  for (int k = 0; k < kProxParameters; ++k) {
    out.p[k] = row_of(task.parameters[k], row);
    const ProxParameterGradient<T>& gradient = task.gradient_parameters[k];
    out.gp[k] = gradient.data != nullptr ? gradient.data + row * gradient.row_step : nullptr;
    out.each_p[k] = gradient.step != 0;
  }
  return out;
}

LPGD_END_NAMESPACE
