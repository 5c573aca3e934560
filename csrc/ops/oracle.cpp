// lpgd::oracle_*: argmin <c, x> over a finite set, for batches of costs in CPU memory.
#include "ops/oracle.h"

#include <cmath>

#include "cpu/oracle.h"

namespace lpgd::ops {

namespace {

// All items on torch's threads, several at a time where one is little work.
template <class Task>
void solve_items(const OracleKernel<Task>& kernel, const Task& task, std::int64_t batch,
                 std::int64_t work_of_item) {
  constexpr std::int64_t kLeastWork =
      30'000;  // about as many nanoseconds: waking a thread takes some
  const std::int64_t grain = 1 + kLeastWork / (work_of_item + 50);
  const std::int64_t pieces = (batch + grain - 1) / grain;
  parallel_items(
      pieces, kernel.workspace_bytes(task), [&](void* workspace, std::int64_t piece, bool) {
        const std::int64_t begin = piece * grain;
        kernel.run(task, begin, begin + grain < batch ? begin + grain : batch, workspace);
      });
}

AssignmentAnswer oracle_assignment(const Tensor& costs, bool mask) {
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    AssignmentTask<T> task{};
    AssignmentAnswer out = new_assignment(costs, mask, task);
    solve_items(oracle_kernels().of<T>().assignment, task, costs.size(0), 8 * task.n * task.m);
    return out;
  });
}

OracleAnswer oracle_grid_path(const Tensor& costs, std::int64_t source, std::int64_t target,
                              bool diagonal) {
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    auto task = grid_task<T>(costs, source, target, diagonal);
    OracleAnswer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().grid, task, costs.size(0), 50 * task.height * task.width);
    return out;
  });
}

// Nodes of edges, checked to be in range.
std::vector<std::int32_t> graph_of(const Tensor& plan, const Tensor& costs, std::int64_t rows,
                                   std::int64_t nodes) {
  check_graph(plan, costs, rows, nodes);
  const std::int64_t* from = plan.const_data_ptr<std::int64_t>();
  const std::int64_t count = costs.size(1);
  std::vector<std::int32_t> out(static_cast<std::size_t>(rows * count));
  for (std::int64_t k = 0; k < rows * count; ++k) {
    const std::int64_t most = k < 2 * count ? nodes : count;
    STD_TORCH_CHECK(from[k] >= 0 && from[k] < most, "edges: an entry is out of range");
    out[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(from[k]);
  }
  return out;
}

OracleAnswer oracle_dag_path(const Tensor& costs, const Tensor& plan, std::int64_t nodes,
                             std::int64_t source, std::int64_t target) {
  const std::vector<std::int32_t> graph = graph_of(plan, costs, 3, nodes);
  const std::int64_t edges = costs.size(1);
  // an edge into a node that has been left would make the way back endless
  std::vector<bool> is_left(static_cast<std::size_t>(nodes));
  for (std::int64_t k = 0; k < edges; ++k) {
    const auto at = static_cast<std::size_t>(k);
    is_left[static_cast<std::size_t>(graph[at])] = true;
    STD_TORCH_CHECK(!is_left[static_cast<std::size_t>(graph[at + static_cast<std::size_t>(edges)])],
                    "edges must be in topological order");
  }
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    auto task = dag_task<T>(graph.data(), edges, nodes, source, target);
    OracleAnswer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().dag, task, costs.size(0), 3 * (edges + nodes));
    return out;
  });
}

OracleAnswer oracle_top_k(const Tensor& costs, std::int64_t k) {
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    auto task = top_k_task<T>(costs, k);
    OracleAnswer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().topk, task, costs.size(0), 6 * task.n);
    return out;
  });
}

OracleAnswer oracle_ranking(const Tensor& costs, const Tensor& values) {
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    auto task = ranking_task<T>(costs, values);
    OracleAnswer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().ranking, task, costs.size(0), 15 * task.n);
    return out;
  });
}

// most_states is for devices whose memory the host can't read; here the capacities tell.
OracleAnswer oracle_knapsack(const Tensor& costs, const Tensor& weights, const Tensor& capacity,
                             std::int64_t method, std::int64_t most_nodes, std::int64_t) {
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    auto task = knapsack_task<T>(costs, weights, capacity, method, most_nodes);
    for (std::int64_t i = 0; i < capacity.size(0); ++i) {
      double states = 1;
      for (std::int64_t d = 0; d < task.dims; ++d)
        states *= std::floor(task.capacity[i * task.dims + d]) + 1;
      if (states >= 1 && states <= static_cast<double>(task.most_states) &&
          states > static_cast<double>(task.room_states))
        task.room_states = static_cast<std::int64_t>(states);
    }
    OracleAnswer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().knapsack, task, costs.size(0),
                task.n * (task.room_states + 200));
    return out;
  });
}

OracleAnswer oracle_spanning_tree(const Tensor& costs, const Tensor& edges, std::int64_t nodes) {
  const std::vector<std::int32_t> graph = graph_of(edges, costs, 2, nodes);
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    auto task = tree_task<T>(graph.data(), costs.size(1), nodes);
    OracleAnswer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().tree, task, costs.size(0), 20 * task.edges + 3 * nodes);
    return out;
  });
}

OracleAnswer oracle_alignment(const Tensor& costs, std::int64_t window) {
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    auto task = alignment_task<T>(costs, window);
    OracleAnswer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().alignment, task, costs.size(0), 4 * task.n * task.m);
    return out;
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def(
      "oracle_assignment(Tensor costs, bool mask) -> (Tensor x, Tensor columns, Tensor u, "
      "Tensor v, Tensor objective, Tensor status)");
  m.def(
      "oracle_grid_path(Tensor costs, int source, int target, bool diagonal) -> (Tensor x, "
      "Tensor objective, Tensor status)");
  m.def(
      "oracle_dag_path(Tensor costs, Tensor plan, int nodes, int source, int target) -> "
      "(Tensor x, Tensor objective, Tensor status)");
  m.def("oracle_top_k(Tensor costs, int k) -> (Tensor x, Tensor objective, Tensor status)");
  m.def(
      "oracle_ranking(Tensor costs, Tensor values) -> (Tensor x, Tensor objective, "
      "Tensor status)");
  m.def(
      "oracle_knapsack(Tensor costs, Tensor weights, Tensor capacity, int method, "
      "int most_nodes, int most_states=-1) -> (Tensor x, Tensor objective, Tensor status)");
  m.def(
      "oracle_spanning_tree(Tensor costs, Tensor edges, int nodes) -> (Tensor x, "
      "Tensor objective, Tensor status)");
  m.def(
      "oracle_alignment(Tensor costs, int window) -> (Tensor x, Tensor objective, "
      "Tensor status)");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  m.impl("oracle_assignment", TORCH_BOX(&lpgd::ops::oracle_assignment));
  m.impl("oracle_grid_path", TORCH_BOX(&lpgd::ops::oracle_grid_path));
  m.impl("oracle_dag_path", TORCH_BOX(&lpgd::ops::oracle_dag_path));
  m.impl("oracle_top_k", TORCH_BOX(&lpgd::ops::oracle_top_k));
  m.impl("oracle_ranking", TORCH_BOX(&lpgd::ops::oracle_ranking));
  m.impl("oracle_knapsack", TORCH_BOX(&lpgd::ops::oracle_knapsack));
  m.impl("oracle_spanning_tree", TORCH_BOX(&lpgd::ops::oracle_spanning_tree));
  m.impl("oracle_alignment", TORCH_BOX(&lpgd::ops::oracle_alignment));
}
