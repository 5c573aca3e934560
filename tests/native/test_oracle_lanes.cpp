// The oracles by groups of lanes, as a CUDA block runs them, against one lane alone: the same x,
// columns, duals and statuses, to the bit and on ties as well. Items of a batch go through one
// workspace of just the size that is asked for, so that the sanitizers see what is read beyond it
// and where a barrier is missing.
#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "core/oracle_alignment.h"
#include "core/oracle_assignment.h"
#include "core/oracle_dag.h"
#include "core/oracle_grid.h"
#include "core/oracle_knapsack.h"
#include "core/oracle_selection.h"
#include "core/oracle_tree.h"
#include "oracle_lanes.h"

using namespace lpgd;
using namespace lpgd::test;

namespace {

template <class T>
void check_assignments(std::size_t n, std::size_t m, bool transposed, bool in_place,
                       std::size_t batch, std::uint64_t seed, const Lanes& counts = kSome) {
  const std::vector<T> costs = draw<T>(seed, batch, n * m, 0.0);
  AssignmentTask<T> task{};
  task.n = static_cast<std::int64_t>(n);
  task.m = static_cast<std::int64_t>(m);
  task.transposed = transposed;
  task.in_place = in_place;
  task.costs = costs.data();
  const auto by = [&](int lanes) {
    Answers<T> out(batch, n * m);
    out.columns.resize(batch * n, 7);
    out.u.resize(batch * n, T(7));
    out.v.resize(batch * m, T(7));
    task.out = out.output();
    task.columns = out.columns.data();
    task.u = out.u.data();
    task.v = out.v.data();
    solve<Assignment>(task, static_cast<std::int64_t>(batch), lanes);
    return out;
  };
  const Answers<T> want = by(0);
  CHECK(want.status[0] == kOracleOk && want.status[1] == kOracleOk);
  if (batch > 5) CHECK(want.status[5] == kOracleBadData);
  for (const int lanes : counts) check_same(by(lanes), want);
}

}  // namespace

LPGD_TEST(assignments_on_any_lanes) {
  check_assignments<double>(5, 5, false, false, kKinds, 1, kAll);
  check_assignments<double>(5, 5, false, true, kKinds, 2);
  check_assignments<float>(4, 7, false, true, kKinds, 3);
  check_assignments<float>(3, 6, true, false, kKinds, 4);
  check_assignments<double>(1, 1, false, true, 2, 5);
  check_assignments<double>(1, 9, true, false, kKinds, 6);
  check_assignments<double>(23, 23, false, true, 3, 7);
  for (std::size_t n = 1; n <= 12; ++n) {
    for (const std::size_t more : {0, 1, 5}) {
      check_assignments<double>(n, n + more, false, n % 2 == 0, kKinds, 100 + n, kFew);
      check_assignments<float>(n, n + more, more > 0, false, kKinds, 200 + n, kFew);
    }
  }
}

LPGD_TEST(assignments_with_hard_costs_on_any_lanes) {
  // c_ij = i j: every column is dearest for the last row (Machol and Wien's instances)
  for (const double shift : {0.0, 1e6}) {
    constexpr std::size_t kSize = 12;
    std::vector<double> costs;
    for (std::size_t i = 1; i <= kSize; ++i)
      for (std::size_t j = 1; j <= kSize; ++j) costs.push_back(shift + static_cast<double>(i * j));
    AssignmentTask<double> task{};
    task.n = task.m = kSize;
    task.in_place = true;
    std::vector<std::int64_t> columns(kSize);
    std::vector<double> u(kSize), v(kSize);
    task.columns = columns.data();
    task.u = u.data();
    task.v = v.data();
    const Answers<double> want = compare<Assignment>(task, costs, kSize * kSize);
    CHECK(want.status[0] == kOracleOk);
    for (std::size_t i = 0; i < kSize; ++i)
      CHECK(columns[i] == static_cast<std::int64_t>(kSize - 1 - i));
  }
}

