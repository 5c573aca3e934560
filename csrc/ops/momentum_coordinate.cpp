// lpgd::{lstm,gru}_momentum_coordinate and their backward ops for CPU tensors: one small cell for
// every coordinate of every item, the same weights for all.
#include <tuple>

#include "cpu/momentum.h"
#include "ops/momentum.h"

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

template <class T>
CoordinateTask<T> task_of(MomentumCell cell, const Tensor& gradient, const Tensor& h,
                          const MaybeTensor& c, const std::vector<Tensor>& weights) {
  STD_TORCH_CHECK(gradient.dim() == 2 && h.dim() == 4,
                  "lpgd: gradient must be [B, n], h [L, H, B, n]");
  const std::int64_t L = h.size(0), H = h.size(1), B = gradient.size(0), n = gradient.size(1);
  check_like(gradient, gradient, "gradient");
  check_sizes(h, gradient, {L, H, B, n}, "h");
  STD_TORCH_CHECK(H >= 1 && H <= 1024, "lpgd: H must be 1 to 1024");
  check_weights(weights, gradient, {cell, B, 1, static_cast<int>(L), static_cast<int>(H)}, 1, 1);
  CoordinateTask<T> task{};
  task.cell = cell;
  task.rows = B * n;
  task.layers = static_cast<int>(L);
  task.hidden = static_cast<int>(H);
  for (int l = 0; l < task.layers; ++l) task.weights[l] = layer_weights<T>(weights, l);
  task.w_out = weights[weights.size() - 2].const_data_ptr<T>();
  task.b_out = weights.back().const_data_ptr<T>();
  task.x = gradient.const_data_ptr<T>();
  task.h = h.const_data_ptr<T>();
  if (cell == MomentumCell::kLstm) {
    STD_TORCH_CHECK(is_present(c), "lpgd: an LSTM needs c");
    check_sizes(*c, gradient, {L, H, B, n}, "c");
    task.c = c->const_data_ptr<T>();
  }
  return task;
}

// a tensor like h, or one with no layers
Tensor states_like(const Tensor& h, bool present) {
  return new_tensor(h, {present ? h.size(0) : 0, h.size(1), h.size(2), h.size(3)}, h.scalar_type());
}

template <MomentumCell cell>
std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& gradient, const Tensor& h,
                                           const MaybeTensor& c, std::vector<Tensor> weights) {
  return dispatch_dtype(gradient, [&](auto zero) {
    using T = decltype(zero);
    CoordinateTask<T> task = task_of<T>(cell, gradient, h, c, weights);
    std::tuple<Tensor, Tensor, Tensor> out{
        new_tensor(gradient, {gradient.size(0), gradient.size(1)}, gradient.scalar_type()),
        states_like(h, true), states_like(h, cell == MomentumCell::kLstm)};
    task.v = std::get<0>(out).template mutable_data_ptr<T>();
    task.h_out = std::get<1>(out).template mutable_data_ptr<T>();
    task.c_out = std::get<2>(out).template mutable_data_ptr<T>();
    const MomentumKernelsOf<T>& kernels = momentum_kernels().of<T>();
    const std::int64_t chunk = 256;
    parallel_items((task.rows + chunk - 1) / chunk,
                   kernels.coordinate_bytes(task.layers, task.hidden),
                   [&](void* workspace, std::int64_t item, bool) {
                     const std::int64_t end = (item + 1) * chunk;
                     kernels.coordinate_forward(task, item * chunk,
                                                end < task.rows ? end : task.rows, workspace);
                   });
    return out;
  });
}

template <MomentumCell cell>
std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const MaybeTensor& d_v, const MaybeTensor& d_h,
                                                    const MaybeTensor& d_c, const Tensor& gradient,
                                                    const Tensor& h, const MaybeTensor& c,
                                                    std::vector<Tensor> weights) {
  return dispatch_dtype(gradient, [&](auto zero) {
    using T = decltype(zero);
    const bool lstm = cell == MomentumCell::kLstm;
    CoordinateTask<T> task = task_of<T>(cell, gradient, h, c, weights);
    const std::int64_t B = gradient.size(0), n = gradient.size(1);
    if (is_present(d_v)) check_sizes(*d_v, gradient, {B, n}, "d_v");
    if (is_present(d_h)) check_sizes(*d_h, gradient, {h.size(0), h.size(1), B, n}, "d_h");
    if (is_present(d_c)) check_sizes(*d_c, gradient, {h.size(0), h.size(1), B, n}, "d_c");
    const std::int64_t count = coordinate_weight_count(cell, task.layers, task.hidden);
    std::tuple<Tensor, Tensor, Tensor, Tensor> out{
        new_tensor(gradient, {B, n}, gradient.scalar_type()), states_like(h, true),
        states_like(h, lstm), new_tensor(gradient, {count}, gradient.scalar_type())};
    task.d_v = optional_pointer<T>(d_v);
    task.d_h_out = optional_pointer<T>(d_h);
    task.d_c_out = optional_pointer<T>(d_c);
    task.d_x = std::get<0>(out).template mutable_data_ptr<T>();
    task.d_h = std::get<1>(out).template mutable_data_ptr<T>();
    task.d_c = std::get<2>(out).template mutable_data_ptr<T>();
    T* total = std::get<3>(out).template mutable_data_ptr<T>();
    const MomentumKernelsOf<T>& kernels = momentum_kernels().of<T>();
    const std::int64_t chunk = chunk_of(task.rows), chunks = (task.rows + chunk - 1) / chunk;
    Tensor parts = new_tensor(gradient, {chunks, count}, gradient.scalar_type());
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
    return out;
  });
}

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
  using lpgd::MomentumCell;
  m.impl("lstm_momentum_coordinate", TORCH_BOX((&lpgd::ops::forward<MomentumCell::kLstm>)));
  m.impl("gru_momentum_coordinate", TORCH_BOX((&lpgd::ops::forward<MomentumCell::kGru>)));
  m.impl("lstm_momentum_coordinate_backward",
         TORCH_BOX((&lpgd::ops::backward<MomentumCell::kLstm>)));
  m.impl("gru_momentum_coordinate_backward", TORCH_BOX((&lpgd::ops::backward<MomentumCell::kGru>)));
}
