// What the oracles share: slices of a workspace, and how an item ends.
#pragma once

#include <limits>

#include "lanes.h"
#include "oracle_types.h"

LPGD_BEGIN_NAMESPACE

constexpr double kOracleInfinity = std::numeric_limits<double>::infinity();

// Slices of one allocation, aligned to 64 bytes; for `memory` null it only counts them.
class OracleSlices {
 public:
  explicit OracleSlices(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class E>
  void take(E*& pointer, std::int64_t count) {
    pointer = memory_ != nullptr ? reinterpret_cast<E*>(memory_ + used_) : nullptr;
    used_ += (static_cast<std::size_t>(count) * sizeof(E) + 63) / 64 * 64;
  }
  std::size_t used() const { return used_; }

 private:
  char* memory_;
  std::size_t used_ = 0;
};

template <class T>
LPGD_INLINE void fill(T* to, std::int64_t count, T value) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = value;
}

template <class T>
LPGD_INLINE void finish(const OracleOutput<T>& out, std::int64_t item, double objective,
                        std::int32_t status = kOracleOk) {
  out.objective[item] = static_cast<T>(objective);
  out.status[item] = status;
}

// x is zero already
template <class T>
LPGD_INLINE void fail(const OracleOutput<T>& out, std::int64_t item, std::int32_t status) {
  finish(out, item, std::numeric_limits<double>::quiet_NaN(), status);
}

// Sums of numbers beyond this could be infinite, which means something else.
template <class T>
constexpr T largest_cost() {
  return sizeof(T) == sizeof(double) ? static_cast<T>(1e300) : std::numeric_limits<T>::max();
}

// Whether `is_good` holds for all numbers, registers at a time.
template <class T, class F>
LPGD_INLINE bool holds_for_all(const T* values, std::int64_t count, const F& is_good) {
  using S = Wide<T>;
  constexpr std::int64_t kLanes = wide_lanes<T>();
  std::int64_t i = 0;
  bool good = true;
  if (count >= kLanes) {
    MaskOf<S> all = is_good(load<S>(values));
    for (i = kLanes; i + kLanes <= count; i += kLanes)
      all = mask_and(all, is_good(load<S>(values + i)));
    good = all_lanes(all);
  }
  for (; i < count; ++i) good &= is_good(values[i]);
  return good;
}

// Numbers of usable size or +inf: no nan and no -inf, for which no minimum means anything.
template <class T>
LPGD_INLINE bool are_costs(const T* costs, std::int64_t count) {
  return holds_for_all(costs, count, [](auto cost) {
    using S = decltype(cost);
    constexpr T most = largest_cost<T>();
    const auto low = less(S(-most), cost);
    return mask_and(
        low, mask_or(less(cost, S(most)), equal(cost, S(std::numeric_limits<T>::infinity()))));
  });
}

template <class T>
LPGD_INLINE bool are_finite(const T* costs, std::int64_t count) {
  return holds_for_all(costs, count, [](auto cost) {
    using S = decltype(cost);
    constexpr T most = largest_cost<T>();
    return mask_and(less(S(-most), cost), less(cost, S(most)));
  });
}

LPGD_END_NAMESPACE
