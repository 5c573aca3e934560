// The operators on rows over every kind of group: registers, one lane, many lanes.
#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "check.h"
#include "core/prox_exp_cone.h"
#include "core/prox_monotone.h"
#include "core/prox_norms.h"
#include "core/prox_plane.h"
#include "core/prox_separable.h"
#include "core/prox_stretch.h"
#include "core/prox_threshold.h"
#include "core/prox_tv_lanes.h"
#include "thread_group.h"

using namespace lpgd;
using lpgd::test::ThreadTeam;

namespace {

struct Rows {
  std::int64_t n;
  std::vector<double> x, g, parameters, out, gx, gp;
  std::vector<std::int32_t> index;

  explicit Rows(std::int64_t n_) : n(n_) {
    std::mt19937_64 generator(static_cast<unsigned>(n));
    std::normal_distribution<double> normal;
    for (auto* v : {&x, &g}) {
      v->resize(static_cast<std::size_t>(n));
      for (double& value : *v) value = normal(generator);
    }
    out.resize(x.size());
    gx.resize(x.size());
    gp.resize(4 * x.size());
    // groups of two, a last one of one
    for (std::int32_t i = 0; i < n; ++i) index.push_back(i);
    for (std::int32_t i = 0; i < n; i += 2) index.push_back(i);
    index.push_back(static_cast<std::int32_t>(n));
    parameters = {0.7, 0.7, 0.7, 0.7};
  }
  ProxRow<double> row() {
    ProxRow<double> at{};
    at.n = n;
    at.x = x.data();
    at.out = out.data();
    at.gradient = g.data();
    at.gx = gx.data();
    at.index = index.data();
    at.groups = static_cast<std::int32_t>((n + 1) / 2);
    for (int k = 0; k < 4; ++k) {
      at.p[k] = {&parameters[static_cast<std::size_t>(k)], 0};
      at.gp[k] = gp.data() + k * n;
    }
    return at;
  }
};

template <class Op>
void agrees_on_any_lanes(double p0, double p1, double p2, double p3) {
  for (const std::int64_t n : {1, 2, 33, 100}) {
    Rows one(n);
    one.parameters = {p0, p1, p2, p3};
    Op::value(SerialGroup{}, one.row());
    Op::vjp(SerialGroup{}, one.row());
    for (const int lanes : {1, 2, 32, 96}) {
      Rows many(n);
      many.parameters = one.parameters;
      ThreadTeam team(lanes);
      team.run([&](const auto& group) { Op::value(group, many.row()); });
      team.run([&](const auto& group) { Op::vjp(group, many.row()); });
      for (std::size_t i = 0; i < one.x.size(); ++i) {
        CHECK(std::abs(one.out[i] - many.out[i]) < 1e-12);
        CHECK(std::abs(one.gx[i] - many.gx[i]) < 1e-12);
      }
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t first = k * static_cast<std::size_t>(n);
        CHECK(std::abs(one.gp[first] - many.gp[first]) < 1e-11);
      }
    }
  }
}

}  // namespace

LPGD_TEST(prox_rows_agree_on_any_lanes) {
  agrees_on_any_lanes<SimplexProjection>(1.0, 0, 0, 0);
  agrees_on_any_lanes<L1BallProjection>(1.0, 0, 0, 0);
  agrees_on_any_lanes<MaxNorm>(0.7, 0, 0, 0);
  agrees_on_any_lanes<Maximum>(0.7, 0, 0, 0);
  agrees_on_any_lanes<WeightedL1Ball>(0.7, 1.0, 0, 0);
  agrees_on_any_lanes<EuclideanNorm>(0.3, 0, 0, 0);
  agrees_on_any_lanes<EuclideanBall>(0.3, 0, 0, 0);
  agrees_on_any_lanes<GroupNorm>(0.3, 0, 0, 0);
  agrees_on_any_lanes<Hyperplane>(0.5, 0.2, 0, 0);
  agrees_on_any_lanes<Halfspace>(0.5, -0.2, 0, 0);
  agrees_on_any_lanes<BoxHyperplane>(-1.0, 1.0, 1.0, 0.3);
  agrees_on_any_lanes<SecondOrderCone>(0, 0, 0, 0);
}

