// The sparse first-order solver as a CUDA block runs it, on host threads, against the CPU's
// register of problems and one problem alone; the layout of its pattern; its launch geometry.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "core/pack.h"
#include "core/pdhg.h"
#include "core/pdhg_pattern.h"
#include "cuda/sparse_geometry.h"
#include "thread_group.h"

using namespace lpgd;
using lpgd::test::ThreadTeam;

namespace {

using Numbers = std::vector<double>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Rows {
  std::vector<std::int64_t> crow{0}, col;
  Numbers values;

  int nnz() const { return static_cast<int>(col.size()); }
  void add(std::int64_t column, double value) {
    col.push_back(column);
    values.push_back(value);
  }
  void end() { crow.push_back(static_cast<std::int64_t>(col.size())); }
};

// `batch` random problems around a known point; item 1 has crossed rows where there are any, item 2
// a nan among its costs.
struct Problems {
  int n, m, p, batch;
  bool own_matrices;  // an item each
  Rows A, G, P;
  Numbers A_values, G_values, P_values, q, h, b, lb, ub, rho;
  std::vector<std::int32_t> crow{0}, col, P_crow, P_col, columns;
  bool quadratic;

  Problems(int n_, int m_, int p_, int batch_, bool quadratic_, bool own, bool broken,
           unsigned seed, int dense_row = -1)
      : n(n_), m(m_), p(p_), batch(batch_), own_matrices(own), quadratic(quadratic_) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    const auto fill = [&](Rows& rows, int count) {
      for (int i = 0; i < count; ++i) {
        for (int j = 0; j < n; ++j)
          if (i == dense_row || uniform(random) < 3.0 / n) rows.add(j, normal(random));
        rows.end();
      }
    };
    fill(A, p);
    fill(G, m);
    if (quadratic)
      for (int j = 0; j < n; ++j) {  // diagonally dominant, not symmetric
        if (j > 0) P.add(j - 1, 0.3);
        P.add(j, 1.0 + uniform(random));
        P.end();
      }
    const auto spread = [&](const Numbers& values, Numbers& to) {
      for (int k = 0; k < (own ? batch : 1); ++k)
        for (const double v : values) to.push_back(v * (1 + 0.1 * k));
    };
    spread(A.values, A_values);
    spread(G.values, G_values);
    spread(P.values, P_values);
    for (int k = 0; k < batch; ++k) {
      Numbers x;
      for (int j = 0; j < n; ++j) x.push_back(uniform(random));
      const auto product = [&](const Rows& rows, const Numbers& values, int i) {
        double sum = 0;
        for (auto e = rows.crow[static_cast<std::size_t>(i)];
             e < rows.crow[static_cast<std::size_t>(i) + 1]; ++e)
          sum += values[static_cast<std::size_t>(e) + (own ? values.size() / batch * k : 0)] *
                 x[static_cast<std::size_t>(rows.col[static_cast<std::size_t>(e)])];
        return sum;
      };
      for (int j = 0; j < n; ++j) {
        q.push_back(normal(random));
        lb.push_back(j % 5 == 0 ? -kInfinity : 0.0);
        ub.push_back(j % 5 == 0 && quadratic ? kInfinity : 1.5);
      }
      for (int i = 0; i < p; ++i) b.push_back(product(A, A_values, i));
      for (int i = 0; i < m; ++i) h.push_back(product(G, G_values, i) + 0.2 * uniform(random));
      rho.push_back(0.05 * k);
    }
    if (broken) {
      lb[static_cast<std::size_t>(n)] = 2;  // item 1
      ub[static_cast<std::size_t>(n)] = 1;
      q[static_cast<std::size_t>(2 * n)] = std::nan("");
    }
    for (const Rows* rows : {&A, &G}) {
      const auto before = static_cast<std::int32_t>(col.size());
      for (std::size_t i = 1; i < rows->crow.size(); ++i)
        crow.push_back(before + static_cast<std::int32_t>(rows->crow[i]));
      for (const std::int64_t j : rows->col) col.push_back(static_cast<std::int32_t>(j));
    }
    add_columns(crow, col);
    if (quadratic) {
      P_crow.assign(P.crow.begin(), P.crow.end());
      P_col.assign(P.col.begin(), P.col.end());
      add_columns(P_crow, P_col);
    }
  }

