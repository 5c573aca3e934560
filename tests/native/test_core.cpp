// csrc/core over every kind of scalar and group: a number, a pack, one lane, many lanes.
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "check.h"
#include "core/outer.h"
#include "core/pack.h"
#include "core/qp.h"
#include "core/qp_items.h"
#include "random_qp.h"
#include "thread_group.h"

using namespace lpgd;
using lpgd::test::ItemCounter;
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

constexpr int kLaneCounts[] = {0, 1, 2, 32, kVectors};
constexpr int kGpuLanes[] = {1, 2, 32, 96};  // 96: three warps, in the tests that are quick enough

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

namespace {

// Numbers whose sum depends on the order of the additions
std::vector<double> unlike_numbers(int count) {
  std::vector<double> out;
  for (int i = 0; i < count; ++i) out.push_back(std::ldexp(1.0 + 0.37 * i, (i * 23) % 61 - 30));
  return out;
}

// The butterfly written out, by recursion: lanes l and l + 16 first, then l and l + 8, ...
double butterfly(const double* v, int lane, int offset) {
  if (offset == 32) return v[lane];
  return butterfly(v, lane, 2 * offset) + butterfly(v, lane + offset, 2 * offset);
}

// Two teams at a time take the items of a problem, each with a workspace of exactly the size asked
// for: all of it in "fast" memory, the factor alone, or none.
enum class Memory { kFast, kFactor, kSlow };
constexpr Memory kPlaces[] = {Memory::kFast, Memory::kFactor, Memory::kSlow};

template <class Body>
void on_workers(const QpProblem<double>& problem, int lanes, Memory place, const Body& body) {
  std::atomic<std::int64_t> taken{0};
  const QpDims dims = dims_of(problem);
  const auto work_through = [&] {
    const std::size_t all = qp_work_scalars<double>(dims), factor = qp_factor_scalars(dims);
    std::vector<double> fast(place == Memory::kFast ? all : place == Memory::kFactor ? factor : 0);
    std::vector<double> slow(place == Memory::kFast ? 0 : all);
    ThreadTeam team(lanes);
    team.run([&](const auto& group) {
      QpWork<double> work;
      place_work(work, dims, fast.empty() ? nullptr : fast.data(),
                 slow.empty() ? nullptr : slow.data());
      ItemCounter counter{&taken};
      body(group, work, counter);
    });
  };
  std::thread other(work_through);
  work_through();
  other.join();
}

// What the kernels of cuda/qp.cu compute for a batch
struct KernelResults {
  PointArrays solution, perturbed, direction, middle, implicit;

