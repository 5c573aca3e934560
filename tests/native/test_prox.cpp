// The operators on rows over every kind of group: registers, one lane, many lanes.
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "check.h"
#include "core/prox_norms.h"
#include "core/prox_plane.h"
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
  for (const std::int64_t n : {1, 2, 7, 33}) {
    Rows one(n);
    one.parameters = {p0, p1, p2, p3};
    Op::value(SerialGroup{}, one.row());
    Op::vjp(SerialGroup{}, one.row());
    for (const int lanes : {1, 2, 7, 32}) {
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
