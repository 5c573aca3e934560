// lpgd::{lstm,gru}_momentum_{step,sequence} and their backward ops for CPU tensors, and their
// schema.
#include "cpu/momentum.h"

#include "ops/momentum_dense.h"

namespace lpgd::ops {

namespace {

constexpr std::int64_t kGrain = 1 << 16;      // multiplications worth a thread
constexpr std::int64_t kStepGrain = 1 << 20;  // where they fill registers of items

template <class F>
void in_parallel(std::int64_t count, std::int64_t cost, const F& body) {
  const std::int64_t grain = 1 + kGrain / (1 + cost);
  if (count <= grain)
    body(std::int64_t{0}, count);
  else
    torch::stable::parallel_for(0, count, grain, body);
}

struct CpuCells {
  // Up to this batch the weights are read once, unit by unit; beyond it items are lanes.
  static constexpr std::int64_t kSmallBatch = 4;
  static constexpr bool kTakesSteps = true;

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

  template <class T>
  bool takes_steps(std::int64_t batch) const {
    return batch > kSmallBatch && kernels<T>().step_lanes > 1;
  }
  template <class T>
  void step(const StepTask<T>& task) const {
    by_registers(task, [&](std::int64_t begin, std::int64_t end, void* workspace) {
      kernels<T>().step(task, begin, end, workspace);
    });
  }
  template <class T>
  void step_backward(const StepBackwardTask<T>& task) const {
    by_registers(task, [&](std::int64_t begin, std::int64_t end, void* workspace) {
      kernels<T>().step_backward(task, begin, end, workspace);
    });
  }

 private:
  // Every thread has as many registers of items, always the same ones: what it writes in a step it
  // reads in the next.
  template <template <class> class Task, class T, class F>
  void by_registers(const Task<T>& task, const F& body) const {
    const std::int64_t lanes = kernels<T>().step_lanes;
    const std::int64_t count = (task.batch + lanes - 1) / lanes;
    const std::int64_t width = 4 * std::int64_t{task.hidden};
    const std::int64_t cost =
        width * (task.inputs + (2 * task.layers - 1) * std::int64_t{task.hidden}) +
        task.outputs * task.layers * task.hidden;
    const std::int64_t worth = 1 + task.batch * cost / kStepGrain;
    const Workspaces workspaces(count < worth ? count : worth, [&](std::int64_t workers) {
      const std::int64_t items = (count + workers - 1) / workers * lanes;
      return kernels<T>().step_bytes(task.layers, task.hidden, items);
    });
    const std::int64_t workers = workspaces.count();
    torch::stable::parallel_for(0, workers, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t w = first; w < last; ++w) {
        const std::int64_t end = count * (w + 1) / workers * lanes;
        body(count * w / workers * lanes, end < task.batch ? end : task.batch, workspaces.of(w));
      }
    });
  }
};

// of all tensors; null for those without a number
template <class T>
std::vector<const T*> pointers(const std::vector<Tensor>& tensors) {
  std::vector<const T*> out;
  out.reserve(tensors.size());
  for (const Tensor& tensor : tensors)
    out.push_back(tensor.numel() == 0 ? nullptr : tensor.const_data_ptr<T>());
  return out;
}

// Of all weights, from what some steps of one network saw, to `totals`: written, or added.
template <MomentumCell cell>
void weight_gradients(std::vector<Tensor> x, std::vector<Tensor> before, std::vector<Tensor> after,
                      std::vector<Tensor> d_gates, std::vector<Tensor> d_v,
                      std::vector<Tensor> totals, bool add) {
  STD_TORCH_CHECK(!x.empty() && before.size() == x.size() && after.size() == x.size() &&
                      d_gates.size() == x.size() && d_v.size() == x.size(),
                  "lpgd: every step needs x, h, h', d_gates and d_v");
  STD_TORCH_CHECK(x[0].dim() == 2 && before[0].dim() == 3, "lpgd: x must be [B, n], h [L, B, H]");
  dispatch_dtype(x[0], [&](auto zero) {
    using T = decltype(zero);
    const Tensor& like = x[0];
    const std::int64_t B = like.size(0), n = like.size(1);
    const std::int64_t L = before[0].size(0), H = before[0].size(2);
    STD_TORCH_CHECK(H >= 1 && !totals.empty(),
                    "lpgd: H must be at least 1, totals as many as weights");
    const std::int64_t outputs = totals.back().size(0);
    check_weights(totals, like, {cell, B, n, static_cast<int>(L), static_cast<int>(H)}, n, outputs);
    for (std::size_t t = 0; t < x.size(); ++t) {
      check_sizes(x[t], like, {B, n}, "x");
      check_sizes(before[t], like, {L, B, H}, "before");
      check_sizes(after[t], like, {L, B, H}, "after");
      check_sizes(d_gates[t], like, {L, B, 4 * H}, "d_gates");
      if (d_v[t].numel() > 0) check_sizes(d_v[t], like, {B, outputs}, "d_v");
    }
    WeightGradientTask<T> task{};
    task.cell = cell;
    task.steps = static_cast<std::int64_t>(x.size());
    task.batch = B;
    task.inputs = n;
    task.outputs = outputs;
    task.layers = static_cast<int>(L);
    task.hidden = static_cast<int>(H);
    const std::vector<const T*> xs = pointers<T>(x), befores = pointers<T>(before);
    const std::vector<const T*> afters = pointers<T>(after), gates = pointers<T>(d_gates);
    const std::vector<const T*> vs = pointers<T>(d_v);
    task.x = xs.data();
    task.before = befores.data();
    task.after = afters.data();
    task.d_gates = gates.data();
    task.d_v = vs.data();
    std::vector<T*> to;
    std::int64_t count = 0;
    for (const Tensor& total : totals) {
      to.push_back(total.mutable_data_ptr<T>());
      count += total.numel();
    }
    task.totals = to.data();
    task.add = add;
    const std::int64_t threads = torch::stable::get_num_threads();
    // a number costs as much to write as some products
    const std::int64_t worth = 1 + (task.steps * B + 8) * count / kStepGrain;
    const std::int64_t parts = threads < worth ? threads : worth;
    torch::stable::parallel_for(0, parts, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t part = first; part < last; ++part)
        momentum_kernels().of<T>().weight_gradients(task, part, parts);
    });
  });
}

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
#define LPGD_WEIGHTS                                                               \
  "(Tensor[] x, Tensor[] before, Tensor[] after, Tensor[] d_gates, Tensor[] d_v, " \
  "Tensor(a!)[] totals, bool add) -> ()"
  m.def("lstm_momentum_weight_gradients" LPGD_WEIGHTS);
  m.def("gru_momentum_weight_gradients" LPGD_WEIGHTS);
#undef LPGD_WEIGHTS
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  using lpgd::MomentumCell;
  lpgd::ops::register_dense_momentum<lpgd::ops::CpuCells>(m);
  m.impl("lstm_momentum_weight_gradients",
         TORCH_BOX((&lpgd::ops::weight_gradients<MomentumCell::kLstm>)));
  m.impl("gru_momentum_weight_gradients",
         TORCH_BOX((&lpgd::ops::weight_gradients<MomentumCell::kGru>)));
}
