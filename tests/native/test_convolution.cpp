// The convolution of short signals as a CUDA block runs it, on host threads: against the CPU's
// loops, for any number of lanes; and the launch geometry.
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.h"
#include "core/convolution_minimal.h"
#include "core/convolution_rows.h"
#include "cuda/convolution_geometry.h"
#include "thread_group.h"

using namespace lpgd;
using lpgd::test::ThreadTeam;

namespace {

using Numbers = std::vector<double>;

Numbers numbers(int count, int seed) {
  Numbers out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = std::sin(1.0 + 0.7 * static_cast<double>(i) * (seed + 1));
  return out;
}

double largest_difference(const Numbers& a, const Numbers& b) {
  double out = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= out)) out = difference;  // nan as well
  }
  return out;
}

// All arrays of a convolution, each of its exact size.
struct Signals {
  int batch, inputs, outputs, n, kernel;
  Numbers x, w, bias, d_y, y, d_x, d_slope, d_w, d_bias;
  double slope = 0.25;

  Signals(int batch_, int inputs_, int outputs_, int n_, int kernel_)
      : batch(batch_), inputs(inputs_), outputs(outputs_), n(n_), kernel(kernel_) {
    x = numbers(batch * inputs * n, 0);
    w = numbers(outputs * inputs * kernel, 1);
    bias = numbers(outputs, 2);
    d_y = numbers(batch * outputs * n, 3);
    y = numbers(batch * outputs * n, 4);
    d_x = numbers(batch * inputs * n, 4);
    d_slope = numbers(batch, 4);
    d_w = numbers(outputs * inputs * kernel, 4);
    d_bias = numbers(outputs, 4);
  }

  ConvolutionTask<double> task(bool sloped) {
    ConvolutionTask<double> out{};
    out.batch = batch;
    out.inputs = inputs;
    out.outputs = outputs;
    out.n = n;
    out.kernel = kernel;
    out.x = x.data();
    out.slope = sloped ? &slope : nullptr;
    out.w = w.data();
    out.bias = bias.data();
    out.y = y.data();
    out.d_y = d_y.data();
    out.d_x = d_x.data();
    out.d_slope = sloped ? d_slope.data() : nullptr;
    out.d_w = d_w.data();
    out.d_bias = d_bias.data();
    return out;
  }
};

// By any of the two ways of the CPU: layout, preparation and kernels.
template <class Layout, class Prepare, class Forward, class Backward, class Weights>
void run_all(Signals& on, bool sloped, const Layout& layout, const Prepare& prepare,
             const Forward& forward, const Backward& backward, const Weights& weights) {
  for (const bool back : {false, true}) {
    ConvolutionTask<double> task = on.task(sloped);
    const ConvolutionLayout sizes = layout(task, back);
    Numbers prepared(static_cast<std::size_t>(sizes.weights), std::nan(""));
    if (!prepared.empty()) {
      prepare(task, back, prepared.data());
      task.w = prepared.data();
    }
    // what is not written before it is read shows
    Numbers workspace(static_cast<std::size_t>(sizes.workspace), std::nan(""));
    Numbers x_lines(static_cast<std::size_t>(sizes.x_lines), std::nan(""));
    Numbers d_lines(static_cast<std::size_t>(sizes.d_lines), std::nan(""));
    task.x_lines = x_lines.data();
    task.d_lines = d_lines.data();
    for (std::int64_t group = 0; group < sizes.groups; ++group)
      (back ? backward : forward)(task, group, group + 1, workspace.data());
    if (back) weights(task, 0, on.outputs);
  }
}

void run_on_cpu(Signals& on, bool sloped) {
  run_all(
      on, sloped, convolution_layout<double>,
      [](const auto& task, bool back, double* to) {
        if (back) turn_kernel(task, to);
      },
      convolution_forward<double>, convolution_backward<double>, convolution_weights<double>);
}

void run_minimal(Signals& on, bool sloped) {
  run_all(on, sloped, minimal_layout<double>, weights_at_points<double>, minimal_forward<double>,
          minimal_backward<double>, minimal_weights<double>);
}

// What the kernels of convolution.cu do: `quads` of channels a group, `sum_rows` a block of sums.
template <int J>
void run_blocks(Signals& on, bool sloped, int lanes, int quads, int room, int sum_rows) {
  const ConvolutionTask<double> task = on.task(sloped);
  const std::int64_t rows = task.batch * task.n;
  std::vector<Quad<double>> shared(static_cast<std::size_t>(room));
  const int y_quads = (on.outputs + 3) / 4, x_quads = (on.inputs + 3) / 4;
  const int groups = (x_quads + quads - 1) / quads;
  Numbers slopes(sloped ? static_cast<std::size_t>(groups * rows) : 0, std::nan(""));
  const int count = on.outputs * (on.inputs * on.kernel + 1);
  const auto blocks = static_cast<int>((rows + sum_rows - 1) / sum_rows);
  Numbers parts(static_cast<std::size_t>(blocks * count), std::nan(""));
  Numbers memory(static_cast<std::size_t>(lanes));
  ThreadTeam team(lanes);
  team.run([&](const auto& group) {
    for (int begin = 0; begin < y_quads; begin += quads)
      for (std::int64_t row = 0; row < rows; row += lanes)
        convolve_rows<false, J>(group, task, row, begin,
                                begin + quads < y_quads ? begin + quads : y_quads, shared.data(),
                                room, static_cast<double*>(nullptr));
    for (int part = 0; part < groups; ++part)
      for (std::int64_t row = 0; row < rows; row += lanes)
        convolve_rows<true, J>(group, task, row, part * quads,
                               (part + 1) * quads < x_quads ? (part + 1) * quads : x_quads,
                               shared.data(), room, sloped ? slopes.data() + part * rows : nullptr);
    for (int block = 0; block < blocks; ++block) {
      const std::int64_t from = std::int64_t{block} * sum_rows;
      const std::int64_t here = rows - from < sum_rows ? rows - from : sum_rows;
      convolution_row_sums(group, task, from, here, shared.data(), room,
                           parts.data() + block * count);
    }
    group.sync();  // between two kernels
    for (std::int64_t at = 0; at < count; at += kPartColumns)
      add_parts(group, parts.data(), blocks, count, at, task.d_w, task.d_bias, count - on.outputs,
                memory.data());
    if (sloped)
      for (std::int64_t b = 0; b < task.batch; ++b)
        add_slope_parts(group, slopes.data(), groups, task.batch, task.n, b, task.d_slope);
  });
}

