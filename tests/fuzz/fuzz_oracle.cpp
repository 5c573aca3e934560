// The combinatorial oracles: any costs, graphs and capacities; what they choose is allowed, costs
// what they say, and is no better than another way finds it.
#include <algorithm>

#include "cpu/oracle.h"
#include "fuzz_input.h"

namespace lpgd::fuzz {
namespace {

constexpr std::int64_t kMostStates = 4096;  // of a knapsack's table here

template <class T>
struct Answers {
  std::vector<T> x, objective;
  std::vector<std::int32_t> status;

  Answers(std::int64_t batch, std::int64_t size)
      : x(static_cast<std::size_t>(batch * size), T(7)),
        objective(static_cast<std::size_t>(batch), T(7)),
        status(static_cast<std::size_t>(batch), -7) {}

  OracleOutput<T> out() { return {x.data(), objective.data(), status.data()}; }
};

// All items in one workspace, then the last one in another: the same numbers. `size`: of x.
template <class T, class Task>
Answers<T> solve(const OracleKernel<Task>& kernel, Task& task, std::int64_t batch,
                 std::int64_t size) {
  Answers<T> all(batch, size), last(batch, size);
  const std::size_t bytes = kernel.workspace_bytes(task);
  task.out = last.out();
  {
    const Room fresh(bytes);
    kernel.run(task, batch - 1, batch, fresh.get());
  }
  task.out = all.out();
  const Room workspace(bytes);
  kernel.run(task, 0, batch, workspace.get());
  const auto at = static_cast<std::ptrdiff_t>((batch - 1) * size);
  LPGD_HOLDS(all.status.back() == last.status.back());
  LPGD_HOLDS(std::equal(all.x.begin() + at, all.x.end(), last.x.begin() + at));
  for (std::size_t i = 0; i < all.status.size(); ++i) {
    const std::int32_t status = all.status[i];
    LPGD_HOLDS(status == kOracleOk || status == kOracleStopped || status == kOracleInfeasible ||
               status == kOracleBadData);
    const bool solved = status == kOracleOk || status == kOracleStopped;
    LPGD_HOLDS(solved == !std::isnan(all.objective[i]));
  }
  LPGD_HOLDS(all_finite(all.x));
  return all;
}

// How many are chosen; the sum of their costs is the objective. Tame costs are multiples of 1/16:
// sums are exact.
template <class T>
int chosen(const std::vector<T>& costs, const Answers<T>& found, std::int64_t item,
           std::int64_t size, bool tame) {
  double sum = 0;
  int count = 0;
  for (std::int64_t i = item * size; i < (item + 1) * size; ++i) {
    const T x = found.x[static_cast<std::size_t>(i)];
    LPGD_HOLDS(x == T(0) || x == T(1));
    if (x == T(0)) continue;
    sum += static_cast<double>(costs[static_cast<std::size_t>(i)]);
    ++count;
  }
  const auto at = static_cast<std::size_t>(item);
  if (found.status[at] == kOracleInfeasible || found.status[at] == kOracleBadData)
    LPGD_HOLDS(count == 0);
  else if (tame)
    LPGD_HOLDS(static_cast<T>(sum) == found.objective[at]);
  return count;
}

template <class T>
void assignment(Input& in, bool tame) {
  AssignmentTask<T> task{};
  task.n = in.between(1, 6);
  task.m = task.n + in.between(0, 9);
  task.transposed = in.flag();
  const std::int64_t batch = in.between(1, 4), size = task.n * task.m;
  const std::vector<T> costs = in.numbers<T>(batch * size);
  std::vector<std::int64_t> columns(static_cast<std::size_t>(batch * task.n), -7);
  std::vector<T> u(columns.size(), T(7)), v(static_cast<std::size_t>(batch * task.m), T(7));
  task.costs = costs.data();
  task.columns = columns.data();
  task.u = u.data();
  task.v = v.data();
  const Answers<T> found = solve<T>(oracle_kernels().of<T>().assignment, task, batch, size);
  for (std::int64_t item = 0; item < batch; ++item) {
    const int count = chosen(costs, found, item, size, tame);
    if (found.status[static_cast<std::size_t>(item)] != kOracleOk) continue;
    LPGD_HOLDS(count == task.n);
    std::vector<bool> taken(static_cast<std::size_t>(task.m));
    double duals = 0;
    for (std::int64_t i = 0; i < task.n; ++i) {
      const auto row = static_cast<std::size_t>(item * task.n + i);
      LPGD_HOLDS(columns[row] >= 0 && columns[row] < task.m);
      LPGD_HOLDS(!taken[static_cast<std::size_t>(columns[row])]);
      taken[static_cast<std::size_t>(columns[row])] = true;
      duals += static_cast<double>(u[row]);
      for (std::int64_t j = 0; tame && j < task.m; ++j) {
        const std::int64_t at = item * size + (task.transposed ? j * task.n + i : i * task.m + j);
        // multiples of 1/16, and so all that the algorithm adds up
        LPGD_HOLDS(u[row] + v[static_cast<std::size_t>(item * task.m + j)] <=
                   costs[static_cast<std::size_t>(at)]);
      }
    }
    for (std::int64_t j = 0; j < task.m; ++j)
      duals += static_cast<double>(v[static_cast<std::size_t>(item * task.m + j)]);
    // a proof that it is the best
    if (tame) LPGD_HOLDS(static_cast<T>(duals) == found.objective[static_cast<std::size_t>(item)]);
  }
}

template <class T>
void grid(Input& in, bool tame) {
  GridTask<T> task{};
  task.height = in.between(1, 9);
  task.width = in.between(1, 9);
  const std::int64_t size = task.height * task.width, batch = in.between(1, 3);
  task.source = in.between(0, static_cast<int>(size) - 1);
  task.target = in.between(0, static_cast<int>(size) - 1);
  task.diagonal = in.flag();
  std::vector<T> costs = in.numbers<T>(batch * size);
  if (in.between(0, 3) != 0)
    for (T& cost : costs) cost = std::abs(cost);
  task.costs = costs.data();
  const Answers<T> found = solve<T>(oracle_kernels().of<T>().grid, task, batch, size);
  for (std::int64_t item = 0; item < batch; ++item) {
    chosen(costs, found, item, size, tame);
    if (found.status[static_cast<std::size_t>(item)] != kOracleOk) continue;
    LPGD_HOLDS(found.x[static_cast<std::size_t>(item * size + task.source)] == T(1));
    LPGD_HOLDS(found.x[static_cast<std::size_t>(item * size + task.target)] == T(1));
  }
}

struct Edges {
  std::vector<std::int32_t> tail, head, place;

