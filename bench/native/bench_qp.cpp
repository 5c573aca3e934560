// One thread, one call of the solve kernel over a batch of random strictly convex QPs (m = n, p = n
// / 2): the share of a solve that is kernel, and how instruction sets compare. Checks the status
// first.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "cpu/qp.h"

namespace {

template <class T>
struct Batch {
  int n, m, p;
  std::int64_t size;
  std::vector<T> P, q, G, h, A, b, x, y, z, residuals;
  std::vector<std::int32_t> status, iterations;

  Batch(int n_, std::int64_t size_) : n(n_), m(n_), p(n_ / 2), size(size_) {
    std::mt19937_64 generator(7);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    auto fill = [&](std::vector<T>& out, std::int64_t count, double scale) {
      out.resize(static_cast<std::size_t>(size * count));
      for (T& value : out) value = static_cast<T>(scale * normal(generator));
    };
    const double scale = 1 / std::sqrt(static_cast<double>(n));
    std::vector<T> root;
    fill(root, n * n, scale);
    fill(q, n, 1);
    fill(G, m * n, scale);
    fill(A, p * n, scale);
    P.resize(static_cast<std::size_t>(size * n * n));
    h.resize(static_cast<std::size_t>(size * m));
    b.assign(static_cast<std::size_t>(size * p), T(0));  // x = 0 is feasible
    for (T& value : h) value = static_cast<T>(uniform(generator));
    for (std::int64_t item = 0; item < size; ++item)
      for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
          T sum = i == j ? T(0.01) : T(0);
          for (int k = 0; k < n; ++k)
            sum += root[static_cast<std::size_t>((item * n + i) * n + k)] *
                   root[static_cast<std::size_t>((item * n + j) * n + k)];
          P[static_cast<std::size_t>((item * n + i) * n + j)] = sum;
        }
    x.resize(static_cast<std::size_t>(size * n));
    y.resize(static_cast<std::size_t>(size * p));
    z.resize(static_cast<std::size_t>(size * m));
    residuals.resize(static_cast<std::size_t>(size * 3));
    status.resize(static_cast<std::size_t>(size));
    iterations.resize(static_cast<std::size_t>(size));
  }

  lpgd::QpTask<T> task(T eps) {
    lpgd::QpTask<T> out{};
    out.problem.batch = size;
    out.problem.n = n;
    out.problem.m = m;
    out.problem.p = p;
    out.problem.P = P.data();
    out.problem.q = q.data();
    out.problem.G = G.data();
    out.problem.h = h.data();
    out.problem.A = A.data();
    out.problem.b = b.data();
    out.problem.stride_P = std::int64_t{n} * n;
    out.problem.stride_q = n;
    out.problem.stride_G = std::int64_t{m} * n;
    out.problem.stride_h = m;
    out.problem.stride_A = std::int64_t{p} * n;
    out.problem.stride_b = p;
    out.settings = {eps, 60};
    out.method = lpgd::QpMethod::kInterior;
    out.solution = {x.data(), y.data(), z.data(), nullptr, nullptr};
    out.report = {status.data(), iterations.data(), residuals.data()};
    return out;
  }
};

struct alignas(64) Line {
  unsigned char bytes[64];
};

template <class T>
using Layout = lpgd::QpLayout<lpgd::QpTask<T>>;

template <class T>
void solve(benchmark::State& state, T eps, Layout<T> lpgd::QpLayouts<lpgd::QpTask<T>>::* which) {
  Batch<T> batch(static_cast<int>(state.range(1)), state.range(0));
  const Layout<T>& layout = lpgd::qp_kernels().of<T>().solve.*which;
  const lpgd::QpTask<T> task = batch.task(eps);
  const std::int64_t packs = layout.packs(batch.size);
  std::vector<Line> workspace(layout.workspace_bytes(task) / sizeof(Line) + 1);
  layout.run(task, batch.size, 0, packs, workspace.data(), true);
  double iterations = 0;
  for (std::size_t i = 0; i < batch.status.size(); ++i) {
    iterations += batch.iterations[i];
    if (batch.status[i] != lpgd::kQpOk) {
      state.SkipWithError(("status " + std::to_string(batch.status[i])).c_str());
      return;
    }
  }
  for (auto _ : state) layout.run(task, batch.size, 0, packs, workspace.data(), true);
  state.counters["seconds_per_problem"] = benchmark::Counter(
      static_cast<double>(batch.size),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["solver_iterations"] = iterations / static_cast<double>(batch.size);
  state.SetLabel(lpgd::isa_name(lpgd::active_isa()));
}

void grid(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"B", "n"})->Unit(benchmark::kMillisecond);
  for (const int n : {10, 50, 100})
    for (const int size : {1, 64}) bench->Args({size, n});
}

using Layouts64 = lpgd::QpLayouts<lpgd::QpTask<double>>;
using Layouts32 = lpgd::QpLayouts<lpgd::QpTask<float>>;
BENCHMARK_CAPTURE(solve, f64_packed, 1e-9, &Layouts64::packed)->Apply(grid);
BENCHMARK_CAPTURE(solve, f64_alone, 1e-9, &Layouts64::alone)->Apply(grid);
BENCHMARK_CAPTURE(solve, f32_packed, 1e-4F, &Layouts32::packed)->Apply(grid);
BENCHMARK_CAPTURE(solve, f32_alone, 1e-4F, &Layouts32::alone)->Apply(grid);

}  // namespace

BENCHMARK_MAIN();