  void add_columns(const std::vector<std::int32_t>& starts, const std::vector<std::int32_t>& cols) {
    std::vector<std::int32_t> start{0}, row, slot;
    for (int j = 0; j < n; ++j) {
      for (std::size_t i = 0; i + 1 < starts.size(); ++i)
        for (std::int32_t k = starts[i]; k < starts[i + 1]; ++k)
          if (cols[static_cast<std::size_t>(k)] == j) {
            row.push_back(static_cast<std::int32_t>(i));
            slot.push_back(k);
          }
      start.push_back(static_cast<std::int32_t>(row.size()));
    }
    for (const auto* part : {&start, &row, &slot})
      columns.insert(columns.end(), part->begin(), part->end());
  }

  PdhgProblem<double> problem(bool with_rho) const {
    PdhgProblem<double> out{};
    out.batch = batch;
    out.n = n;
    out.m = m;
    out.p = p;
    out.nnz_A = A.nnz();
    out.nnz_G = G.nnz();
    out.nnz_P = P.nnz();
    out.crow = crow.data();
    out.col = col.data();
    out.P_crow = quadratic ? P_crow.data() : nullptr;
    out.P_col = quadratic ? P_col.data() : nullptr;
    const auto set = [&](const double*& at, std::int64_t& stride, const Numbers& from, int size,
                         bool own) {
      at = from.data();
      stride = own ? size : 0;
    };
    set(out.A, out.stride_A, A_values, A.nnz(), own_matrices);
    set(out.G, out.stride_G, G_values, G.nnz(), own_matrices);
    if (quadratic) set(out.P, out.stride_P, P_values, P.nnz(), own_matrices);
    set(out.q, out.stride_q, q, n, true);
    set(out.h, out.stride_h, h, m, true);
    set(out.b, out.stride_b, b, p, true);
    set(out.lb, out.stride_lb, lb, n, true);
    set(out.ub, out.stride_ub, ub, n, true);
    if (with_rho) set(out.rho, out.stride_rho, rho, 1, true);
    return out;
  }

  PdhgGiven given() const {
    return {n,
            m,
            p,
            A.nnz(),
            G.nnz(),
            P.nnz(),
            p > 0 ? A.crow.data() : nullptr,
            A.col.data(),
            m > 0 ? G.crow.data() : nullptr,
            G.col.data(),
            quadratic ? P.crow.data() : nullptr,
            quadratic ? P.col.data() : nullptr,
            columns.data()};
  }
};

struct Solved {
  Numbers x, y, z, z_lb, z_ub, residuals;
  std::vector<std::int32_t> status, iterations;

  explicit Solved(const Problems& given)
      : x(room(given, given.n)),
        y(room(given, given.p)),
        z(room(given, given.m)),
        z_lb(room(given, given.n)),
        z_ub(room(given, given.n)),
        residuals(room(given, 3)),
        status(room(given, 1), -1),
        iterations(room(given, 1), -1) {}

  static std::size_t room(const Problems& given, int width) {
    return static_cast<std::size_t>(given.batch) * static_cast<std::size_t>(width);
  }
  void write_to(PdhgTask<double>& task) {
    task.solution = {x.data(), y.data(), z.data(), z_lb.data(), z_ub.data()};
    task.report = {status.data(), iterations.data(), residuals.data()};
  }
  double apart(const Solved& other) const {
    double most = 0;
    for (const auto part : {&Solved::x, &Solved::y, &Solved::z, &Solved::z_lb, &Solved::z_ub})
      for (std::size_t i = 0; i < (this->*part).size(); ++i) {
        const double gap = std::abs((this->*part)[i] - (other.*part)[i]);
        most = gap <= most ? most : gap;
      }
    return most;
  }
};

