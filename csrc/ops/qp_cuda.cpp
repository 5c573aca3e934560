// lpgd::solve_qp, lpgd::solve_qp_from, lpgd::resolve_qp, lpgd::implicit_qp, lpgd::outer_sum for
// CUDA tensors. Their schema is in qp.cpp. Nothing here waits for the device: statuses stay there.
#include "cuda/qp.h"
#include "ops/cuda_stream.h"
#include "ops/qp.h"

namespace lpgd::ops {

namespace {

template <class T>
Tensor workspace_for(const Tensor& like, cuda::QpKernel kernel, const QpProblem<T>& problem,
                     cuda::QpPlan* plan) {
  check_cuda(cuda::plan_qp(kernel, problem, problem.batch, plan), "lpgd: plan");
  return new_tensor(like, {static_cast<std::int64_t>(plan->workspace_bytes)}, ScalarType::Byte);
}

// `from`: the point to start from, if there is one.
template <class Point>
QpSolutionTensors solve(const QpArguments& args, double eps, std::int64_t max_iter, Point&& from) {
  const Tensor& q = args.q;
  return dispatch_dtype(q, [&](auto zero) {
    using T = decltype(zero);
    const CudaScope scope(q.get_device_index());
    QpTask<T> task{};
    task.problem = args.problem<T>();
    QpSolutionTensors out = new_solution(q, task.problem, task.problem.batch);
    if (task.problem.batch == 0) return out;
    task.settings = {static_cast<T>(eps), static_cast<int>(max_iter)};
    task.point = from(task.problem);
    task.method = task.point.x ? QpMethod::kWarmStart : QpMethod::kInterior;
    task.rounds = kWarmIterations;
    task.solution = solution_point<T>(out);
    task.report = solution_report<T>(out);
    cuda::QpPlan plan{};
    const Tensor workspace = workspace_for(q, cuda::QpKernel::kSolve, task.problem, &plan);
    check_cuda(cuda::solve_qp(task, plan, workspace.mutable_data_ptr(), scope.stream()),
               "lpgd::solve_qp");
    return out;
  });
}

QpSolutionTensors solve_qp(const MaybeTensor& P, const Tensor& q, const MaybeTensor& G,
                           const MaybeTensor& h, const MaybeTensor& A, const MaybeTensor& b,
                           const MaybeTensor& lb, const MaybeTensor& ub, double eps,
                           std::int64_t max_iter) {
  return solve(QpArguments{P, q, G, h, A, b, lb, ub}, eps, max_iter,
               []<class T>(const QpProblem<T>&) { return QpPoint<const T>{}; });
}

QpSolutionTensors solve_qp_from(const MaybeTensor& P, const Tensor& q, const MaybeTensor& G,
                                const MaybeTensor& h, const MaybeTensor& A, const MaybeTensor& b,
                                const MaybeTensor& lb, const MaybeTensor& ub, const Tensor& x,
                                const Tensor& y, const Tensor& z, const Tensor& z_lb,
                                const Tensor& z_ub, double eps, std::int64_t max_iter) {
  return solve(QpArguments{P, q, G, h, A, b, lb, ub}, eps, max_iter,
               [&]<class T>(const QpProblem<T>& problem) {
                 return given_point<T>(problem, q, x, y, z, z_lb, z_ub);
               });
}

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
    const CudaScope scope(q.get_device_index());
    QpTask<T> task{};
    task.problem = args.problem<T>(x.size(0));
    const std::int64_t batch = task.problem.batch;
    check_sides(sides);
    QpQuotientTensors out = new_quotient(q, task.problem);
    if (batch == 0) return out;
    QpSolutionTensors perturbed = new_solution(q, task.problem, 2 * batch);
    task.settings = {static_cast<T>(eps), static_cast<int>(max_iter)};
    task.point = given_point<T>(task.problem, q, x, y, z, z_lb, z_ub);
    task.gradient = given_gradient<T>(task.problem, q, g_x, g_y, g_z, g_z_lb, g_z_ub);
    task.rounds = kWarmIterations;
    task.solution = solution_point<T>(perturbed);
    task.report = solution_report<T>(perturbed);

