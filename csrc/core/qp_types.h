// The plain structs that cross between layers (pointers and sizes, no code), so that they have one
// name whatever instruction set a file was compiled for.
#pragma once

#include <cstdint>

namespace lpgd {

// minimise 1/2 x'Px + q'x subject to Gx <= h, Ax = b, lb <= x <= ub, for a batch of problems.
// Absent blocks are null. A stride counts numbers between problems; 0 means shared by all.
template <class T>
struct QpProblem {
  std::int64_t batch;
  int n, m, p;
  const T *P, *q, *G, *h, *A, *b, *lb, *ub;
  std::int64_t stride_P, stride_q, stride_G, stride_h, stride_A, stride_b, stride_lb, stride_ub;
};

// A primal-dual point of every problem, contiguous rows: x [batch, n], y [batch, p], z [batch, m],
// z_lb and z_ub [batch, n] (null where the bounds are absent).
template <class T>
struct QpPoint {
  T *x, *y, *z, *z_lb, *z_ub;
};

template <class T>
constexpr QpPoint<const T> as_given(const QpPoint<T>& point) {
  return {point.x, point.y, point.z, point.z_lb, point.z_ub};
}

template <class T>
struct QpReport {
  std::int32_t* status;
  std::int32_t* iterations;
  T* residuals;  // [batch, 3]: primal, dual, gap; absolute, in the maximum norm
};

enum QpStatus : std::int32_t {
  kQpOk = 0,
  kQpMaxIterations = 1,
  kQpPrimalInfeasible = 2,
  kQpDualInfeasible = 3,
  kQpNumericalError = 4,
};

// Nothing is left to do for an item of this status: it has its solution, or the proof of none.
constexpr bool is_answered(std::int32_t status) {
  return status == kQpOk || status == kQpPrimalInfeasible || status == kQpDualInfeasible;
}

// One solve to do: problem `item`, result into row `slot`. `shift` and `rho` make the perturbed
// problem of LPGD: q + shift g_x, b - shift g_y, h - shift g_z, and rho / 2 ||x - x*||^2.
template <class T>
struct QpEntry {
  std::int64_t item;
  std::int64_t slot;
  T shift;
  T rho;
};

template <class T>
struct QpSettings {
  T eps;
  int max_iter;
};

// Active-set iterations of a warm solve before it is left to the interior point.
constexpr int kWarmIterations = 8;

enum class QpMethod : int {
  kInterior = 0,   // cold interior point, then a polish on the active set
  kActiveSet = 1,  // warm: active-set iterations from the given point; status says whether it held
  kActiveSetPair =
      2,             // the same for both sides, +shift and -shift; -shift goes to row slot + batch
  kActiveSetOn = 3,  // the same, from where another pass left the solution's row
  kWarmStart = 4,  // the same from a point that may be of no use; where none of the problems solved
                   // together comes to its end, the interior point goes on at once
};

// What a kernel is to do for entries [begin, end). `entries` null: the identity, no shift.
// `point` and `gradient` are null for a plain solve. Outputs are indexed by slot.
template <class T>
struct QpTask {
  QpProblem<T> problem;
  QpSettings<T> settings;
  QpMethod method;
  int rounds;  // active-set iterations, at most
  const QpEntry<T>* entries;
  QpPoint<const T> point;
  QpPoint<const T> gradient;
  QpPoint<T> solution;
  QpReport<T> report;
};

// Derivative of the solution in a direction: the KKT system of the active set at `point`, solved
// for
//   P dx + A'dy + C_a'dz = -g_x,  A dx = -g_y,  C_a dx = -g_z   (zero for inactive rows).
// `solved`: the statuses of the solve, whose failed items have no derivative; null: all were
// solved.
template <class T>
struct QpImplicitTask {
  QpProblem<T> problem;
  const std::int32_t* solved;
  QpPoint<const T> point;
  QpPoint<const T> gradient;
  QpPoint<T> direction;
  QpReport<T> report;
};

// Neither side solvable: the step of LPGD is made smaller this many times, tenfold each.
constexpr int kShrinkRounds = 3;

// The sides of LPGD: lower envelope (+tau), upper envelope (-tau), both for the average.
enum QpSides : int { kQpLower = 1, kQpUpper = 2, kQpBoth = 3 };

enum QpGradientStatus : std::int32_t {
  kQpGradientOk = 0,
  kQpGradientOtherSide = 1,  // the wanted side had no solution: the other one alone
  kQpGradientShrunk = 2,     // neither had one until tau was made smaller
  kQpGradientZero = 3,       // nor then: zero
};

// The difference quotients of all items from their three solutions. `kind` says what the upstream
// gradient is (core/qp_combine.h).
template <class T>
struct QpCombine {
  int n, p, m, sides;
  const T* kind;                    // [batch]
  const T* tau;                     // [batch], as used
  const std::int32_t* shrunk;       // [batch] or null
  const std::int32_t* plus_status;  // [batch]
  const std::int32_t* minus_status;
  QpPoint<const T> at, plus, minus;
  QpPoint<T> direction, midpoint;
  std::int32_t* status;  // [batch], QpGradientStatus
};

}  // namespace lpgd