struct Settings {
  double eps = 1e-8;
  int max_iter = 20000;
  bool rho = false;
};

PdhgTask<double> task_for(const Problems& given, const Settings& settings, Solved& out) {
  PdhgTask<double> task{};
  task.problem = given.problem(settings.rho);
  task.settings = {settings.eps, settings.max_iter};
  out.write_to(task);
  return task;
}

// As csrc/cpu/pdhg.cpp does
template <class S, class V>
Solved solve_serial(const Problems& given, const Settings& settings) {
  constexpr int W = ScalarTraits<S>::lanes;
  Solved out(given);
  const PdhgTask<double> task = task_for(given, settings, out);
  PdhgWork<S, V> work;
  std::vector<S> memory(work.bind(task.problem, nullptr) / sizeof(S));
  work.bind(task.problem, reinterpret_cast<char*>(memory.data()));
  for (int first = 0; first < given.batch; first += W)
    pdhg_solve(SerialGroup{}, work, task,
               PdhgLanes{first, given.batch - first < W ? given.batch - first : W},
               first == 0 || given.own_matrices);
  return out;
}

Solved solve_alone(const Problems& given, const Settings& settings) {
  return solve_serial<double, double>(given, settings);
}

// As the kernels of csrc/cuda/pdhg.cu do: patterns laid out, shared matrices scaled once, vectors
// in a memory of their own.
Solved solve_on_threads(const Problems& problems, const Settings& settings, int lanes) {
  Solved out(problems);
  PdhgTask<double> task = task_for(problems, settings, out);
  const PdhgGiven given = problems.given();
  PdhgPattern pattern{};
  std::vector<std::int32_t> integers(pattern.bind(given, nullptr));
  pattern.bind(given, integers.data());
  task.problem.crow = pattern.crow;
  task.problem.col = pattern.col;
  task.problem.P_crow = pattern.P_crow;
  task.problem.P_col = pattern.P_col;
  PdhgWork<double, double> sizes;
  std::vector<char> matrices(sizes.bind_matrices(task.problem, nullptr));
  std::vector<char> vectors(sizes.bind_vectors(task.problem, nullptr));
  ThreadTeam(lanes).run([&](const auto& group) {
    const bool fine = lay_out_pattern(group, given, pattern);
    PdhgWork<double, double> work;
    work.bind_matrices(task.problem, matrices.data());
    work.bind_vectors(task.problem, vectors.data());
    pattern.attach(given, work.matrices);
    const bool shared = shares_matrices(task.problem);
    if (fine && shared) load_pdhg_matrices(group, work, task.problem, PdhgLanes{0, 1});
    for (int item = 0; item < problems.batch; ++item)
      if (fine)
        pdhg_solve(group, work, task, PdhgLanes{item, 1}, !shared);
      else
        refuse_pdhg(group, task, item, kQpNumericalError);
  });
  return out;
}

}  // namespace

LPGD_TEST(pdhg_is_the_same_on_any_lanes) {
  const Problems all[] = {
      {9, 6, 2, 4, false, false, true, 1},
      {9, 6, 2, 4, true, false, true, 2},
      {7, 4, 2, 3, true, true, false, 3},
      {5, 0, 2, 2, true, false, false, 4},  // without rows of G
      {6, 5, 0, 2, false, true, false, 5},  // nor of A
  };
  for (const Problems& problems : all)
    for (const bool rho : {false, true}) {
      const Settings settings{1e-8, 20000, rho};
      const Solved alone = solve_alone(problems, settings);
      for (int item = 0; item < problems.batch; ++item) {
        const bool broken = problems.n == 9;
        const std::int32_t expected = broken && item == 1   ? kQpPrimalInfeasible
                                      : broken && item == 2 ? kQpNumericalError
                                                            : kQpOk;
        CHECK(alone.status[static_cast<std::size_t>(item)] == expected);
      }
      const Solved packed = problems.own_matrices
                                ? solve_serial<Pack<double, 4>, Pack<double, 4>>(problems, settings)
                                : solve_serial<Pack<double, 4>, double>(problems, settings);
      CHECK(packed.status == alone.status);
      CHECK_NEAR(packed.apart(alone), 0.0, 1e-5);
      for (const int lanes : {1, 2, 7}) {
        const Solved found = solve_on_threads(problems, settings, lanes);
        CHECK(found.status == alone.status);
        CHECK_NEAR(found.apart(alone), 0.0, 1e-5);
      }
    }
}

