// The orchestration of the per-coordinate form, lpgd::{lstm,gru}_momentum_coordinate and their
// backward ops, over a device that has
//   forward(task)                           v and the new states
//   backward(task, total, like)             all gradients, those of the weights to `total`
#pragma once

#include <tuple>

#include "ops/momentum.h"

namespace lpgd::ops {

template <class T>
CoordinateTask<T> coordinate_task(MomentumCell cell, const Tensor& gradient, const Tensor& h,
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
inline Tensor states_like(const Tensor& h, bool present) {
  return new_tensor(h, {present ? h.size(0) : 0, h.size(1), h.size(2), h.size(3)}, h.scalar_type());
}

template <class Device, MomentumCell cell>
std::tuple<Tensor, Tensor, Tensor> coordinate_forward(const Tensor& gradient, const Tensor& h,
                                                      const MaybeTensor& c,
                                                      std::vector<Tensor> weights) {
  return dispatch_dtype(gradient, [&](auto zero) {
    using T = decltype(zero);
    const Device device(gradient);
    CoordinateTask<T> task = coordinate_task<T>(cell, gradient, h, c, weights);
    std::tuple<Tensor, Tensor, Tensor> out{
        new_tensor(gradient, {gradient.size(0), gradient.size(1)}, gradient.scalar_type()),
        states_like(h, true), states_like(h, cell == MomentumCell::kLstm)};
    task.v = std::get<0>(out).template mutable_data_ptr<T>();
    task.h_out = std::get<1>(out).template mutable_data_ptr<T>();
    task.c_out = std::get<2>(out).template mutable_data_ptr<T>();
    device.forward(task);
    return out;
  });
}

template <class Device, MomentumCell cell>
std::tuple<Tensor, Tensor, Tensor, Tensor> coordinate_backward(
    const MaybeTensor& d_v, const MaybeTensor& d_h, const MaybeTensor& d_c, const Tensor& gradient,
    const Tensor& h, const MaybeTensor& c, std::vector<Tensor> weights) {
  return dispatch_dtype(gradient, [&](auto zero) {
    using T = decltype(zero);
    const bool lstm = cell == MomentumCell::kLstm;
    const Device device(gradient);
    CoordinateTask<T> task = coordinate_task<T>(cell, gradient, h, c, weights);
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
    device.backward(task, total, gradient);
    return out;
  });
}

template <class Device, class Library>
void register_coordinate_momentum(Library& m) {
  constexpr MomentumCell lstm = MomentumCell::kLstm, gru = MomentumCell::kGru;
  m.impl("lstm_momentum_coordinate", TORCH_BOX((&coordinate_forward<Device, lstm>)));
  m.impl("gru_momentum_coordinate", TORCH_BOX((&coordinate_forward<Device, gru>)));
  m.impl("lstm_momentum_coordinate_backward", TORCH_BOX((&coordinate_backward<Device, lstm>)));
  m.impl("gru_momentum_coordinate_backward", TORCH_BOX((&coordinate_backward<Device, gru>)));
}

}  // namespace lpgd::ops