    const T* rho_of = row_pointer<T>(rho, q, batch, 1, "rho");
    row_pointer<T>(tau, q, batch, 1, "tau");
    const Tensor step = torch::stable::clone(tau);
    const Tensor kind = new_tensor(q, {batch}, q.scalar_type());
    const Tensor shrunk = new_tensor(q, {batch}, ScalarType::Int);

    QpCombine<T> combine{};
    combine.n = task.problem.n;
    combine.p = task.problem.p;
    combine.m = task.problem.m;
    combine.sides = static_cast<int>(sides);
    combine.kind = kind.const_data_ptr<T>();
    combine.tau = step.const_data_ptr<T>();
    combine.shrunk = shrunk.const_data_ptr<std::int32_t>();
    combine.plus_status = task.report.status;
    combine.minus_status = task.report.status + batch;
    combine.at = task.point;
    combine.plus = as_given(task.solution);
    combine.minus = second_half(task.solution, task.problem);
    combine.direction = quotient_direction<T>(out);
    combine.midpoint = quotient_midpoint<T>(out);
    combine.status = std::get<10>(out).mutable_data_ptr<std::int32_t>();

    cuda::QpPlan plan{};
    const Tensor workspace = workspace_for(q, cuda::QpKernel::kResolve, task.problem, &plan);
    check_cuda(cuda::resolve_qp(task, combine, given_status(task.problem, q, status), combine.sides,
                                kind.mutable_data_ptr<T>(), step.mutable_data_ptr<T>(), rho_of,
                                shrunk.mutable_data_ptr<std::int32_t>(), plan,
                                workspace.mutable_data_ptr(), scope.stream()),
               "lpgd::resolve_qp");
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
    const CudaScope scope(q.get_device_index());
    QpImplicitTask<T> task{};
    task.problem = args.problem<T>(x.size(0));
    QpDirectionTensors out = new_direction(q, task.problem);
    if (task.problem.batch == 0) return out;
    task.point = given_point<T>(task.problem, q, x, y, z, z_lb, z_ub);
    task.gradient = given_gradient<T>(task.problem, q, g_x, g_y, g_z, g_z_lb, g_z_ub);
    task.solved = given_status(task.problem, q, status);
    task.direction = direction_point<T>(out);
    task.report.status = std::get<5>(out).mutable_data_ptr<std::int32_t>();
    cuda::QpPlan plan{};
    const Tensor workspace = workspace_for(q, cuda::QpKernel::kImplicit, task.problem, &plan);
    check_cuda(cuda::implicit_qp(task, plan, workspace.mutable_data_ptr(), scope.stream()),
               "lpgd::implicit_qp");
    return out;
  });
}

Tensor outer_sum(const Tensor& a1, const Tensor& b1, const Tensor& a2, const Tensor& b2) {
  return dispatch_dtype(a1, [&](auto zero) {
    using T = decltype(zero);
    const CudaScope scope(a1.get_device_index());
    const OuterShape shape = outer_shape(a1, b1, a2, b2);
    Tensor out = new_tensor(a1, {shape.batch, shape.rows, shape.cols}, a1.scalar_type());
    if (shape.batch == 0) return out;
    check_cuda(
        cuda::outer_sum(a1.const_data_ptr<T>(), b1.const_data_ptr<T>(), a2.const_data_ptr<T>(),
                        b2.const_data_ptr<T>(), shape.batch, static_cast<int>(shape.rows),
                        static_cast<int>(shape.cols), out.mutable_data_ptr<T>(), scope.stream()),
        "lpgd::outer_sum");
    return out;
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_IMPL(lpgd, CUDA, m) {
  m.impl("solve_qp", TORCH_BOX(&lpgd::ops::solve_qp));
  m.impl("solve_qp_from", TORCH_BOX(&lpgd::ops::solve_qp_from));
  m.impl("resolve_qp", TORCH_BOX(&lpgd::ops::resolve_qp));
  m.impl("implicit_qp", TORCH_BOX(&lpgd::ops::implicit_qp));
  m.impl("outer_sum", TORCH_BOX(&lpgd::ops::outer_sum));
}
