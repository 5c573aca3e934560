// One lane alone and groups of lanes on the same items: what test_oracle_lanes.cpp compares.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <new>
#include <random>
#include <vector>

#include "check.h"
#include "core/oracle_work.h"
#include "thread_group.h"

namespace lpgd::test {

using Lanes = std::initializer_list<int>;
inline constexpr Lanes kAll = {1, 2, 32, 96};
// a barrier of many threads on few processors takes its time
inline constexpr Lanes kSome = {2, 32};
inline constexpr Lanes kFew = {1, 3};
inline constexpr Lanes kOne = {1};  // the code of many lanes at the cost of one, for many sizes
inline constexpr int kKinds = 7;    // of items; see draw
inline constexpr double kInf = std::numeric_limits<double>::infinity();

struct Memory {
  void* data;
  explicit Memory(std::size_t bytes)
      : data(::operator new(bytes > 0 ? bytes : 1, std::align_val_t{64})) {}
  ~Memory() { ::operator delete(data, std::align_val_t{64}); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
};

template <class T>
struct Answers {
  std::vector<T> x, objective, u, v;
  std::vector<std::int32_t> status;
  std::vector<std::int64_t> columns;

  Answers(std::size_t batch, std::size_t size)
      : x(batch * size, T(7)), objective(batch, T(7)), status(batch, -1) {}
  OracleOutput<T> output() { return {x.data(), objective.data(), status.data()}; }
};

// Items of `size` costs, a kind after the other: any, with ties, all equal, with forbidden ones,
// all forbidden but one, a nan, a -inf.
template <class T>
std::vector<T> draw(std::uint64_t seed, std::size_t batch, std::size_t size, double shift) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  std::vector<T> out;
  for (std::size_t item = 0; item < batch; ++item) {
    const std::size_t kind = item % kKinds;
    for (std::size_t k = 0; k < size; ++k) {
      double value = uniform(generator) - shift;
      if (kind == 1) value = std::floor(3 * (value + shift)) - (shift > 0 ? 1 : 0);
      if (kind == 2) value = shift > 0 ? -1 : 1;
      if ((kind == 3 && uniform(generator) < 0.4) || (kind == 4 && k != size / 2)) value = kInf;
      if (kind == 5 && k == size - 1) value = std::nan("");
      if (kind == 6 && k == size / 3) value = -kInf;
      out.push_back(static_cast<T>(value));
    }
  }
  return out;
}

template <class Algorithm, class Task, class Group>
void walk(const Group& group, const Task& task, std::int64_t batch, void* memory) {
  for (std::int64_t item = 0; item < batch; ++item) {
    Algorithm::run(group, task, item, memory);
    group.sync();
  }
}

template <class Algorithm, class Task>
void solve_alone(const Task& task, std::int64_t batch) {
  const Memory memory(Algorithm::template workspace_bytes<SerialGroup>(task));
  walk<Algorithm>(SerialGroup{}, task, batch, memory.data);
}

template <class Algorithm, class Task>
void solve(const Task& task, std::int64_t batch, int lanes) {
  if (lanes == 0) return solve_alone<Algorithm>(task, batch);
  const Memory memory(Algorithm::template workspace_bytes<ThreadTeam::Group>(task));
  ThreadTeam team(lanes);
  team.run([&](const auto& group) { walk<Algorithm>(group, task, batch, memory.data); });
}

// Numbers equal to the bit, but for the sign of zero
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a == b;
}

template <class T>
void check_same(const Answers<T>& got, const Answers<T>& want) {
  CHECK(same(got.status, want.status));
  CHECK(same(got.x, want.x));
  CHECK(same(got.columns, want.columns));
  CHECK(same(got.u, want.u));
  CHECK(same(got.v, want.v));
  for (std::size_t k = 0; k < want.objective.size(); ++k) {
    const auto a = static_cast<double>(got.objective[k]);
    const auto b = static_cast<double>(want.objective[k]);
    CHECK(std::isnan(a) == std::isnan(b));
    if (!std::isnan(b)) CHECK_NEAR(a, b, (sizeof(T) == 8 ? 1e-13 : 1e-6) * (1 + std::abs(b)));
  }
}

// `task` without costs and outputs, by one lane and by many; its answers by one lane.
template <class Algorithm, class Task, class T>
Answers<T> compare(Task task, const std::vector<T>& costs, std::size_t size,
                   const Lanes& counts = kSome) {
  const std::size_t batch = costs.size() / size;
  Answers<T> want(batch, size);
  task.costs = costs.data();
  task.out = want.output();
  solve<Algorithm>(task, static_cast<std::int64_t>(batch), 0);
  for (const int lanes : counts) {
    Answers<T> got(batch, size);
    task.out = got.output();
    solve<Algorithm>(task, static_cast<std::int64_t>(batch), lanes);
    check_same(got, want);
  }
  return want;
}

}  // namespace lpgd::test