  explicit KernelResults(const RandomQp& qp)
      : solution(qp, qp.batch),
        perturbed(qp, 2 * qp.batch),
        direction(qp, qp.batch),
        middle(qp, qp.batch),
        implicit(qp, qp.batch) {}
};

// run(problem, body) calls body(group, work, counter) on whatever groups there are to share the
// items
template <class Run>
KernelResults run_kernels(const RandomQp& qp, int sides, const Run& run) {
  KernelResults out(qp);
  const QpProblem<double> problem = qp.problem();
  QpTask<double> task{};
  task.problem = problem;
  task.settings = {1e-9, 60};
  task.method = QpMethod::kInterior;
  task.solution = out.solution.point();
  task.report = out.solution.report();
  run(problem, [&](const auto& group, QpWork<double>& work, auto& counter) {
    solve_items(group, work, task, counter);
  });

  const RandomQp noise(qp.batch, qp.n, qp.m, qp.p, qp.bounds, false, 97);
  const auto B = static_cast<std::size_t>(qp.batch);
  std::vector<double> tau(B, 0.05), rho(B, 0.1), kind(B);
  std::vector<std::int32_t> shrunk(B);
  task.point = out.solution.given();
  task.gradient = {noise.q.data(), nullptr, nullptr, nullptr, nullptr};
  task.rounds = kWarmIterations;
  task.solution = out.perturbed.point();
  task.report = out.perturbed.report();
  const std::int64_t rows = qp.batch;
  QpResolve<double> how{};
  how.sides = sides;
  how.kind = kind.data();
  how.tau = tau.data();
  how.rho = rho.data();
  how.shrunk = shrunk.data();
  how.combine.n = qp.n;
  how.combine.p = qp.p;
  how.combine.m = qp.m;
  how.combine.sides = sides;
  how.combine.kind = kind.data();
  how.combine.tau = tau.data();
  how.combine.shrunk = shrunk.data();
  how.combine.plus_status = out.perturbed.status.data();
  how.combine.minus_status = out.perturbed.status.data() + rows;
  how.combine.at = task.point;
  how.combine.plus = out.perturbed.given();
  how.combine.minus = {out.perturbed.x.data() + rows * qp.n, out.perturbed.y.data() + rows * qp.p,
                       out.perturbed.z.data() + rows * qp.m,
                       qp.bounds ? out.perturbed.z_lb.data() + rows * qp.n : nullptr,
                       qp.bounds ? out.perturbed.z_ub.data() + rows * qp.n : nullptr};
  how.combine.direction = out.direction.point();
  how.combine.midpoint = out.middle.point();
  how.combine.status = out.direction.status.data();
  run(problem, [&](const auto& group, QpWork<double>& work, auto& counter) {
    resolve_items(group, work, task, how, counter);
  });

  QpImplicitTask<double> derivative{};
  derivative.problem = problem;
  derivative.point = out.solution.given();
  derivative.gradient = task.gradient;
  derivative.direction = out.implicit.point();
  derivative.report = out.implicit.report();
  run(problem, [&](const auto& group, QpWork<double>& work, auto& counter) {
    implicit_items(group, work, derivative, counter);
  });
  return out;
}

// A lane that counts for itself, as the serial group's `first` is its own value
struct SerialItems : SerialGroup {
  template <class S>
  S first(S value) const {
    return value;
  }
};

KernelResults run_alone(const RandomQp& qp, int sides) {
  return run_kernels(qp, sides, [](const QpProblem<double>& problem, const auto& body) {
    std::atomic<std::int64_t> taken{0};
    std::vector<double> memory = workspace_for<double>(problem);
    QpWork<double> work;
    work.bind(dims_of(problem), memory.data());
    ItemCounter counter{&taken};
    body(SerialItems{}, work, counter);
  });
}

KernelResults run_workers(const RandomQp& qp, int sides, int lanes, Memory place) {
  return run_kernels(qp, sides, [&](const QpProblem<double>& problem, const auto& body) {
    on_workers(problem, lanes, place, body);
  });
}

void expect_near(const KernelResults& a, const KernelResults& b, double scale) {
  CHECK(a.solution.status == b.solution.status);
  CHECK(a.direction.status == b.direction.status);
  CHECK(a.implicit.status == b.implicit.status);
  CHECK_NEAR(a.solution.distance(b.solution), 0.0, 1e-9 * scale);
  CHECK_NEAR(a.direction.distance(b.direction), 0.0, 1e-7 * scale);  // solutions / tau
  CHECK_NEAR(a.middle.distance(b.middle), 0.0, 1e-8 * scale);
  CHECK_NEAR(a.implicit.distance(b.implicit), 0.0, 1e-8 * scale);
}

// Variables of very different units, item after item in one workspace
LPGD_TEST(units_of_single_variables_are_the_same_on_any_lanes) {
  RandomQp qp(4, 6, 5, 2, false, true, 12);
  PointArrays at(qp, qp.batch);
  solve_scalar(qp, 0, at);
  std::vector<double> unit;
  for (int j = 0; j < qp.n; ++j) unit.push_back(std::ldexp(1.0, 12 - 5 * j));
  const auto n = static_cast<std::size_t>(qp.n);
  for (auto* v : {&qp.q, &qp.G, &qp.A})
    for (std::size_t k = 0; k < v->size(); ++k) (*v)[k] *= unit[k % n];
  for (std::size_t k = 0; k < qp.P.size(); ++k) qp.P[k] *= unit[k % n] * unit[k / n % n];
  for (const int lanes : {0, 1, 2, 32}) {
    PointArrays out(qp, qp.batch);
    solve_scalar(qp, lanes, out);
    for (const std::int32_t status : out.status) CHECK(status == kQpOk);
    for (std::size_t k = 0; k < out.x.size(); ++k)
      CHECK_NEAR(out.x[k] * unit[k % n], at.x[k], 1e-7);
  }
}

// Two objectives beyond their type's range differ by inf - inf
LPGD_TEST(a_residual_that_is_no_number_is_reported_as_infinite) {
  const double nan = std::nan("");
  QpOutcome<double> out{};
  out.measure.primal = 0.5;
  out.measure.dual = out.measure.gap = nan;
  double residuals[3] = {-1, -1, -1};
  std::int32_t status = -1;
  QpReport<double> report{};
  report.status = &status;
  report.residuals = residuals;
  const auto lanes = lanes_of<double, double>(nullptr, 0, 1);
  store_report(SerialGroup{}, lanes, 1, less(0.0, 1.0), out, report);
  CHECK(status == kQpOk && residuals[0] == 0.5);
  CHECK(std::isinf(residuals[1]) && std::isinf(residuals[2]));
}

}  // namespace

