// 0/1 knapsack in one or more resources: which of the two exact methods takes an item.
#pragma once

#include "oracle_knapsack_branch.h"
#include "oracle_knapsack_table.h"

LPGD_BEGIN_NAMESPACE

struct Knapsack {
  template <class Group, class T>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const KnapsackTask<T>& task) {
    KnapsackBranch<Group> branch{};
    const std::size_t searched = branch.bind(task.n, task.dims, nullptr);
    if (task.method == KnapsackMethod::branch) return searched;
    KnapsackTable<Group> table{};
    const std::size_t listed = table.bind(task.n, task.dims, task.room_states, nullptr);
    return listed > searched ? listed : searched;
  }

  template <class Group, class T>
  LPGD_DEVICE static void run(const Group& group, const KnapsackTask<T>& task, std::int64_t item,
                              void* memory) {
    const T* costs = task.costs + item * task.n;
    const double* weights = task.weights + item * task.stride_weights;
    const double* capacity = task.capacity + item * task.stride_capacity;
    T* x = task.out.x + item * task.n;
    fill(group, x, task.n, T(0));
    bool bad = !are_costs(group, costs, task.n), empty = false, whole = true;
    LPGD_EACH(group, k, task.n * task.dims) {
      bad |= !(weights[k] >= 0 && weights[k] < kOracleInfinity);
      whole &= is_whole(weights[k]);
    }
    bad = !holds_on_all(group, !bad);
    whole = holds_on_all(group, whole);
    for (std::int64_t d = 0; d < task.dims; ++d) {
      bad |= !(capacity[d] - capacity[d] == 0.0);
      empty |= capacity[d] < 0;
    }
    const std::int64_t states = knapsack_states(task.dims, capacity, task.most_states);
    const bool listed = task.method != KnapsackMethod::branch && whole && states >= 0;
    bad |= task.method == KnapsackMethod::table && !listed && !(whole && empty);
    bad |= listed && states > task.room_states;  // told too few
    if (bad) return fail(group, task.out, item, kOracleBadData);
    if (empty) return fail(group, task.out, item, kOracleInfeasible);
    bool proved = true;
    if (listed) {
      KnapsackTable<Group> table{};
      table.group = group;
      table.bind(task.n, task.dims, task.room_states, memory);
      table.solve(task.n, task.dims, costs, weights, capacity, states, x);
    } else {
      KnapsackBranch<Group> branch{};
      branch.group = group;
      branch.bind(task.n, task.dims, memory);
      proved = branch.solve(task.n, task.dims, costs, weights, capacity, task.most_nodes, x);
    }
    if (group.lane() != 0) return;  // x is the first lane's
    double objective = 0;
    for (std::int64_t i = 0; i < task.n; ++i)
      if (x[i] != T(0)) objective += static_cast<double>(costs[i]);
    finish(group, task.out, item, objective, proved ? kOracleOk : kOracleStopped);
  }
};

LPGD_END_NAMESPACE
