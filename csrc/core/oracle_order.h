// The places of costs from small to large; of equal costs the first comes first.
#pragma once

#include "oracle_work.h"
#include "prox_sort.h"

LPGD_BEGIN_NAMESPACE

template <class T>
struct CostOrder {
  std::int32_t* order;  // [n]
  T* negated;           // [n]
  char* scratch;

  void bind(OracleSlices& slices, std::int64_t n) {
    slices.take(order, n);
    slices.take(negated, n);
    slices.take(scratch, static_cast<std::int64_t>(RowSort::bytes(n)));
  }
  // 0 - c turns the order round, and makes one of both zeros
  void sort(const T* costs, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) negated[i] = T(0) - costs[i];
    if (n > 0) sort_row<false>(negated, n, order, scratch);
  }
};

LPGD_END_NAMESPACE
