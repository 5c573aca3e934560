// The oracles against enumeration, an item alone in a workspace of just the size it asks for, so
// that the sanitizers see what is read or written beyond it.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "check.h"
#include "core/oracle_alignment.h"
#include "core/oracle_assignment.h"
#include "core/oracle_dag.h"
#include "core/oracle_grid.h"
#include "core/oracle_knapsack.h"
#include "core/oracle_selection.h"
#include "core/oracle_tree.h"

using namespace lpgd;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class T>
struct Item {
  std::vector<T> costs, x;
  T objective{};
  std::int32_t status = -1;

  explicit Item(std::vector<T> given) : costs(std::move(given)), x(costs.size(), T(7)) {}

  template <class Algorithm, template <class> class Task>
  void solve(Task<T>& task) {
    task.costs = costs.data();
    task.out = {x.data(), &objective, &status};
    const std::size_t bytes = Algorithm::template workspace_bytes<SerialGroup>(task);
    void* memory = ::operator new(bytes > 0 ? bytes : 1, std::align_val_t{64});
    Algorithm::run(SerialGroup{}, task, 0, memory);
    ::operator delete(memory, std::align_val_t{64});
  }
};

template <class T>
std::vector<T> draw(std::mt19937_64& generator, std::int64_t count, int kind) {
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  std::vector<T> out(static_cast<std::size_t>(count));
  for (T& value : out) {
    double v = uniform(generator);
    if (kind == 1) v = std::floor(3 * v);
    if (kind == 2) v = 1;
    if (kind == 3 && uniform(generator) < 0.4) v = kInf;
    value = static_cast<T>(v);
  }
  return out;
}

// The least cost of rows i.. with the columns that are not taken.
template <class T>
double best_assignment(const std::vector<T>& c, std::int64_t n, std::int64_t m, std::int64_t i,
                       unsigned taken) {
  if (i == n) return 0;
  double best = kInf;
  for (std::int64_t j = 0; j < m; ++j) {
    if ((taken >> j & 1U) != 0) continue;
    const double rest = best_assignment(c, n, m, i + 1, taken | 1U << j);
    best = std::min(best, static_cast<double>(c[static_cast<std::size_t>(i * m + j)]) + rest);
  }
  return best;
}

template <class T>
void check_assignments() {
  std::mt19937_64 generator(1);
  for (int trial = 0; trial < 200; ++trial) {
    const std::int64_t n = 1 + trial % 5, m = n + trial % 3;
    Item<T> item(draw<T>(generator, n * m, trial % 4));
    std::vector<std::int64_t> columns(static_cast<std::size_t>(n));
    std::vector<T> u(columns.size()), v(static_cast<std::size_t>(m));
    AssignmentTask<T> task{};
    task.n = n;
    task.m = m;
    task.columns = columns.data();
    task.u = u.data();
    task.v = v.data();
    item.template solve<Assignment>(task);
    const double best = best_assignment(item.costs, n, m, 0, 0);
    CHECK(item.status == (best < kInf ? kOracleOk : kOracleInfeasible));
    if (item.status != kOracleOk) continue;
    CHECK_NEAR(static_cast<double>(item.objective), best, 1e-5);
    double chosen = 0, duals = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto row = static_cast<std::size_t>(i);
      const auto at = static_cast<std::size_t>(i * m + columns[row]);
      CHECK(item.x[at] == T(1));
      chosen += static_cast<double>(item.costs[at]);
      duals += static_cast<double>(u[row]);
    }
    for (const T& value : v) duals += static_cast<double>(value);
    CHECK_NEAR(chosen, best, 1e-5);
    CHECK_NEAR(duals, best, 1e-5);
  }
}

// Bellman and Ford: as many rounds as there are cells.
double best_grid(const std::vector<double>& c, std::int64_t h, std::int64_t w, bool diagonal) {
  std::vector<double> total(c.size(), kInf);
  total[0] = c[0];
  for (std::size_t round = 0; round < c.size(); ++round) {
    for (std::int64_t at = 0; at < h * w; ++at) {
      for (std::int64_t di = -1; di <= 1; ++di) {
        for (std::int64_t dj = -1; dj <= 1; ++dj) {
          const std::int64_t i = at / w + di, j = at % w + dj;
          if (i < 0 || i >= h || j < 0 || j >= w || (!diagonal && di * dj != 0)) continue;
          const auto to = static_cast<std::size_t>(i * w + j);
          total[to] = std::min(total[to], total[static_cast<std::size_t>(at)] + c[to]);
        }
      }
    }
  }
  return total.back();
}

}  // namespace

