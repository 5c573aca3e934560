// Shortest path in an acyclic graph: one pass over its edges in topological order, any sign of
// cost.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

struct DagPath {
  double* distance;    // [nodes]
  std::int32_t* from;  // [nodes]: the edge that reaches a node, as a place in the order

  template <class T>
  std::size_t bind(const DagTask<T>& task, void* memory) {
    OracleSlices slices(memory);
    slices.take(distance, task.nodes);
    slices.take(from, task.nodes);
    return slices.used();
  }
  template <class T>
  static std::size_t workspace_bytes(const DagTask<T>& task) {
    return DagPath{}.bind(task, nullptr);
  }

  template <class T>
  static void run(const DagTask<T>& task, std::int64_t item, void* memory) {
    DagPath work;
    work.bind(task, memory);
    const T* costs = task.costs + item * task.edges;
    T* x = task.out.x + item * task.edges;
    fill(x, task.edges, T(0));
    if (!are_costs(costs, task.edges)) return fail(task.out, item, kOracleBadData);
    fill(work.distance, task.nodes, kOracleInfinity);
    work.distance[task.source] = 0;
    for (std::int64_t k = 0; k < task.edges; ++k) {
      const double through = work.distance[task.tail[k]] + static_cast<double>(costs[task.edge[k]]);
      if (through < work.distance[task.head[k]]) {
        work.distance[task.head[k]] = through;
        work.from[task.head[k]] = static_cast<std::int32_t>(k);
      }
    }
    if (!(work.distance[task.target] < kOracleInfinity))
      return fail(task.out, item, kOracleInfeasible);
    for (std::int64_t node = task.target; node != task.source;) {
      const std::int32_t k = work.from[node];
      x[task.edge[k]] = T(1);
      node = task.tail[k];
    }
    finish(task.out, item, work.distance[task.target]);
  }
};

LPGD_END_NAMESPACE
