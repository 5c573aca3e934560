// What the oracles ask of a group beyond group.h, made of its sync() and reductions, so that every
// group has it: a CUDA block, a thread alone, the host threads of the tests.
#pragma once

#include "group.h"

LPGD_BEGIN_NAMESPACE

// Device code, but left to the compiler where it is the CPU's.
#if defined(__CUDACC__)
#define LPGD_DEVICE __device__ __forceinline__
#else
#define LPGD_DEVICE inline
#endif

// LPGD_FOR for counts of 64 bits
#define LPGD_EACH(group, i, count)                                                                 \
  for (std::int64_t i = (group).lane(), i##_end = (count), i##_step = (group).size(); i < i##_end; \
       i += i##_step)

// One lane has the algorithm to itself: the CPU, whose registers run along a row, or a thread of a
// CUDA block with an item of its own.
template <class Group>
inline constexpr bool kIsSerial = false;
template <>
inline constexpr bool kIsSerial<SerialGroup> = true;

constexpr double kNoIndex = 9007199254740992.0;  // 2^53, above all indices

// A condition that must hold on all lanes. A barrier as well.
template <class Group>
LPGD_INLINE bool holds_on_all(const Group& group, bool good) {
  if constexpr (kIsSerial<Group>) {
    return good;
  } else {
    return group.max(good ? 0.0 : 1.0) == 0.0;
  }
}

// The least of the lanes' indices, kNoIndex where a lane has none. Numbers up to 2^53 are exact.
template <class Group>
LPGD_INLINE std::int64_t least_index(const Group& group, double index) {
  return static_cast<std::int64_t>(group.min(index));
}

// The sum of `value` over the lanes before this one, in `total` that over all. `slots`: two
// integers a lane, which all lanes see.
template <class Group>
LPGD_DEVICE std::int32_t sum_before(const Group& group, std::int32_t value, std::int32_t* slots,
                                    std::int32_t& total) {
  const int lane = group.lane(), size = group.size();
  std::int32_t *from = slots, *to = slots + size, sum = value;
  from[lane] = sum;
  group.sync();
  for (int distance = 1; distance < size; distance *= 2) {
    if (lane >= distance) sum += from[lane - distance];
    to[lane] = sum;
    std::int32_t* swap = from;
    from = to;
    to = swap;
    group.sync();
  }
  total = from[size - 1];
  group.sync();  // the slots may be written again right after
  return sum - value;
}

// Lanes may count in one place at the same time: the sum of integers hangs on no order.
LPGD_INLINE void count_up(std::int32_t* counter) {
#if defined(__CUDA_ARCH__)
  atomicAdd(counter, 1);
#elif !defined(__CUDACC__)
  __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
#endif
}

LPGD_END_NAMESPACE
