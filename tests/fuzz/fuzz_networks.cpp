// The kernels of unrolled networks: momentum per coordinate, small dense cells and whole steps,
// convolutions.
#include "cpu/convolution.h"
#include "cpu/momentum.h"
#include "fuzz_input.h"

namespace lpgd::fuzz {
namespace {

// Finite numbers in, none that overflow: finite numbers out.
template <class T>
void coordinates(Input& in) {
  CoordinateTask<T> task{};
  task.cell = in.flag() ? MomentumCell::kLstm : MomentumCell::kGru;
  task.rows = in.between(1, 70);
  task.layers = in.between(1, 3);
  task.hidden = in.between(1, 9);
  const int H = task.hidden, gates = cell_rows(task.cell) * H;
  std::vector<std::vector<T>> kept;
  kept.reserve(4 * kMostLayers + 8);
  const auto draw = [&](std::int64_t count) {
    kept.push_back(in.numbers<T>(count));
    return kept.back().data();
  };
  const bool tame = in.flag();
  in.tame(tame);
  for (int l = 0; l < task.layers; ++l)
    task.weights[l] = {draw(gates * (l == 0 ? 1 : H)), draw(gates * H), draw(gates), draw(gates)};
  task.w_out = draw(task.layers * H);
  task.b_out = draw(1);
  const std::int64_t states = task.layers * H * task.rows;
  task.x = draw(task.rows);
  task.h = draw(states);
  const bool lstm = task.cell == MomentumCell::kLstm;
  if (lstm) task.c = draw(states);
  const auto room = [](std::int64_t count) {
    return std::vector<T>(static_cast<std::size_t>(count));
  };
  std::vector<T> v = room(task.rows), h = room(states), c = room(lstm ? states : 0);
  std::vector<T> d_x = room(task.rows), d_h = room(states), d_c = room(lstm ? states : 0);
  task.v = v.data();
  task.h_out = h.data();
  task.c_out = c.data();
  const MomentumKernelsOf<T>& kernels = momentum_kernels().of<T>();
  const Room workspace(kernels.coordinate_bytes(task.layers, H));
  kernels.coordinate_forward(task, 0, task.rows, workspace.get());
  if (tame) LPGD_HOLDS(all_finite(v) && all_finite(h) && all_finite(c));

  // a row is what it is without those before it
  const std::vector<T> whole = v;
  const std::int64_t cut = in.between(0, static_cast<int>(task.rows) - 1);
  kernels.coordinate_forward(task, cut, task.rows, workspace.get());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const T gap = std::abs(whole[i] - v[i]);
    LPGD_HOLDS(!tame || gap <= T(1e-3) * (1 + std::abs(whole[i])));
  }

