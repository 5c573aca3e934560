// lpgd::solve_qp, lpgd::solve_qp_from, lpgd::resolve_qp, lpgd::implicit_qp, lpgd::outer_sum for CPU
// tensors, and the schema of these ops. Batched arguments have one leading dimension, shared ones
// have none.
#include "ops/qp.h"

#include <tuple>
#include <utility>

#include "cpu/qp.h"

namespace lpgd::ops {

namespace {

template <class Task>
void run_layouts(const QpLayouts<Task>& layouts, const Task& task, std::int64_t count) {
  const QpLayout<Task>& layout = layouts.pick(task.problem.n, count);
  parallel_items(layout.packs(count), layout.workspace_bytes(task),
                 [&](void* workspace, std::int64_t pack, bool fresh) {
                   layout.run(task, count, pack, pack + 1, workspace, fresh);
                 });
}

// Entries that single precision left unsolved, once more in double.
template <class T>
void solve_unsolved(QpTask<T> task, std::vector<QpEntry<T>> entries) {
  if (sizeof(T) == sizeof(double)) return;
  std::erase_if(entries, [&](const QpEntry<T>& entry) {
    return task.report.status[entry.slot] != kQpMaxIterations;
  });
  if (entries.empty()) return;
  task.entries = entries.data();
  run_layouts(qp_kernels().of<T>().solve_wide, task, static_cast<std::int64_t>(entries.size()));
}

QpSolutionTensors solve_qp(const MaybeTensor& P, const Tensor& q, const MaybeTensor& G,
                           const MaybeTensor& h, const MaybeTensor& A, const MaybeTensor& b,
                           const MaybeTensor& lb, const MaybeTensor& ub, double eps,
                           std::int64_t max_iter) {
  const QpArguments args{P, q, G, h, A, b, lb, ub};
  return dispatch_dtype(q, [&](auto zero) {
    using T = decltype(zero);
    const QpProblem<T> problem = args.problem<T>();
    QpSolutionTensors out = new_solution(q, problem, problem.batch);
    QpTask<T> task{};
    task.problem = problem;
    task.settings = {static_cast<T>(eps), static_cast<int>(max_iter)};
    task.method = QpMethod::kInterior;
    task.solution = solution_point<T>(out);
    task.report = solution_report<T>(out);
    run_layouts(qp_kernels().of<T>().solve, task, problem.batch);
    if (sizeof(T) < sizeof(double)) {
      std::vector<QpEntry<T>> all;
      for (std::int64_t i = 0; i < problem.batch; ++i) all.push_back({i, i, T(0), T(0)});
      solve_unsolved(task, std::move(all));
    }
    return out;
  });
}

// From a given point: entries that active-set iterations from it don't solve start cold.
QpSolutionTensors solve_qp_from(const MaybeTensor& P, const Tensor& q, const MaybeTensor& G,
                                const MaybeTensor& h, const MaybeTensor& A, const MaybeTensor& b,
                                const MaybeTensor& lb, const MaybeTensor& ub, const Tensor& x,
                                const Tensor& y, const Tensor& z, const Tensor& z_lb,
                                const Tensor& z_ub, double eps, std::int64_t max_iter) {
  const QpArguments args{P, q, G, h, A, b, lb, ub};
  return dispatch_dtype(q, [&](auto zero) {
    using T = decltype(zero);
    const QpProblem<T> problem = args.problem<T>();
    QpSolutionTensors out = new_solution(q, problem, problem.batch);
    QpTask<T> task{};
    task.problem = problem;
    task.settings = {static_cast<T>(eps), static_cast<int>(max_iter)};
    task.method = QpMethod::kWarmStart;
    task.rounds = kWarmIterations;
    task.point = given_point<T>(problem, q, x, y, z, z_lb, z_ub);
    task.solution = solution_point<T>(out);
    task.report = solution_report<T>(out);
    run_layouts(qp_kernels().of<T>().solve, task, problem.batch);
    std::vector<QpEntry<T>> cold;
    for (std::int64_t i = 0; i < problem.batch; ++i)
      if (!is_answered(task.report.status[i])) cold.push_back({i, i, T(0), T(0)});
    if (cold.empty()) return out;
    task.method = QpMethod::kInterior;
    task.point = {};
    task.entries = cold.data();
    run_layouts(qp_kernels().of<T>().solve, task, static_cast<std::int64_t>(cold.size()));
    solve_unsolved(task, std::move(cold));
    return out;
  });
}

// The perturbed solves of LPGD: active-set iterations, then the interior point for what they leave.
// After each pass the rest is packed anew, so that no problem waits for its neighbours in a pack.
template <class T>
class Resolve {
 public:
  Resolve(const QpTask<T>& task, std::int32_t* status) : task_(task), status_(status) {}

