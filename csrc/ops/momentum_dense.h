// The orchestration of the dense form, lpgd::{lstm,gru}_momentum_{step,sequence} and their backward
// ops, over a device that runs the kernels between the matrix products.
//
// Layouts: gradients [S, B, n], states and gates of a sequence [L, S, B, .], so that one product
// serves all steps of a layer. A step is a sequence of one.
//
// A Device is made from a tensor that is on it and has, for a number type T,
//   kSmallBatch                          up to this batch (0: never) products go through its own
//   cell, output, transposed             kernels; above it through torch's matrix library and
//   activate, cell_backward, join,       these
//   map, add
//   kTakesSteps                          whether it has step and step_backward, which do a whole
//                                        step, where takes_steps<T>(batch)
#pragma once

#include <tuple>

#include "ops/momentum.h"

namespace lpgd::ops {

using StepTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using BackwardTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;

struct Dense {
  MomentumShape shape;
  std::int64_t steps;

  std::int64_t state() const { return shape.batch * shape.hidden; }
  std::int64_t rows() const { return cell_rows(shape.cell) * std::int64_t{shape.hidden}; }
};

inline Dense dense_of(MomentumCell cell, const Tensor& gradient, const Tensor& h,
                      const MaybeTensor& c, const std::vector<Tensor>& weights, bool sequence) {
  check_like(gradient, gradient, "gradient");
  STD_TORCH_CHECK(gradient.dim() == (sequence ? 3 : 2), "lpgd: gradient must be ",
                  sequence ? "[S, B, n]" : "[B, n]");
  STD_TORCH_CHECK(h.dim() == 3, "lpgd: h must be [L, B, H]");
  Dense dense{};
  dense.shape.cell = cell;
  dense.steps = sequence ? gradient.size(0) : 1;
  dense.shape.batch = gradient.size(sequence ? 1 : 0);
  dense.shape.inputs = gradient.size(sequence ? 2 : 1);
  STD_TORCH_CHECK(dense.steps >= 1, "lpgd: a sequence must have a step");
  STD_TORCH_CHECK(h.size(0) >= 1 && h.size(0) <= kMostLayers, "lpgd: 1 to 8 layers");
  dense.shape.layers = static_cast<int>(h.size(0));
  dense.shape.hidden = static_cast<int>(h.size(2));
  STD_TORCH_CHECK(dense.shape.hidden >= 1, "lpgd: H must be at least 1");
  const std::int64_t L = dense.shape.layers, B = dense.shape.batch, H = dense.shape.hidden;
  check_sizes(h, gradient, {L, B, H}, "h");
  if (cell == MomentumCell::kLstm) {
    STD_TORCH_CHECK(is_present(c), "lpgd: an LSTM needs c");
    check_sizes(*c, gradient, {L, B, H}, "c");
  }
  check_weights(weights, gradient, dense.shape, dense.shape.inputs,
                weights.empty() ? 0 : weights.back().size(0));
  return dense;
}

template <class Device, class T>
void forward_layer(const Device& device, const Dense& dense, const std::vector<Tensor>& weights,
                   int l, const T* x, std::int64_t inputs, const T* h, const T* c, T* hs, T* cs,
                   T* gates, const Tensor& like) {
  const std::int64_t B = dense.shape.batch, H = dense.shape.hidden, rows = dense.rows();
  CellTask<T> task{};
  task.cell = dense.shape.cell;
  task.batch = B;
  task.inputs = static_cast<int>(inputs);
  task.hidden = dense.shape.hidden;
  task.weights = layer_weights<T>(weights, l);
  const bool small = B <= Device::kSmallBatch;
  Tensor scratch;
  if (!small) {
    scratch = new_tensor(like, {B, rows}, like.scalar_type());
    Tensor out = matrix<T>(gates, dense.steps * B, rows, 4 * H, 1, like);
    multiply(out, matrix<T>(x, dense.steps * B, inputs, inputs, 1, like),
             matrix<T>(task.weights.w_ih, inputs, rows, 1, inputs, like));
  }
  for (std::int64_t s = 0; s < dense.steps; ++s) {
    task.x = x + s * B * inputs;
    task.h = s == 0 ? h : hs + (s - 1) * B * H;
    task.c = c == nullptr || s == 0 ? c : cs + (s - 1) * B * H;
    task.gates = gates + s * 4 * B * H;
    task.h_out = hs + s * B * H;
    task.c_out = c == nullptr ? nullptr : cs + s * B * H;
    if (small) {
      if constexpr (Device::kSmallBatch > 0) device.cell(task);
      continue;
    }
    multiply(scratch, matrix<T>(task.h, B, H, H, 1, like),
             matrix<T>(task.weights.w_hh, H, rows, 1, H, like));
    task.from_h = scratch.const_data_ptr<T>();
    device.activate(task);
  }
}

// v = b_out + W_out [h_1; ...; h_L] of the last step
template <class Device, class T>
void output_map(const Device& device, const Dense& dense, const std::vector<Tensor>& weights,
                const T* hs, T* v, const Tensor& like) {
  const std::int64_t B = dense.shape.batch, H = dense.shape.hidden, L = dense.shape.layers;
  const Tensor& w = weights[weights.size() - 2];
  const std::int64_t n = w.size(0), stride = dense.steps * B * H;
  const T* last = hs + (dense.steps - 1) * B * H;
  if constexpr (Device::kSmallBatch > 0) {
    if (B <= Device::kSmallBatch) {
      device.output(w.const_data_ptr<T>(), weights.back().const_data_ptr<T>(), last, stride,
                    dense.shape, n, v);
      return;
    }
  }
  Tensor joined;
  const T* states = last;
  if (L > 1) {
    joined = new_tensor(like, {B, L * H}, like.scalar_type());
    device.join(last, stride, dense.shape, joined.mutable_data_ptr<T>());
    states = joined.const_data_ptr<T>();
  }
  Tensor out = matrix<T>(v, B, n, n, 1, like);
  device.map(out, matrix<T>(states, B, L * H, L * H, 1, like), w, weights.back(), v);
}

template <class Task>
void describe(const MomentumShape& shape, std::int64_t outputs, const std::vector<Tensor>& weights,
              Task& task) {
  using T = std::remove_cv_t<std::remove_pointer_t<decltype(task.w_out)>>;
  task.cell = shape.cell;
  task.batch = shape.batch;
  task.inputs = shape.inputs;
  task.outputs = outputs;
  task.layers = shape.layers;
  task.hidden = shape.hidden;
  for (int l = 0; l < task.layers; ++l) task.weights[l] = layer_weights<T>(weights, l);
  task.w_out = weights[weights.size() - 2].template const_data_ptr<T>();
}

template <class Device>
StepTensors forward(MomentumCell cell, const Tensor& gradient, const Tensor& h,
                    const MaybeTensor& c, const std::vector<Tensor>& weights, bool sequence) {
  return dispatch_dtype(gradient, [&](auto zero) {
    using T = decltype(zero);
    const Dense dense = dense_of(cell, gradient, h, c, weights, sequence);
    const std::int64_t B = dense.shape.batch, H = dense.shape.hidden, L = dense.shape.layers;
    const std::int64_t S = dense.steps, n = weights.back().size(0);
    const std::int64_t with_c = cell == MomentumCell::kLstm ? L : 0;
    const ScalarType dtype = gradient.scalar_type();
    auto states = [&](std::int64_t layers, std::int64_t width) {
      return sequence ? new_tensor(gradient, {layers, S, B, width}, dtype)
                      : new_tensor(gradient, {layers, B, width}, dtype);
    };
    StepTensors out{new_tensor(gradient, {B, n}, dtype), states(L, H), states(with_c, H),
                    states(L, 4 * H)};
    if (B == 0) return out;
    const Device device(gradient);
    const std::int64_t line = S * B * H;
    T* hs = std::get<1>(out).template mutable_data_ptr<T>();
    T* cs = std::get<2>(out).template mutable_data_ptr<T>();
    T* gates = std::get<3>(out).template mutable_data_ptr<T>();
    const T* h0 = h.const_data_ptr<T>();
    const T* c0 = with_c > 0 ? c->const_data_ptr<T>() : nullptr;
    if constexpr (Device::kTakesSteps) {
      if (!sequence && device.template takes_steps<T>(B)) {
        StepTask<T> task{};
        describe(dense.shape, n, weights, task);
        task.b_out = weights.back().const_data_ptr<T>();
        task.x = gradient.const_data_ptr<T>();
        task.h = h0;
        task.c = c0;
        task.v = std::get<0>(out).template mutable_data_ptr<T>();
        task.h_out = hs;
        task.c_out = cs;
        task.gates = gates;
        device.step(task);
        return out;
      }
    }
    for (int l = 0; l < dense.shape.layers; ++l) {
      const T* x = l == 0 ? gradient.const_data_ptr<T>() : hs + (l - 1) * line;
      forward_layer(device, dense, weights, l, x, l == 0 ? dense.shape.inputs : H, h0 + l * B * H,
                    c0 == nullptr ? nullptr : c0 + l * B * H, hs + l * line,
                    c0 == nullptr ? nullptr : cs + l * line, gates + 4 * l * line, gradient);
    }
    output_map(device, dense, weights, hs, std::get<0>(out).template mutable_data_ptr<T>(),
               gradient);
    return out;
  });
}

// out [count, cols] (+)= a [count, rows] w [rows, cols]; a has rows `a_stride` long
template <class Device, class T>
void back(const Device& device, const T* a, std::int64_t a_stride, std::int64_t count, const T* w,
          std::int64_t rows, std::int64_t cols, T* out, bool add, const Tensor& like) {
  if constexpr (Device::kSmallBatch > 0) {
    if (count <= Device::kSmallBatch) {
      device.transposed(a, a_stride, w, rows, cols, count, out, add);
      return;
    }
  }
  const Tensor left = matrix<T>(a, count, rows, a_stride, 1, like);
  const Tensor right = matrix<T>(w, rows, cols, cols, 1, like);
  if (!add) {
    Tensor target = matrix<T>(out, count, cols, cols, 1, like);
    multiply(target, left, right);
    return;
  }
  Tensor more = new_tensor(like, {count, cols}, like.scalar_type());
  multiply(more, left, right);
  device.add(more.const_data_ptr<T>(), out, count * cols);
}

template <class Device>
BackwardTensors backward(MomentumCell cell, const MaybeTensor& d_v, const MaybeTensor& d_h,
                         const MaybeTensor& d_c, const Tensor& h, const MaybeTensor& c,
                         const Tensor& hs, const Tensor& cs, const Tensor& gates,
                         const std::vector<Tensor>& weights, bool wants_gradient, bool sequence) {
  return dispatch_dtype(h, [&](auto zero) {
    using T = decltype(zero);
    const bool lstm = cell == MomentumCell::kLstm;
    STD_TORCH_CHECK(h.dim() == 3 && hs.dim() == (sequence ? 4 : 3), "lpgd: h must be [L, B, H]");
    const std::int64_t L = h.size(0), B = h.size(1), H = h.size(2);
    const std::int64_t S = sequence ? hs.size(1) : 1;
    STD_TORCH_CHECK(L >= 1 && S >= 1 && !weights.empty(), "lpgd: no layer, step or weights");
    const std::int64_t inputs = weights[0].size(1), n = weights.back().size(0);
    const MomentumShape shape{cell, B, inputs, static_cast<int>(L), static_cast<int>(H)};
    const Dense dense{shape, S};
    check_weights(weights, h, shape, inputs, n);
    auto check_states = [&](const Tensor& tensor, std::int64_t width, const char* name) {
      if (sequence)
        check_sizes(tensor, h, {L, S, B, width}, name);
      else
        check_sizes(tensor, h, {L, B, width}, name);
    };
    check_states(hs, H, "hs");
    check_states(gates, 4 * H, "gates");
    check_sizes(h, h, {L, B, H}, "h");
    if (lstm) {
      STD_TORCH_CHECK(is_present(c), "lpgd: an LSTM needs c");
      check_sizes(*c, h, {L, B, H}, "c");
      check_states(cs, H, "cs");
    }
    if (is_present(d_v)) check_sizes(*d_v, h, {B, n}, "d_v");
    if (is_present(d_h)) check_sizes(*d_h, h, {L, B, H}, "d_h");
    if (is_present(d_c)) check_sizes(*d_c, h, {L, B, H}, "d_c");

    const ScalarType dtype = h.scalar_type();
    const std::int64_t wanted = wants_gradient ? inputs : 0;
    BackwardTensors out{
        sequence ? new_tensor(h, {S, B, wanted}, dtype) : new_tensor(h, {B, wanted}, dtype),
        new_tensor(h, {L, B, H}, dtype), new_tensor(h, {lstm ? L : 0, B, H}, dtype),
        sequence ? new_tensor(h, {L, S, B, 4 * H}, dtype) : new_tensor(h, {L, B, 4 * H}, dtype)};
    if (B == 0) return out;
    const Device device(h);
    T* d_x = std::get<0>(out).template mutable_data_ptr<T>();
    T* d_h0 = std::get<1>(out).template mutable_data_ptr<T>();
    T* d_c0 = std::get<2>(out).template mutable_data_ptr<T>();
    T* d_gates = std::get<3>(out).template mutable_data_ptr<T>();
    if constexpr (Device::kTakesSteps) {
      if (!sequence && device.template takes_steps<T>(B)) {
        StepBackwardTask<T> task{};
        describe(shape, n, weights, task);
        task.h = h.const_data_ptr<T>();
        task.c = lstm ? c->const_data_ptr<T>() : nullptr;
        task.c_out = lstm ? cs.const_data_ptr<T>() : nullptr;
        task.gates = gates.const_data_ptr<T>();
        task.d_v = optional_pointer<T>(d_v);
        task.d_h_out = optional_pointer<T>(d_h);
        task.d_c_out = optional_pointer<T>(d_c);
        task.d_x = wants_gradient ? d_x : nullptr;
        task.d_h = d_h0;
        task.d_c = d_c0;
        task.d_gates = d_gates;
        device.step_backward(task);
        return out;
      }
    }
    const std::int64_t line = S * B * H, state = B * H;

    Tensor from_output, above;
    if (is_present(d_v)) {
      from_output = new_tensor(h, {B, L * H}, dtype);
      back(device, d_v->const_data_ptr<T>(), n, B, weights[weights.size() - 2].const_data_ptr<T>(),
           n, L * H, from_output.mutable_data_ptr<T>(), false, h);
    }
    if (L > 1) above = new_tensor(h, {S, B, H}, dtype);
    for (std::int64_t l = L - 1; l >= 0; --l) {
      const CellWeights<T> w = layer_weights<T>(weights, static_cast<int>(l));
      T* running_h = d_h0 + l * state;
      T* running_c = lstm ? d_c0 + l * state : nullptr;
      for (std::int64_t s = S - 1; s >= 0; --s) {
        const bool last = s == S - 1;
        CellBackwardTask<T> task{};
        task.cell = cell;
        task.batch = B;
        task.hidden = static_cast<int>(H);
        task.gates = gates.const_data_ptr<T>() + 4 * (l * line + s * state);
        const T* given_h = optional_pointer<T>(d_h);
        const T* given_c = optional_pointer<T>(d_c);
        task.d_h_given = !last ? running_h : given_h == nullptr ? nullptr : given_h + l * state;
        if (last && is_present(d_v)) {
          task.d_h_output = from_output.const_data_ptr<T>() + l * H;
          task.d_h_output_stride = L * H;
        }
        if (l + 1 < L) task.d_h_above = above.const_data_ptr<T>() + s * state;
        if (lstm) {
          const T* all = cs.const_data_ptr<T>() + l * line;
          task.c = s == 0 ? c->const_data_ptr<T>() + l * state : all + (s - 1) * state;
          task.c_out = all + s * state;
          task.d_c_given = !last ? running_c : given_c == nullptr ? nullptr : given_c + l * state;
          task.d_c = running_c;
        } else {
          const T* all = hs.const_data_ptr<T>() + l * line;
          task.h = s == 0 ? h.const_data_ptr<T>() + l * state : all + (s - 1) * state;
          task.d_h_direct = running_h;
        }
        T* d_here = d_gates + 4 * (l * line + s * state);
        task.d_gates = d_here;
        device.cell_backward(task);
        if (lstm) {
          back(device, d_here, 4 * H, B, w.w_hh, 4 * H, H, running_h, false, h);
        } else {
          back(device, d_here, 4 * H, B, w.w_hh, 2 * H, H, running_h, true, h);
          back(device, d_here + 3 * H, 4 * H, B, w.w_hh + 2 * H * H, H, H, running_h, true, h);
        }
      }
      T* to = l > 0 ? above.mutable_data_ptr<T>() : d_x;
      if (l > 0 || wants_gradient)
        back(device, d_gates + 4 * l * line, 4 * H, S * B, w.w_ih, dense.rows(), l > 0 ? H : inputs,
             to, false, h);
    }
    return out;
  });
}

template <class Device, MomentumCell cell, bool sequence>
StepTensors forward_op(const Tensor& gradient, const Tensor& h, const MaybeTensor& c,
                       std::vector<Tensor> weights) {
  return forward<Device>(cell, gradient, h, c, weights, sequence);
}

template <class Device, MomentumCell cell, bool sequence>
BackwardTensors backward_op(const MaybeTensor& d_v, const MaybeTensor& d_h, const MaybeTensor& d_c,
                            const Tensor& h, const MaybeTensor& c, const Tensor& hs,
                            const Tensor& cs, const Tensor& gates, std::vector<Tensor> weights,
                            bool wants_gradient) {
  return backward<Device>(cell, d_v, d_h, d_c, h, c, hs, cs, gates, weights, wants_gradient,
                          sequence);
}

// The kernels of a device for the eight ops; m is its library.
template <class Device, class Library>
void register_dense_momentum(Library& m) {
  constexpr MomentumCell lstm = MomentumCell::kLstm, gru = MomentumCell::kGru;
  m.impl("lstm_momentum_step", TORCH_BOX((&forward_op<Device, lstm, false>)));
  m.impl("gru_momentum_step", TORCH_BOX((&forward_op<Device, gru, false>)));
  m.impl("lstm_momentum_sequence", TORCH_BOX((&forward_op<Device, lstm, true>)));
  m.impl("gru_momentum_sequence", TORCH_BOX((&forward_op<Device, gru, true>)));
  m.impl("lstm_momentum_step_backward", TORCH_BOX((&backward_op<Device, lstm, false>)));
  m.impl("gru_momentum_step_backward", TORCH_BOX((&backward_op<Device, gru, false>)));
  m.impl("lstm_momentum_sequence_backward", TORCH_BOX((&backward_op<Device, lstm, true>)));
  m.impl("gru_momentum_sequence_backward", TORCH_BOX((&backward_op<Device, gru, true>)));
}

}  // namespace lpgd::ops
