// lpgd::solve_sparse_qp for CPU tensors: matrices in compressed rows with a pattern for the batch.
#include "cpu/pdhg.h"

#include <tuple>

#include "ops/ops.h"

namespace lpgd::ops {

namespace {

using SparseSolution = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// A matrix as three tensors: crow [rows + 1] and col [nnz], int64; values [nnz] or [batch, nnz].
struct Csr {
  const MaybeTensor &crow, &col, &values;
  const char* name;

  int rows() const { return is_present(crow) ? static_cast<int>(crow->numel()) - 1 : 0; }

  // Appends the pattern, checked (memory safety hangs on it).
  int append(const Tensor& like, int cols, std::vector<std::int32_t>& starts,
             std::vector<std::int32_t>& indices) const {
    if (!is_present(crow)) return 0;
    STD_TORCH_CHECK(is_present(col) && is_present(values), name, " needs crow, col and values");
    for (const MaybeTensor* part : {&crow, &col}) {
      check_device(**part, like, name);
      STD_TORCH_CHECK((*part)->is_contiguous() && (*part)->scalar_type() == ScalarType::Long &&
                          (*part)->dim() == 1,
                      name, ": crow and col must be contiguous int64 vectors");
    }
    const std::int64_t nnz = col->numel(), count = crow->numel();
    STD_TORCH_CHECK(count >= 1 && nnz + static_cast<std::int64_t>(indices.size()) < (1LL << 30),
                    name, ": the pattern has an impossible size");
    const std::int64_t* row = crow->const_data_ptr<std::int64_t>();
    STD_TORCH_CHECK(row[0] == 0 && row[count - 1] == nnz, name, ": crow must go from 0 to nnz");
    const auto before = static_cast<std::int32_t>(indices.size());
    for (std::int64_t i = 1; i < count; ++i) {
      STD_TORCH_CHECK(row[i] >= row[i - 1], name, ": crow must not decrease");
      starts.push_back(before + static_cast<std::int32_t>(row[i]));
    }
    if (nnz == 0) return 0;
    const std::int64_t* index = col->const_data_ptr<std::int64_t>();
    for (std::int64_t k = 0; k < nnz; ++k) {
      STD_TORCH_CHECK(index[k] >= 0 && index[k] < cols, name, ": a column index is out of range");
      indices.push_back(static_cast<std::int32_t>(index[k]));
    }
    return static_cast<int>(nnz);
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

SparseSolution solve_sparse_qp(const MaybeTensor& P_crow, const MaybeTensor& P_col,
                               const MaybeTensor& P, const Tensor& q, const MaybeTensor& G_crow,
                               const MaybeTensor& G_col, const MaybeTensor& G, const MaybeTensor& h,
                               const MaybeTensor& A_crow, const MaybeTensor& A_col,
                               const MaybeTensor& A, const MaybeTensor& b, const MaybeTensor& lb,
                               const MaybeTensor& ub, const MaybeTensor& rho, const MaybeTensor& x0,
                               const MaybeTensor& y0, const MaybeTensor& z0, double eps,
                               std::int64_t max_iter) {
  return dispatch_dtype(q, [&](auto zero) {
    using T = decltype(zero);
    STD_TORCH_CHECK((q.dim() == 1 || q.dim() == 2) && q.size(q.dim() - 1) >= 1,
                    "q must be [n] or [batch, n]");
    const Csr of_P{P_crow, P_col, P, "P"}, of_G{G_crow, G_col, G, "G"}, of_A{A_crow, A_col, A, "A"};
    PdhgTask<T> task{};
    PdhgProblem<T>& problem = task.problem;
    const int n = static_cast<int>(q.size(q.dim() - 1));
    problem.n = n;
    problem.m = of_G.rows();
    problem.p = of_A.rows();
    std::vector<std::int32_t> crow{0}, col, P_starts{0}, P_indices;
    problem.nnz_A = of_A.append(q, n, crow, col);
    problem.nnz_G = of_G.append(q, n, crow, col);
    problem.nnz_P = of_P.append(q, n, P_starts, P_indices);
    problem.crow = crow.data();
    problem.col = col.data();
    if (is_present(P_crow)) {
      STD_TORCH_CHECK(of_P.rows() == n, "P must have n rows");
      problem.P_crow = P_starts.data();
      problem.P_col = P_indices.data();
    }
    std::int64_t batch = -1;
    Vectors<T> vectors(q, batch);
    vectors.set(problem.q, problem.stride_q, MaybeTensor(q), n, "q");
    vectors.set(problem.P, problem.stride_P, P, problem.nnz_P, "P");
    vectors.set(problem.G, problem.stride_G, G, problem.nnz_G, "G");
    vectors.set(problem.h, problem.stride_h, h, problem.m, "h");
    vectors.set(problem.A, problem.stride_A, A, problem.nnz_A, "A");
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
        return tensor->const_data_ptr<T>();
      };
      task.start.x = start(x0, n, "x0");
      task.start.y = start(y0, problem.p, "y0");
      task.start.z = start(z0, problem.m, "z0");
    }
    task.settings = {static_cast<T>(eps), static_cast<int>(max_iter)};

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
    const PdhgLayout<T>& layout = pdhg_kernels().of<T>().pick(batch);
    parallel_items((batch + layout.lanes - 1) / layout.lanes, layout.workspace_bytes(task),
                   [&](void* workspace, std::int64_t pack, bool fresh) {
                     layout.run(task, pack, workspace, fresh);
                   });
    return out;
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def(
      "solve_sparse_qp(Tensor? P_crow, Tensor? P_col, Tensor? P, Tensor q, Tensor? G_crow, "
      "Tensor? G_col, Tensor? G, Tensor? h, Tensor? A_crow, Tensor? A_col, Tensor? A, Tensor? b, "
      "Tensor? lb, Tensor? ub, Tensor? rho, Tensor? x0, Tensor? y0, Tensor? z0, float eps, "
      "int max_iter) -> (Tensor x, Tensor y, Tensor z, Tensor z_lb, Tensor z_ub, Tensor status, "
      "Tensor iterations, Tensor residuals)");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  m.impl("solve_sparse_qp", TORCH_BOX(&lpgd::ops::solve_sparse_qp));
}