template <int J>
void signals_agree(Signals sizes, bool sloped, int lanes, int quads, int room, int sum_rows) {
  Signals one(sizes), many(sizes);
  run_on_cpu(one, sloped);
  run_blocks<J>(many, sloped, lanes, quads, room, sum_rows);
  CHECK(largest_difference(one.y, many.y) < 1e-12);
  CHECK(largest_difference(one.d_x, many.d_x) < 1e-12);
  CHECK(largest_difference(one.d_slope, many.d_slope) < 1e-12);
  CHECK(largest_difference(one.d_w, many.d_w) < 1e-12);
  CHECK(largest_difference(one.d_bias, many.d_bias) < 1e-12);
}

}  // namespace

LPGD_TEST(convolutions_agree_on_any_lanes) {
  for (const int lanes : {1, 2, 32, 96}) {
    const int n = lanes < 32 ? 6 : 53;
    signals_agree<1>(Signals(2, 3, 5, n, 3), true, lanes, 1, 64, 40);
    signals_agree<4>(Signals(2, 3, 5, n, 3), false, lanes, 4, 64, 1000);
  }
  // kernels longer than the signal, one position, one channel
  signals_agree<1>(Signals(3, 2, 3, 2, 9), true, 4, 1, 64, 4);
  signals_agree<1>(Signals(3, 1, 1, 1, 1), true, 4, 1, 64, 32);
  // weights that shared memory has no room for, and several groups of channels
  signals_agree<4>(Signals(1, 17, 37, 9, 3), true, 8, 8, 64, 5);
  signals_agree<1>(Signals(1, 37, 17, 9, 5), true, 8, 3, 64, 9);
}

LPGD_TEST(fewer_products_give_the_same_convolution) {
  for (const bool sloped : {true, false})
    for (const int n : {1, 2, 3, 4, 5, 7, 8, 9, 12, 31, 32, 33, 53, 64, 100, 257, 515, 520})
      for (const int batch : {1, 3, 40}) {
        if (batch * n > 4000) continue;
        const Signals sizes(batch, n % 2 ? 3 : 8, n % 3 ? 5 : 17, n, 3);
        Signals one(sizes), other(sizes);
        run_on_cpu(one, sloped);
        run_minimal(other, sloped);
        const double sum = 1e-14 * batch * n * sizes.inputs;  // of so many terms
        CHECK(largest_difference(one.y, other.y) < 1e-12);
        CHECK(largest_difference(one.d_x, other.d_x) < 1e-12);
        CHECK(largest_difference(one.d_slope, other.d_slope) < 1e-12 + sum);
        CHECK(largest_difference(one.d_w, other.d_w) < 1e-12 + sum);
        CHECK(largest_difference(one.d_bias, other.d_bias) < 1e-12 + sum);
      }
}

LPGD_TEST(convolution_launches_cover_their_entries) {
  using namespace lpgd::cuda;
  for (const int bytes : {4, 8})
    for (const std::int64_t rows : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1696},
                                    std::int64_t{217088}, (std::int64_t{1} << 33) + 1})
      for (const int channels : {1, 4, 32, 37, 300000})
        for (const std::int64_t taps : {1, 96, 9999}) {
          const ConvolutionGeometry geometry = convolution_geometry(rows, channels, taps, bytes);
          CHECK((geometry.blocks == 0) == (rows == 0) && geometry.blocks <= kMostConvolutionBlocks);
          CHECK(geometry.tile == 1 || geometry.tile == 4);
          CHECK(geometry.quads % geometry.tile == 0 && geometry.groups <= 65535);
          // every quad is a group's, and no group is without
          const int quads = (channels + 3) / 4;
          CHECK(std::int64_t{geometry.groups} * geometry.quads >= quads);
          CHECK((geometry.groups - std::int64_t{1}) * geometry.quads < quads);
          CHECK(geometry.room >= geometry.tile && geometry.shared_bytes <= 48 << 10);
          const ConvolutionSums sums = convolution_sums(rows, channels, taps, bytes);
          CHECK(sums.blocks * sums.rows >= rows && sums.blocks <= kMostSumBlocks);
          CHECK(sums.blocks <= 1 || sums.workspace() * bytes <= kMostSumBytes);
          CHECK(4 * sums.room >= kLeastOuterRoom && sums.shared_bytes <= 48 << 10);
        }
  CHECK(convolution_geometry(1696, 32, 96, 4).groups == 8);  // few rows: a quad each
  CHECK(convolution_geometry(1 << 20, 32, 96, 4).groups == 1);
}
