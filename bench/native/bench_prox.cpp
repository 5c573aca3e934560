// One thread, the proximal kernels over a batch of normal rows: bytes and numbers per second.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <vector>

#include "cpu/isa.h"
#include "cpu/prox.h"

namespace {

constexpr std::int64_t kRows = 256, kColumns = 1000;

struct alignas(64) Line {
  unsigned char bytes[64];
};

template <class T>
struct Batch {
  std::vector<T> x, out, gradient, gx;
  std::vector<std::int32_t> order;
  T parameters[2];
  std::vector<T> falling;

  Batch(double first, double second) : parameters{static_cast<T>(first), static_cast<T>(second)} {
    std::mt19937_64 generator(7);
    std::normal_distribution<double> normal;
    x.resize(kRows * kColumns);
    gradient.resize(x.size());
    for (T& value : x) value = static_cast<T>(normal(generator));
    for (T& value : gradient) value = static_cast<T>(normal(generator));
    out.resize(x.size());
    gx.resize(x.size());
    order.resize(x.size());
    falling.resize(kColumns);
    for (std::int64_t i = 0; i < kColumns; ++i)
      falling[static_cast<std::size_t>(i)] = static_cast<T>(1.0 - 0.99 * double(i) / kColumns);
  }

  lpgd::ProxTask<T> task(bool is_falling) {
    lpgd::ProxTask<T> out_task{};
    out_task.rows = kRows;
    out_task.n = kColumns;
    out_task.x = x.data();
    out_task.out = out.data();
    out_task.order = order.data();
    out_task.gradient = gradient.data();
    out_task.gradient_x = gx.data();
    for (int k = 0; k < 2; ++k) out_task.parameters[k] = {&parameters[k], 0, 0};
    if (is_falling) out_task.parameters[0] = {falling.data(), 0, 1};
    return out_task;
  }
};

template <class T>
void count(benchmark::State& state, int arrays) {
  const double numbers = static_cast<double>(kRows * kColumns);
  state.counters["bytes/s"] = benchmark::Counter(numbers * arrays * sizeof(T),
                                                 benchmark::Counter::kIsIterationInvariantRate,
                                                 benchmark::Counter::kIs1024);
  state.counters["numbers/s"] =
      benchmark::Counter(numbers, benchmark::Counter::kIsIterationInvariantRate);
  state.SetLabel(lpgd::isa_name(lpgd::active_isa()));
}

template <class T>
void separable(benchmark::State& state, lpgd::Separable kind, double first, double second,
               double flops, bool backward) {
  Batch<T> batch(first, second);
  const lpgd::ProxTask<T> task = batch.task(false);
  const lpgd::ProxKernelsOf<T>& kernels = lpgd::prox_kernels().of<T>();
  double sums[2];
  for (auto _ : state) {
    for (std::int64_t row = 0; row < kRows; ++row) {
      if (backward) {
        kernels.separable_backward(kind, task, row, 0, kColumns, sums);
      } else {
        kernels.separable(kind, task, row, 0, kColumns);
      }
    }
    benchmark::ClobberMemory();
  }
  count<T>(state, backward ? 3 : 2);
  // of the formula, comparisons not counted
  state.counters["flop/s"] = benchmark::Counter(flops * double(kRows * kColumns),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

template <class T>
void rows(benchmark::State& state, lpgd::Rowwise kind, double first, bool backward) {
  Batch<T> batch(first, 1.0);
  const lpgd::ProxTask<T> task = batch.task(kind == lpgd::Rowwise::sorted_l1);
  const lpgd::ProxKernelsOf<T>& kernels = lpgd::prox_kernels().of<T>();
  std::vector<Line> scratch(kernels.scratch_bytes(kind, kColumns) / sizeof(Line) + 1);
  kernels.rows(kind, task, 0, kRows, scratch.data());
  for (auto _ : state) {
    if (backward) {
      kernels.rows_backward(kind, task, 0, kRows, scratch.data());
    } else {
      kernels.rows(kind, task, 0, kRows, scratch.data());
    }
    benchmark::ClobberMemory();
  }
  count<T>(state, backward ? 4 : 2);
}

using lpgd::Rowwise;
using lpgd::Separable;

// the macro below makes a name of the function's, so it takes no template
void separable_f64(benchmark::State& state, Separable kind, double first, double second,
                   double flops, bool backward) {
  separable<double>(state, kind, first, second, flops, backward);
}
void separable_f32(benchmark::State& state, Separable kind, double first, double second,
                   double flops, bool backward) {
  separable<float>(state, kind, first, second, flops, backward);
}
void rows_f64(benchmark::State& state, Rowwise kind, double first, bool backward) {
  rows<double>(state, kind, first, backward);
}
void rows_f32(benchmark::State& state, Rowwise kind, double first, bool backward) {
  rows<float>(state, kind, first, backward);
}

#define LPGD_SEPARABLE(name, first, second, flops)                                      \
  BENCHMARK_CAPTURE(separable_f64, name, Separable::name, first, second, flops, false); \
  BENCHMARK_CAPTURE(separable_f32, name, Separable::name, first, second, flops, false); \
  BENCHMARK_CAPTURE(separable_f32, name##_vjp, Separable::name, first, second, flops, true)
LPGD_SEPARABLE(l1, 0.5, 0, 2);
LPGD_SEPARABLE(huber, 0.5, 0.5, 5);
LPGD_SEPARABLE(log_barrier, 0.5, 0, 6);
LPGD_SEPARABLE(negative_entropy, 0.5, 0, 60);
LPGD_SEPARABLE(logistic, 0.5, 0, 120);
#define LPGD_ROWS(name, first)                                    \
  BENCHMARK_CAPTURE(rows_f64, name, Rowwise::name, first, false); \
  BENCHMARK_CAPTURE(rows_f32, name, Rowwise::name, first, false); \
  BENCHMARK_CAPTURE(rows_f64, name##_vjp, Rowwise::name, first, true)
LPGD_ROWS(simplex, 1.0);
LPGD_ROWS(l1_ball, 10.0);
LPGD_ROWS(linf, 5.0);
LPGD_ROWS(l2, 1.0);
LPGD_ROWS(total_variation, 1.0);
LPGD_ROWS(isotonic, 0.0);
LPGD_ROWS(sorted_l1, 0.0);

}  // namespace

BENCHMARK_MAIN();