namespace {

// A walked row on a scratch of exactly the size asked for, whatever lies in it before.
template <class Op>
void keeps_to_its_scratch(double p0) {
  for (const std::int64_t n : {1, 2, 3, 33}) {
    if (std::is_same_v<Op, ExponentialCone> && n != 3) continue;
    std::vector<double> first;
    for (const char filling : {'\0', '\xff'}) {
      Rows rows(n);
      rows.parameters.assign(static_cast<std::size_t>(n) + 1, p0);
      std::vector<char> scratch(Op::scratch_bytes(n), filling);
      std::vector<std::int32_t> order(static_cast<std::size_t>(n), 7);
      ProxRow<double> at = rows.row();
      for (auto& p : at.p) p = {rows.parameters.data(), 1};
      for (bool& each : at.each_p) each = true;
      at.scratch = scratch.data();
      at.order = order.data();
      Op::value(SerialGroup{}, at);
      at.scratch = nullptr;
      Op::vjp(SerialGroup{}, at);
      for (const auto* v : {&rows.out, &rows.gx})
        for (const double value : *v) CHECK(std::isfinite(value));
      if (first.empty()) first = rows.out;
      CHECK(rows.out == first);
    }
  }
}

// Numbers that start `offset` after a place that lies on 16 bytes
template <class T>
struct Placed {
  std::vector<T> memory;
  T* data;
  Placed(std::size_t count, std::size_t offset, unsigned seed, double least = -2)
      : memory(count + offset + 16 / sizeof(T)) {
    const auto past = reinterpret_cast<std::uintptr_t>(memory.data()) % 16 / sizeof(T);
    data = memory.data() + (past == 0 ? 0 : 16 / sizeof(T) - past) + offset;
    std::mt19937_64 generator(seed);
    std::uniform_real_distribution<double> uniform(least, 2);
    for (std::size_t i = 0; i < count; ++i) data[i] = static_cast<T>(uniform(generator));
  }
};

// Chunks of 16 bytes, their tails and what lies on no 16 bytes, against the formula number by
// number
template <class F, int Count, class T>
void stretches_agree(double least0, double least1) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{5}, std::size_t{130}})
    for (const std::size_t offset : {std::size_t{0}, std::size_t{1}})
      for (const std::int64_t step : {0, 1}) {
        const Placed<T> x(n, offset, 1), g(n, 0, 2), p0(n, 0, 3, least0), p1(n, offset, 4, least1);
        const RowParameter<T> parameters[2] = {{p0.data, step}, {p1.data, step}};
        std::vector<T> value(n), gx(n), gp[2] = {gx, gx};
        double totals[2] = {0, 0};
        for (std::size_t i = 0; i < n; ++i) {
          const auto at = static_cast<std::int64_t>(i);
          const T p[2] = {parameters[0][at], parameters[1][at]};
          T d[3];
          value[i] = F::value(x.data[i], p);
          F::derivative(x.data[i], p, d);
          gx[i] = d[0] * g.data[i];
          for (int k = 0; k < Count; ++k) {
            gp[k][i] = d[k + 1] * g.data[i];
            totals[k] += static_cast<double>(gp[k][i]);
          }
        }
        for (const int lanes : {1, 2, 32, 96}) {
          Placed<T> out(n, 0, 5), out_x(n, 0, 6), out_0(n, 0, 7), out_1(n, offset, 8);
          T* const each[2] = {step != 0 ? out_0.data : nullptr, step != 0 ? out_1.data : nullptr};
          const bool summed[2] = {step == 0, step == 0};
          double sums[2] = {0, 0};
          ThreadTeam team(lanes);
          team.run([&](const auto& group) {
            const auto count = static_cast<std::int64_t>(n);
            stretch_value<F, Count>(group, count, x.data, parameters, out.data);
            double share[2] = {0, 0};
            stretch_vjp<F, Count>(group, count, x.data, g.data, parameters, out_x.data, each,
                                  summed, share);
            for (int k = 0; k < Count; ++k) {
              const double sum = group.sum(share[k]);
              if (group.lane() == 0) sums[k] = sum;
            }
          });
          for (std::size_t i = 0; i < n; ++i) {
            CHECK(out.data[i] == value[i]);
            CHECK(out_x.data[i] == gx[i]);
            for (int k = 0; k < Count; ++k)
              if (each[k] != nullptr) CHECK(each[k][i] == gp[k][i]);
          }
          for (int k = 0; k < Count; ++k)
            if (summed[k]) CHECK_NEAR(sums[k], totals[k], 1e-12 * (1 + static_cast<double>(n)));
        }
      }
}

}  // namespace

LPGD_TEST(walked_rows_keep_to_their_scratch) {
  keeps_to_its_scratch<TotalVariation>(0.4);
  keeps_to_its_scratch<IsotonicRegression>(0);
  keeps_to_its_scratch<WeightedIsotonic>(0.7);
  keeps_to_its_scratch<SortedNorm>(0.2);
  keeps_to_its_scratch<Permutahedron>(0.5);
  keeps_to_its_scratch<ExponentialCone>(0);
}

LPGD_TEST(stretches_are_the_formula_on_any_lanes) {
  stretches_agree<SoftThreshold, 1, double>(0, 0);
  stretches_agree<SoftThreshold, 1, float>(0, 0);
  stretches_agree<Nonnegative, 0, float>(0, 0);
  stretches_agree<ElasticNet, 2, double>(0, 0);
  stretches_agree<ElasticNet, 2, float>(0, 0);
}

LPGD_TEST(total_variation_in_registers_is_the_taut_string) {
  for (const std::int64_t n : {2, 3, 50, 257}) {
    for (double w : {0.0, 0.1, 1.0, 30.0}) {
      Rows rows(n);
      std::vector<char> scratch(TotalVariationLanes::scratch_bytes(n));
      rows.parameters[0] = w;
      TotalVariation::value(SerialGroup{}, [&] {
        ProxRow<double> at = rows.row();
        at.scratch = scratch.data();
        return at;
      }());
      const std::vector<double> expected = rows.out;
      ProxTask<double> task{};
      task.rows = 1;
      task.n = n;
      task.x = rows.x.data();
      task.out = rows.out.data();
      task.parameters[0] = {rows.parameters.data(), 0, 0};
      TotalVariationLanes::value(task, 0, 1, scratch.data());
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(std::abs(expected[i] - rows.out[i]) < 1e-11);
    }
  }
}
