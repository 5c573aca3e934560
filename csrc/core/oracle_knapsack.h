// 0/1 knapsack in one or more resources: which of the two exact methods takes an item.
#pragma once

#include "oracle_knapsack_branch.h"
#include "oracle_knapsack_table.h"

LPGD_BEGIN_NAMESPACE

struct Knapsack {
  template <class T>
  static std::size_t workspace_bytes(const KnapsackTask<T>& task) {
    const std::size_t branch = KnapsackBranch{}.bind(task.n, task.dims, nullptr);
    if (task.method == KnapsackMethod::branch) return branch;
    const std::size_t table = KnapsackTable{}.bind(task.n, task.dims, task.most_states, nullptr);
    return table > branch ? table : branch;
  }

  template <class T>
  static void run(const KnapsackTask<T>& task, std::int64_t item, void* memory) {
    const T* costs = task.costs + item * task.n;
    const double* weights = task.weights + item * task.stride_weights;
    const double* capacity = task.capacity + item * task.stride_capacity;
    T* x = task.out.x + item * task.n;
    fill(x, task.n, T(0));
    bool bad = !are_costs(costs, task.n), empty = false;
    for (std::int64_t k = 0; k < task.n * task.dims; ++k)
      bad |= !(weights[k] >= 0 && weights[k] < kOracleInfinity);
    for (std::int64_t d = 0; d < task.dims; ++d) {
      bad |= !(capacity[d] - capacity[d] == 0.0);
      empty |= capacity[d] < 0;
    }
    const std::int64_t states = KnapsackTable::states(task.dims, capacity, task.most_states);
    const bool whole = KnapsackTable::are_whole(weights, task.n * task.dims);
    bad |= task.method == KnapsackMethod::table && (!whole || (states < 0 && !empty));
    if (bad) return fail(task.out, item, kOracleBadData);
    if (empty) return fail(task.out, item, kOracleInfeasible);
    bool proved = true;
    if (task.method != KnapsackMethod::branch && whole && states >= 0) {
      KnapsackTable table;
      table.bind(task.n, task.dims, task.most_states, memory);
      table.solve(task.n, task.dims, costs, weights, capacity, states, x);
    } else {
      KnapsackBranch branch;
      branch.bind(task.n, task.dims, memory);
      proved = branch.solve(task.n, task.dims, costs, weights, capacity, task.most_nodes, x);
    }
    double objective = 0;
    for (std::int64_t i = 0; i < task.n; ++i)
      if (x[i] != T(0)) objective += static_cast<double>(costs[i]);
    finish(task.out, item, objective, proved ? kOracleOk : kOracleStopped);
  }
};

LPGD_END_NAMESPACE