LPGD_TEST(assignment_is_the_best_of_all) {
  check_assignments<double>();
  check_assignments<float>();
}

LPGD_TEST(assignment_of_large_items_and_bad_data) {
  std::mt19937_64 generator(2);
  for (const std::int64_t n : {33, 70}) {
    for (int kind = 0; kind < 4; ++kind) {
      Item<double> item(draw<double>(generator, n * (n + 5), kind));
      std::vector<std::int64_t> columns(static_cast<std::size_t>(n));
      std::vector<double> u(columns.size()), v(static_cast<std::size_t>(n + 5));
      AssignmentTask<double> task{};
      task.n = n;
      task.m = n + 5;
      task.columns = columns.data();
      task.u = u.data();
      task.v = v.data();
      item.solve<Assignment>(task);
      CHECK(item.status == kOracleOk);
      double slack = kInf;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n + 5; ++j)
          slack =
              std::min(slack, item.costs[static_cast<std::size_t>(i * (n + 5) + j)] -
                                  u[static_cast<std::size_t>(i)] - v[static_cast<std::size_t>(j)]);
      }
      CHECK(slack > -1e-12);
      item.costs[3] = std::nan("");
      item.solve<Assignment>(task);
      CHECK(item.status == kOracleBadData);
      CHECK(item.x[0] == 0 && columns[0] == -1);
    }
  }
}

LPGD_TEST(grid_paths_are_the_shortest) {
  std::mt19937_64 generator(3);
  for (int trial = 0; trial < 200; ++trial) {
    const std::int64_t h = 1 + trial % 6, w = 1 + trial % 5;
    Item<double> item(draw<double>(generator, h * w, trial % 4));
    GridTask<double> task{};
    task.height = h;
    task.width = w;
    task.target = h * w - 1;
    task.diagonal = trial % 2 == 0;
    item.solve<GridPath>(task);
    const double best = best_grid(item.costs, h, w, task.diagonal);
    CHECK(item.status == (best < kInf ? kOracleOk : kOracleInfeasible));
    if (best < kInf) CHECK_NEAR(item.objective, best, 1e-12);
  }
}

LPGD_TEST(paths_in_a_graph_are_the_shortest) {
  std::mt19937_64 generator(4);
  // all edges i < j of six nodes, in topological order, in reverse places
  std::vector<std::int32_t> tail, head, edge;
  for (std::int32_t i = 0; i < 6; ++i) {
    for (std::int32_t j = i + 1; j < 6; ++j) {
      tail.push_back(i);
      head.push_back(j);
      edge.push_back(14 - static_cast<std::int32_t>(edge.size()));
    }
  }
  for (int trial = 0; trial < 100; ++trial) {
    Item<double> item(draw<double>(generator, 15, trial % 4));
    for (double& c : item.costs) c -= 0.5;
    DagTask<double> task{};
    task.nodes = 6;
    task.edges = 15;
    task.target = 5;
    task.tail = tail.data();
    task.head = head.data();
    task.edge = edge.data();
    item.solve<DagPath>(task);
    double best[6] = {0, kInf, kInf, kInf, kInf, kInf};
    for (std::size_t k = 0; k < 15; ++k)
      best[head[k]] =
          std::min(best[head[k]], best[tail[k]] + item.costs[static_cast<std::size_t>(edge[k])]);
    CHECK(item.status == (best[5] < kInf ? kOracleOk : kOracleInfeasible));
    if (best[5] < kInf) CHECK_NEAR(item.objective, best[5], 1e-12);
  }
}

