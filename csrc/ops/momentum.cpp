// lpgd::{lstm,gru}_momentum_{step,sequence} and their backward ops for CPU tensors, and their
// schema.
#include "cpu/momentum.h"

#include "ops/momentum_dense.h"

namespace lpgd::ops {

namespace {

constexpr std::int64_t kGrain = 1 << 16;  // multiplications worth a thread

template <class F>
void in_parallel(std::int64_t count, std::int64_t cost, const F& body) {
  const std::int64_t grain = 1 + kGrain / (1 + cost);
  if (count <= grain)
    body(std::int64_t{0}, count);
  else
    torch::stable::parallel_for(0, count, grain, body);
}

struct CpuCells {
  // Up to this batch the weights are read once by kernels of our own; a matrix library needs more
  // rows to be worth its packing.
  static constexpr std::int64_t kSmallBatch = 4;

  explicit CpuCells(const Tensor&) {}

  template <class T>
  static const MomentumKernelsOf<T>& kernels() {
    return momentum_kernels().of<T>();
  }
  template <class T>
  void cell(const CellTask<T>& task) const {
    in_parallel(
        task.hidden, 4 * (std::int64_t{task.inputs} + task.hidden) * task.batch,
        [&](std::int64_t begin, std::int64_t end) { kernels<T>().cell_units(task, begin, end); });
  }
  template <class T>
  void output(const T* w, const T* bias, const T* states, std::int64_t stride,
              const MomentumShape& shape, std::int64_t n, T* out) const {
    const std::int64_t cost = std::int64_t{shape.layers} * shape.hidden * shape.batch;
    in_parallel(n, cost, [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().output(w, bias, states, stride, shape.batch, shape.layers, shape.hidden, n, out,
                          begin, end);
    });
  }
  template <class T>
  void transposed(const T* a, std::int64_t a_stride, const T* w, std::int64_t rows,
                  std::int64_t cols, std::int64_t count, T* out, bool add) const {
    in_parallel(cols, rows * count, [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().transposed(a, a_stride, w, rows, cols, count, out, add, begin, end);
    });
  }
  template <class T>
  void activate(const CellTask<T>& task) const {
    in_parallel(
        task.batch, 60 * std::int64_t{task.hidden},
        [&](std::int64_t begin, std::int64_t end) { kernels<T>().activate(task, begin, end); });
  }
  template <class T>
  void cell_backward(const CellBackwardTask<T>& task) const {
    in_parallel(task.batch, 30 * std::int64_t{task.hidden},
                [&](std::int64_t begin, std::int64_t end) {
                  kernels<T>().cell_backward(task, begin, end);
                });
  }
  // to [B, L H] from states [L, B, H], whose layers are `stride` apart
  template <class T>
  void join(const T* states, std::int64_t stride, const MomentumShape& shape, T* to) const {
    const std::int64_t L = shape.layers, H = shape.hidden;
    for (std::int64_t b = 0; b < shape.batch; ++b)
      for (std::int64_t l = 0; l < L; ++l)
        for (std::int64_t j = 0; j < H; ++j)
          to[(b * L + l) * H + j] = states[l * stride + b * H + j];
  }
  // out [B, n] = bias + states w', whose numbers are at `data`
  template <class T>
  void map(Tensor& out, const Tensor& states, const Tensor& w, const Tensor& bias, T* data) const {
    const std::int64_t n = w.size(0), width = w.size(1);
    const T* weight = w.const_data_ptr<T>();
    multiply(out, states, matrix<T>(weight, width, n, 1, width, w));
    const T* offset = bias.const_data_ptr<T>();
    in_parallel(out.size(0), n, [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().add_bias(offset, n, data, begin, end);
    });
  }
  template <class T>
  void add(const T* a, T* out, std::int64_t count) const {
    kernels<T>().add(a, out, 0, count);
  }
};

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
#define LPGD_FORWARD                                             \
  "(Tensor gradient, Tensor h, Tensor? c, Tensor[] weights) -> " \
  "(Tensor v, Tensor h_out, Tensor c_out, Tensor gates)"
#define LPGD_BACKWARD                                                           \
  "(Tensor? d_v, Tensor? d_h, Tensor? d_c, Tensor h, Tensor? c, Tensor h_out, " \
  "Tensor c_out, Tensor gates, Tensor[] weights, bool wants_gradient) -> "      \
  "(Tensor d_gradient, Tensor d_h, Tensor d_c, Tensor d_gates)"
  m.def("lstm_momentum_step" LPGD_FORWARD);
  m.def("gru_momentum_step" LPGD_FORWARD);
  m.def("lstm_momentum_sequence" LPGD_FORWARD);
  m.def("gru_momentum_sequence" LPGD_FORWARD);
  m.def("lstm_momentum_step_backward" LPGD_BACKWARD);
  m.def("gru_momentum_step_backward" LPGD_BACKWARD);
  m.def("lstm_momentum_sequence_backward" LPGD_BACKWARD);
  m.def("gru_momentum_sequence_backward" LPGD_BACKWARD);
#undef LPGD_FORWARD
#undef LPGD_BACKWARD
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  lpgd::ops::register_dense_momentum<lpgd::ops::CpuCells>(m);
}
