// Tensors of the oracles to the plain structs of core/oracle_types.h; for CPU and CUDA alike.
#pragma once

#include <limits>
#include <tuple>
#include <type_traits>

#include "core/oracle_types.h"
#include "ops/ops.h"

namespace lpgd::ops {

using OracleAnswer = std::tuple<Tensor, Tensor, Tensor>;  // x, objective, status
using AssignmentAnswer = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

constexpr std::int64_t kMostEntries = std::numeric_limits<std::int32_t>::max() - 64;

// Costs [batch, ...] with `dims` dimensions
inline void check_costs(const Tensor& costs, std::int64_t dims) {
  STD_TORCH_CHECK(costs.is_contiguous(), "costs must be contiguous");
  STD_TORCH_CHECK(costs.dim() == dims, "costs must have ", dims, " dimensions, got ", costs.dim());
  STD_TORCH_CHECK(costs.size(0) == 0 || costs.numel() / costs.size(0) < kMostEntries,
                  "costs: an item is too large");
}

// The outputs, of which x has the shape of the costs.
template <class Task>
OracleAnswer new_answer(const Tensor& costs, Task& task) {
  using T = std::remove_cv_t<std::remove_pointer_t<decltype(task.out.x)>>;
  OracleAnswer out{torch::stable::empty_like(costs),
                   new_tensor(costs, {costs.size(0)}, costs.scalar_type()),
                   new_tensor(costs, {costs.size(0)}, ScalarType::Int)};
  prefer_large_pages(std::get<0>(out));
  task.costs = costs.const_data_ptr<T>();
  task.out = {std::get<0>(out).template mutable_data_ptr<T>(),
              std::get<1>(out).template mutable_data_ptr<T>(),
              std::get<2>(out).template mutable_data_ptr<std::int32_t>()};
  return out;
}

template <class T>
AssignmentAnswer new_assignment(const Tensor& costs, bool mask, AssignmentTask<T>& task) {
  check_costs(costs, 3);
  const std::int64_t batch = costs.size(0), rows = costs.size(1), cols = costs.size(2);
  const ScalarType dtype = costs.scalar_type();
  task.transposed = rows > cols;
  task.n = task.transposed ? cols : rows;
  task.m = task.transposed ? rows : cols;
  AssignmentAnswer out{new_tensor(costs, {batch, mask ? rows : 0, mask ? cols : 0}, dtype),
                       new_tensor(costs, {batch, task.n}, ScalarType::Long),
                       new_tensor(costs, {batch, rows}, dtype),
                       new_tensor(costs, {batch, cols}, dtype),
                       new_tensor(costs, {batch}, dtype),
                       new_tensor(costs, {batch}, ScalarType::Int)};
  auto& [x, columns, u, v, objective, status] = out;
  task.costs = costs.const_data_ptr<T>();
  task.out = {mask ? x.template mutable_data_ptr<T>() : nullptr,
              objective.template mutable_data_ptr<T>(),
              status.template mutable_data_ptr<std::int32_t>()};
  task.columns = columns.template mutable_data_ptr<std::int64_t>();
  task.u = (task.transposed ? v : u).template mutable_data_ptr<T>();
  task.v = (task.transposed ? u : v).template mutable_data_ptr<T>();
  return out;
}

template <class T>
GridTask<T> grid_task(const Tensor& costs, std::int64_t source, std::int64_t target,
                      bool diagonal) {
  check_costs(costs, 3);
  const std::int64_t height = costs.size(1), width = costs.size(2), cells = height * width;
  STD_TORCH_CHECK(source >= 0 && source < cells && target >= 0 && target < cells,
                  "source and target must be cells of the grid");
  STD_TORCH_CHECK((height + 2) * (width + 2) < kMostEntries, "costs: a grid is too large");
  GridTask<T> task{};
  task.height = height;
  task.width = width;
  task.source = source;
  task.target = target;
  task.diagonal = diagonal;
  return task;
}

// Nodes of edges: an int64 tensor [rows, edges]. What is in it is for the device that has it.
inline void check_graph(const Tensor& plan, const Tensor& costs, std::int64_t rows,
                        std::int64_t nodes) {
  check_costs(costs, 2);
  check_device(plan, costs, "edges");
  STD_TORCH_CHECK(plan.is_contiguous() && plan.scalar_type() == ScalarType::Long &&
                      plan.dim() == 2 && plan.size(0) == rows && plan.size(1) == costs.size(1),
                  "edges must be a contiguous int64 tensor [", rows, ", ", costs.size(1), "]");
  STD_TORCH_CHECK(nodes >= 1 && nodes < kMostEntries, "nodes must be positive");
}

template <class T, class Index>
DagTask<T, Index> dag_task(const Index* graph, std::int64_t edges, std::int64_t nodes,
                           std::int64_t source, std::int64_t target) {
  STD_TORCH_CHECK(source >= 0 && source < nodes && target >= 0 && target < nodes,
                  "source and target must be nodes");
  DagTask<T, Index> task{};
  task.nodes = nodes;
  task.edges = edges;
  task.source = source;
  task.target = target;
  task.tail = graph;
  task.head = graph + edges;
  task.edge = graph + 2 * edges;
  return task;
}

template <class T>
TopKTask<T> top_k_task(const Tensor& costs, std::int64_t k) {
  check_costs(costs, 2);
  STD_TORCH_CHECK(k >= 0 && k <= costs.size(1), "k must be between 0 and n");
  TopKTask<T> task{};
  task.n = costs.size(1);
  task.k = k;
  return task;
}

template <class T>
RankingTask<T> ranking_task(const Tensor& costs, const Tensor& values) {
  check_costs(costs, 2);
  check_like(values, costs, "values");
  STD_TORCH_CHECK(values.dim() == 1 && values.numel() == costs.size(1), "values must be [n]");
  RankingTask<T> task{};
  task.n = costs.size(1);
  task.values = values.const_data_ptr<T>();
  return task;
}

// But for `room_states`, which hangs on the capacities.
template <class T>
KnapsackTask<T> knapsack_task(const Tensor& costs, const Tensor& weights, const Tensor& capacity,
                              std::int64_t method, std::int64_t most_nodes) {
  check_costs(costs, 2);
  const std::int64_t batch = costs.size(0), n = costs.size(1);
  for (const Tensor* given : {&weights, &capacity}) {
    STD_TORCH_CHECK(given->is_contiguous() && given->scalar_type() == ScalarType::Double,
                    "weights and capacity must be contiguous, of float64");
    check_device(*given, costs, "weights and capacity");
  }
  STD_TORCH_CHECK(weights.dim() == 3 && capacity.dim() == 2 && weights.size(2) == n &&
                      weights.size(1) == capacity.size(1) && weights.size(1) >= 1,
                  "weights must be [1 | batch, dims, n], capacity [1 | batch, dims]");
  for (const Tensor* given : {&weights, &capacity})
    STD_TORCH_CHECK(given->size(0) == 1 || given->size(0) == batch,
                    "weights and capacity must have one item or as many as the costs");
  STD_TORCH_CHECK(method >= 0 && method <= 2, "method must be 0, 1 or 2");
  KnapsackTask<T> task{};
  task.n = n;
  task.dims = weights.size(1);
  task.weights = weights.const_data_ptr<double>();
  task.capacity = capacity.const_data_ptr<double>();
  task.stride_weights = weights.size(0) == 1 ? 0 : task.dims * n;
  task.stride_capacity = capacity.size(0) == 1 ? 0 : task.dims;
  task.method = static_cast<KnapsackMethod>(method);
  task.most_nodes = most_nodes;
  const std::int64_t cells =
      task.method == KnapsackMethod::table ? kKnapsackLargestTable : kKnapsackSmallTable;
  task.most_states = task.method == KnapsackMethod::branch ? 0 : cells / (n > 0 ? n : 1);
  return task;
}

template <class T, class Index>
TreeTask<T, Index> tree_task(const Index* graph, std::int64_t edges, std::int64_t nodes) {
  TreeTask<T, Index> task{};
  task.nodes = nodes;
  task.edges = edges;
  task.tail = graph;
  task.head = graph + edges;
  return task;
}

template <class T>
AlignmentTask<T> alignment_task(const Tensor& costs, std::int64_t window) {
  check_costs(costs, 3);
  STD_TORCH_CHECK(costs.size(1) >= 1 && costs.size(2) >= 1, "costs must have rows and columns");
  AlignmentTask<T> task{};
  task.n = costs.size(1);
  task.m = costs.size(2);
  task.window = window;
  return task;
}

}  // namespace lpgd::ops
