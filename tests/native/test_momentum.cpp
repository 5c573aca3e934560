// The loops of the unrolled networks' kernels on what the compiler's baseline offers: bounds under
// AddressSanitizer, and the numbers against plain loops.
#include <cmath>
#include <utility>
#include <vector>

#include "check.h"
#include "core/convolution.h"
#include "core/momentum_coordinate_backward.h"
#include "core/momentum_dense.h"
#include "core/momentum_items.h"
#include "core/momentum_units.h"
#include "core/momentum_weights.h"

namespace {

using Numbers = std::vector<double>;

Numbers numbers(int count, int seed) {
  Numbers out(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i)
    out[static_cast<std::size_t>(i)] = std::sin(1.0 + 0.7 * i * (seed + 1));
  return out;
}

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// h' and c' of one LSTM unit
struct Unit {
  double h, c;
};
Unit unit_of(const lpgd::CellWeights<double>& w, int inputs, int hidden, int j, const double* x,
             const double* h, int stride, double c) {
  double gate[4];
  for (int r = 0; r < 4; ++r) {
    const int row = r * hidden + j;
    gate[r] = w.b_ih[row] + w.b_hh[row];
    for (int k = 0; k < inputs; ++k) gate[r] += w.w_ih[row * inputs + k] * x[k];
    for (int k = 0; k < hidden; ++k) gate[r] += w.w_hh[row * hidden + k] * h[k * stride];
  }
  const double c_out = logistic(gate[1]) * c + logistic(gate[0]) * std::tanh(gate[2]);
  return {logistic(gate[3]) * std::tanh(c_out), c_out};
}

}  // namespace

LPGD_TEST(activations_reach_rounding) {
  for (double x = -800; x < 800; x += 0.37) {
    CHECK_NEAR(lpgd::sigmoid_of(x), logistic(x), 4e-16);
    CHECK_NEAR(lpgd::tanh_of(x), std::tanh(x), 4e-16);
    const auto single = static_cast<float>(x);
    CHECK_NEAR(lpgd::tanh_of(single), std::tanh(single), 3e-7);
  }
  for (double x = 1e-12; x < 1; x *= 3) CHECK_NEAR(lpgd::tanh_of(x) / std::tanh(x), 1.0, 2e-15);
  CHECK(std::isnan(lpgd::sigmoid_of(std::nan(""))));
  CHECK(std::isnan(lpgd::tanh_of(std::nan(""))));
  CHECK_NEAR(lpgd::sigmoid_of(INFINITY), 1, 0);
  CHECK_NEAR(lpgd::tanh_of(-INFINITY), -1, 0);
}

LPGD_TEST(dense_cells_stay_in_bounds) {
  const int batch = 3, inputs = 7, hidden = 5;
  const Numbers w_ih = numbers(4 * hidden * inputs, 0), w_hh = numbers(4 * hidden * hidden, 1);
  const Numbers b_ih = numbers(4 * hidden, 2), b_hh = numbers(4 * hidden, 3);
  const Numbers x = numbers(batch * inputs, 4), h = numbers(batch * hidden, 5);
  const Numbers c = numbers(batch * hidden, 6);
  Numbers gates(batch * 4 * hidden), h_out(batch * hidden), c_out(batch * hidden);
  lpgd::CellTask<double> task{};
  task.cell = lpgd::MomentumCell::kLstm;
  task.batch = batch;
  task.inputs = inputs;
  task.hidden = hidden;
  task.weights = {w_ih.data(), w_hh.data(), b_ih.data(), b_hh.data()};
  task.x = x.data();
  task.h = h.data();
  task.c = c.data();
  task.gates = gates.data();
  task.h_out = h_out.data();
  task.c_out = c_out.data();
  for (const auto& [begin, end] : {std::pair{0, 2}, std::pair{2, hidden}}) {
    lpgd::cell_products(task, begin, end);
    for (int b = 0; b < batch; ++b) lpgd::activate_item(task, b, begin, end);
  }
  for (int b = 0; b < batch; ++b)
    for (int j = 0; j < hidden; ++j) {
      const Unit expected = unit_of(task.weights, inputs, hidden, j, x.data() + b * inputs,
                                    h.data() + b * hidden, 1, c[b * hidden + j]);
      CHECK_NEAR(h_out[b * hidden + j], expected.h, 1e-14);
      CHECK_NEAR(c_out[b * hidden + j], expected.c, 1e-14);
    }
}

// A step of one layer of a few items, all arrays of their exact sizes.
struct SmallStep {
  static constexpr int batch = 7, inputs = 133, hidden = 3, outputs = 5;
  Numbers w_ih = numbers(4 * hidden * inputs, 0), w_hh = numbers(4 * hidden * hidden, 1);
  Numbers b_ih = numbers(4 * hidden, 2), b_hh = numbers(4 * hidden, 3);
  Numbers w_out = numbers(outputs * hidden, 4), b_out = numbers(outputs, 5);
  Numbers x = numbers(batch * inputs, 6), h = numbers(batch * hidden, 7);
  Numbers c = numbers(batch * hidden, 8);
  Numbers v = Numbers(batch * outputs), h_out = Numbers(batch * hidden);
  Numbers c_out = Numbers(batch * hidden), gates = Numbers(batch * 4 * hidden);

