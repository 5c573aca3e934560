// lpgd::solve_sparse_qp for CUDA tensors. Its schema is in pdhg.cpp. Nothing here waits for the
// device: statuses, and whether the pattern is one, stay there.
#include "cuda/pdhg.h"
#include "ops/cuda_stream.h"
#include "ops/pdhg.h"

namespace lpgd::ops {

namespace {

SparseSolution solve_sparse_qp(const MaybeTensor& P_crow, const MaybeTensor& P_col,
                               const MaybeTensor& P, const Tensor& q, const MaybeTensor& G_crow,
                               const MaybeTensor& G_col, const MaybeTensor& G, const MaybeTensor& h,
                               const MaybeTensor& A_crow, const MaybeTensor& A_col,
                               const MaybeTensor& A, const MaybeTensor& b, const MaybeTensor& lb,
                               const MaybeTensor& ub, const MaybeTensor& rho, const MaybeTensor& x0,
                               const MaybeTensor& y0, const MaybeTensor& z0,
                               const MaybeTensor& columns, double eps, std::int64_t max_iter) {
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
    const CudaScope scope(q.get_device_index());
    PdhgTask<T> task = args.task<T>(args.size(), eps, max_iter);
    const PdhgProblem<T>& problem = task.problem;
    SparseSolution out = args.outputs(task);
    if (problem.batch == 0) return out;
    PdhgGiven given{problem.n,       problem.m,        problem.p,       problem.nnz_A,
                    problem.nnz_G,   problem.nnz_P,    args.A.starts(), args.A.indices(),
                    args.G.starts(), args.G.indices(), args.P.starts(), args.P.indices(),
                    nullptr};
    STD_TORCH_CHECK(is_present(columns),
                    "solve_sparse_qp on CUDA needs columns (lpgd_native._pdhg_columns makes them)");
    check_device(*columns, q, "columns");
    STD_TORCH_CHECK(columns->is_contiguous() && columns->scalar_type() == ScalarType::Int &&
                        columns->dim() == 1 && columns->numel() == given.column_numbers(),
                    "columns must be a contiguous int32 vector of ", given.column_numbers());
    given.columns = columns->const_data_ptr<std::int32_t>();
    cuda::SparseLaunch launch{};
    check_cuda(cuda::plan_pdhg(task, given, &launch), "lpgd: plan");
    const Tensor workspace =
        new_tensor(q, {static_cast<std::int64_t>(launch.workspace_bytes)}, ScalarType::Byte);
    check_cuda(cuda::solve_pdhg(task, given, launch, workspace.mutable_data_ptr(), scope.stream()),
               "lpgd::solve_sparse_qp");
    return out;
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_IMPL(lpgd, CUDA, m) {
  m.impl("solve_sparse_qp", TORCH_BOX(&lpgd::ops::solve_sparse_qp));
}
