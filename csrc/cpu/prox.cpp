// Compiled once per instruction set: operators on rows, and the table of all.
#include "cpu/prox.h"

#include "core/prox_exp_cone.h"
#include "core/prox_monotone.h"
#include "core/prox_norms.h"
#include "core/prox_plane.h"
#include "core/prox_threshold.h"
#include "core/prox_tv_lanes.h"
#include "cpu/prox_separable.h"

LPGD_BEGIN_NAMESPACE

namespace {

// Registers of rows pay where there is a register, and a row to fill it.
template <class T>
bool in_lanes(Rowwise kind, const ProxTask<T>& task) {
  return kind == Rowwise::total_variation && TotalVariationLanes::kWidth > 1 &&
         task.parameters[0].step == 0 && task.n > 1;
}

std::size_t scratch_bytes(Rowwise kind, std::int64_t n) {
  if (kind == Rowwise::total_variation) return TotalVariationLanes::scratch_bytes(n);
  switch (kind) {
#define LPGD_CASE(name, Op, count) \
  case Rowwise::name:              \
    return Op::scratch_bytes(n);
    LPGD_FOR_EACH_SEQUENTIAL(LPGD_CASE)
#undef LPGD_CASE
    default:
      return 0;
  }
}

template <class T>
void rows(Rowwise kind, const ProxTask<T>& task, std::int64_t begin, std::int64_t end,
          void* scratch) {
  if (in_lanes(kind, task)) {
    constexpr int kWidth = TotalVariationLanes::kWidth;
    for (std::int64_t i = begin; i < end; i += kWidth)
      TotalVariationLanes::value(task, i, static_cast<int>(end - i < kWidth ? end - i : kWidth),
                                 scratch);
    return;
  }
  switch (kind) {
#define LPGD_CASE(name, Op, count)                                                                 \
  case Rowwise::name:                                                                              \
    for (std::int64_t i = begin; i < end; ++i) Op::value(SerialGroup{}, row_of(task, i, scratch)); \
    return;
    LPGD_FOR_EACH_ROWWISE(LPGD_CASE)
#undef LPGD_CASE
  }
}

template <class T>
void rows_backward(Rowwise kind, const ProxTask<T>& task, std::int64_t begin, std::int64_t end,
                   void* scratch) {
  switch (kind) {
#define LPGD_CASE(name, Op, count)                                                               \
  case Rowwise::name:                                                                            \
    for (std::int64_t i = begin; i < end; ++i) Op::vjp(SerialGroup{}, row_of(task, i, scratch)); \
    return;
    LPGD_FOR_EACH_ROWWISE(LPGD_CASE)
#undef LPGD_CASE
  }
}

template <class T>
constexpr ProxKernelsOf<T> table() {
  return {separable<T>, separable_backward<T>, scratch_bytes, rows<T>, rows_backward<T>};
}

}  // namespace

const ProxKernels& prox_kernels() {
  static constexpr ProxKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