  // the sum of v
  double run() {
    lpgd::StepTask<double> task{};
    task.cell = lpgd::MomentumCell::kLstm;
    task.batch = batch;
    task.inputs = inputs;
    task.outputs = outputs;
    task.layers = 1;
    task.hidden = hidden;
    task.weights[0] = {w_ih.data(), w_hh.data(), b_ih.data(), b_hh.data()};
    task.w_out = w_out.data();
    task.b_out = b_out.data();
    task.x = x.data();
    task.h = h.data();
    task.c = c.data();
    task.v = v.data();
    task.h_out = h_out.data();
    task.c_out = c_out.data();
    task.gates = gates.data();
    Numbers work(lpgd::step_bytes<double>(1, hidden, batch) / sizeof(double));
    lpgd::step_items(task, 0, 2, work.data());
    lpgd::step_items(task, 2, batch, work.data());
    double sum = 0;
    for (const double value : v) sum += value;
    return sum;
  }
};

LPGD_TEST(steps_with_items_in_lanes_stay_in_bounds) {
  SmallStep step;
  step.run();
  const int n = SmallStep::inputs, H = SmallStep::hidden, m = SmallStep::outputs;
  const lpgd::CellWeights<double> weights{step.w_ih.data(), step.w_hh.data(), step.b_ih.data(),
                                          step.b_hh.data()};
  for (int b = 0; b < SmallStep::batch; ++b) {
    Numbers expected(step.b_out);
    for (int j = 0; j < H; ++j) {
      const Unit unit = unit_of(weights, n, H, j, step.x.data() + b * n, step.h.data() + b * H, 1,
                                step.c[b * H + j]);
      CHECK_NEAR(step.h_out[b * H + j], unit.h, 1e-13);
      CHECK_NEAR(step.c_out[b * H + j], unit.c, 1e-13);
      for (int r = 0; r < m; ++r) expected[r] += step.w_out[r * H + j] * unit.h;
    }
    for (int r = 0; r < m; ++r) CHECK_NEAR(step.v[b * m + r], expected[r], 1e-13);
  }
}

LPGD_TEST(gradients_of_steps_stay_in_bounds) {
  SmallStep step;
  step.run();
  const int B = SmallStep::batch, n = SmallStep::inputs, H = SmallStep::hidden;
  const Numbers ones(static_cast<std::size_t>(B * SmallStep::outputs), 1.0);
  Numbers d_x(B * n), d_h(B * H), d_c(B * H), d_gates(B * 4 * H);
  lpgd::StepBackwardTask<double> task{};
  task.cell = lpgd::MomentumCell::kLstm;
  task.batch = B;
  task.inputs = n;
  task.outputs = SmallStep::outputs;
  task.layers = 1;
  task.hidden = H;
  task.weights[0] = {step.w_ih.data(), step.w_hh.data(), step.b_ih.data(), step.b_hh.data()};
  task.w_out = step.w_out.data();
  task.c = step.c.data();
  task.c_out = step.c_out.data();
  task.gates = step.gates.data();
  task.d_v = ones.data();
  task.d_x = d_x.data();
  task.d_h = d_h.data();
  task.d_c = d_c.data();
  task.d_gates = d_gates.data();
  Numbers work(lpgd::step_bytes<double>(1, H, B) / sizeof(double));
  lpgd::step_backward_items(task, 0, B, work.data());

  lpgd::WeightGradientTask<double> sums{};
  sums.cell = task.cell;
  sums.steps = 1;
  sums.batch = B;
  sums.inputs = n;
  sums.outputs = task.outputs;
  sums.layers = 1;
  sums.hidden = H;
  const double *x = step.x.data(), *before = step.h.data(), *after = step.h_out.data();
  const double *gates = d_gates.data(), *d_v = ones.data();
  sums.x = &x;
  sums.before = &before;
  sums.after = &after;
  sums.d_gates = &gates;
  sums.d_v = &d_v;
  std::vector<Numbers> grads{Numbers(step.w_ih.size()),  Numbers(step.w_hh.size()),
                             Numbers(step.b_ih.size()),  Numbers(step.b_hh.size()),
                             Numbers(step.w_out.size()), Numbers(step.b_out.size())};
  std::vector<double*> totals;
  for (Numbers& grad : grads) totals.push_back(grad.data());
  sums.totals = totals.data();
  for (int part = 0; part < 3; ++part) lpgd::weight_gradients(sums, part, 3);

  const auto differ = [](Numbers SmallStep::* array, const Numbers& found, std::size_t every) {
    for (std::size_t i = 0; i < found.size(); i += every) {
      SmallStep up, down;
      (up.*array)[i] += 1e-6;
      (down.*array)[i] -= 1e-6;
      CHECK_NEAR(found[i], (up.run() - down.run()) / 2e-6, 1e-6);
    }
  };
  differ(&SmallStep::x, d_x, 31);
  differ(&SmallStep::h, d_h, 1);
  differ(&SmallStep::c, d_c, 1);
  differ(&SmallStep::w_ih, grads[0], 37);
  differ(&SmallStep::w_hh, grads[1], 1);
  differ(&SmallStep::b_ih, grads[2], 1);
  differ(&SmallStep::b_hh, grads[3], 1);
  differ(&SmallStep::w_out, grads[4], 1);
  differ(&SmallStep::b_out, grads[5], 1);
}

