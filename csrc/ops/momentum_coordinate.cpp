// lpgd::{lstm,gru}_momentum_coordinate and their backward ops for CPU tensors, and their schema:
// one small cell for every coordinate of every item, the same weights for all.
#include "ops/momentum_coordinate.h"

#include "cpu/momentum.h"

namespace lpgd::ops {

namespace {

// Rows of a chunk. Chunks and the order in which their weight gradients are added depend on the
// problem alone, so results do not depend on the number of threads.
constexpr std::int64_t kChunk = 2048;
constexpr std::int64_t kMostChunks = 64;

std::int64_t chunk_of(std::int64_t rows) {
  const std::int64_t needed = (rows + kMostChunks - 1) / kMostChunks;
  const std::int64_t chunk = needed > kChunk ? needed : kChunk;
  return (chunk + 63) / 64 * 64;
}

struct CpuRows {
  explicit CpuRows(const Tensor&) {}

  template <class T>
  void forward(const CoordinateTask<T>& task) const {
    const MomentumKernelsOf<T>& kernels = momentum_kernels().of<T>();
    const std::int64_t chunk = 256;
    parallel_items((task.rows + chunk - 1) / chunk,
                   kernels.coordinate_bytes(task.layers, task.hidden),
                   [&](void* workspace, std::int64_t item, bool) {
                     const std::int64_t end = (item + 1) * chunk;
                     kernels.coordinate_forward(task, item * chunk,
                                                end < task.rows ? end : task.rows, workspace);
                   });
  }

  template <class T>
  void backward(const CoordinateTask<T>& task, T* total, const Tensor& like) const {
    const MomentumKernelsOf<T>& kernels = momentum_kernels().of<T>();
    const std::int64_t count = coordinate_weight_count(task.cell, task.layers, task.hidden);
    const std::int64_t chunk = chunk_of(task.rows), chunks = (task.rows + chunk - 1) / chunk;
    Tensor parts = new_tensor(like, {chunks, count}, like.scalar_type());
    T* sums = parts.mutable_data_ptr<T>();
    for (std::int64_t i = 0; i < chunks * count; ++i) sums[i] = T(0);
    parallel_items(chunks, kernels.coordinate_bytes(task.layers, task.hidden),
                   [&](void* workspace, std::int64_t item, bool) {
                     const std::int64_t end = (item + 1) * chunk;
                     kernels.coordinate_backward(task, item * chunk,
                                                 end < task.rows ? end : task.rows, workspace,
                                                 sums + item * count);
                   });
    for (std::int64_t i = 0; i < count; ++i) {
      T sum = T(0);
      for (std::int64_t k = 0; k < chunks; ++k) sum += sums[k * count + i];
      total[i] = sum;
    }
  }
};

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
#define LPGD_FORWARD                                                                             \
  "(Tensor gradient, Tensor h, Tensor? c, Tensor[] weights) -> (Tensor v, Tensor h_out, Tensor " \
  "c_out)"
#define LPGD_BACKWARD                                                              \
  "(Tensor? d_v, Tensor? d_h, Tensor? d_c, Tensor gradient, Tensor h, Tensor? c, " \
  "Tensor[] weights) -> (Tensor d_gradient, Tensor d_h, Tensor d_c, Tensor d_weights)"
  m.def("lstm_momentum_coordinate" LPGD_FORWARD);
  m.def("gru_momentum_coordinate" LPGD_FORWARD);
  m.def("lstm_momentum_coordinate_backward" LPGD_BACKWARD);
  m.def("gru_momentum_coordinate_backward" LPGD_BACKWARD);
#undef LPGD_FORWARD
#undef LPGD_BACKWARD
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  lpgd::ops::register_coordinate_momentum<lpgd::ops::CpuRows>(m);
}
