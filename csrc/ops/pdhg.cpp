// lpgd::solve_sparse_qp for CPU tensors: matrices in compressed rows with a pattern for the batch.
#include "ops/pdhg.h"

#include "cpu/pdhg.h"

namespace lpgd::ops {

namespace {

// Appends the pattern of a matrix, checked (memory safety hangs on it).
void append(const Csr& matrix, int cols, std::vector<std::int32_t>& starts,
            std::vector<std::int32_t>& indices) {
  if (!matrix.there()) return;
  const char* name = matrix.name;
  const std::int64_t nnz = matrix.nnz(), count = matrix.rows() + 1;
  const std::int64_t* row = matrix.starts();
  STD_TORCH_CHECK(row[0] == 0 && row[count - 1] == nnz, name, ": crow must go from 0 to nnz");
  const auto before = static_cast<std::int32_t>(indices.size());
  for (std::int64_t i = 1; i < count; ++i) {
    STD_TORCH_CHECK(row[i] >= row[i - 1], name, ": crow must not decrease");
    starts.push_back(before + static_cast<std::int32_t>(row[i]));
  }
  if (nnz == 0) return;
  const std::int64_t* index = matrix.indices();
  for (std::int64_t k = 0; k < nnz; ++k) {
    STD_TORCH_CHECK(index[k] >= 0 && index[k] < cols, name, ": a column index is out of range");
    indices.push_back(static_cast<std::int32_t>(index[k]));
  }
}

// `columns` is for devices where many lanes share a problem.
SparseSolution solve_sparse_qp(const MaybeTensor& P_crow, const MaybeTensor& P_col,
                               const MaybeTensor& P, const Tensor& q, const MaybeTensor& G_crow,
                               const MaybeTensor& G_col, const MaybeTensor& G, const MaybeTensor& h,
                               const MaybeTensor& A_crow, const MaybeTensor& A_col,
                               const MaybeTensor& A, const MaybeTensor& b, const MaybeTensor& lb,
                               const MaybeTensor& ub, const MaybeTensor& rho, const MaybeTensor& x0,
                               const MaybeTensor& y0, const MaybeTensor& z0,
                               const MaybeTensor& /*columns*/, double eps, std::int64_t max_iter) {
  const SparseArguments args{{P_crow, P_col, P, "P"},
                             q,
                             {G_crow, G_col, G, "G"},
                             h,
                             {A_crow, A_col, A, "A"},
                             b,
                             lb,
                             ub,
                             rho,
                             x0,
                             y0,
                             z0};
  return dispatch_dtype(q, [&](auto zero) {
    using T = decltype(zero);
    const int n = args.size();
    std::vector<std::int32_t> crow{0}, col, P_starts{0}, P_indices;
    append(args.A, n, crow, col);
    append(args.G, n, crow, col);
    append(args.P, n, P_starts, P_indices);
    PdhgTask<T> task = args.task<T>(n, eps, max_iter);
    PdhgProblem<T>& problem = task.problem;
    problem.crow = crow.data();
    problem.col = col.data();
    if (args.P.there()) {
      problem.P_crow = P_starts.data();
      problem.P_col = P_indices.data();
    }
    SparseSolution out = args.outputs(task);
    const PdhgLayout<T>& layout = pdhg_kernels().of<T>().pick(problem.batch);
    parallel_items((problem.batch + layout.lanes - 1) / layout.lanes, layout.workspace_bytes(task),
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
      "Tensor? lb, Tensor? ub, Tensor? rho, Tensor? x0, Tensor? y0, Tensor? z0, Tensor? columns, "
      "float eps, int max_iter) -> (Tensor x, Tensor y, Tensor z, Tensor z_lb, Tensor z_ub, "
      "Tensor status, Tensor iterations, Tensor residuals)");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  m.impl("solve_sparse_qp", TORCH_BOX(&lpgd::ops::solve_sparse_qp));
}
