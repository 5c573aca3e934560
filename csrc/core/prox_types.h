// What crosses between the layers of the proximal operators: the lists of operators and plain
// structs of pointers and sizes.
#pragma once

#include <cstdint>

namespace lpgd {

// X(name, type of core/prox_separable.h, parameters): out[i] depends on x[i] alone.
#define LPGD_FOR_EACH_SEPARABLE(X) \
  X(l1, SoftThreshold, 1)          \
  X(l0, HardThreshold, 1)          \
  X(squared_l2, Shrink, 1)         \
  X(elastic_net, ElasticNet, 2)    \
  X(huber, Huber, 2)               \
  X(hinge, Hinge, 1)               \
  X(box, Box, 2)                   \
  X(nonnegative, Nonnegative, 0)   \
  X(linf_ball, Clip, 1)            \
  X(log_barrier, LogBarrier, 1)    \
  X(negative_entropy, Entropy, 1)  \
  X(logistic, Logistic, 1)         \
  X(poisson, Poisson, 2)           \
  X(l_half, HalfThreshold, 1)      \
  X(mcp, MinimaxConcave, 2)        \
  X(scad, Scad, 2)                 \
  X(firm, FirmThreshold, 2)

// X(name, type, parameters): out[row] depends on x[row]. A row is walked by all lanes of a group...
#define LPGD_FOR_EACH_REDUCING(X)        \
  X(simplex, SimplexProjection, 1)       \
  X(l1_ball, L1BallProjection, 1)        \
  X(linf, MaxNorm, 1)                    \
  X(max, Maximum, 1)                     \
  X(weighted_l1_ball, WeightedL1Ball, 2) \
  X(l2, EuclideanNorm, 1)                \
  X(l2_ball, EuclideanBall, 1)           \
  X(group_l2, GroupNorm, 1)              \
  X(hyperplane, Hyperplane, 2)           \
  X(halfspace, Halfspace, 2)             \
  X(box_hyperplane, BoxHyperplane, 4)    \
  X(soc, SecondOrderCone, 0)
// ... or from end to end by one lane.
#define LPGD_FOR_EACH_SEQUENTIAL(X)         \
  X(total_variation, TotalVariation, 1)     \
  X(isotonic, IsotonicRegression, 0)        \
  X(weighted_isotonic, WeightedIsotonic, 1) \
  X(sorted_l1, SortedNorm, 1)               \
  X(permutahedron, Permutahedron, 1)        \
  X(exponential_cone, ExponentialCone, 0)
#define LPGD_FOR_EACH_ROWWISE(X) LPGD_FOR_EACH_REDUCING(X) LPGD_FOR_EACH_SEQUENTIAL(X)

enum class Separable : std::int32_t {
#define LPGD_ENUMERATOR(name, type, count) name,
  LPGD_FOR_EACH_SEPARABLE(LPGD_ENUMERATOR)
#undef LPGD_ENUMERATOR
};
enum class Rowwise : std::int32_t {
#define LPGD_ENUMERATOR(name, type, count) name,
  LPGD_FOR_EACH_ROWWISE(LPGD_ENUMERATOR)
#undef LPGD_ENUMERATOR
};

constexpr int kProxParameters = 4;

// A parameter [1 | rows, 1 | n]: the steps are 0 where all rows, all coordinates share a number.
template <class T>
struct ProxParameter {
  const T* data;
  std::int64_t row_step;
  std::int64_t step;
};

// The gradient with respect to a parameter, [rows, 1 | n] or null where it is not asked for.
template <class T>
struct ProxParameterGradient {
  T* data;
  std::int64_t row_step;
  std::int64_t step;  // 0: the sum over the row
};

template <class T>
struct ProxTask {
  std::int64_t rows, n;
  const T* x;  // [rows, n], like every array below
  ProxParameter<T> parameters[kProxParameters];
  // group_l2: the coordinates group by group [n], then where each of `groups` groups starts, and n
  const std::int32_t* index;
  std::int32_t groups;
  bool streaming;  // the result is too large for the caches: write past them (CPU)

  T* out;
  // the coordinates from large to small: what sorting operators leave for their backward. Given and
  // filled already where `sorted`
  std::int32_t* order;
  bool sorted;

  // backward: `out` and `order` as the forward pass left them
  const T* gradient;
  T* gradient_x;
  ProxParameterGradient<T> gradient_parameters[kProxParameters];
};

}  // namespace lpgd
