// Shortest path in an acyclic graph: one pass over its edges in topological order, any sign of
// cost.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

// The pass has an order to keep, so that lanes could share little of it: in device code a thread
// takes an item. Side by side they read the same edges, and `Step` items keep their nodes side by
// side, so that a step of all of them is one line of memory.
template <int Step>
struct DagPathOf {
  double* distance;    // [nodes, Step]
  std::int32_t* from;  // [nodes, Step]: the edge that reaches a node, as a place in the order

  template <class T, class Index>
  LPGD_HOST_TOO std::size_t bind(const DagTask<T, Index>& task, void* memory) {
    OracleSlices slices(memory);
    slices.take(distance, task.nodes * Step);
    slices.take(from, task.nodes * Step);
    return slices.used();
  }
  template <class Group, class T, class Index>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const DagTask<T, Index>& task) {
    return DagPathOf{}.bind(task, nullptr);
  }

  // `place`: of the item among those that share the memory
  template <class T, class Index>
  LPGD_DEVICE static void run(const SerialGroup& group, const DagTask<T, Index>& task,
                              std::int64_t item, void* memory, int place = 0) {
    DagPathOf work;
    work.bind(task, memory);
    work.distance += place;
    work.from += place;
    const T* costs = task.costs + item * task.edges;
    T* x = task.out.x + item * task.edges;
    fill(x, task.edges, T(0));
    if (!are_costs(group, costs, task.edges)) return fail(group, task.out, item, kOracleBadData);
    for (std::int64_t node = 0; node < task.nodes; ++node)
      work.distance[node * Step] = kOracleInfinity;
    work.distance[task.source * Step] = 0;
    if (!work.walk(task, costs)) return fail(group, task.out, item, kOracleBadData);
    const double found = work.distance[task.target * Step];
    if (!(found < kOracleInfinity)) return fail(group, task.out, item, kOracleInfeasible);
    std::int64_t left = task.nodes;  // of steps: edges in no topological order could go in circles
    for (std::int64_t node = task.target; node != task.source; --left) {
      if (Step > 1 && left == 0) {
        fill(x, task.edges, T(0));
        return fail(group, task.out, item, kOracleBadData);
      }
      const std::int32_t k = work.from[node * Step];
      x[task.edge[k]] = T(1);
      node = task.tail[k];
    }
    finish(group, task.out, item, found);
  }

 private:
  // False: the graph is none.
  template <class T, class Index>
  LPGD_DEVICE bool walk(const DagTask<T, Index>& task, const T* costs) {
    if constexpr (Step == 1) {
      double* const to = distance;
      std::int32_t* const by = from;
      for (std::int64_t k = 0; k < task.edges; ++k) {
        const double through = to[task.tail[k]] + static_cast<double>(costs[task.edge[k]]);
        if (through < to[task.head[k]]) {
          to[task.head[k]] = through;
          by[task.head[k]] = static_cast<std::int32_t>(k);
        }
      }
      return true;
    } else {
      // some edges are fetched before any of them writes: no fetch then waits for a write
      constexpr int kAhead = 4;
      bool good = true;
      for (std::int64_t start = 0; start < task.edges; start += kAhead) {
        std::int64_t tail[kAhead], head[kAhead];
        double cost[kAhead];
        LPGD_UNROLL
        for (int a = 0; a < kAhead; ++a) {
          const std::int64_t k = start + a;
          const bool is_there = k < task.edges && is_place(task.tail[k], task.nodes) &&
                                is_place(task.head[k], task.nodes) &&
                                is_place(task.edge[k], task.edges);
          good &= is_there || k >= task.edges;
          tail[a] = is_there ? static_cast<std::int64_t>(task.tail[k]) : task.source;
          head[a] = is_there ? static_cast<std::int64_t>(task.head[k]) : task.source;
          cost[a] = is_there ? static_cast<double>(costs[task.edge[k]]) : kOracleInfinity;
        }
        LPGD_UNROLL
        for (int a = 0; a < kAhead; ++a) {
          const double through = distance[tail[a] * Step] + cost[a];
          if (!(through < distance[head[a] * Step])) continue;
          distance[head[a] * Step] = through;
          from[head[a] * Step] = static_cast<std::int32_t>(start + a);
        }
      }
      return good;
    }
  }
};

using DagPath = DagPathOf<1>;

LPGD_END_NAMESPACE