LPGD_TEST(grid_paths_on_any_lanes) {
  for (const bool diagonal : {true, false}) {
    GridTask<double> task{};
    task.height = 5;
    task.width = 7;
    task.source = 8;
    task.target = 33;
    task.diagonal = diagonal;
    compare<GridPath>(task, draw<double>(11, kKinds, 35, 0.0), 35, diagonal ? kAll : kSome);
    compare<GridPath>(task, draw<double>(12, 2, 35, 0.5), 35);  // negative costs
  }
  for (std::int64_t size = 1; size <= 9; ++size) {
    GridTask<float> square{};
    square.height = size;
    square.width = 10 - size;
    square.source = size - 1;
    square.target = size * (10 - size) - 1;
    square.diagonal = size % 2 == 0;
    const auto cells = static_cast<std::size_t>(size * (10 - size));
    compare<GridPath>(square, draw<float>(14, 3 * kKinds, cells, 0.0), cells, kFew);
  }
  GridTask<float> one{};
  one.height = one.width = 1;
  compare<GridPath>(one, draw<float>(13, 2, 1, 0.0), 1);
}

LPGD_TEST(selections_on_any_lanes) {
  for (const std::int64_t n : {1, 7, 40, 131}) {
    const auto size = static_cast<std::size_t>(n);
    for (const std::int64_t k : {std::int64_t{0}, std::int64_t{1}, n / 2, n}) {
      compare<TopK>(TopKTask<double>{n, k, nullptr, {}}, draw<double>(21, kKinds, size, 0.5), size,
                    n == 40 && k == 20 ? kAll : kSome);
      compare<TopK>(TopKTask<float>{n, k, nullptr, {}}, draw<float>(22, kKinds, size, 0.0), size);
    }
  }
  // both zeros, and numbers that differ in their last bits alone
  const double tiny = std::numeric_limits<double>::denorm_min();
  const std::vector<double> near{0.0, -0.0,  tiny, -tiny, 1.0, std::nextafter(1.0, 2.0),
                                 1.0, -1e300};
  for (std::int64_t k = 0; k <= 8; ++k) compare<TopK>(TopKTask<double>{8, k, nullptr, {}}, near, 8);
  const std::vector<double> large{1e299, kInf, 9e299, 1.0, 2.0, 3.0, 4.0, 5.0};
  for (std::int64_t k = 6; k <= 8; ++k)
    compare<TopK>(TopKTask<double>{8, k, nullptr, {}}, large, 8);
}

LPGD_TEST(rankings_on_any_lanes) {
  for (const std::int64_t n : {1, 2, 7, 33, 64}) {
    const auto size = static_cast<std::size_t>(n);
    std::vector<double> values(size);
    std::iota(values.begin(), values.end(), 1.0);
    RankingTask<double> task{};
    task.n = n;
    task.values = values.data();
    compare<Ranking>(task, draw<double>(31, kKinds, size, 0.5), size, n == 7 ? kAll : kSome);
    std::vector<double> zeros(size, 0.0);
    for (std::size_t k = 0; k < size; k += 2) zeros[k] = -0.0;
    compare<Ranking>(task, zeros, size);
    const std::vector<float> singles(values.begin(), values.end());
    RankingTask<float> single{};
    single.n = n;
    single.values = singles.data();
    compare<Ranking>(single, draw<float>(32, 3, size, 0.5), size);
  }
}

LPGD_TEST(alignments_on_any_lanes) {
  for (const auto& [n, m] : {std::pair{1, 1}, {1, 6}, {6, 1}, {5, 5}, {4, 9}, {9, 4}}) {
    for (const std::int64_t window : {-1, 0, 1, 3, 100}) {
      AlignmentTask<double> task{};
      task.n = n;
      task.m = m;
      task.window = window;
      const auto size = static_cast<std::size_t>(n * m);
      const auto want = compare<Alignment>(task, draw<double>(41, kKinds, size, 0.4), size,
                                           n + m == 13 && window == 3 ? kAll : kSome);
      if (window >= 0 && std::abs(n - m) > window) CHECK(want.status[0] == kOracleInfeasible);
    }
  }
  AlignmentTask<float> single{};
  single.n = 13;
  single.m = 40;
  single.window = -1;
  compare<Alignment>(single, draw<float>(42, 3, 13 * 40, 0.4), 13 * 40);
}

