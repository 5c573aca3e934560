// lpgd::oracle_*: argmin <c, x> over a finite set, for batches of costs in CPU memory.
#include "cpu/oracle.h"

#include <cmath>
#include <limits>
#include <tuple>

#include "ops/ops.h"

namespace lpgd::ops {

namespace {

using Answer = std::tuple<Tensor, Tensor, Tensor>;  // x, objective, status

constexpr std::int64_t kMostEntries = std::numeric_limits<std::int32_t>::max() - 64;

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

// Costs [batch, ...] with `dims` dimensions
void check_costs(const Tensor& costs, std::int64_t dims) {
  STD_TORCH_CHECK(costs.is_contiguous(), "costs must be contiguous");
  STD_TORCH_CHECK(costs.dim() == dims, "costs must have ", dims, " dimensions, got ", costs.dim());
  STD_TORCH_CHECK(costs.size(0) == 0 || costs.numel() / costs.size(0) < kMostEntries,
                  "costs: an item is too large");
}

// The outputs, of which x has the shape of the costs.
template <class Task>
Answer new_answer(const Tensor& costs, Task& task) {
  using T = std::remove_cv_t<std::remove_pointer_t<decltype(task.out.x)>>;
  Answer out{torch::stable::empty_like(costs),
             new_tensor(costs, {costs.size(0)}, costs.scalar_type()),
             new_tensor(costs, {costs.size(0)}, ScalarType::Int)};
  prefer_large_pages(std::get<0>(out));
  task.costs = costs.const_data_ptr<T>();
  task.out = {std::get<0>(out).template mutable_data_ptr<T>(),
              std::get<1>(out).template mutable_data_ptr<T>(),
              std::get<2>(out).template mutable_data_ptr<std::int32_t>()};
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> oracle_assignment(const Tensor& costs,
                                                                             bool mask) {
  check_costs(costs, 3);
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t batch = costs.size(0), rows = costs.size(1), cols = costs.size(2);
    const ScalarType dtype = costs.scalar_type();
    AssignmentTask<T> task{};
    task.transposed = rows > cols;
    task.n = task.transposed ? cols : rows;
    task.m = task.transposed ? rows : cols;
    Tensor x = new_tensor(costs, {batch, mask ? rows : 0, mask ? cols : 0}, dtype);
    Tensor columns = new_tensor(costs, {batch, task.n}, ScalarType::Long);
    Tensor u = new_tensor(costs, {batch, rows}, dtype), v = new_tensor(costs, {batch, cols}, dtype);
    Tensor objective = new_tensor(costs, {batch}, dtype);
    Tensor status = new_tensor(costs, {batch}, ScalarType::Int);
    task.costs = costs.const_data_ptr<T>();
    task.out = {mask ? x.mutable_data_ptr<T>() : nullptr, objective.mutable_data_ptr<T>(),
                status.mutable_data_ptr<std::int32_t>()};
    task.columns = columns.mutable_data_ptr<std::int64_t>();
    task.u = (task.transposed ? v : u).template mutable_data_ptr<T>();
    task.v = (task.transposed ? u : v).template mutable_data_ptr<T>();
    solve_items(oracle_kernels().of<T>().assignment, task, batch, 8 * task.n * task.m);
    return std::tuple{x, columns, u, v, objective, status};
  });
}

Answer oracle_grid_path(const Tensor& costs, std::int64_t source, std::int64_t target,
                        bool diagonal) {
  check_costs(costs, 3);
  const std::int64_t height = costs.size(1), width = costs.size(2), cells = height * width;
  STD_TORCH_CHECK(source >= 0 && source < cells && target >= 0 && target < cells,
                  "source and target must be cells of the grid");
  STD_TORCH_CHECK((height + 2) * (width + 2) < kMostEntries, "costs: a grid is too large");
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    GridTask<T> task{};
    task.height = height;
    task.width = width;
    task.source = source;
    task.target = target;
    task.diagonal = diagonal;
    Answer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().grid, task, costs.size(0), 50 * cells);
    return out;
  });
}

