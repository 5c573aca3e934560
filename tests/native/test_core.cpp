// csrc/core over every kind of scalar and group: a number, a pack, one lane, many lanes.
#include <cmath>
#include <vector>

#include "check.h"
#include "core/outer.h"
#include "core/pack.h"
#include "core/qp.h"
#include "core/qp_resolve.h"
#include "random_qp.h"
#include "thread_group.h"

using namespace lpgd;
using lpgd::test::PointArrays;
using lpgd::test::RandomQp;
using lpgd::test::ThreadTeam;

namespace {

constexpr int kVectors = -1;
constexpr int kWidth = 4;  // of rows, enough for the group with vectors

// Runs body(group) on one lane (lanes = 0: the serial group; kVectors: the one with SIMD rows) or
// on a team of threads.
template <class Body>
void on_lanes(int lanes, const Body& body) {
  if (lanes == 0) {
    body(SerialGroup{});
  } else if (lanes == kVectors) {
    body(VectorGroup<8 * kWidth>{});
  } else {
    ThreadTeam team(lanes);
    team.run(body);
  }
}

// [rows, cols] with rows `ld` apart, zeros between them
std::vector<double> padded(const std::vector<double>& matrix, int rows, int cols, int ld) {
  std::vector<double> out(static_cast<std::size_t>(rows) * static_cast<std::size_t>(ld));
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < cols; ++j)
      out[static_cast<std::size_t>(i * ld + j)] = matrix[static_cast<std::size_t>(i * cols + j)];
  return out;
}

constexpr int kLaneCounts[] = {0, 1, 2, 7, 32, kVectors};

template <class S>
std::vector<S> workspace_for(const QpProblem<double>& problem) {
  return std::vector<S>(qp_work_scalars<S>(dims_of(problem, kWidth)));
}

void solve_scalar(const RandomQp& qp, int lanes, PointArrays& out) {
  QpTask<double> task{};
  task.problem = qp.problem();
  task.settings = {1e-9, 60};
  task.method = QpMethod::kInterior;
  task.solution = out.point();
  task.report = out.report();
  std::vector<double> memory = workspace_for<double>(task.problem);
  on_lanes(lanes, [&](const auto& group) {
    QpWork<double> work;
    work.bind(dims_of(task.problem, kWidth), memory.data());
    for (std::int64_t i = 0; i < qp.batch; ++i) solve_entries(group, work, task, i, 1, i == 0);
  });
}

template <int W>
void solve_packed(const RandomQp& qp, PointArrays& out) {
  using S = Pack<double, W>;
  QpTask<double> task{};
  task.problem = qp.problem();
  task.settings = {1e-9, 60};
  task.method = QpMethod::kInterior;
  task.solution = out.point();
  task.report = out.report();
  std::vector<S> memory = workspace_for<S>(task.problem);
  QpWork<S> work;
  work.bind(dims_of(task.problem, kWidth), memory.data());
  for (std::int64_t i = 0; i < qp.batch; i += W)
    solve_entries(SerialGroup{}, work, task, i,
                  static_cast<int>(std::min<std::int64_t>(W, qp.batch - i)), i == 0);
}

// Sizes around the register tiles, and absent blocks.
const RandomQp kProblems[] = {
    {3, 1, 0, 0, false, true, 1}, {3, 2, 3, 1, false, true, 2}, {3, 5, 4, 2, true, true, 3},
    {3, 7, 0, 3, true, true, 4},  {3, 8, 6, 0, false, true, 5}, {3, 6, 5, 2, true, false, 6},
    {2, 11, 9, 4, true, true, 7}, {3, 9, 2, 2, true, false, 8}, {3, 13, 0, 5, true, false, 9},
};

}  // namespace