  task.d_v = in.flag() ? draw(task.rows) : nullptr;
  task.d_h_out = in.flag() ? draw(states) : nullptr;
  task.d_c_out = lstm && in.flag() ? draw(states) : nullptr;
  task.d_x = d_x.data();
  task.d_h = d_h.data();
  task.d_c = d_c.data();
  std::vector<T> sums = room(coordinate_weight_count(task.cell, task.layers, H));
  kernels.coordinate_backward(task, 0, task.rows, workspace.get(), sums.data());
  if (tame) LPGD_HOLDS(all_finite(d_x) && all_finite(d_h) && all_finite(d_c) && all_finite(sums));
}

template <class T>
void cells(Input& in) {
  CellTask<T> task{};
  task.cell = in.flag() ? MomentumCell::kLstm : MomentumCell::kGru;
  task.batch = in.between(1, 4);
  task.inputs = in.between(1, 20);
  task.hidden = in.between(1, 20);
  const std::int64_t B = task.batch, H = task.hidden, gates = cell_rows(task.cell) * H;
  const bool tame = in.flag();
  in.tame(tame);
  const std::vector<T> w_ih = in.numbers<T>(gates * task.inputs), w_hh = in.numbers<T>(gates * H);
  const std::vector<T> b_ih = in.numbers<T>(gates), b_hh = in.numbers<T>(gates);
  const std::vector<T> x = in.numbers<T>(B * task.inputs), h = in.numbers<T>(B * H);
  const std::vector<T> c = in.numbers<T>(B * H);
  const auto room = [](std::int64_t count) {
    return std::vector<T>(static_cast<std::size_t>(count));
  };
  std::vector<T> kept = room(4 * B * H), h_out = room(B * H), c_out = room(B * H);
  const bool lstm = task.cell == MomentumCell::kLstm;
  task.weights = {w_ih.data(), w_hh.data(), b_ih.data(), b_hh.data()};
  task.x = x.data();
  task.h = h.data();
  task.c = lstm ? c.data() : nullptr;
  task.gates = kept.data();
  task.h_out = h_out.data();
  task.c_out = lstm ? c_out.data() : nullptr;
  const MomentumKernelsOf<T>& kernels = momentum_kernels().of<T>();
  const std::int64_t cut = in.between(0, static_cast<int>(H));  // shared out over two threads
  kernels.cell_units(task, 0, cut);
  kernels.cell_units(task, cut, H);
  if (tame) LPGD_HOLDS(all_finite(h_out) && all_finite(c_out) && all_finite(kept));
  // two layers of states, side by side, to an output of a few rows
  const std::int64_t rows = in.between(1, 11);
  const std::vector<T> w = in.numbers<T>(rows * H), bias = in.numbers<T>(rows);
  std::vector<T> v = room(B * rows);
  kernels.output(w.data(), bias.data(), h_out.data(), B * H, B, 1, task.hidden, rows, v.data(), 0,
                 rows);
  if (tame) LPGD_HOLDS(all_finite(v));
}

// Whole steps and what they leave for the weights' gradients.
template <class T>
void steps(Input& in) {
  StepTask<T> task{};
  task.cell = in.flag() ? MomentumCell::kLstm : MomentumCell::kGru;
  task.batch = in.between(1, 70);
  task.inputs = in.between(1, 150);
  task.outputs = in.between(1, 150);
  task.layers = in.between(1, 3);
  task.hidden = in.between(1, 20);
  const bool lstm = task.cell == MomentumCell::kLstm, tame = in.flag();
  const int L = task.layers, H = task.hidden, gates = cell_rows(task.cell) * H;
  const std::int64_t B = task.batch, states = L * B * H;
  in.tame(tame);
  std::vector<std::vector<T>> kept;
  kept.reserve(4 * kMostLayers + 8);
  const auto draw = [&](std::int64_t count) {
    kept.push_back(in.numbers<T>(count));
    return kept.back().data();
  };
  const auto room = [](std::int64_t count) {
    return std::vector<T>(static_cast<std::size_t>(count));
  };
  std::vector<std::vector<T>> grads;
  for (int l = 0; l < L; ++l) {
    const std::int64_t inputs = l == 0 ? task.inputs : H;
    task.weights[l] = {draw(gates * inputs), draw(gates * H), draw(gates), draw(gates)};
    for (const std::int64_t count :
         {gates * inputs, std::int64_t{gates} * H, std::int64_t{gates}, std::int64_t{gates}})
      grads.push_back(room(count));
  }
  task.w_out = draw(task.outputs * L * H);
  task.b_out = draw(task.outputs);
  grads.push_back(room(task.outputs * L * H));
  grads.push_back(room(task.outputs));
  task.x = draw(B * task.inputs);
  task.h = draw(states);
  task.c = lstm ? draw(states) : nullptr;
  std::vector<T> v = room(B * task.outputs), h = room(states), c = room(lstm ? states : 0);
  std::vector<T> buffer = room(4 * states);
  task.v = v.data();
  task.h_out = h.data();
  task.c_out = c.data();
  task.gates = buffer.data();
  const MomentumKernelsOf<T>& kernels = momentum_kernels().of<T>();
  const Room workspace(kernels.step_bytes(L, H, B));
  kernels.step(task, 0, B, workspace.get());
  if (tame) LPGD_HOLDS(all_finite(v) && all_finite(h) && all_finite(c) && all_finite(buffer));

  // an item is what it is without those before it, in other registers
  const std::vector<T> whole = v;
  kernels.step(task, in.between(0, static_cast<int>(B) - 1), B, workspace.get());
  LPGD_HOLDS(!tame || whole == v);

  StepBackwardTask<T> back{};
  back.cell = task.cell;
  back.batch = B;
  back.inputs = task.inputs;
  back.outputs = task.outputs;
  back.layers = L;
  back.hidden = H;
  for (int l = 0; l < L; ++l) back.weights[l] = task.weights[l];
  back.w_out = task.w_out;
  back.h = task.h;
  back.c = task.c;
  back.c_out = c.data();
  back.gates = buffer.data();
  back.d_v = in.flag() ? draw(B * task.outputs) : nullptr;
  back.d_h_out = in.flag() ? draw(states) : nullptr;
  back.d_c_out = lstm && in.flag() ? draw(states) : nullptr;
  std::vector<T> d_x = room(B * task.inputs), d_h = room(states), d_c = room(lstm ? states : 0);
  std::vector<T> d_gates = room(4 * states);
  back.d_x = in.flag() ? d_x.data() : nullptr;
  back.d_h = d_h.data();
  back.d_c = d_c.data();
  back.d_gates = d_gates.data();
  kernels.step_backward(back, 0, B, workspace.get());
  if (tame)
    LPGD_HOLDS(all_finite(d_x) && all_finite(d_h) && all_finite(d_c) && all_finite(d_gates));

  WeightGradientTask<T> sums{};
  sums.cell = task.cell;
  sums.steps = 2;
  sums.batch = B;
  sums.inputs = task.inputs;
  sums.outputs = task.outputs;
  sums.layers = L;
  sums.hidden = H;
  const T* const xs[] = {task.x, task.x};
  const T* const before[] = {task.h, task.h};
  const T* const after[] = {h.data(), h.data()};
  const T* const all_gates[] = {d_gates.data(), d_gates.data()};
  const T* const vs[] = {back.d_v, nullptr};
  sums.x = xs;
  sums.before = before;
  sums.after = after;
  sums.d_gates = all_gates;
  sums.d_v = vs;
  std::vector<T*> totals;
  for (std::vector<T>& grad : grads) totals.push_back(grad.data());
  sums.totals = totals.data();
  const int parts = in.between(1, 3);
  for (int part = 0; part < parts; ++part) kernels.weight_gradients(sums, part, parts);
  sums.add = true;
  kernels.weight_gradients(sums, 0, 1);
  for (const std::vector<T>& grad : grads) LPGD_HOLDS(!tame || all_finite(grad));
}

template <class T>
void convolution(Input& in) {
  ConvolutionTask<T> task{};
  task.batch = in.between(1, 3);
  task.inputs = in.between(1, 9);
  task.outputs = in.between(1, 9);
  task.n = in.between(1, 40);
  task.kernel = 1 + 2 * in.between(0, 3);
  const std::int64_t B = task.batch, C = task.inputs, O = task.outputs, n = task.n, K = task.kernel;
  const bool tame = in.flag();
  in.tame(tame);
  const std::vector<T> x = in.numbers<T>(B * C * n), w = in.numbers<T>(O * C * K);
  const std::vector<T> bias = in.numbers<T>(O), d_y = in.numbers<T>(B * O * n);
  const T slope = in.number<T>();
  const bool sloped = in.flag(), wants_x = in.flag();
  const auto room = [](std::int64_t count) {
    return std::vector<T>(static_cast<std::size_t>(count));
  };
  const ConvolutionKernelsOf<T>& kernels = convolution_kernels().of<T>();
  std::vector<T> y = room(B * O * n), d_x = room(B * C * n), d_slope = room(B);
  std::vector<T> d_w = room(O * C * K), d_bias = room(O);
  task.x = x.data();
  task.slope = sloped ? &slope : nullptr;
  task.w = w.data();
  task.bias = bias.data();
  task.y = y.data();
  task.d_y = d_y.data();
  task.d_x = wants_x ? d_x.data() : nullptr;
  task.d_slope = sloped && wants_x ? d_slope.data() : nullptr;
  task.d_w = d_w.data();
  task.d_bias = d_bias.data();
  for (const bool back : {false, true}) {
    const ConvolutionLayout layout = kernels.layout(task, back);
    const auto bytes = [](std::int64_t count) {
      return sizeof(T) * static_cast<std::size_t>(count);
    };
    const Room workspace(bytes(layout.workspace)), x_lines(bytes(layout.x_lines));
    const Room d_lines(bytes(layout.d_lines)), prepared(bytes(layout.weights));
    if (layout.weights > 0) {
      kernels.prepare(task, back, static_cast<T*>(prepared.get()));
      task.w = static_cast<T*>(prepared.get());
    }
    task.x_lines = static_cast<T*>(x_lines.get());
    task.d_lines = static_cast<T*>(d_lines.get());
    (back ? kernels.backward : kernels.forward)(task, 0, layout.groups, workspace.get());
    task.w = w.data();
    if (!back && tame) LPGD_HOLDS(all_finite(y));
    if (back) kernels.weights(task, 0, O);
  }
  if (tame)
    LPGD_HOLDS(all_finite(d_x) && all_finite(d_slope) && all_finite(d_w) && all_finite(d_bias));
}

template <class T>
void one(Input& in) {
  switch (in.between(0, 3)) {
    case 0:
      return coordinates<T>(in);
    case 1:
      return cells<T>(in);
    case 2:
      return steps<T>(in);
    default:
      return convolution<T>(in);
  }
}

}  // namespace
}  // namespace lpgd::fuzz

int lpgd_fuzz_networks(const unsigned char* data, unsigned long size);
int lpgd_fuzz_networks(const unsigned char* data, unsigned long size) {
  lpgd::fuzz::Input in(data, size);
  if (in.flag())
    lpgd::fuzz::one<double>(in);
  else
    lpgd::fuzz::one<float>(in);
  return 0;
}