// The iterates themselves, before rounding has had steps to grow.
LPGD_TEST(pdhg_steps_agree_to_rounding_on_many_lanes) {
  const Problems problems(21, 13, 5, 3, true, false, true, 6);
  const Settings settings{1e-14, 40, true};
  const Solved alone = solve_alone(problems, settings);
  CHECK(alone.status[0] == kQpMaxIterations);
  for (const int lanes : {1, 2, 32, 96}) {
    const Solved found = solve_on_threads(problems, settings, lanes);
    CHECK(found.status == alone.status);
    CHECK(found.iterations == alone.iterations);
    CHECK_NEAR(found.apart(alone), 0.0, 1e-11);
    for (std::size_t i = 0; i < 3; ++i)
      CHECK_NEAR(found.residuals[i], alone.residuals[i], 1e-11 * (1 + alone.residuals[i]));
  }
}

LPGD_TEST(pdhg_bits_repeat_on_lanes) {
  const Problems problems(12, 7, 3, 2, true, true, false, 7);
  const Settings settings{1e-10, 200, false};
  const Solved first = solve_on_threads(problems, settings, 5);
  for (int round = 0; round < 2; ++round) {
    const Solved again = solve_on_threads(problems, settings, 5);
    CHECK(first.x == again.x);
    CHECK(first.y == again.y);
    CHECK(first.residuals == again.residuals);
    CHECK(first.iterations == again.iterations);
  }
}

// A row, and with it columns of its transpose, with more entries than one lane takes.
LPGD_TEST(pdhg_long_rows_are_shared_by_the_lanes) {
  const int n = kPdhgLong + 40;
  const Problems problems(n, 3, 2, 1, true, false, false, 8, 1);
  const Settings settings{1e-14, 33, false};
  const Solved alone = solve_alone(problems, settings);
  for (const int lanes : {2, 32}) {
    const Solved found = solve_on_threads(problems, settings, lanes);
    CHECK(found.iterations == alone.iterations);
    CHECK_NEAR(found.apart(alone), 0.0, 1e-11);
  }
  PdhgPattern pattern{};
  std::vector<std::int32_t> integers(pattern.bind(problems.given(), nullptr));
  pattern.bind(problems.given(), integers.data());
  ThreadTeam(3).run([&](const auto& group) { lay_out_pattern(group, problems.given(), pattern); });
  CHECK(pattern.long_rows[0] == 2);  // row 1 of A and row 1 of G
  CHECK(pattern.long_rows[1] == 1);
  CHECK(pattern.long_rows[2] == 3);
  CHECK(pattern.long_columns[0] == 0);
  CHECK(pattern.P_long_rows[0] == 0);
}

LPGD_TEST(pdhg_certificates_are_the_same_on_any_lanes) {
  // x1 + x2 <= 1 and >= h: solved, infeasible; and unbounded
  Problems problems(2, 2, 0, 3, false, false, false, 9);
  problems.G = Rows{};
  problems.G.add(0, 1);
  problems.G.add(1, 1);
  problems.G.end();
  problems.G.add(0, -1);
  problems.G.add(1, -1);
  problems.G.end();
  problems.G_values = problems.G.values;
  problems.crow = {0, 2, 4};
  problems.col = {0, 1, 0, 1};
  problems.columns.clear();
  problems.add_columns(problems.crow, problems.col);
  problems.h = {1, -0.5, 1, -2, kInfinity, 1};
  problems.q = {1, 2, 1, 2, -1, 0};
  problems.lb = {0, 0, 0, 0, 0, 0};
  problems.ub.assign(6, kInfinity);
  const std::vector<std::int32_t> expected{kQpOk, kQpPrimalInfeasible, kQpDualInfeasible};
  CHECK(solve_alone(problems, {}).status == expected);
  for (const int lanes : {1, 2, 5}) {
    const Solved found = solve_on_threads(problems, {}, lanes);
    CHECK(found.status == expected);
    CHECK_NEAR(found.x[0], 0.5, 1e-6);
  }
}

