// One thread: how fast the KKT systems are factored (normal matrix and Cholesky in one), in flops.
// Checks the factor first. bench/scaling_qp.py --threads 1 gives the dgemm rate beside it.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "cpu/isa.h"
#include "dense_kernels.h"

namespace lpgd {

#define LPGD_DECLARE(name)               \
  namespace isa_##name {                 \
    const DenseKernels& dense_kernels(); \
  }
LPGD_FOR_EACH_ISA(LPGD_DECLARE)
#undef LPGD_DECLARE

const DenseKernels& dense_kernels() {
  switch (active_isa()) {
#define LPGD_CASE(name) \
  case Isa::name:       \
    return isa_##name::dense_kernels();
    LPGD_FOR_EACH_ISA(LPGD_CASE)
#undef LPGD_CASE
  }
  __builtin_unreachable();
}

}  // namespace lpgd

namespace {

struct alignas(64) Line {
  unsigned char bytes[64];
};

void factor(benchmark::State& state, lpgd::FactorLayout lpgd::DenseKernels::* which) {
  const lpgd::FactorLayout& layout = lpgd::dense_kernels().*which;
  const int n = static_cast<int>(state.range(0));
  std::vector<Line> workspace(layout.workspace_bytes(n) / sizeof(Line) + 1);
  layout.fill(n, workspace.data());
  layout.factor(n, workspace.data());
  const double error = layout.error(n, workspace.data());
  if (!(error < 1e-12)) {
    state.SkipWithError(("relative error " + std::to_string(error)).c_str());
    return;
  }
  for (auto _ : state) layout.factor(n, workspace.data());
  // the lower triangle of R diag(w) R', and a third of n^3 for Cholesky
  const double flops = layout.problems * (1.0 * n * n * n + 1.0 * n * n * n / 3);
  state.counters["flops"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["problems"] = layout.problems;
  state.SetLabel(lpgd::isa_name(lpgd::active_isa()));
}

void grid(benchmark::internal::Benchmark* bench) {
  bench->ArgName("n")->Unit(benchmark::kMicrosecond);
  for (const int n : {10, 25, 50, 100, 200}) bench->Arg(n);
}

BENCHMARK_CAPTURE(factor, packed, &lpgd::DenseKernels::packed)->Apply(grid);
BENCHMARK_CAPTURE(factor, alone, &lpgd::DenseKernels::alone)->Apply(grid);

}  // namespace

BENCHMARK_MAIN();