LPGD_TEST(many_sizes_on_one_lane_of_a_group) {
  for (std::int64_t n = 1; n <= 8; ++n) {
    for (std::int64_t m = 1; m <= 8; ++m) {
      const auto size = static_cast<std::size_t>(n * m);
      const auto seed = static_cast<std::uint64_t>(100 * n + m);
      for (std::int64_t window = -1; window <= 5; ++window) {
        const AlignmentTask<double> warp{n, m, window, nullptr, {}};
        compare<Alignment>(warp, draw<double>(seed, 2 * kKinds, size, 0.0), size, kOne);
      }
      const TopKTask<float> top{n * m, n, nullptr, {}};
      compare<TopK>(top, draw<float>(seed, kKinds, size, 0.5), size, kOne);
      std::vector<double> values(size);
      std::iota(values.begin(), values.end(), -3.0);
      const RankingTask<double> ranking{n * m, values.data(), nullptr, {}};
      compare<Ranking>(ranking, draw<double>(seed, kKinds, size, 0.5), size, kOne);
      // m edges between n nodes; m items, whole weights for one resource or two
      std::mt19937_64 generator(seed);
      const auto most = static_cast<std::uint64_t>(n);
      std::vector<std::int64_t> tail, head;
      std::vector<double> weights;
      for (std::int64_t k = 0; k < 2 * m; ++k) {
        tail.push_back(static_cast<std::int64_t>(generator() % most));
        head.push_back(static_cast<std::int64_t>(generator() % most));
        weights.push_back(static_cast<double>(generator() % 5));
      }
      const TreeTask<double, std::int64_t> tree{n, 2 * m, tail.data(), head.data(), nullptr, {}};
      const auto edges = static_cast<std::size_t>(2 * m);
      compare<SpanningTree>(tree, draw<double>(seed, kKinds, edges, 0.5), edges, kOne);
      for (const std::int64_t dims : {1, 2}) {
        const double capacity[] = {static_cast<double>(n), static_cast<double>(n % 3 + 2)};
        KnapsackTask<double> task{};
        task.n = m;
        task.dims = dims;
        task.weights = weights.data();
        task.capacity = capacity;
        task.most_states = task.room_states = dims == 1 ? n + 1 : (n + 1) * (n % 3 + 3);
        task.most_nodes = 1000;
        const auto items = static_cast<std::size_t>(m);
        compare<Knapsack>(task, draw<double>(seed, kKinds, items, 0.8), items, kOne);
      }
    }
  }
}

LPGD_TEST(spanning_trees_on_any_lanes) {
  const std::vector<std::int64_t> tail{0, 1, 2, 3, 0, 1, 0, 4, 2}, head{1, 2, 3, 0, 2, 3, 1, 0, 4};
  const std::vector<double> costs = draw<double>(51, 2 * kKinds, tail.size(), 0.5);
  const std::vector<std::int32_t> tail32(tail.begin(), tail.end()),
      head32(head.begin(), head.end());
  const auto edges = static_cast<std::int64_t>(tail.size());
  TreeTask<double> known{5, edges, tail32.data(), head32.data(), nullptr, {}};
  const auto want = compare<SpanningTree>(known, costs, tail.size(), kAll);
  TreeTask<double, std::int64_t> given{5, edges, tail.data(), head.data(), nullptr, {}};
  check_same(compare<SpanningTree>(given, costs, tail.size()), want);
  const TreeTask<double> alone{1, 1, tail32.data(), tail32.data(), nullptr, {}};
  compare<SpanningTree>(alone, draw<double>(52, kKinds, 1, 0.5), 1);
  for (const std::int64_t wrong : {std::int64_t{-1}, std::int64_t{5}, std::int64_t{1} << 40}) {
    std::vector<std::int64_t> broken = tail;
    broken[3] = wrong;
    given.tail = broken.data();
    const auto found = compare<SpanningTree>(given, costs, tail.size());
    for (const std::int32_t status : found.status) CHECK(status == kOracleBadData);
  }
}

LPGD_TEST(knapsacks_on_any_lanes) {
  for (const std::int64_t dims : {1, 2, 3}) {
    constexpr std::size_t kSize = 7;
    std::vector<double> whole = draw<double>(61, 1, kSize * static_cast<std::size_t>(dims), 0.0);
    std::vector<double> real = whole;
    for (double& weight : whole) weight = std::floor(5 * weight);
    const std::vector<double> room{6.5, 5.0, 7.0}, none{6.0, -1.0, 2.0};
    const std::vector<double> costs = draw<double>(62, kKinds, kSize, 0.8);
    for (const std::vector<double>* weights : {&whole, &real}) {
      for (const std::vector<double>* capacity : {&room, &none}) {
        for (const KnapsackMethod method :
             {KnapsackMethod::any, KnapsackMethod::table, KnapsackMethod::branch}) {
          KnapsackTask<double> task{};
          task.n = kSize;
          task.dims = dims;
          task.weights = weights->data();
          task.capacity = capacity->data();
          task.method = method;
          task.most_states = task.room_states = 7 * 6 * 8;
          task.most_nodes = 1000;
          const auto want =
              compare<Knapsack>(task, costs, kSize, dims == 2 && capacity == &room ? kAll : kSome);
          const bool refused = method == KnapsackMethod::table && weights == &real;
          CHECK(want.status[0] == (refused                         ? kOracleBadData
                                   : capacity == &none && dims > 1 ? kOracleInfeasible
                                                                   : kOracleOk));
          if (capacity == &none || dims == 3) continue;
          task.most_nodes = 3;
          compare<Knapsack>(task, costs, kSize);
          task.room_states = 2;  // told too few states
          compare<Knapsack>(task, costs, kSize);
        }
      }
    }
  }
}

