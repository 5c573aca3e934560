// What the oracles share: slices of a workspace, and how an item ends.
#pragma once

#include <limits>

#include "lanes.h"
#include "oracle_group.h"
#include "oracle_types.h"

LPGD_BEGIN_NAMESPACE

constexpr double kOracleInfinity = std::numeric_limits<double>::infinity();

// Slices of one allocation, aligned to 64 bytes; for `memory` null it only counts them.
class OracleSlices {
 public:
  LPGD_HOST_TOO explicit OracleSlices(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class E>
  LPGD_HOST_TOO void take(E*& pointer, std::int64_t count) {
    pointer = memory_ != nullptr ? reinterpret_cast<E*>(memory_ + used_) : nullptr;
    used_ += (static_cast<std::size_t>(count) * sizeof(E) + 63) / 64 * 64;
  }
  LPGD_HOST_TOO std::size_t used() const { return used_; }

 private:
  char* memory_;
  std::size_t used_ = 0;
};

template <class T>
LPGD_INLINE void fill(T* to, std::int64_t count, T value) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = value;
}
// by all lanes; without a barrier
template <class Group, class T>
LPGD_INLINE void fill(const Group& group, T* to, std::int64_t count, T value) {
  LPGD_EACH(group, i, count) to[i] = value;
}

template <class Group, class T>
LPGD_INLINE void finish(const Group& group, const OracleOutput<T>& out, std::int64_t item,
                        double objective, std::int32_t status = kOracleOk) {
  if (group.lane() != 0) return;
  out.objective[item] = static_cast<T>(objective);
  out.status[item] = status;
}

// x is zero already
template <class Group, class T>
LPGD_INLINE void fail(const Group& group, const OracleOutput<T>& out, std::int64_t item,
                      std::int32_t status) {
  finish(group, out, item, std::numeric_limits<double>::quiet_NaN(), status);
}

// Of a graph that has not been looked at (int64): is it a place below `count`?
template <class Index>
LPGD_INLINE bool is_place(Index value, std::int64_t count) {
  return sizeof(Index) == sizeof(std::int32_t) || (value >= 0 && value < count);
}

// Sums of numbers beyond this could be infinite, which means something else.
template <class T>
LPGD_HOST_TOO constexpr T largest_cost() {
  return sizeof(T) == sizeof(double) ? static_cast<T>(1e300) : std::numeric_limits<T>::max();
}

// Whether `is_good` holds for all numbers, registers at a time. A barrier as well.
template <class Group, class T, class F>
LPGD_INLINE bool holds_for_all(const Group& group, const T* values, std::int64_t count,
                               const F& is_good) {
  bool good = true;
  if constexpr (kIsSerial<Group>) {
    using S = Wide<T>;
    constexpr std::int64_t kLanes = wide_lanes<T>();
    std::int64_t i = 0;
    if (count >= kLanes) {
      MaskOf<S> all = is_good(load<S>(values));
      for (i = kLanes; i + kLanes <= count; i += kLanes)
        all = mask_and(all, is_good(load<S>(values + i)));
      good = all_lanes(all);
    }
    for (; i < count; ++i) good &= is_good(values[i]);
  } else {
    LPGD_EACH(group, i, count) good &= is_good(values[i]);
  }
  return holds_on_all(group, good);
}

// Numbers of usable size or +inf: no nan and no -inf, for which no minimum means anything.
template <class T>
struct IsCost {
  template <class S>
  LPGD_INLINE MaskOf<S> operator()(const S& cost) const {
    constexpr T most = largest_cost<T>();
    const auto low = less(S(-most), cost);
    return mask_and(
        low, mask_or(less(cost, S(most)), equal(cost, S(std::numeric_limits<T>::infinity()))));
  }
};

template <class Group, class T>
LPGD_INLINE bool are_costs(const Group& group, const T* costs, std::int64_t count) {
  return holds_for_all(group, costs, count, IsCost<T>{});
}

template <class Group, class T>
LPGD_INLINE bool are_finite(const Group& group, const T* costs, std::int64_t count) {
  return holds_for_all(group, costs, count, [](auto cost) {
    using S = decltype(cost);
    constexpr T most = largest_cost<T>();
    return mask_and(less(S(-most), cost), less(cost, S(most)));
  });
}

LPGD_END_NAMESPACE