// Nodes of edges, from an int64 tensor [rows, edges], checked to be in range.
std::vector<std::int32_t> graph_of(const Tensor& plan, const Tensor& costs, std::int64_t rows,
                                   std::int64_t nodes) {
  check_device(plan, costs, "edges");
  STD_TORCH_CHECK(plan.is_contiguous() && plan.scalar_type() == ScalarType::Long &&
                      plan.dim() == 2 && plan.size(0) == rows && plan.size(1) == costs.size(1),
                  "edges must be a contiguous int64 tensor [", rows, ", ", costs.size(1), "]");
  STD_TORCH_CHECK(nodes >= 1 && nodes < kMostEntries, "nodes must be positive");
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

Answer oracle_dag_path(const Tensor& costs, const Tensor& plan, std::int64_t nodes,
                       std::int64_t source, std::int64_t target) {
  check_costs(costs, 2);
  const std::int64_t edges = costs.size(1);
  const std::vector<std::int32_t> graph = graph_of(plan, costs, 3, nodes);
  STD_TORCH_CHECK(source >= 0 && source < nodes && target >= 0 && target < nodes,
                  "source and target must be nodes");
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
    DagTask<T> task{};
    task.nodes = nodes;
    task.edges = edges;
    task.source = source;
    task.target = target;
    task.tail = graph.data();
    task.head = task.tail + edges;
    task.edge = task.head + edges;
    Answer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().dag, task, costs.size(0), 3 * (edges + nodes));
    return out;
  });
}

Answer oracle_top_k(const Tensor& costs, std::int64_t k) {
  check_costs(costs, 2);
  STD_TORCH_CHECK(k >= 0 && k <= costs.size(1), "k must be between 0 and n");
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    TopKTask<T> task{};
    task.n = costs.size(1);
    task.k = k;
    Answer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().topk, task, costs.size(0), 6 * task.n);
    return out;
  });
}

Answer oracle_ranking(const Tensor& costs, const Tensor& values) {
  check_costs(costs, 2);
  check_like(values, costs, "values");
  STD_TORCH_CHECK(values.dim() == 1 && values.numel() == costs.size(1), "values must be [n]");
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    RankingTask<T> task{};
    task.n = costs.size(1);
    task.values = values.const_data_ptr<T>();
    Answer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().ranking, task, costs.size(0), 15 * task.n);
    return out;
  });
}

Answer oracle_knapsack(const Tensor& costs, const Tensor& weights, const Tensor& capacity,
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
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
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
    const double limit = static_cast<double>(cells / (n > 0 ? n : 1));
    if (task.method != KnapsackMethod::branch) {
      for (std::int64_t i = 0; i < capacity.size(0); ++i) {
        double states = 1;
        for (std::int64_t d = 0; d < task.dims; ++d)
          states *= std::floor(task.capacity[i * task.dims + d]) + 1;
        if (states >= 1 && states <= limit && states > static_cast<double>(task.most_states))
          task.most_states = static_cast<std::int64_t>(states);
      }
    }
    Answer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().knapsack, task, batch, n * (task.most_states + 200));
    return out;
  });
}

Answer oracle_spanning_tree(const Tensor& costs, const Tensor& edges, std::int64_t nodes) {
  check_costs(costs, 2);
  const std::vector<std::int32_t> graph = graph_of(edges, costs, 2, nodes);
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    TreeTask<T> task{};
    task.nodes = nodes;
    task.edges = costs.size(1);
    task.tail = graph.data();
    task.head = task.tail + task.edges;
    Answer out = new_answer(costs, task);
    solve_items(oracle_kernels().of<T>().tree, task, costs.size(0), 20 * task.edges + 3 * nodes);
    return out;
  });
}

Answer oracle_alignment(const Tensor& costs, std::int64_t window) {
  check_costs(costs, 3);
  STD_TORCH_CHECK(costs.size(1) >= 1 && costs.size(2) >= 1, "costs must have rows and columns");
  return dispatch_dtype(costs, [&](auto zero) {
    using T = decltype(zero);
    AlignmentTask<T> task{};
    task.n = costs.size(1);
    task.m = costs.size(2);
    task.window = window;
    Answer out = new_answer(costs, task);
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
      "int most_nodes) -> (Tensor x, Tensor objective, Tensor status)");
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