  Edges(Input& in, std::int64_t count, int nodes, bool acyclic) {
    for (std::int64_t k = 0; k < count; ++k) {
      const int a = in.between(0, nodes - 1), b = in.between(0, nodes - 1);
      if (acyclic && a == b) continue;
      tail.push_back(acyclic ? std::min(a, b) : a);
      head.push_back(acyclic ? std::max(a, b) : b);
    }
    for (std::size_t k = 0; k < tail.size(); ++k) place.push_back(static_cast<std::int32_t>(k));
    if (!acyclic) return;
    std::stable_sort(place.begin(), place.end(), [&](std::int32_t a, std::int32_t b) {
      return tail[static_cast<std::size_t>(a)] < tail[static_cast<std::size_t>(b)];
    });
    const std::vector<std::int32_t> tails = tail, heads = head;
    for (std::size_t k = 0; k < place.size(); ++k) {
      tail[k] = tails[static_cast<std::size_t>(place[k])];
      head[k] = heads[static_cast<std::size_t>(place[k])];
    }
  }
  std::int64_t count() const { return static_cast<std::int64_t>(tail.size()); }
};

template <class T>
void dag(Input& in, bool tame) {
  DagTask<T> task{};
  const int nodes = in.between(1, 9);
  const Edges edges(in, in.between(0, 20), nodes, true);
  const std::int64_t batch = in.between(1, 3);
  task.nodes = nodes;
  task.edges = edges.count();
  task.source = in.between(0, nodes - 1);
  task.target = in.between(0, nodes - 1);
  task.tail = edges.tail.data();
  task.head = edges.head.data();
  task.edge = edges.place.data();
  const std::vector<T> costs = in.numbers<T>(batch * task.edges);
  task.costs = costs.data();
  const Answers<T> found = solve<T>(oracle_kernels().of<T>().dag, task, batch, task.edges);
  for (std::int64_t item = 0; item < batch; ++item) {
    chosen(costs, found, item, task.edges, tame);
    if (found.status[static_cast<std::size_t>(item)] != kOracleOk) continue;
    std::int64_t at = task.source;  // edges of a path come in the order of their tails
    for (std::int64_t k = 0; k < task.edges; ++k) {
      const std::int64_t edge = item * task.edges + task.edge[k];
      if (found.x[static_cast<std::size_t>(edge)] == T(0)) continue;
      LPGD_HOLDS(task.tail[k] == at);
      at = task.head[k];
    }
    LPGD_HOLDS(at == task.target);
  }
}

template <class T>
void tree(Input& in, bool tame) {
  TreeTask<T> task{};
  const int nodes = in.between(1, 8);
  const Edges edges(in, in.between(0, 40), nodes, false);
  const std::int64_t batch = in.between(1, 3);
  task.nodes = nodes;
  task.edges = edges.count();
  task.tail = edges.tail.data();
  task.head = edges.head.data();
  const std::vector<T> costs = in.numbers<T>(batch * task.edges);
  task.costs = costs.data();
  const Answers<T> found = solve<T>(oracle_kernels().of<T>().tree, task, batch, task.edges);
  for (std::int64_t item = 0; item < batch; ++item) {
    const int count = chosen(costs, found, item, task.edges, tame);
    if (found.status[static_cast<std::size_t>(item)] == kOracleOk) LPGD_HOLDS(count == nodes - 1);
  }
}

template <class T>
void selection(Input& in, bool tame) {
  const std::int64_t n = in.between(0, 30), batch = in.between(1, 3);
  const bool ranks = in.flag();
  const int k = in.between(0, static_cast<int>(n));
  const std::vector<T> costs = in.numbers<T>(batch * n);
  if (!ranks) {
    TopKTask<T> task{};
    task.n = n;
    task.k = k;
    task.costs = costs.data();
    const Answers<T> found = solve<T>(oracle_kernels().of<T>().topk, task, batch, n);
    for (std::int64_t item = 0; item < batch; ++item) {
      const int count = chosen(costs, found, item, n, tame);
      if (found.status[static_cast<std::size_t>(item)] != kOracleOk) continue;
      LPGD_HOLDS(count == k);
      for (std::int64_t i = item * n; i < (item + 1) * n; ++i)  // none left that is cheaper
        for (std::int64_t j = item * n; j < (item + 1) * n; ++j)
          if (found.x[static_cast<std::size_t>(i)] < found.x[static_cast<std::size_t>(j)])
            LPGD_HOLDS(costs[static_cast<std::size_t>(i)] >= costs[static_cast<std::size_t>(j)]);
    }
    return;
  }
  in.tame(true);
  std::vector<T> values = in.numbers<T>(n);
  std::sort(values.begin(), values.end());
  RankingTask<T> task{};
  task.n = n;
  task.values = values.data();
  task.costs = costs.data();
  const Answers<T> found = solve<T>(oracle_kernels().of<T>().ranking, task, batch, n);
  for (std::int64_t item = 0; item < batch; ++item) {
    if (found.status[static_cast<std::size_t>(item)] != kOracleOk) continue;
    std::vector<T> x(found.x.begin() + static_cast<std::ptrdiff_t>(item * n),
                     found.x.begin() + static_cast<std::ptrdiff_t>((item + 1) * n));
    for (std::size_t i = 0; i < x.size(); ++i)  // the larger cost has the smaller value
      for (std::size_t j = 0; j < x.size(); ++j)
        if (x[i] < x[j])
          LPGD_HOLDS(costs[static_cast<std::size_t>(item * n) + i] >=
                     costs[static_cast<std::size_t>(item * n) + j]);
    std::sort(x.begin(), x.end());
    LPGD_HOLDS(x == values);
  }
}

template <class T>
void knapsack(Input& in, bool tame) {
  KnapsackTask<T> task{};
  task.n = in.between(0, 12);
  task.dims = in.between(1, 3);
  const std::int64_t batch = in.between(1, 3), n = task.n;
  const bool own_weights = in.flag(), own_capacity = in.flag(), whole = in.flag();
  task.stride_weights = own_weights ? task.dims * n : 0;
  task.stride_capacity = own_capacity ? task.dims : 0;
  task.method = static_cast<KnapsackMethod>(in.between(0, 2));
  task.most_nodes = in.between(0, 3) == 0 ? in.between(0, 20) : 1 << 14;
  const std::vector<T> costs = in.numbers<T>(batch * n);
  std::vector<double> weights = in.numbers<double>((own_weights ? batch : 1) * task.dims * n);
  std::vector<double> capacity = in.numbers<double>((own_capacity ? batch : 1) * task.dims);
  for (auto* part : {&weights, &capacity})
    for (double& value : *part)
      if (tame || whole) value = std::abs(value);
  if (whole)
    for (auto* part : {&weights, &capacity})
      for (double& value : *part) value = std::floor(value);
  task.costs = costs.data();
  task.weights = weights.data();
  task.capacity = capacity.data();
  task.most_states = kMostStates;
  for (std::size_t i = 0; i < capacity.size(); i += static_cast<std::size_t>(task.dims)) {
    double states = 1;  // as in ops/oracle.cpp
    for (std::int64_t d = 0; d < task.dims; ++d)
      states *= std::floor(capacity[i + static_cast<std::size_t>(d)]) + 1;
    if (states >= 1 && states <= kMostStates)
      task.room_states = std::max(task.room_states, static_cast<std::int64_t>(states));
  }
  const OracleKernel<KnapsackTask<T>>& kernel = oracle_kernels().of<T>().knapsack;
  const Answers<T> found = solve<T>(kernel, task, batch, n);
  const KnapsackMethod method = task.method;
  task.method = KnapsackMethod::branch;
  const Answers<T> other = solve<T>(kernel, task, batch, n);
  for (std::int64_t item = 0; item < batch; ++item) {
    chosen(costs, found, item, n, tame);
    const auto at = static_cast<std::size_t>(item);
    const std::int32_t status = found.status[at];
    if (status != kOracleOk && status != kOracleStopped) continue;
    for (std::int64_t d = 0; d < task.dims; ++d) {
      double sum = 0;
      for (std::int64_t i = 0; i < n; ++i)
        if (found.x[static_cast<std::size_t>(item * n + i)] != T(0))
          sum += task.weights[item * task.stride_weights + d * n + i];
      const double room = task.capacity[item * task.stride_capacity + d];
      LPGD_HOLDS(!tame || sum <= room * (1 + 1e-8));
    }
    // two exact ways
    if (tame && method != KnapsackMethod::branch && status == kOracleOk &&
        other.status[at] == kOracleOk)
      LPGD_HOLDS(found.objective[at] == other.objective[at]);
  }
}

template <class T>
void alignment(Input& in, bool tame) {
  AlignmentTask<T> task{};
  task.n = in.between(1, 9);
  task.m = in.between(1, 9);
  task.window = in.between(-1, 9);
  const std::int64_t batch = in.between(1, 3), size = task.n * task.m;
  const std::vector<T> costs = in.numbers<T>(batch * size);
  task.costs = costs.data();
  const Answers<T> found = solve<T>(oracle_kernels().of<T>().alignment, task, batch, size);
  for (std::int64_t item = 0; item < batch; ++item) {
    chosen(costs, found, item, size, tame);
    if (found.status[static_cast<std::size_t>(item)] != kOracleOk) continue;
    LPGD_HOLDS(found.x[static_cast<std::size_t>(item * size)] == T(1));
    LPGD_HOLDS(found.x[static_cast<std::size_t>((item + 1) * size - 1)] == T(1));
  }
}

template <class T>
void one(Input& in) {
  const int kind = in.between(0, 6);
  const bool tame = in.flag();
  in.tame(tame);
  switch (kind) {
    case 0:
      return assignment<T>(in, tame);
    case 1:
      return grid<T>(in, tame);
    case 2:
      return dag<T>(in, tame);
    case 3:
      return tree<T>(in, tame);
    case 4:
      return selection<T>(in, tame);
    case 5:
      return knapsack<T>(in, tame);
    default:
      return alignment<T>(in, tame);
  }
}

}  // namespace
}  // namespace lpgd::fuzz

int lpgd_fuzz_oracle(const unsigned char* data, unsigned long size);
int lpgd_fuzz_oracle(const unsigned char* data, unsigned long size) {
  lpgd::fuzz::Input in(data, size);
  if (in.flag())
    lpgd::fuzz::one<double>(in);
  else
    lpgd::fuzz::one<float>(in);
  return 0;
}