LPGD_TEST(cholesky_rebuilds_its_matrix_on_any_lanes) {
  for (int n = 1; n <= 13; ++n) {
    const int m = n + 2;
    RandomQp data(1, n, m, 0, false, true, static_cast<unsigned>(n));
    std::vector<double> diag(static_cast<std::size_t>(n), 0.1), weight(static_cast<std::size_t>(m));
    for (int k = 0; k < m; ++k) weight[static_cast<std::size_t>(k)] = 0.1 + k;
    for (const int lanes : kLaneCounts) {
      const auto size = static_cast<std::size_t>(n);
      const int ld = row_stride(n, kWidth), ld_rows = row_stride(m, kWidth);
      const auto stride = static_cast<std::size_t>(ld);
      std::vector<double> lower(size * stride), inverse(size),
          panel(3 * static_cast<std::size_t>(ld_rows));
      const std::vector<double> base = padded(data.P, n, n, ld),
                                rows = padded(data.G, n, m, ld_rows);
      const Factor<double> factor{n, ld, lower.data(), inverse.data()};
      // G of the generator is [m, n]; as rows [n, m] it is just another random matrix
      const NormalMatrix<double> normal{n,           ld,          1.0,         base.data(),
                                        base.data(), diag.data(), rows.data(), weight.data(),
                                        m,           ld_rows,     panel.data()};
      on_lanes(lanes, [&](const auto& group) {
        cholesky(group, normal, factor);  // twice: a factor is written over the one before
        const double smallest = cholesky(group, normal, factor);
        if (group.lane() == 0) CHECK(smallest > 0);
      });
      for (int i = 0; i < n; ++i)
        for (int j = 0; j <= i; ++j) {
          double want = 2 * data.P[static_cast<std::size_t>(i * n + j)] + (i == j ? 0.1 : 0.0);
          double got = 0;
          for (int k = 0; k < m; ++k)
            want += data.G[static_cast<std::size_t>(i * m + k)] *
                    weight[static_cast<std::size_t>(k)] *
                    data.G[static_cast<std::size_t>(j * m + k)];
          for (int k = 0; k <= j; ++k)
            got += lower[static_cast<std::size_t>(i * ld + k)] *
                   lower[static_cast<std::size_t>(j * ld + k)];
          CHECK_NEAR(got, want, 1e-11 * (1 + std::abs(want)));
        }
    }
  }
}

LPGD_TEST(triangular_solves_and_products_on_any_lanes) {
  for (int n = 1; n <= 13; ++n) {
    RandomQp data(1, n, n, 5, false, true, static_cast<unsigned>(50 + n));
    const auto size = static_cast<std::size_t>(n);
    for (const int lanes : kLaneCounts) {
      const int ld = row_stride(n, kWidth);
      const std::vector<double> base = padded(data.P, n, n, ld);
      std::vector<double> lower(size * static_cast<std::size_t>(ld)), inverse(size),
          diag(size, 0.5), x(data.q), back(size);
      std::vector<double> rows(5, 1.0), cols(size, 2.0);
      const Factor<double> factor{n, ld, lower.data(), inverse.data()};
      const NormalMatrix<double> normal{n,       ld,      1.0, base.data(), nullptr, diag.data(),
                                        nullptr, nullptr, 0,   0,           nullptr};
      on_lanes(lanes, [&](const auto& group) {
        cholesky(group, normal, factor);
        solve_lower(group, factor, x.data());
        solve_upper(group, factor, x.data());
        multiply_rows(group, data.P.data(), n, n, n, x.data(), back.data(), 0.0);
        multiply_rows(group, data.A.data(), 5, n, n, data.q.data(), rows.data(), -1.0);
        multiply_cols(group, data.A.data(), 5, n, n, rows.data(), cols.data(), 1.0);
      });
      for (int j = 0; j < n; ++j) {
        const auto J = static_cast<std::size_t>(j);
        CHECK_NEAR(back[J] + 0.5 * x[J], data.q[J], 1e-11);
        double want = 2.0;
        for (std::size_t r = 0; r < 5; ++r) {
          double row = -1.0;
          for (std::size_t k = 0; k < size; ++k) row += data.A[r * size + k] * data.q[k];
          want += data.A[r * size + J] * row;
        }
        CHECK_NEAR(cols[J], want, 1e-10);
      }
    }
  }
}

