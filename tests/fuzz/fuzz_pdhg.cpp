// The first-order solver of sparse problems: patterns with empty rows, repeated columns, no rows.
#include "cpu/pdhg.h"
#include "fuzz_input.h"

namespace lpgd::fuzz {
namespace {

struct Pattern {
  std::vector<std::int32_t> crow{0}, col;

  void rows(Input& in, int count, int n) {
    for (int i = 0; i < count; ++i) {
      const int entries = in.between(0, 4);
      for (int k = 0; k < entries; ++k) col.push_back(in.between(0, n - 1));
      crow.push_back(static_cast<std::int32_t>(col.size()));
    }
  }
};

template <class T>
struct Solved {
  std::vector<T> x, y, z, z_lb, z_ub, residuals;
  std::vector<std::int32_t> status, iterations;
};

template <class T>
Solved<T> solve(PdhgTask<T> task, const PdhgLayout<T>& layout) {
  const PdhgProblem<T>& problem = task.problem;
  const auto room = [&](int width) { return static_cast<std::size_t>(problem.batch * width); };
  Solved<T> out{std::vector<T>(room(problem.n), T(7)),
                std::vector<T>(room(problem.p), T(7)),
                std::vector<T>(room(problem.m), T(7)),
                std::vector<T>(room(problem.lb != nullptr ? problem.n : 0), T(7)),
                std::vector<T>(room(problem.ub != nullptr ? problem.n : 0), T(7)),
                std::vector<T>(room(3), T(7)),
                std::vector<std::int32_t>(room(1), -7),
                std::vector<std::int32_t>(room(1), -7)};
  task.solution = {out.x.data(), out.y.data(), out.z.data(),
                   problem.lb != nullptr ? out.z_lb.data() : nullptr,
                   problem.ub != nullptr ? out.z_ub.data() : nullptr};
  task.report = {out.status.data(), out.iterations.data(), out.residuals.data()};
  const Room workspace(layout.workspace_bytes(task));
  const std::int64_t packs = (problem.batch + layout.lanes - 1) / layout.lanes;
  for (std::int64_t pack = 0; pack < packs; ++pack)
    layout.run(task, pack, workspace.get(), pack == 0);
  for (const std::int32_t code : out.status) LPGD_HOLDS(code >= 0 && code <= 4);
  for (const auto* part : {&out.x, &out.y, &out.z, &out.z_lb, &out.z_ub})
    LPGD_HOLDS(all_finite(*part));
  for (const T residual : out.residuals) LPGD_HOLDS(residual >= 0);
  return out;
}

template <class T>
void one(Input& in) {
  PdhgTask<T> task{};
  PdhgProblem<T>& problem = task.problem;
  problem.n = in.between(1, 7);
  problem.m = in.between(0, 5);
  problem.p = in.between(0, 3);
  const std::int64_t batch = problem.batch = in.between(1, 9);
  Pattern C, P;
  C.rows(in, problem.p, problem.n);
  problem.nnz_A = static_cast<int>(C.col.size());
  C.rows(in, problem.m, problem.n);
  problem.nnz_G = static_cast<int>(C.col.size()) - problem.nnz_A;
  problem.crow = C.crow.data();
  problem.col = C.col.data();
  if (in.flag()) {
    for (int i = 0; i < problem.n; ++i) {  // diagonal, or its first entries: positive below
      P.col.push_back(i);
      P.crow.push_back(i + 1);
    }
    problem.nnz_P = problem.n;
    problem.P_crow = P.crow.data();
    problem.P_col = P.col.data();
  }
  in.tame(in.between(0, 3) != 0);
  std::vector<std::vector<T>> kept;
  kept.reserve(12);
  const auto block = [&](const T*& pointer, std::int64_t& stride, std::int64_t size, bool there) {
    if (!there) return;
    const bool shared = in.flag();
    kept.push_back(in.numbers<T>(shared ? size : batch * size));
    kept.back().reserve(1);
    pointer = kept.back().data();
    stride = shared ? 0 : size;
  };
  block(problem.q, problem.stride_q, problem.n, true);
  block(problem.G, problem.stride_G, problem.nnz_G, problem.m > 0);
  block(problem.h, problem.stride_h, problem.m, problem.m > 0);
  block(problem.A, problem.stride_A, problem.nnz_A, problem.p > 0);
  block(problem.b, problem.stride_b, problem.p, problem.p > 0);
  block(problem.lb, problem.stride_lb, problem.n, in.flag());
  block(problem.ub, problem.stride_ub, problem.n, in.flag());
  block(problem.rho, problem.stride_rho, 1, in.between(0, 3) == 0);
  block(problem.P, problem.stride_P, problem.nnz_P, problem.nnz_P > 0);
  if (problem.nnz_P > 0 && in.flag())
    for (T& value : kept.back()) value = std::abs(value);
  const std::vector<T> x0 = in.numbers<T>(batch * problem.n);
  const std::vector<T> y0 = in.numbers<T>(batch * problem.p + 1);
  const std::vector<T> z0 = in.numbers<T>(batch * problem.m + 1);
  if (in.flag()) task.start = {x0.data(), y0.data(), z0.data(), nullptr, nullptr};
  task.settings = {T(1e-4), in.between(1, 200)};

  const PdhgKernelsOf<T>& kernels = pdhg_kernels().of<T>();
  const Solved<T> packed = solve(task, kernels.packed);
  solve(task, kernels.alone);

  // a pack of copies of the last item: it is what it was among the others
  PdhgTask<T> last = task;
  PdhgProblem<T>& own = last.problem;
  own.batch = 1;
  const std::int64_t k = batch - 1;
  const auto move = [&](const T*& pointer, std::int64_t stride) {
    if (pointer != nullptr) pointer += k * stride;
  };
  move(own.P, own.stride_P);
  move(own.q, own.stride_q);
  move(own.G, own.stride_G);
  move(own.h, own.stride_h);
  move(own.A, own.stride_A);
  move(own.b, own.stride_b);
  move(own.lb, own.stride_lb);
  move(own.ub, own.stride_ub);
  move(own.rho, own.stride_rho);
  if (last.start.x != nullptr) {
    last.start.x += k * own.n;
    last.start.y += k * own.p;
    last.start.z += k * own.m;
  }
  const Solved<T> single = solve(last, kernels.packed);
  LPGD_HOLDS(single.status[0] == packed.status[static_cast<std::size_t>(k)]);
  LPGD_HOLDS(same_numbers(single.x.data(), packed.x.data() + k * own.n, own.n));
}

}  // namespace
}  // namespace lpgd::fuzz

int lpgd_fuzz_pdhg(const unsigned char* data, unsigned long size);
int lpgd_fuzz_pdhg(const unsigned char* data, unsigned long size) {
  lpgd::fuzz::Input in(data, size);
  if (in.flag())
    lpgd::fuzz::one<double>(in);
  else
    lpgd::fuzz::one<float>(in);
  return 0;
}
