// PReLU and its derivative, for one number or a register of them. At zero it has the slope's side.
#pragma once

#include "scalar.h"

LPGD_BEGIN_NAMESPACE

template <class S>
LPGD_INLINE S prelu_of(S x, S slope) {
  return select(less(S(RealOf<S>(0)), x), x, slope * x);
}

// From the gradient of prelu(x) to that of x; `of_slope` is the part of x in the slope's.
template <class S>
LPGD_INLINE S prelu_backward_of(S x, S slope, S given, S& of_slope) {
  const S zero = S(RealOf<S>(0));
  const auto above = less(zero, x);
  of_slope = select(above, zero, given * x);
  return select(above, given, slope * given);
}

LPGD_END_NAMESPACE