  void add(std::int64_t item, std::int64_t slot, T shift, T rho) {
    status_[slot] = kQpMaxIterations;
    entries_.push_back({item, slot, shift, rho});
  }

  // One active-set iteration settles most entries, a second one most of the rest.
  void run() {
    run_task(QpMethod::kActiveSet, 1);
    erase_solved();
    finish();
  }

  // Each entry stands for both sides.
  void run_pairs() {
    run_task(QpMethod::kActiveSetPair, 1);
    const std::size_t pairs = entries_.size();
    for (std::size_t k = 0; k < pairs; ++k) {
      const QpEntry<T> plus = entries_[k];
      entries_.push_back({plus.item, plus.slot + task_.problem.batch, -plus.shift, plus.rho});
    }
    erase_solved();
    finish();
  }

 private:
  void finish() {
    const std::size_t before = entries_.size();
    run_task(QpMethod::kActiveSetOn, 1);
    erase_solved();
    // Where a vertex moves (LPs), further iterations would settle hardly any.
    if (5 * entries_.size() < 4 * before) {
      run_task(QpMethod::kActiveSetOn, kWarmIterations);
      erase_solved();
    }
    run_task(QpMethod::kInterior, 0);
    entries_.clear();
  }

  void run_task(QpMethod method, int rounds) {
    if (entries_.empty()) return;
    QpTask<T> task = task_;
    task.method = method;
    task.rounds = rounds;
    task.entries = entries_.data();
    run_layouts(qp_kernels().of<T>().solve, task, static_cast<std::int64_t>(entries_.size()));
    if (method == QpMethod::kInterior) solve_unsolved(task, entries_);
  }

  void erase_solved() {
    std::erase_if(entries_, [&](const QpEntry<T>& entry) { return status_[entry.slot] == kQpOk; });
  }

