// The places of costs from small to large, or back; of equal costs the first comes first.
#pragma once

#include "oracle_work.h"
#include "prox_sort.h"

LPGD_BEGIN_NAMESPACE

// One lane sorts by radix. Several run a bitonic network over pairs of number and place, which have
// but one order, so that it is the same: n log^2 n, yet without a count to share and with a barrier
// a step.
template <class Group, class T>
struct CostOrder {
  std::int32_t* order;  // [n]
  T* keys;              // [n]; several lanes move them along
  char* scratch;        // of one lane

  LPGD_HOST_TOO void bind(OracleSlices& slices, std::int64_t n) {
    slices.take(order, n);
    slices.take(keys, n);
    if constexpr (kIsSerial<Group>)
      slices.take(scratch, static_cast<std::int64_t>(RowSort::bytes(n)));
  }
  // Sorted are keys, from large to small. 0 + c and 0 - c make one of both zeros.
  LPGD_DEVICE void ascending(const Group& group, const T* costs, std::int64_t n) {
    LPGD_EACH(group, i, n) keys[i] = T(0) - costs[i];
    sort(group, n);
  }
  LPGD_DEVICE void descending(const Group& group, const T* costs, std::int64_t n) {
    LPGD_EACH(group, i, n) keys[i] = T(0) + costs[i];
    sort(group, n);
  }

 private:
  LPGD_DEVICE void sort(const Group& group, std::int64_t n) {
    if constexpr (kIsSerial<Group>) {
      if (n > 0) sort_row<false>(keys, n, order, scratch);
    } else {
      LPGD_EACH(group, i, n) order[i] = static_cast<std::int32_t>(i);
      group.sync();
      std::int64_t pairs = 1;  // of a network for the next power of two
      while (2 * pairs < n) pairs *= 2;
      // The first step of a merge compares mirrored places, so that all go the same way and places
      // beyond n, which would hold what comes last, can be left out.
      for (std::int64_t half = 1; half < n; half *= 2) {
        LPGD_EACH(group, k, pairs) {
          const std::int64_t offset = k & (half - 1), start = 2 * (k - offset);
          put_in_order(start + offset, start + 2 * half - 1 - offset, n);
        }
        group.sync();
        for (std::int64_t step = half / 2; step > 0; step /= 2) {
          LPGD_EACH(group, k, pairs) {
            const std::int64_t offset = k & (step - 1), start = 2 * (k - offset);
            put_in_order(start + offset, start + offset + step, n);
          }
          group.sync();
        }
      }
    }
  }

  LPGD_INLINE void put_in_order(std::int64_t first, std::int64_t second, std::int64_t n) {
    if (second >= n) return;
    const T a = keys[first], b = keys[second];
    const std::int32_t at_a = order[first], at_b = order[second];
    if (b < a || (a == b && at_a < at_b)) return;
    keys[first] = b;
    keys[second] = a;
    order[first] = at_b;
    order[second] = at_a;
  }
};

LPGD_END_NAMESPACE