LPGD_TEST(reductions_of_host_threads_are_in_the_order_of_a_gpu) {
  for (const int lanes : {32, 96}) {
    const std::vector<double> values = unlike_numbers(lanes);
    double by_formula = butterfly(values.data(), 0, 1), by_turns = 0;
    for (int warp = 32; warp < lanes; warp += 32)
      by_formula += butterfly(values.data() + warp, 0, 1);
    for (const double value : values) by_turns += value;
    CHECK(by_formula != by_turns);  // else this test could not tell
    std::vector<double> sums(values.size()), shuffled(values.size()), least(values.size());
    std::vector<double> parts(static_cast<std::size_t>(lanes / 32));
    ThreadTeam team(lanes);
    team.run([&](const auto& group) {
      const auto lane = static_cast<std::size_t>(group.lane());
      sums[lane] = group.sum(values[lane]);
      least[lane] = group.min(group.lane() == 5 ? -0.0 : 0.0);
      // as a block does it, shuffle by shuffle
      const auto exchange = [&](double value, int offset) { return group.exchange(value, offset); };
      const double part = reduce_warp(group.lane(), values[lane], AddLanes{}, exchange);
      if (lane % 32 == 0) parts[lane / 32] = part;
      group.sync();
      shuffled[lane] = reduce_parts<double>(parts.data(), lanes / 32, AddLanes{});
    });
    for (std::size_t lane = 0; lane < values.size(); ++lane) {
      CHECK(sums[lane] == by_formula);
      CHECK(shuffled[lane] == by_formula);
      CHECK(std::signbit(least[lane]) == std::signbit(least[0]));
    }
  }
}

LPGD_TEST(float_sums_of_host_threads_are_of_floats) {
  float expected = 0;
  std::vector<double> values(32, 0.0);
  for (int l = 0; l < 32; ++l) values[static_cast<std::size_t>(l)] = 1.0 / (l + 3.0);
  float lanes[32];
  for (int l = 0; l < 32; ++l) lanes[l] = static_cast<float>(values[static_cast<std::size_t>(l)]);
  for (int offset = 16; offset > 0; offset /= 2)
    for (int l = 0; l < offset; ++l) lanes[l] += lanes[l + offset];
  expected = lanes[0];
  ThreadTeam team(32);
  team.run([&](const auto& group) {
    const auto value = static_cast<float>(values[static_cast<std::size_t>(group.lane())]);
    if (group.sum(value) != expected) CHECK(false);
  });
}

LPGD_TEST(items_are_taken_once_by_teams_that_share_a_counter) {
  constexpr int kItems = 40;
  for (const int lanes : kGpuLanes) {
    std::atomic<std::int64_t> taken{0};
    std::vector<std::atomic<int>> seen(kItems);
    const auto work = [&] {
      ThreadTeam team(lanes);
      team.run([&](const auto& group) {
        ItemCounter counter{&taken};
        for_items(group, counter, kItems,
                  [&](std::int64_t item) { ++seen[static_cast<std::size_t>(item)]; });
      });
    };
    std::thread other(work);
    work();
    other.join();
    for (const auto& count : seen) CHECK(count == lanes);
  }
}

LPGD_TEST(workers_that_share_a_counter_solve_as_one_does) {
  // [n, m, p, bounds, quadratic]; the last by rows (core/qp_kkt.h)
  const RandomQp problems[] = {{3, 5, 4, 2, true, true, 3}, {3, 9, 2, 2, true, false, 8}};
  for (const RandomQp& qp : problems) {
    const KernelResults alone = run_alone(qp, kQpBoth);
    for (const std::int32_t status : alone.solution.status) CHECK(status == kQpOk);
    for (const std::int32_t status : alone.direction.status) CHECK(status == kQpGradientOk);
    for (const int lanes : {1, 2, 32}) {
      const KernelResults fast = run_workers(qp, kQpBoth, lanes, Memory::kFast);
      expect_near(fast, alone, 1);
      if (lanes == 32) continue;
      // where the workspace is, and who took what, is no part of the result
      for (const Memory place : kPlaces)
        expect_near(run_workers(qp, kQpBoth, lanes, place), fast, 0);
    }
  }
}

LPGD_TEST(three_warps_solve_as_one_lane_does) {
  const RandomQp qp(2, 5, 4, 2, true, true, 3);
  expect_near(run_workers(qp, kQpLower, 96, Memory::kFactor), run_alone(qp, kQpLower), 1);
}

LPGD_TEST(outer_sums_are_the_formula_on_any_lanes) {
  constexpr int rows = 3, cols = 50;
  const RandomQp data(4, cols, 1, 0, false, false, 70);
  const double *b1 = data.q.data(), *b2 = b1 + cols, *a1 = b2 + cols, *a2 = a1 + rows;
  for (const int lanes : kGpuLanes) {
    std::vector<double> out(rows * cols);
    ThreadTeam team(lanes);
    team.run([&](const auto& group) { outer_sum(group, a1, b1, a2, b2, rows, cols, out.data()); });
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < cols; ++j)
        CHECK_NEAR(out[static_cast<std::size_t>(i * cols + j)], a1[i] * b1[j] + a2[i] * b2[j],
                   1e-15);
  }
}
