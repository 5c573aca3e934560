// The dense QP: cold, warm and perturbed solves and the derivative, in both layouts.
#include "cpu/qp.h"
#include "fuzz_input.h"

namespace lpgd::fuzz {
namespace {

template <class T>
struct Arrays {
  std::vector<T> x, y, z, z_lb, z_ub, residuals;
  std::vector<std::int32_t> status, iterations;

  Arrays(const QpProblem<T>& problem, std::int64_t rows) {
    const auto room = [&](int width) { return static_cast<std::size_t>(rows * width); };
    x.assign(room(problem.n), T(7));
    y.assign(room(problem.p), T(7));
    z.assign(room(problem.m), T(7));
    z_lb.assign(room(problem.lb != nullptr ? problem.n : 0), T(7));
    z_ub.assign(room(problem.ub != nullptr ? problem.n : 0), T(7));
    residuals.assign(room(3), T(7));
    status.assign(room(1), -7);
    iterations.assign(room(1), -7);
  }
  // Absent bounds alone are null, as the ops have it: blocks without rows have a place.
  QpPoint<T> point() {
    return {x.data(), some(y), some(z), z_lb.empty() ? nullptr : z_lb.data(),
            z_ub.empty() ? nullptr : z_ub.data()};
  }
  QpReport<T> report() { return {status.data(), iterations.data(), residuals.data()}; }
  bool finite() const {
    return all_finite(x) && all_finite(y) && all_finite(z) && all_finite(z_lb) && all_finite(z_ub);
  }

 private:
  static T* some(std::vector<T>& v) {
    static T nothing{};
    return v.empty() ? &nothing : v.data();
  }
};

template <class Task>
void run(const QpLayout<Task>& layout, const Task& task, std::int64_t count) {
  const Room workspace(layout.workspace_bytes(task));
  layout.run(task, count, 0, layout.packs(count), workspace.get(), true);
}

template <class T>
void one(Input& in) {
  QpProblem<T> problem{};
  problem.n = in.between(1, 7);
  problem.m = in.between(0, 7);
  problem.p = in.between(0, 4);
  const std::int64_t batch = in.between(1, 9), n = problem.n, m = problem.m, p = problem.p;
  problem.batch = batch;
  const bool tame = in.between(0, 3) != 0;
  in.tame(tame);
  std::vector<std::vector<T>> kept;
  kept.reserve(8);
  const auto block = [&](const T*& pointer, std::int64_t& stride, std::int64_t size, bool there) {
    if (!there || size == 0) return;
    const bool shared = in.flag();
    kept.push_back(in.numbers<T>(shared ? size : batch * size));
    pointer = kept.back().data();
    stride = shared ? 0 : size;
  };
  block(problem.q, problem.stride_q, n, true);
  block(problem.G, problem.stride_G, m * n, true);
  block(problem.h, problem.stride_h, m, true);
  block(problem.A, problem.stride_A, p * n, true);
  block(problem.b, problem.stride_b, p, true);
  block(problem.lb, problem.stride_lb, n, in.flag());
  block(problem.ub, problem.stride_ub, n, in.flag());
  const int kind = in.between(0, 3);
  block(problem.P, problem.stride_P, n * n, kind != 0);
  if (kind >= 2 && problem.P != nullptr) {  // R R': convex, unless the numbers are wild
    std::vector<T>& P = kept.back();
    const std::vector<T> root = P;
    for (std::size_t at = 0; at < P.size(); at += static_cast<std::size_t>(n * n))
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          T sum = 0;
          for (std::int64_t k = 0; k < (kind == 2 ? n : 1); ++k)
            sum += root[at + static_cast<std::size_t>(i * n + k)] *
                   root[at + static_cast<std::size_t>(j * n + k)];
          P[at + static_cast<std::size_t>(i * n + j)] = sum;
        }
  }

