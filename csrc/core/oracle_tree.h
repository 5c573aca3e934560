// Minimum spanning tree by Kruskal's algorithm: edges from cheap to dear, components joined by
// size.
#pragma once

#include "oracle_order.h"

LPGD_BEGIN_NAMESPACE

struct SpanningTree {
  template <class T>
  struct Work {
    CostOrder<T> by_cost;
    std::int32_t *parent, *size;  // [nodes]

    std::size_t bind(const TreeTask<T>& task, void* memory) {
      OracleSlices slices(memory);
      by_cost.bind(slices, task.edges);
      slices.take(parent, task.nodes);
      slices.take(size, task.nodes);
      return slices.used();
    }
    std::int32_t root(std::int32_t node) {
      while (parent[node] != node) {
        parent[node] = parent[parent[node]];
        node = parent[node];
      }
      return node;
    }
  };

  template <class T>
  static std::size_t workspace_bytes(const TreeTask<T>& task) {
    return Work<T>{}.bind(task, nullptr);
  }

  template <class T>
  static void run(const TreeTask<T>& task, std::int64_t item, void* memory) {
    Work<T> work;
    work.bind(task, memory);
    const T* costs = task.costs + item * task.edges;
    T* x = task.out.x + item * task.edges;
    fill(x, task.edges, T(0));
    if (!are_costs(costs, task.edges)) return fail(task.out, item, kOracleBadData);
    work.by_cost.ascending(costs, task.edges);
    for (std::int64_t i = 0; i < task.nodes; ++i) work.parent[i] = static_cast<std::int32_t>(i);
    fill(work.size, task.nodes, 1);
    std::int64_t missing = task.nodes - 1;
    double objective = 0;
    for (std::int64_t k = 0; k < task.edges && missing > 0; ++k) {
      const std::int32_t e = work.by_cost.order[k];
      if (!(costs[e] < std::numeric_limits<T>::infinity())) break;
      std::int32_t a = work.root(task.tail[e]), b = work.root(task.head[e]);
      if (a == b) continue;
      if (work.size[a] < work.size[b]) {
        const std::int32_t swap = a;
        a = b;
        b = swap;
      }
      work.parent[b] = a;
      work.size[a] += work.size[b];
      x[e] = T(1);
      objective += static_cast<double>(costs[e]);
      --missing;
    }
    if (missing > 0) {
      fill(x, task.edges, T(0));
      return fail(task.out, item, kOracleInfeasible);
    }
    finish(task.out, item, objective);
  }
};

LPGD_END_NAMESPACE
