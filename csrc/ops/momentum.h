// Shared by the forms of the recurrent momentum: shapes, weights, and products by torch's matrix
// library.
#pragma once

#include <torch/csrc/stable/device.h>

#include <array>
#include <string>
#include <vector>

#include "core/momentum_types.h"
#include "ops/ops.h"

namespace lpgd::ops {

struct MomentumShape {
  MomentumCell cell;
  std::int64_t batch, inputs;
  int layers, hidden;
};

inline MomentumCell cell_of(std::int64_t code) {
  STD_TORCH_CHECK(code == 0 || code == 1, "lpgd: cell must be 0 (LSTM) or 1 (GRU)");
  return static_cast<MomentumCell>(code);
}

inline void check_sizes(const Tensor& tensor, const Tensor& like,
                        std::initializer_list<std::int64_t> sizes, const char* name) {
  check_like(tensor, like, name);
  bool fits = tensor.dim() == static_cast<std::int64_t>(sizes.size());
  std::int64_t at = 0;
  for (const std::int64_t size : sizes) {
    fits = fits && tensor.size(at) == size;
    ++at;
  }
  STD_TORCH_CHECK(fits, "lpgd: ", name, " has a wrong shape");
}

// Weights as they come: w_ih, w_hh, b_ih, b_hh of each layer, then w_out, b_out.
inline void check_weights(const std::vector<Tensor>& weights, const Tensor& like,
                          const MomentumShape& shape, std::int64_t inputs, std::int64_t outputs) {
  STD_TORCH_CHECK(shape.layers >= 1 && shape.layers <= kMostLayers, "lpgd: 1 to 8 layers");
  STD_TORCH_CHECK(static_cast<int>(weights.size()) == 4 * shape.layers + 2,
                  "lpgd: weights must be 4 tensors a layer, and w_out, b_out");
  const std::int64_t H = shape.hidden, rows = cell_rows(shape.cell) * H;
  for (int l = 0; l < shape.layers; ++l) {
    const std::size_t at = 4 * static_cast<std::size_t>(l);
    check_sizes(weights[at], like, {rows, l == 0 ? inputs : H}, "w_ih");
    check_sizes(weights[at + 1], like, {rows, H}, "w_hh");
    check_sizes(weights[at + 2], like, {rows}, "b_ih");
    check_sizes(weights[at + 3], like, {rows}, "b_hh");
  }
  check_sizes(weights[weights.size() - 2], like, {outputs, shape.layers * H}, "w_out");
  check_sizes(weights[weights.size() - 1], like, {outputs}, "b_out");
}

template <class T>
CellWeights<T> layer_weights(const std::vector<Tensor>& weights, int layer) {
  const std::size_t at = 4 * static_cast<std::size_t>(layer);
  return {weights[at].const_data_ptr<T>(), weights[at + 1].const_data_ptr<T>(),
          weights[at + 2].const_data_ptr<T>(), weights[at + 3].const_data_ptr<T>()};
}

template <class T>
const T* optional_pointer(const MaybeTensor& tensor) {
  return is_present(tensor) ? tensor->const_data_ptr<T>() : nullptr;
}

// A matrix in memory, for torch's matrix product.
template <class T>
Tensor matrix(const T* data, std::int64_t rows, std::int64_t cols, std::int64_t row_stride,
              std::int64_t col_stride, const Tensor& like) {
  const std::array<std::int64_t, 2> sizes{rows, cols}, strides{row_stride, col_stride};
  return torch::stable::from_blob(const_cast<T*>(data), {sizes.data(), 2}, {strides.data(), 2},
                                  like.device(), like.scalar_type());
}

// The same of a vector. Both are views without a gradient: products into a given matrix know none.
template <class T>
Tensor vector_of(const T* data, std::int64_t size, const Tensor& like) {
  const std::array<std::int64_t, 1> sizes{size}, strides{1};
  return torch::stable::from_blob(const_cast<T*>(data), {sizes.data(), 1}, {strides.data(), 1},
                                  like.device(), like.scalar_type());
}

// out = a b
inline void multiply(Tensor& out, const Tensor& a, const Tensor& b) {
  std::array<StableIValue, 3> stack{torch::stable::detail::from(a), torch::stable::detail::from(b),
                                    torch::stable::detail::from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  (void)torch::stable::detail::to<Tensor>(stack[0]);
}

// out = bias + a w', as torch.nn.Linear has it: on CUDA one call of the matrix library
inline void multiply_with_bias(Tensor& out, const Tensor& a, const Tensor& w, const Tensor& bias) {
  using torch::stable::detail::from;
  std::array<StableIValue, 4> stack{from(a), from(w), from(MaybeTensor(bias)), from(out)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::linear", "out", stack.data(), TORCH_ABI_VERSION));
  (void)torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace lpgd::ops