LPGD_TEST(gram_is_the_lower_triangle_on_any_lanes) {
  for (int n = 1; n <= 9; ++n) {
    const int m = 7, ld = row_stride(n, kWidth);
    RandomQp data(1, n, m, 0, false, true, static_cast<unsigned>(80 + n));
    for (const int lanes : kLaneCounts) {
      std::vector<double> out(static_cast<std::size_t>(n * ld), -1.0);
      on_lanes(lanes, [&](const auto& group) {
        gram(group, data.G.data(), n, m, m, 0.5, out.data(), ld);
      });
      for (int i = 0; i < n; ++i)
        for (int j = 0; j < ld; ++j) {
          double want = 0;
          for (int k = 0; k < m; ++k)
            want += 0.5 * data.G[static_cast<std::size_t>(i * m + k)] *
                    (j < n ? data.G[static_cast<std::size_t>(j * m + k)] : 0.0);
          CHECK_NEAR(out[static_cast<std::size_t>(i * ld + j)], j <= i ? want : -1.0, 1e-12);
        }
    }
  }
}

LPGD_TEST(a_dependent_row_loses_its_pivot) {
  const double rows[] = {1, 2, 3, 2, 4, 6, 0, 1, 0};  // the second is twice the first
  const double diag[] = {0, 0, 0};
  double lower[9] = {}, inverse[3] = {};
  const NormalMatrix<double> normal{3,    3,       1.0, nullptr, nullptr, diag,
                                    rows, nullptr, 3,   3,       nullptr};
  cholesky(SerialGroup{}, normal, Factor<double>{3, 3, lower, inverse});
  CHECK(inverse[0] > 0);
  CHECK(inverse[1] == 0);
  CHECK(inverse[2] > 0);
}

LPGD_TEST(a_solve_is_the_same_on_any_lanes_and_in_packs) {
  for (const RandomQp& qp : kProblems) {
    PointArrays serial(qp, qp.batch);
    solve_scalar(qp, 0, serial);
    for (const std::int32_t status : serial.status) CHECK(status == kQpOk);
    for (const int lanes : kLaneCounts) {
      PointArrays other(qp, qp.batch);
      solve_scalar(qp, lanes, other);
      CHECK(other.status == serial.status);
      CHECK_NEAR(other.distance(serial), 0.0, 1e-9);
    }
    PointArrays two(qp, qp.batch), four(qp, qp.batch);
    solve_packed<2>(qp, two);
    solve_packed<4>(qp, four);
    CHECK(two.status == serial.status);
    CHECK_NEAR(two.distance(serial), 0.0, 1e-9);
    CHECK_NEAR(four.distance(two), 0.0, 1e-9);
  }
}

