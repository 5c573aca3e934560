// The arithmetic that algorithms are written in, for plain numbers. pack.h gives the same functions
// for a SIMD register of problems, so one source serves both.
#pragma once

#include "macros.h"

LPGD_BEGIN_NAMESPACE

template <class S>
struct ScalarTraits {
  using Real = S;
  using Mask = bool;
  static constexpr int lanes = 1;
};

template <class S>
using RealOf = typename ScalarTraits<S>::Real;
template <class S>
using MaskOf = typename ScalarTraits<S>::Mask;

#define LPGD_SCALAR_FUNCTIONS(T, SQRT)                                     \
  LPGD_INLINE T select(bool mask, T yes, T no) { return mask ? yes : no; } \
  LPGD_INLINE T min_of(T a, T b) { return a < b ? a : b; }                 \
  LPGD_INLINE T max_of(T a, T b) { return a > b ? a : b; }                 \
  LPGD_INLINE T abs_of(T a) { return a < T(0) ? -a : a; }                  \
  LPGD_INLINE T sqrt_of(T a) { return SQRT(a); }                           \
  LPGD_INLINE bool less(T a, T b) { return a < b; }                        \
  LPGD_INLINE bool equal(T a, T b) { return a == b; }                      \
  /* inf - inf and nan - nan are nan, and nan compares false */            \
  LPGD_INLINE bool is_finite(T a) { return a - a == T(0); }                \
  LPGD_INLINE T sum_lanes(T a) { return a; }                               \
  LPGD_INLINE T get_lane(T a, int) { return a; }                           \
  LPGD_INLINE void set_lane(T& a, int, T value) { a = value; }

#if defined(__CUDA_ARCH__)
LPGD_SCALAR_FUNCTIONS(double, ::sqrt)
LPGD_SCALAR_FUNCTIONS(float, ::sqrtf)
#else
LPGD_SCALAR_FUNCTIONS(double, __builtin_sqrt)
LPGD_SCALAR_FUNCTIONS(float, __builtin_sqrtf)
#endif
#undef LPGD_SCALAR_FUNCTIONS

// The power of two 2^-e for |v| in [2^e, 2^(e+1)), so that scaling by it is exact; 1 for zero. Huge
// and tiny v are held to what can be multiplied safely.
LPGD_INLINE double inverse_power_of_two(double v) {
  if (!(v > 0)) return 1;
  const double held = min_of(max_of(v, 1e-150), 1e150);
  std::uint64_t bits;
  __builtin_memcpy(&bits, &held, sizeof(bits));
  bits = (std::uint64_t{2046} << 52) - (bits & (std::uint64_t{0x7ff} << 52));
  double out;
  __builtin_memcpy(&out, &bits, sizeof(out));
  return out;
}
LPGD_INLINE float inverse_power_of_two(float v) {
  if (!(v > 0)) return 1;
  const float held = min_of(max_of(v, 1e-18F), 1e18F);
  std::uint32_t bits;
  __builtin_memcpy(&bits, &held, sizeof(bits));
  bits = (254U << 23) - (bits & (0xffU << 23));
  float out;
  __builtin_memcpy(&out, &bits, sizeof(out));
  return out;
}

LPGD_INLINE bool mask_and(bool a, bool b) { return a && b; }
LPGD_INLINE bool mask_or(bool a, bool b) { return a || b; }
LPGD_INLINE bool mask_not(bool a) { return !a; }
LPGD_INLINE bool any_lane(bool a) { return a; }
LPGD_INLINE bool all_lanes(bool a) { return a; }
LPGD_INLINE bool mask_lane(bool a, int) { return a; }

// A maximum that lets nan through: a plain comparison would drop it and call a broken item
// converged.
template <class S>
LPGD_INLINE S max_nan(S a, S b) {
  return select(mask_or(less(a, b), mask_not(equal(b, b))), b, a);
}

// Machine-dependent constants of the solvers, one place for both precisions.
template <class T>
struct Precision;
template <>
struct Precision<double> {
  static constexpr double pivot_floor =
      1e-14;  // pivots below this share of their diagonal are dropped
  static constexpr double primal_reg = 1e-10;  // interior point: + reg * scale on the diagonal of H
  static constexpr double slot_reg =
      1e-13;  // interior point: floor on s / z, so z / s stays finite
  static constexpr double equality_reg =
      9.313225746154785e-10;  // slots that must hold with equality; 2^-30, so that AtA scales
                              // exactly
  static constexpr double active_primal_reg = 1e-9;  // active-set systems
  // of the second attempt, where rounding or a start near the boundary kept the first from its end
  static constexpr bool second_attempt = true;
  static constexpr double careful_equality_reg = 9.5367431640625e-7;  // 2^-20
  static constexpr double careful_primal_reg = 1e-12;
  static constexpr double convexity_shift =
      1e-9;  // P + shift * max(diag P) must factor, else indefinite
  static constexpr double strict_convexity =
      1e-6;  // smallest pivot of P over max(diag P) from which the active set is tried early
  static constexpr double refine_target = 1e-13;  // stop refining below this relative residual
  static constexpr double step_target = 1e-2;     // interior point: the same, of what is left to do
  static constexpr double certificate = 1e-7;  // a ray proves that nothing of size below 1 / this
  static constexpr double weak_certificate = 1e-4;  // the same, for items that did not converge
  static constexpr double infinite_bound = 1e20;    // right-hand sides from here on are no bounds
  static constexpr double sign_tolerance = 1e-13;   // relative, of multipliers and slacks
  static constexpr double clearly_wrong = 1e-5;     // the same, of signs that refinement won't mend
  static constexpr double exact = 1e-15;            // relative error that is rounding
  static constexpr double unreachable = 1e-6;       // residual share that no refinement removes
  static constexpr double tiny = 1e-280;
};
template <>
struct Precision<float> {
  static constexpr float pivot_floor = 1e-6F;
  static constexpr float primal_reg = 1e-6F;
  static constexpr float slot_reg = 1e-6F;
  static constexpr float equality_reg = 3.90625e-3F;  // 2^-8
  static constexpr float active_primal_reg = 1e-4F;
  static constexpr bool second_attempt = false;  // double takes over
  static constexpr float careful_equality_reg = 3.90625e-3F;
  static constexpr float careful_primal_reg = 1e-6F;
  static constexpr float convexity_shift = 1e-4F;
  static constexpr float strict_convexity = 1e-3F;
  static constexpr float refine_target = 1e-6F;
  static constexpr float step_target = 1e-3F;
  static constexpr float certificate = 1e-5F;
  static constexpr float weak_certificate = 1e-5F;  // none: what single can't solve, double retries
  static constexpr float infinite_bound = 1e9F;
  static constexpr float sign_tolerance = 1e-6F;
  static constexpr float clearly_wrong = 1e-2F;
  static constexpr float exact = 4e-7F;
  static constexpr float unreachable = 1e-2F;
  static constexpr float tiny = 1e-30F;
};

LPGD_END_NAMESPACE