LPGD_TEST(selection_ranking_tree_and_alignment) {
  std::mt19937_64 generator(5);
  for (int trial = 0; trial < 100; ++trial) {
    const std::int64_t n = 1 + trial % 40;
    Item<double> item(draw<double>(generator, n, trial % 3));
    TopKTask<double> top{};
    top.n = n;
    top.k = trial % (n + 1);
    item.solve<TopK>(top);
    std::vector<double> sorted = item.costs;
    std::sort(sorted.begin(), sorted.end());
    double best = 0, ranked = 0;
    std::vector<double> values;
    for (std::int64_t k = 0; k < n; ++k) {
      if (k < top.k) best += sorted[static_cast<std::size_t>(k)];
      ranked += sorted[static_cast<std::size_t>(k)] * static_cast<double>(n - k);
      values.push_back(static_cast<double>(k + 1));
    }
    CHECK_NEAR(item.objective, best, 1e-12);
    RankingTask<double> ranking{};
    ranking.n = n;
    ranking.values = values.data();
    item.solve<Ranking>(ranking);
    CHECK_NEAR(item.objective, ranked, 1e-9);
  }
  // a ring: all edges but the dearest one
  std::vector<std::int32_t> tail{0, 1, 2, 3, 4}, head{1, 2, 3, 4, 0};
  Item<double> ring(draw<double>(generator, 5, 0));
  TreeTask<double> tree{};
  tree.nodes = tree.edges = 5;
  tree.tail = tail.data();
  tree.head = head.data();
  ring.solve<SpanningTree>(tree);
  double sum = 0, dearest = 0;
  for (const double c : ring.costs) {
    sum += c;
    dearest = std::max(dearest, c);
  }
  CHECK_NEAR(ring.objective, sum - dearest, 1e-12);
  ring.costs[0] = ring.costs[1] = kInf;
  ring.solve<SpanningTree>(tree);
  CHECK(ring.status == kOracleInfeasible);
  for (std::int64_t window = -1; window < 4; ++window) {
    Item<double> warp(draw<double>(generator, 20, 0));
    AlignmentTask<double> alignment{};
    alignment.n = 4;
    alignment.m = 5;
    alignment.window = window;
    warp.solve<Alignment>(alignment);
    CHECK(warp.status == (window == 0 ? kOracleInfeasible : kOracleOk));
  }
}

LPGD_TEST(knapsacks_are_the_best_of_all) {
  std::mt19937_64 generator(6);
  for (int trial = 0; trial < 150; ++trial) {
    const std::int64_t n = 1 + trial % 9, dims = 1 + trial % 3;
    Item<double> item(draw<double>(generator, n, trial % 4));
    for (double& c : item.costs) c = 0.2 - c;
    std::vector<double> weights = draw<double>(generator, n * dims, 0), capacity;
    for (double& weight : weights) weight = trial % 2 == 0 ? std::floor(6 * weight) : weight;
    for (std::int64_t d = 0; d < dims; ++d)
      capacity.push_back(trial % 2 == 0 ? static_cast<double>(trial % 11) : 0.3 * trial / 20);
    for (double& c : item.costs) c = std::isfinite(c) ? c : -0.5;
    double best = 0;
    for (unsigned chosen = 0; chosen < 1U << n; ++chosen) {
      double value = 0;
      bool fits = true;
      for (std::int64_t d = 0; d < dims; ++d) {
        double used = 0;
        for (std::int64_t i = 0; i < n; ++i)
          if ((chosen >> i & 1U) != 0) used += weights[static_cast<std::size_t>(d * n + i)];
        fits &= used <= capacity[static_cast<std::size_t>(d)];
      }
      for (std::int64_t i = 0; i < n; ++i)
        if ((chosen >> i & 1U) != 0) value += item.costs[static_cast<std::size_t>(i)];
      if (fits) best = std::min(best, value);
    }
    for (const KnapsackMethod method : {KnapsackMethod::any, KnapsackMethod::branch}) {
      KnapsackTask<double> task{};
      task.n = n;
      task.dims = dims;
      task.weights = weights.data();
      task.capacity = capacity.data();
      task.method = method;
      task.most_states = task.room_states = 11 * 11 * 11;
      task.most_nodes = 1 << 20;
      item.solve<Knapsack>(task);
      CHECK(item.status == kOracleOk);
      CHECK_NEAR(item.objective, best, 1e-12);
    }
  }
}