LPGD_TEST(gradients_are_the_same_on_any_lanes) {
  for (const RandomQp& qp : kProblems) {
    PointArrays at(qp, qp.batch);
    solve_scalar(qp, 0, at);
    RandomQp noise(qp.batch, qp.n, qp.m, qp.p, qp.bounds, false, 99);
    const QpPoint<const double> gradient{noise.q.data(), nullptr, nullptr, nullptr, nullptr};
    const QpProblem<double> problem = qp.problem();
    const QpDims dims = dims_of(problem, kWidth);
    for (const int sides : {1, 2, 3}) {
      std::vector<PointArrays> directions, implicits;
      for (const int lanes : kLaneCounts) {
        PointArrays perturbed(qp, 2 * qp.batch), direction(qp, qp.batch), middle(qp, qp.batch);
        PointArrays implicit(qp, qp.batch);
        const auto B = static_cast<std::size_t>(qp.batch);
        std::vector<double> tau(B, 0.05), rho(B, 0.1), kind(B);
        std::vector<std::int32_t> shrunk(B);
        QpTask<double> task{};
        task.problem = problem;
        task.settings = {1e-9, 60};
        task.point = at.given();
        task.gradient = gradient;
        task.rounds = kWarmIterations;
        task.solution = perturbed.point();
        task.report = perturbed.report();
        QpCombine<double> combine{};
        combine.n = qp.n;
        combine.p = qp.p;
        combine.m = qp.m;
        combine.sides = sides;
        combine.kind = kind.data();
        combine.tau = tau.data();
        combine.shrunk = shrunk.data();
        combine.plus_status = perturbed.status.data();
        combine.minus_status = perturbed.status.data() + qp.batch;
        combine.at = task.point;
        combine.plus = perturbed.given();
        const std::int64_t rows = qp.batch;
        combine.minus = {perturbed.x.data() + rows * qp.n, perturbed.y.data() + rows * qp.p,
                         perturbed.z.data() + rows * qp.m,
                         qp.bounds ? perturbed.z_lb.data() + rows * qp.n : nullptr,
                         qp.bounds ? perturbed.z_ub.data() + rows * qp.n : nullptr};
        combine.direction = direction.point();
        combine.midpoint = middle.point();
        combine.status = direction.status.data();
        QpImplicitTask<double> derivative{};
        derivative.problem = problem;
        derivative.point = at.given();
        derivative.gradient = gradient;
        derivative.direction = implicit.point();
        derivative.report = implicit.report();
        std::vector<double> memory = workspace_for<double>(problem);
        on_lanes(lanes, [&](const auto& group) {
          QpWork<double> work;
          work.bind(dims, memory.data());
          bool fresh = true;
          for (std::int64_t i = 0; i < qp.batch; ++i) {
            const double upstream = upstream_kind(group, gradient, nullptr, i, dims.n, dims.p,
                                                  dims.m, dims.n_lb, dims.n_ub);
            if (group.lane() == 0) kind[static_cast<std::size_t>(i)] = upstream;
            resolve_item(group, work, task, i, sides, upstream, rho[static_cast<std::size_t>(i)],
                         tau.data(), shrunk.data(), fresh);
            combine_item(group, combine, i);
            group.sync();
            implicit_entries(group, work, derivative, i, 1, false);
          }
        });
        for (const std::int32_t status : direction.status) CHECK(status == kQpGradientOk);
        for (const std::int32_t status : implicit.status) CHECK(status == kQpOk);
        directions.push_back(direction);
        implicits.push_back(implicit);
      }
      for (std::size_t k = 1; k < directions.size(); ++k) {
        CHECK_NEAR(directions[k].distance(directions[0]), 0.0, 1e-7);  // solutions / tau
        CHECK_NEAR(implicits[k].distance(implicits[0]), 0.0, 1e-8);
      }
    }
  }
}