  const QpKernelsOf<T>& kernels = qp_kernels().of<T>();
  QpTask<T> task{};
  task.problem = problem;
  task.settings = {T(sizeof(T) == 8 ? 1e-9 : 1e-4), in.between(1, 60)};
  task.method = QpMethod::kInterior;
  Arrays<T> cold(problem, batch);
  task.solution = cold.point();
  task.report = cold.report();
  run(kernels.solve.packed, task, batch);
  LPGD_HOLDS(cold.finite());
  for (const std::int32_t code : cold.status) LPGD_HOLDS(code >= 0 && code <= 4);
  for (const T residual : cold.residuals) LPGD_HOLDS(residual >= 0);  // and no nan

  // an item is what it is alone: last one of the batch
  {
    QpTask<T> alone = task;
    const QpEntry<T> entry{batch - 1, 0, T(0), T(0)};
    Arrays<T> own(problem, 1);
    alone.entries = &entry;
    alone.solution = own.point();
    alone.report = own.report();
    run(kernels.solve.packed, alone, 1);
    LPGD_HOLDS(own.status[0] == cold.status[static_cast<std::size_t>(batch - 1)]);
    LPGD_HOLDS(same_numbers(own.x.data(), cold.x.data() + (batch - 1) * n, n));
    LPGD_HOLDS(same_numbers(own.z.data(), cold.z.data() + (batch - 1) * m, m));
  }
  {
    Arrays<T> other(problem, batch);
    QpTask<T> again = task;
    again.solution = other.point();
    again.report = other.report();
    run(kernels.solve.alone, again, batch);
    LPGD_HOLDS(other.finite());
  }

  // from a point of no use
  Arrays<T> start(problem, batch), warm(problem, batch);
  for (auto* part : {&start.x, &start.y, &start.z, &start.z_lb, &start.z_ub})
    for (T& value : *part) value = in.number<T>();
  {
    QpTask<T> from = task;
    from.method = QpMethod::kWarmStart;
    from.rounds = kWarmIterations;
    from.point = as_given(start.point());
    from.solution = warm.point();
    from.report = warm.report();
    run(kernels.solve.packed, from, batch);
    LPGD_HOLDS(warm.finite());
  }

  // the derivative, and a perturbed pair, along a gradient that may be anything
  Arrays<T> gradient(problem, batch), direction(problem, batch);
  for (auto* part : {&gradient.x, &gradient.y, &gradient.z, &gradient.z_lb, &gradient.z_ub})
    for (T& value : *part) value = in.number<T>();
  QpImplicitTask<T> implicit{};
  implicit.problem = problem;
  implicit.solved = cold.status.data();
  implicit.point = as_given(cold.point());
  implicit.gradient = as_given(gradient.point());
  implicit.direction = direction.point();
  implicit.report.status = direction.status.data();
  run(kernels.implicit.packed, implicit, batch);
  if (tame) LPGD_HOLDS(direction.finite());  // wild numbers may leave the range of their type

  Arrays<T> both(problem, 2 * batch);
  std::vector<QpEntry<T>> entries;
  for (std::int64_t i = 0; i < batch; ++i) entries.push_back({i, i, T(0.5), T(0)});
  QpTask<T> pair = task;
  pair.method = QpMethod::kActiveSetPair;
  pair.rounds = 1;
  pair.entries = entries.data();
  pair.point = as_given(cold.point());
  pair.gradient = as_given(gradient.point());
  pair.solution = both.point();
  pair.report = both.report();
  run(kernels.solve.packed, pair, batch);
  for (std::int64_t i = 0; i < batch; ++i) {
    if (both.status[static_cast<std::size_t>(i)] != kQpOk) continue;
    for (std::int64_t j = 0; j < n; ++j)
      LPGD_HOLDS(std::isfinite(both.x[static_cast<std::size_t>(i * n + j)]));
  }
}

}  // namespace
}  // namespace lpgd::fuzz

int lpgd_fuzz_qp(const unsigned char* data, unsigned long size);
int lpgd_fuzz_qp(const unsigned char* data, unsigned long size) {
  lpgd::fuzz::Input in(data, size);
  if (in.flag())
    lpgd::fuzz::one<double>(in);
  else
    lpgd::fuzz::one<float>(in);
  return 0;
}
