// lpgd::oracle_* for CUDA tensors. Their schema is in oracle.cpp. Nothing here waits for the device
// or reads its memory: graphs are looked at by the kernels, what a knapsack's capacities ask for is
// told by the caller.
#include "cuda/oracle.h"
#include "ops/cuda_stream.h"
#include "ops/oracle.h"

namespace lpgd::ops {

namespace {

template <class Task>
void solve_items(Task& task, const Tensor& costs, const char* name) {
  const std::int64_t batch = costs.size(0);
  if (batch == 0) return;
  const CudaScope scope(costs.get_device_index());
  cuda::OraclePlan plan{};
  check_cuda(cuda::plan_oracle(task, batch, &plan), "lpgd: plan");
  const Tensor workspace =
      new_tensor(costs, {static_cast<std::int64_t>(plan.workspace_bytes)}, ScalarType::Byte);
  check_cuda(cuda::run_oracle(task, batch, plan, workspace.mutable_data_ptr(), scope.stream()),
             name);
}

template <class Task>
OracleAnswer answer_of(Task task, const Tensor& costs, const char* name) {
  OracleAnswer out = new_answer(costs, task);
  solve_items(task, costs, name);
  return out;
}

AssignmentAnswer oracle_assignment(const Tensor& costs, bool mask) {
  return dispatch_dtype(costs, [&](auto zero) {
    AssignmentTask<decltype(zero)> task{};
    AssignmentAnswer out = new_assignment(costs, mask, task);
    solve_items(task, costs, "lpgd::oracle_assignment");
    return out;
  });
}

OracleAnswer oracle_grid_path(const Tensor& costs, std::int64_t source, std::int64_t target,
                              bool diagonal) {
  return dispatch_dtype(costs, [&](auto zero) {
    return answer_of(grid_task<decltype(zero)>(costs, source, target, diagonal), costs,
                     "lpgd::oracle_grid_path");
  });
}

OracleAnswer oracle_dag_path(const Tensor& costs, const Tensor& plan, std::int64_t nodes,
                             std::int64_t source, std::int64_t target) {
  check_graph(plan, costs, 3, nodes);
  return dispatch_dtype(costs, [&](auto zero) {
    return answer_of(dag_task<decltype(zero)>(plan.const_data_ptr<std::int64_t>(), costs.size(1),
                                              nodes, source, target),
                     costs, "lpgd::oracle_dag_path");
  });
}

OracleAnswer oracle_top_k(const Tensor& costs, std::int64_t k) {
  return dispatch_dtype(costs, [&](auto zero) {
    return answer_of(top_k_task<decltype(zero)>(costs, k), costs, "lpgd::oracle_top_k");
  });
}

OracleAnswer oracle_ranking(const Tensor& costs, const Tensor& values) {
  return dispatch_dtype(costs, [&](auto zero) {
    return answer_of(ranking_task<decltype(zero)>(costs, values), costs, "lpgd::oracle_ranking");
  });
}

OracleAnswer oracle_knapsack(const Tensor& costs, const Tensor& weights, const Tensor& capacity,
                             std::int64_t method, std::int64_t most_nodes,
                             std::int64_t most_states) {
  return dispatch_dtype(costs, [&](auto zero) {
    auto task = knapsack_task<decltype(zero)>(costs, weights, capacity, method, most_nodes);
    STD_TORCH_CHECK(task.method != KnapsackMethod::table || most_states >= 0,
                    "most_states must be given: how many states a table has");
    const bool is_told = most_states >= 0 && most_states < task.most_states;
    task.room_states = is_told ? most_states : task.most_states;
    return answer_of(task, costs, "lpgd::oracle_knapsack");
  });
}

OracleAnswer oracle_spanning_tree(const Tensor& costs, const Tensor& edges, std::int64_t nodes) {
  check_graph(edges, costs, 2, nodes);
  return dispatch_dtype(costs, [&](auto zero) {
    return answer_of(
        tree_task<decltype(zero)>(edges.const_data_ptr<std::int64_t>(), costs.size(1), nodes),
        costs, "lpgd::oracle_spanning_tree");
  });
}

OracleAnswer oracle_alignment(const Tensor& costs, std::int64_t window) {
  return dispatch_dtype(costs, [&](auto zero) {
    return answer_of(alignment_task<decltype(zero)>(costs, window), costs,
                     "lpgd::oracle_alignment");
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_IMPL(lpgd, CUDA, m) {
  m.impl("oracle_assignment", TORCH_BOX(&lpgd::ops::oracle_assignment));
  m.impl("oracle_grid_path", TORCH_BOX(&lpgd::ops::oracle_grid_path));
  m.impl("oracle_dag_path", TORCH_BOX(&lpgd::ops::oracle_dag_path));
  m.impl("oracle_top_k", TORCH_BOX(&lpgd::ops::oracle_top_k));
  m.impl("oracle_ranking", TORCH_BOX(&lpgd::ops::oracle_ranking));
  m.impl("oracle_knapsack", TORCH_BOX(&lpgd::ops::oracle_knapsack));
  m.impl("oracle_spanning_tree", TORCH_BOX(&lpgd::ops::oracle_spanning_tree));
  m.impl("oracle_alignment", TORCH_BOX(&lpgd::ops::oracle_alignment));
}