// Here a lane has an item of its own; the work of 32 is side by side.
LPGD_TEST(paths_in_graphs_a_lane_an_item) {
  constexpr std::size_t kEdges = 15, kBatch = 40;
  std::vector<std::int64_t> tail, head, edge;
  for (std::int64_t i = 0; i < 6; ++i) {
    for (std::int64_t j = i + 1; j < 6; ++j) {
      tail.push_back(i);
      head.push_back(j);
      edge.push_back(14 - static_cast<std::int64_t>(edge.size()));
    }
  }
  const std::vector<double> costs = draw<double>(71, kBatch, kEdges, 0.5);
  DagTask<double, std::int64_t> task{6,           kEdges,       0, 5, tail.data(), head.data(),
                                     edge.data(), costs.data(), {}};
  const auto by_lanes = [&] {
    Answers<double> out(kBatch, kEdges);
    task.out = out.output();
    const Memory memory(DagPathOf<32>::workspace_bytes<SerialGroup>(task));
    ThreadTeam team(32);
    team.run([&](const auto& group) {
      for (std::int64_t item = group.lane(); item < static_cast<std::int64_t>(kBatch); item += 32)
        DagPathOf<32>::run(SerialGroup{}, task, item, memory.data, group.lane());
    });
    return out;
  };
  Answers<double> want(kBatch, kEdges);
  task.out = want.output();
  solve_alone<DagPath>(task, kBatch);
  check_same(by_lanes(), want);
  // not in topological order: a way back without end is told, and no place beyond the graph is read
  std::vector<std::int64_t> other = head;
  for (const std::int64_t wrong : {std::int64_t{-1}, std::int64_t{6}, std::int64_t{1} << 40}) {
    other[7] = wrong;
    task.head = other.data();
    for (const std::int32_t status : by_lanes().status) CHECK(status == kOracleBadData);
  }
  const std::vector<std::int64_t> from{1, 2, 1, 2}, to{2, 1, 2, 1}, all{0, 1, 2, 3};
  const std::vector<double> negative(4 * kBatch, -1.0);
  task = {3, 4, 1, 0, from.data(), to.data(), all.data(), negative.data(), {}};
  for (const std::int32_t status : by_lanes().status) CHECK(status == kOracleInfeasible);
  const std::vector<std::int64_t> out_of{0, 1, 2, 1, 2}, into{1, 2, 1, 2, 3}, five{0, 1, 2, 3, 4};
  const std::vector<double> falling(5 * kBatch, -1.0);
  task = {4, 5, 0, 3, out_of.data(), into.data(), five.data(), falling.data(), {}};
  const Memory memory(DagPathOf<32>::workspace_bytes<SerialGroup>(task));
  Answers<double> out(kBatch, 5);
  task.out = out.output();
  DagPathOf<32>::run(SerialGroup{}, task, 0, memory.data, 3);
  CHECK(out.status[0] == kOracleBadData);
  CHECK(std::all_of(out.x.begin(), out.x.begin() + 5, [](double value) { return value == 0; }));
}

LPGD_TEST(sums_before_a_lane) {
  for (const int lanes : kAll) {
    std::vector<std::int32_t> slots(2 * static_cast<std::size_t>(lanes));
    ThreadTeam team(lanes);
    team.run([&](const auto& group) {
      for (int round = 0; round < 3; ++round) {
        std::int32_t total = 0;
        const std::int32_t before = sum_before(group, group.lane() + round, slots.data(), total);
        const int lane = group.lane();
        if (before != lane * (lane - 1) / 2 + lane * round ||
            total != lanes * (lanes - 1) / 2 + lanes * round)
          CHECK(false);
      }
    });
  }
}