// Both sides at once and what goes on from there, against two cold solves; and a warm start.
LPGD_TEST(warm_solves_are_cold_ones_on_any_lanes) {
  constexpr double kShift = 0.05;
  for (const RandomQp& qp : kProblems) {
    PointArrays at(qp, qp.batch);
    solve_scalar(qp, 0, at);
    RandomQp noise(qp.batch, qp.n, qp.m, qp.p, qp.bounds, false, 98);
    RandomQp plus = qp, minus = qp;
    for (std::size_t j = 0; j < qp.q.size(); ++j) {
      plus.q[j] += kShift * noise.q[j];
      minus.q[j] -= kShift * noise.q[j];
    }
    PointArrays expected_plus(qp, qp.batch), expected_minus(qp, qp.batch);
    solve_scalar(plus, 0, expected_plus);
    solve_scalar(minus, 0, expected_minus);
    for (const int lanes : kLaneCounts) {
      PointArrays both(qp, 2 * qp.batch), again(qp, qp.batch);
      QpTask<double> task{};
      task.problem = qp.problem();
      task.settings = {1e-9, 60};
      task.rounds = kWarmIterations;
      task.point = at.given();
      QpTask<double> warm = task;
      warm.method = QpMethod::kWarmStart;
      warm.solution = again.point();
      warm.report = again.report();
      task.gradient = {noise.q.data(), nullptr, nullptr, nullptr, nullptr};
      task.solution = both.point();
      task.report = both.report();
      std::vector<double> memory = workspace_for<double>(task.problem);
      on_lanes(lanes, [&](const auto& group) {
        QpWork<double> work;
        work.bind(dims_of(task.problem, kWidth), memory.data());
        QpTask<double> mine = task;
        for (std::int64_t i = 0; i < qp.batch; ++i) {
          const QpEntry<double> sides[] = {{i, i, kShift, 0.0}, {i, qp.batch + i, -kShift, 0.0}};
          mine.entries = sides;
          mine.method = QpMethod::kActiveSetPair;
          solve_pairs(group, work, mine, 0, 1, i == 0);
          for (int side = 0; side < 2; ++side)
            for (const QpMethod method : {QpMethod::kActiveSetOn, QpMethod::kInterior}) {
              const bool solved = both.status[static_cast<std::size_t>(sides[side].slot)] == kQpOk;
              group.sync();  // it may be written again right after
              if (solved) break;
              mine.method = method;
              solve_entries(group, work, mine, side, 1, false);
            }
          solve_entries(group, work, warm, i, 1, false);
        }
      });
      for (const std::int32_t status : both.status) CHECK(status == kQpOk);
      CHECK_NEAR(both.rows(0, qp).distance(expected_plus), 0.0, 1e-8);
      CHECK_NEAR(both.rows(qp.batch, qp).distance(expected_minus), 0.0, 1e-8);
      for (const std::int32_t steps : again.iterations) CHECK(steps == 1);
      CHECK_NEAR(again.distance(at), 0.0, 1e-8);
    }
  }
}

LPGD_TEST(units_of_x_are_the_same_on_any_lanes) {
  for (const double unit : {1e-6, 1e6}) {
    RandomQp qp(3, 6, 5, 2, true, true, 12);
    PointArrays at(qp, qp.batch);
    solve_scalar(qp, 0, at);
    for (auto* v : {&qp.q, &qp.h, &qp.b, &qp.lb, &qp.ub})
      for (double& value : *v) value *= unit;
    for (const int lanes : kLaneCounts) {
      PointArrays scaled(qp, qp.batch);
      solve_scalar(qp, lanes, scaled);
      for (const std::int32_t status : scaled.status) CHECK(status == kQpOk);
      for (auto* v : {&scaled.x, &scaled.y, &scaled.z, &scaled.z_lb, &scaled.z_ub})
        for (double& value : *v) value /= unit;
      CHECK_NEAR(scaled.distance(at), 0.0, 1e-9);
    }
  }
}

// Klee and Minty's cube in powers of five: right-hand sides from 5 to 1e7, which the first attempt
// does not solve.
LPGD_TEST(the_second_attempt_is_the_same_on_any_lanes) {
  constexpr int n = 10;
  RandomQp qp(1, n, n, 0, true, false, 13);
  double power = 1;
  for (int i = 0; i < n; ++i) {
    const auto I = static_cast<std::size_t>(i);
    power *= 5;
    for (int j = 0; j < n; ++j)
      qp.G[static_cast<std::size_t>(i * n + j)] =
          j > i ? 0.0 : (j == i ? 1.0 : std::ldexp(2.0, i - j));
    qp.h[I] = power;
    qp.q[I] = -std::ldexp(1.0, n - 1 - i);
    qp.lb[I] = 0;
    qp.ub[I] = 1e20;
  }
  for (const int lanes : kLaneCounts) {
    PointArrays out(qp, 1);
    solve_scalar(qp, lanes, out);
    CHECK(out.status[0] == kQpOk);
    CHECK_NEAR(out.x[n - 1] / power, 1.0, 1e-8);
  }
}
