// What the CPU and CUDA halves of lpgd::solve_sparse_qp share: matrices as tensors, arguments to a
// task, outputs.
#pragma once

#include <tuple>

#include "core/pdhg_types.h"
#include "ops/ops.h"

namespace lpgd::ops {

using SparseSolution = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// A matrix as three tensors: crow [rows + 1] and col [nnz], int64; values [nnz] or [batch, nnz].
struct Csr {
  const MaybeTensor &crow, &col, &values;
  const char* name;

  bool there() const { return is_present(crow); }
  int rows() const { return there() ? static_cast<int>(crow->numel()) - 1 : 0; }
  int nnz() const { return there() ? static_cast<int>(col->numel()) : 0; }

  void check(const Tensor& like) const {
    if (!there()) return;
    STD_TORCH_CHECK(is_present(col) && is_present(values), name, " needs crow, col and values");
    for (const MaybeTensor* part : {&crow, &col}) {
      check_device(**part, like, name);
      STD_TORCH_CHECK((*part)->is_contiguous() && (*part)->scalar_type() == ScalarType::Long &&
                          (*part)->dim() == 1,
                      name, ": crow and col must be contiguous int64 vectors");
    }
    STD_TORCH_CHECK(crow->numel() >= 1 && crow->numel() < (1LL << 30) && col->numel() < (1LL << 29),
                    name, ": the pattern has an impossible size");
  }
  const std::int64_t* starts() const {
    return there() ? crow->const_data_ptr<std::int64_t>() : nullptr;
  }
  const std::int64_t* indices() const {
    return there() ? col->const_data_ptr<std::int64_t>() : nullptr;
  }
};

template <class T>
class Vectors {
 public:
  Vectors(const Tensor& like, std::int64_t& batch) : like_(like), batch_(batch) {}

  // `size` numbers an item, shared where the tensor has one dimension
  void set(const T*& pointer, std::int64_t& stride, const MaybeTensor& tensor, std::int64_t size,
           const char* name) {
    if (!is_present(tensor)) return;
    check_like(*tensor, like_, name);
    const bool batched = tensor->dim() == 2;
    STD_TORCH_CHECK((batched || tensor->dim() == 1) && tensor->size(batched ? 1 : 0) == size, name,
                    " must be [", size, "] or [batch, ", size, "]");
    if (batched) {
      STD_TORCH_CHECK(batch_ < 0 || batch_ == tensor->size(0), name, " has batch ", tensor->size(0),
                      ", other arguments have ", batch_);
      batch_ = tensor->size(0);
    }
    static const T kNothing{};
    pointer = tensor->numel() > 0 ? tensor->const_data_ptr<T>() : &kNothing;
    stride = batched ? size : 0;
  }

 private:
  const Tensor& like_;
  std::int64_t& batch_;
};

// The schema's arguments, in its order
struct SparseArguments {
  Csr P;
  const Tensor& q;
  Csr G;
  const MaybeTensor& h;
  Csr A;
  const MaybeTensor &b, &lb, &ub, &rho, &x0, &y0, &z0;

  // What the rest is measured by: n, having looked at q and the matrices.
  int size() const {
    STD_TORCH_CHECK((q.dim() == 1 || q.dim() == 2) && q.size(q.dim() - 1) >= 1,
                    "q must be [n] or [batch, n]");
    for (const Csr* matrix : {&P, &G, &A}) matrix->check(q);
    return static_cast<int>(q.size(q.dim() - 1));
  }

  // All but the places of the patterns
  template <class T>
  PdhgTask<T> task(int n, double eps, std::int64_t max_iter) const {
    PdhgTask<T> task{};
    PdhgProblem<T>& problem = task.problem;
    problem.n = n;
    problem.m = G.rows();
    problem.p = A.rows();
    problem.nnz_P = P.nnz();
    problem.nnz_G = G.nnz();
    problem.nnz_A = A.nnz();
    STD_TORCH_CHECK(!P.there() || P.rows() == n, "P must have n rows");
    std::int64_t batch = -1;
    Vectors<T> vectors(q, batch);
    vectors.set(problem.q, problem.stride_q, MaybeTensor(q), n, "q");
    vectors.set(problem.P, problem.stride_P, P.values, problem.nnz_P, "P");
    vectors.set(problem.G, problem.stride_G, G.values, problem.nnz_G, "G");
    vectors.set(problem.h, problem.stride_h, h, problem.m, "h");
    vectors.set(problem.A, problem.stride_A, A.values, problem.nnz_A, "A");
    vectors.set(problem.b, problem.stride_b, b, problem.p, "b");
    vectors.set(problem.lb, problem.stride_lb, lb, n, "lb");
    vectors.set(problem.ub, problem.stride_ub, ub, n, "ub");
    vectors.set(problem.rho, problem.stride_rho, rho, 1, "rho");
    STD_TORCH_CHECK(problem.m == 0 || problem.h, "G needs h");
    STD_TORCH_CHECK(problem.p == 0 || problem.b, "A needs b");
    if (batch < 0) batch = 1;
    problem.batch = batch;
    if (is_present(x0)) {
      STD_TORCH_CHECK(is_present(y0) && is_present(z0), "a start needs x0, y0 and z0");
      const auto start = [&](const MaybeTensor& tensor, std::int64_t width, const char* name) {
        check_like(*tensor, q, name);
        STD_TORCH_CHECK(tensor->numel() == batch * width, name, " must be [batch, ", width, "]");
        return tensor->template const_data_ptr<T>();
      };
      task.start.x = start(x0, n, "x0");
      task.start.y = start(y0, problem.p, "y0");
      task.start.z = start(z0, problem.m, "z0");
    }
    task.settings = {static_cast<T>(eps), static_cast<int>(max_iter)};
    return task;
  }

  // New outputs, to which the task will write
  template <class T>
  SparseSolution outputs(PdhgTask<T>& task) const {
    const PdhgProblem<T>& problem = task.problem;
    const std::int64_t batch = problem.batch, n = problem.n;
    const ScalarType dtype = q.scalar_type();
    SparseSolution out{new_tensor(q, {batch, n}, dtype),
                       new_tensor(q, {batch, problem.p}, dtype),
                       new_tensor(q, {batch, problem.m}, dtype),
                       new_tensor(q, {batch, problem.lb ? n : 0}, dtype),
                       new_tensor(q, {batch, problem.ub ? n : 0}, dtype),
                       new_tensor(q, {batch}, ScalarType::Int),
                       new_tensor(q, {batch}, ScalarType::Int),
                       new_tensor(q, {batch, 3}, dtype)};
    task.solution.x = std::get<0>(out).template mutable_data_ptr<T>();
    task.solution.y = std::get<1>(out).template mutable_data_ptr<T>();
    task.solution.z = std::get<2>(out).template mutable_data_ptr<T>();
    if (problem.lb) task.solution.z_lb = std::get<3>(out).template mutable_data_ptr<T>();
    if (problem.ub) task.solution.z_ub = std::get<4>(out).template mutable_data_ptr<T>();
    task.report.status = std::get<5>(out).template mutable_data_ptr<std::int32_t>();
    task.report.iterations = std::get<6>(out).template mutable_data_ptr<std::int32_t>();
    task.report.residuals = std::get<7>(out).template mutable_data_ptr<T>();
    return out;
  }
};

}  // namespace lpgd::ops
