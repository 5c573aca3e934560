// Minimum spanning tree by Kruskal's algorithm: edges from cheap to dear, components joined by
// size.
#pragma once

#include "oracle_order.h"

LPGD_BEGIN_NAMESPACE

// The edges are sorted by all lanes; whether an edge joins two components hangs on all before it,
// so that one lane takes them.
struct SpanningTree {
  template <class Group, class T>
  struct Work {
    CostOrder<Group, T> by_cost;
    std::int32_t *parent, *size;  // [nodes]

    template <class Index>
    LPGD_HOST_TOO std::size_t bind(const TreeTask<T, Index>& task, void* memory) {
      OracleSlices slices(memory);
      by_cost.bind(slices, task.edges);
      slices.take(parent, task.nodes);
      slices.take(size, task.nodes);
      return slices.used();
    }
    LPGD_INLINE std::int32_t root(std::int32_t node) {
      while (parent[node] != node) {
        parent[node] = parent[parent[node]];
        node = parent[node];
      }
      return node;
    }
  };

  template <class Group, class T, class Index>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const TreeTask<T, Index>& task) {
    return Work<Group, T>{}.bind(task, nullptr);
  }

  template <class Group, class T, class Index>
  LPGD_DEVICE static void run(const Group& group, const TreeTask<T, Index>& task, std::int64_t item,
                              void* memory) {
    Work<Group, T> work;
    work.bind(task, memory);
    const T* costs = task.costs + item * task.edges;
    T* x = task.out.x + item * task.edges;
    fill(group, x, task.edges, T(0));
    bool good = are_costs(group, costs, task.edges);
    if constexpr (sizeof(Index) > sizeof(std::int32_t)) {
      LPGD_EACH(group, e, task.edges)
      good &= is_place(task.tail[e], task.nodes) && is_place(task.head[e], task.nodes);
      good = holds_on_all(group, good);
    }
    if (!good) return fail(group, task.out, item, kOracleBadData);
    LPGD_EACH(group, node, task.nodes) {
      work.parent[node] = static_cast<std::int32_t>(node);
      work.size[node] = 1;
    }
    work.by_cost.ascending(group, costs, task.edges);
    group.sync();
    if (group.lane() == 0) {
      double objective = 0;
      const bool spans = grow(work, task, costs, x, objective);
      finish(group, task.out, item, objective);
      work.size[0] = spans ? 1 : 0;  // for the other lanes
    }
    group.sync();
    if (work.size[0] != 0) return;
    fill(group, x, task.edges, T(0));
    fail(group, task.out, item, kOracleInfeasible);
  }

 private:
  // False: the graph is not connected.
  template <class Group, class T, class Index>
  LPGD_DEVICE static bool grow(Work<Group, T>& work, const TreeTask<T, Index>& task, const T* costs,
                               T* x, double& objective) {
    std::int64_t missing = task.nodes - 1;
    for (std::int64_t k = 0; k < task.edges && missing > 0; ++k) {
      const std::int32_t e = work.by_cost.order[k];
      if (!(costs[e] < std::numeric_limits<T>::infinity())) break;
      std::int32_t a = work.root(static_cast<std::int32_t>(task.tail[e]));
      std::int32_t b = work.root(static_cast<std::int32_t>(task.head[e]));
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
    return missing == 0;
  }
};

LPGD_END_NAMESPACE
