// The places of costs from small to large, or back; of equal costs the first comes first.
#pragma once

#include "oracle_work.h"
#include "prox_sort.h"

LPGD_BEGIN_NAMESPACE

template <class T>
struct CostOrder {
  std::int32_t* order;  // [n]
  T* keys;              // [n]
  char* scratch;

  void bind(OracleSlices& slices, std::int64_t n) {
    slices.take(order, n);
    slices.take(keys, n);
    slices.take(scratch, static_cast<std::int64_t>(RowSort::bytes(n)));
  }
  // sort_row goes from large to small. 0 + c and 0 - c make one of both zeros.
  void ascending(const T* costs, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) keys[i] = T(0) - costs[i];
    sort(n);
  }
  void descending(const T* costs, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) keys[i] = T(0) + costs[i];
    sort(n);
  }

 private:
  void sort(std::int64_t n) {
    if (n > 0) sort_row<false>(keys, n, order, scratch);
  }
};

LPGD_END_NAMESPACE