LPGD_TEST(pdhg_finds_what_is_no_pattern) {
  const auto refused = [](const Problems& problems) {
    const Solved found = solve_on_threads(problems, {1e-8, 64, false}, 3);
    for (const std::int32_t status : found.status) CHECK(status == kQpNumericalError);
    for (const double x : found.x) CHECK(x == 0);
    for (const double r : found.residuals) CHECK(r == kInfinity);
  };
  const Problems good(6, 4, 2, 2, true, false, false, 10);
  CHECK(solve_on_threads(good, {}, 3).status == std::vector<std::int32_t>(2, kQpOk));
  for (const int which : {0, 1, 2}) {
    for (const std::int64_t value : {std::int64_t{-1}, std::int64_t{6}, std::int64_t{1} << 40}) {
      Problems bad = good;
      (which == 0 ? bad.A : which == 1 ? bad.G : bad.P).col[1] = value;
      refused(bad);
      bad = good;
      (which == 0 ? bad.A : which == 1 ? bad.G : bad.P).crow[1] = value * 100;
      refused(bad);
    }
  }
  const std::size_t nnz = good.col.size(), of_P = 7 + 2 * nnz;
  for (const std::size_t at : {std::size_t{0}, std::size_t{3}, std::size_t{6}, std::size_t{7},
                               7 + nnz, 8 + nnz, of_P, of_P + 5, of_P + 7}) {
    Problems bad = good;
    bad.columns[at] = -1;
    refused(bad);
    bad.columns[at] = 1 << 30;
    refused(bad);
  }
  Problems twice = good;  // an entry named twice, another not at all
  twice.columns[7 + nnz] = twice.columns[8 + nnz];
  refused(twice);
}

LPGD_TEST(pdhg_launches_fit_the_device) {
  using namespace lpgd::cuda;
  const SparseLimits h100{132, 2048, 232448, 233472, 1024};
  // n = 400, 40 rows, doubles: vectors of 40 KB in shared memory, five blocks a processor
  const std::size_t vectors = (12 * 400 + 6 * 40) * 8;
  const SparseLaunch small = pdhg_launch(h100, 400, 40, vectors, 0, 100000, 5000);
  CHECK(small.threads == 416);
  CHECK(small.shared_bytes == vectors);
  CHECK(small.blocks == 132 * 4);  // 2,048 threads a processor
  CHECK(small.block_bytes == 0);
  CHECK(small.common_bytes == kSparseHead + to_lines(100000));
  CHECK(small.workspace_bytes == small.common_bytes);
  // with matrices of their own
  const SparseLaunch own = pdhg_launch(h100, 400, 40, vectors, 64000, 100000, 5000);
  CHECK(own.block_bytes == 64000);
  CHECK(own.workspace_bytes == own.common_bytes + 64000 * 528);
  // vectors that fit nowhere near
  const SparseLaunch large = pdhg_launch(h100, 100000, 50000, 14400000, 0, 1, 64);
  CHECK(large.threads == kPdhgMostThreads);
  CHECK(large.shared_bytes == 0);
  CHECK(large.blocks == 64);
  CHECK(large.block_bytes == to_lines(14400000));
  CHECK(pdhg_launch(h100, 1, 0, 64, 0, 0, 1).threads == 32);
  CHECK(pdhg_launch(h100, 33, 7, 64, 0, 0, 1).threads == 64);
  CHECK(pdhg_launch(h100, 3, 70, 64, 0, 0, std::int64_t{1} << 34).blocks == 132 * kSparseResident);
  CHECK(to_lines(0) == 0);
  CHECK(to_lines(1) == 256);
}