  const QpTask<T>& task_;
  std::int32_t* status_;
  std::vector<QpEntry<T>> entries_;
};

QpQuotientTensors resolve_qp(const MaybeTensor& P, const Tensor& q, const MaybeTensor& G,
                             const MaybeTensor& h, const MaybeTensor& A, const MaybeTensor& b,
                             const MaybeTensor& lb, const MaybeTensor& ub, const Tensor& x,
                             const Tensor& y, const Tensor& z, const Tensor& z_lb,
                             const Tensor& z_ub, const MaybeTensor& status, const MaybeTensor& g_x,
                             const MaybeTensor& g_y, const MaybeTensor& g_z,
                             const MaybeTensor& g_z_lb, const MaybeTensor& g_z_ub,
                             const Tensor& tau, const Tensor& rho, std::int64_t sides, double eps,
                             std::int64_t max_iter) {
  const QpArguments args{P, q, G, h, A, b, lb, ub};
  return dispatch_dtype(q, [&](auto zero) {
    using T = decltype(zero);
    const QpProblem<T> problem = args.problem<T>(x.size(0));
    const std::int64_t batch = problem.batch;
    check_sides(sides);
    const QpKernelsOf<T>& kernels = qp_kernels().of<T>();
    const QpPoint<const T> at = given_point<T>(problem, q, x, y, z, z_lb, z_ub);
    const QpPoint<const T> gradient = given_gradient<T>(problem, q, g_x, g_y, g_z, g_z_lb, g_z_ub);
    QpQuotientTensors out = new_quotient(q, problem);
    // z_+ in rows 0..batch-1 of one buffer, z_- in the rows after them
    QpSolutionTensors perturbed = new_solution(q, problem, 2 * batch);
    const QpPoint<T> both = solution_point<T>(perturbed);

    QpTask<T> task{};
    task.problem = problem;
    task.settings = {static_cast<T>(eps), static_cast<int>(max_iter)};
    task.point = at;
    task.gradient = gradient;
    task.solution = both;
    task.report = solution_report<T>(perturbed);
    std::int32_t* codes = task.report.status;

    std::vector<T> kind(static_cast<std::size_t>(batch));
    std::vector<T> step(static_cast<std::size_t>(batch));
    std::vector<std::int32_t> shrunk(static_cast<std::size_t>(batch), 0);
    const T* tau_of = row_pointer<T>(tau, q, batch, 1, "tau");
    const T* rho_of = row_pointer<T>(rho, q, batch, 1, "rho");
    kernels.upstream(problem, gradient, given_status(problem, q, status), kind.data(), 0, batch);

    Resolve<T> resolve(task, codes);
    auto ok = [&](std::int64_t slot) { return codes[slot] == kQpOk; };
    auto each = [&](auto&& body) {
      for (std::int64_t i = 0; i < batch; ++i)
        if (kind[static_cast<std::size_t>(i)] == T(0)) body(i, step[static_cast<std::size_t>(i)]);
    };
    auto add_plus = [&](std::int64_t i, T size) { resolve.add(i, i, size, rho_of[i]); };
    auto add_minus = [&](std::int64_t i, T size) { resolve.add(i, batch + i, -size, rho_of[i]); };
    for (std::int64_t i = 0; i < 2 * batch; ++i) codes[i] = kQpMaxIterations;
    each([&](std::int64_t i, T& size) {
      size = tau_of[i];
      if (sides & kQpLower) add_plus(i, size);
      if (sides == kQpUpper) add_minus(i, size);
    });
    if (sides == kQpBoth)
      resolve.run_pairs();
    else
      resolve.run();
    // The rare rest: the other side for one-sided envelopes, then smaller steps on both.
    if (sides != kQpBoth) {
      each([&](std::int64_t i, T& size) {
        if (ok(i) || ok(batch + i)) return;
        if (sides == kQpLower) add_minus(i, size);
        if (sides == kQpUpper) add_plus(i, size);
      });
      resolve.run();
    }
    for (int round = 0; round < kShrinkRounds; ++round) {
      each([&](std::int64_t i, T& size) {
        if (ok(i) || ok(batch + i)) return;
        size *= T(0.1);
        shrunk[static_cast<std::size_t>(i)] = 1;
        if (sides & kQpLower) add_plus(i, size);
        if (sides & kQpUpper) add_minus(i, size);
      });
      resolve.run();
    }

    QpCombine<T> combine{};
    combine.n = problem.n;
    combine.p = problem.p;
    combine.m = problem.m;
    combine.sides = static_cast<int>(sides);
    combine.kind = kind.data();
    combine.tau = step.data();
    combine.shrunk = shrunk.data();
    combine.plus_status = codes;
    combine.minus_status = codes + batch;
    combine.at = at;
    combine.plus = as_given(both);
    combine.minus = second_half(both, problem);
    combine.direction = quotient_direction<T>(out);
    combine.midpoint = quotient_midpoint<T>(out);
    combine.status = std::get<10>(out).mutable_data_ptr<std::int32_t>();
    kernels.combine(combine, 0, batch);
    return out;
  });
}

QpDirectionTensors implicit_qp(const MaybeTensor& P, const Tensor& q, const MaybeTensor& G,
                               const MaybeTensor& h, const MaybeTensor& A, const MaybeTensor& b,
                               const MaybeTensor& lb, const MaybeTensor& ub, const Tensor& x,
                               const Tensor& y, const Tensor& z, const Tensor& z_lb,
                               const Tensor& z_ub, const MaybeTensor& status,
                               const MaybeTensor& g_x, const MaybeTensor& g_y,
                               const MaybeTensor& g_z, const MaybeTensor& g_z_lb,
                               const MaybeTensor& g_z_ub) {
  const QpArguments args{P, q, G, h, A, b, lb, ub};
  return dispatch_dtype(q, [&](auto zero) {
    using T = decltype(zero);
    QpImplicitTask<T> task{};
    task.problem = args.problem<T>(x.size(0));
    task.point = given_point<T>(task.problem, q, x, y, z, z_lb, z_ub);
    task.gradient = given_gradient<T>(task.problem, q, g_x, g_y, g_z, g_z_lb, g_z_ub);
    QpDirectionTensors out = new_direction(q, task.problem);
    task.solved = given_status(task.problem, q, status);
    task.direction = direction_point<T>(out);
    task.report.status = std::get<5>(out).mutable_data_ptr<std::int32_t>();
    run_layouts(qp_kernels().of<T>().implicit, task, task.problem.batch);
    return out;
  });
}

Tensor outer_sum(const Tensor& a1, const Tensor& b1, const Tensor& a2, const Tensor& b2) {
  return dispatch_dtype(a1, [&](auto zero) {
    using T = decltype(zero);
    const OuterShape shape = outer_shape(a1, b1, a2, b2);
    Tensor out = new_tensor(a1, {shape.batch, shape.rows, shape.cols}, a1.scalar_type());
    const T *left1 = a1.const_data_ptr<T>(), *right1 = b1.const_data_ptr<T>();
    const T *left2 = a2.const_data_ptr<T>(), *right2 = b2.const_data_ptr<T>();
    T* target = out.mutable_data_ptr<T>();
    const QpKernelsOf<T>& kernels = qp_kernels().of<T>();
    const std::int64_t grain = 1 + 16384 / (1 + shape.rows * shape.cols);
    torch::stable::parallel_for(0, shape.batch, grain, [&](std::int64_t begin, std::int64_t end) {
      kernels.outer_sum(left1, right1, left2, right2, static_cast<int>(shape.rows),
                        static_cast<int>(shape.cols), target, begin, end);
    });
    return out;
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def(
      "solve_qp(Tensor? P, Tensor q, Tensor? G, Tensor? h, Tensor? A, Tensor? b, Tensor? lb, "
      "Tensor? ub, float eps, int max_iter) -> (Tensor x, Tensor y, Tensor z, Tensor z_lb, "
      "Tensor z_ub, Tensor status, Tensor iterations, Tensor residuals)");
  m.def(
      "solve_qp_from(Tensor? P, Tensor q, Tensor? G, Tensor? h, Tensor? A, Tensor? b, Tensor? lb, "
      "Tensor? ub, Tensor x, Tensor y, Tensor z, Tensor z_lb, Tensor z_ub, float eps, int "
      "max_iter) "
      "-> (Tensor x_out, Tensor y_out, Tensor z_out, Tensor z_lb_out, Tensor z_ub_out, "
      "Tensor status, Tensor iterations, Tensor residuals)");
  m.def(
      "resolve_qp(Tensor? P, Tensor q, Tensor? G, Tensor? h, Tensor? A, Tensor? b, Tensor? lb, "
      "Tensor? ub, Tensor x, Tensor y, Tensor z, Tensor z_lb, Tensor z_ub, Tensor? status, Tensor? "
      "g_x, "
      "Tensor? g_y, Tensor? g_z, Tensor? g_z_lb, Tensor? g_z_ub, Tensor tau, Tensor rho, "
      "int sides, float eps, int max_iter) -> (Tensor d_x, Tensor d_y, Tensor d_z, Tensor d_z_lb, "
      "Tensor d_z_ub, Tensor m_x, Tensor m_y, Tensor m_z, Tensor m_z_lb, Tensor m_z_ub, "
      "Tensor status)");
  m.def(
      "implicit_qp(Tensor? P, Tensor q, Tensor? G, Tensor? h, Tensor? A, Tensor? b, Tensor? lb, "
      "Tensor? ub, Tensor x, Tensor y, Tensor z, Tensor z_lb, Tensor z_ub, Tensor? status, Tensor? "
      "g_x, "
      "Tensor? g_y, Tensor? g_z, Tensor? g_z_lb, Tensor? g_z_ub) -> (Tensor d_x, Tensor d_y, "
      "Tensor d_z, Tensor d_z_lb, Tensor d_z_ub, Tensor status)");
  m.def("outer_sum(Tensor a1, Tensor b1, Tensor a2, Tensor b2) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  m.impl("solve_qp", TORCH_BOX(&lpgd::ops::solve_qp));
  m.impl("solve_qp_from", TORCH_BOX(&lpgd::ops::solve_qp_from));
  m.impl("resolve_qp", TORCH_BOX(&lpgd::ops::resolve_qp));
  m.impl("implicit_qp", TORCH_BOX(&lpgd::ops::implicit_qp));
  m.impl("outer_sum", TORCH_BOX(&lpgd::ops::outer_sum));
}
