// The order in which the lanes of a GPU are reduced: in each warp a butterfly, then the warps one
// after the other. The host threads of tests/native use the same functions, so that both come to
// the same bits.
#pragma once

#include "scalar.h"

LPGD_BEGIN_NAMESPACE

constexpr int kWarp = 32;

struct AddLanes {
  template <class S>
  LPGD_INLINE S operator()(S a, S b) const {
    return a + b;
  }
};
struct MaxLanes {
  template <class S>
  LPGD_INLINE S operator()(S a, S b) const {
    return max_nan(a, b);
  }
};
struct MinLanes {
  template <class S>
  LPGD_INLINE S operator()(S a, S b) const {
    return a < b ? a : b;
  }
};

// `exchange(value, offset)`: the value of the lane whose number differs in the bit `offset`. The
// lower lane's comes first, so that all lanes agree even about the sign of a zero.
template <class S, class Op, class Exchange>
LPGD_INLINE S reduce_warp(int lane, S value, Op op, const Exchange& exchange) {
  LPGD_UNROLL
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const S other = exchange(value, offset);
    value = (lane & offset) != 0 ? op(other, value) : op(value, other);
  }
  return value;
}

// parts[w]: what warp w came to
template <class S, class Op>
LPGD_INLINE S reduce_parts(const double* parts, int warps, Op op) {
  S total = static_cast<S>(parts[0]);
  for (int w = 1; w < warps; ++w) total = op(total, static_cast<S>(parts[w]));
  return total;
}

LPGD_END_NAMESPACE