LPGD_TEST(coordinates_stay_in_bounds) {
  const int rows = 75, hidden = 3;  // two blocks and a part
  const Numbers w_ih = numbers(4 * hidden, 0), w_hh = numbers(4 * hidden * hidden, 1);
  const Numbers b_ih = numbers(4 * hidden, 2), b_hh = numbers(4 * hidden, 3);
  const Numbers w_out = numbers(hidden, 4), b_out = numbers(1, 5), x = numbers(rows, 6);
  const Numbers h = numbers(hidden * rows, 7), c = numbers(hidden * rows, 8);
  Numbers v(rows), h_out(hidden * rows), c_out(hidden * rows);
  Numbers d_x(rows), d_h(hidden * rows), d_c(hidden * rows);
  Numbers sums(lpgd::coordinate_weight_count(lpgd::MomentumCell::kLstm, 1, hidden));
  Numbers workspace(lpgd::CoordinateWork<double>::scalars(1, hidden));
  lpgd::CoordinateTask<double> task{};
  task.cell = lpgd::MomentumCell::kLstm;
  task.rows = rows;
  task.layers = 1;
  task.hidden = hidden;
  task.weights[0] = {w_ih.data(), w_hh.data(), b_ih.data(), b_hh.data()};
  task.w_out = w_out.data();
  task.b_out = b_out.data();
  task.x = x.data();
  task.h = h.data();
  task.c = c.data();
  task.v = v.data();
  task.h_out = h_out.data();
  task.c_out = c_out.data();
  lpgd::coordinate_forward(task, 0, rows, workspace.data());
  for (int row = 0; row < rows; ++row) {
    double expected_v = b_out[0];
    for (int j = 0; j < hidden; ++j) {
      const Unit expected = unit_of(task.weights[0], 1, hidden, j, x.data() + row, h.data() + row,
                                    rows, c[j * rows + row]);
      CHECK_NEAR(h_out[j * rows + row], expected.h, 1e-14);
      expected_v += w_out[j] * expected.h;
    }
    CHECK_NEAR(v[row], expected_v, 1e-14);
  }
  // the gradient of sum(v) in the input weights, against a difference
  const Numbers ones(rows, 1.0);
  task.d_v = ones.data();
  task.d_x = d_x.data();
  task.d_h = d_h.data();
  task.d_c = d_c.data();
  lpgd::coordinate_backward(task, 0, rows, workspace.data(), sums.data());
  auto total = [&](const Numbers& moved) {
    lpgd::CoordinateTask<double> other = task;
    other.weights[0].w_ih = moved.data();
    lpgd::coordinate_forward(other, 0, rows, workspace.data());
    double sum = 0;
    for (const double value : v) sum += value;
    return sum;
  };
  for (std::size_t i = 0; i < w_ih.size(); ++i) {
    Numbers up = w_ih, down = w_ih;
    up[i] += 1e-6;
    down[i] -= 1e-6;
    CHECK_NEAR(sums[i], (total(up) - total(down)) / 2e-6, 1e-6);
  }
}

LPGD_TEST(convolutions_stay_in_bounds) {
  for (const int n : {1, 4, 13, 53}) {
    const int batch = 2, inputs = 3, outputs = 5, kernel = 3;
    const Numbers x = numbers(batch * inputs * n, 0), bias = numbers(outputs, 1);
    const Numbers w = numbers(outputs * inputs * kernel, 2);
    const double slope = 0.25;
    Numbers y(static_cast<std::size_t>(batch * outputs * n));
    Numbers lines(static_cast<std::size_t>(inputs * lpgd::padded_line<double>(n, kernel)));
    lpgd::ConvolutionTask<double> task{};
    task.batch = batch;
    task.inputs = inputs;
    task.outputs = outputs;
    task.n = n;
    task.kernel = kernel;
    task.x = x.data();
    task.slope = &slope;
    task.w = w.data();
    task.bias = bias.data();
    task.y = y.data();
    lpgd::convolution_forward(task, 0, batch, lines.data());
    for (int b = 0; b < batch; ++b)
      for (int o = 0; o < outputs; ++o)
        for (int i = 0; i < n; ++i) {
          double sum = bias[o];
          for (int c = 0; c < inputs; ++c)
            for (int k = 0; k < kernel; ++k) {
              const int from = i + k - 1;
              if (from < 0 || from >= n) continue;
              const double value = x[(b * inputs + c) * n + from];
              sum += w[(o * inputs + c) * kernel + k] * (value > 0 ? value : slope * value);
            }
          CHECK_NEAR(y[(b * outputs + o) * n + i], sum, 1e-13);
        }
  }
}
