// The sparse factorisation and the loops of electrical impedance tomography on a strip of
// triangles, against dense elimination: one sample alone, and registers of samples of which one is
// broken.
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.h"
#include "core/eit.h"
#include "core/pack.h"
#include "eit_mesh.h"

namespace {

using Numbers = std::vector<double>;
using lpgd::Pack;

constexpr int kUnknowns = 30, kElectrodes = 4;

// Triangles (i, i + 1, i + 2) of a strip, and some far ones for fill.
struct Strip {
  lpgd::PlannedMesh planned;
  lpgd::EitMesh mesh{};

  Strip() {
    for (int i = 0; i + 2 < kUnknowns; ++i) add(i, i + 1, i + 2);
    for (int i = 0; i + 9 < kUnknowns; i += 7) add(i, i + 4, i + 9);
    mesh = planned.plan(kUnknowns, kElectrodes);
  }

  void add(int a, int b, int c) {
    double coefficients[3];
    for (int k = 0; k < 3; ++k)
      coefficients[k] =
          0.5 + 0.1 * static_cast<double>(
                          (planned.coefficient().size() + static_cast<std::size_t>(k)) % 7);
    planned.add(a, b, c, coefficients);
  }
};

double weight_of(int item, int cell) { return 1.2 + std::sin(1.0 + 0.7 * cell * (item + 1)); }

// Potentials [unknowns] under currents, the last unknown being zero, by dense elimination.
Numbers dense_potentials(const Strip& strip, int item, const double* current) {
  const int n = kUnknowns - 1;
  std::vector<Numbers> a(n, Numbers(n + 1, 0.0));
  for (int c = 0; c < strip.mesh.cells; ++c) {
    const std::int32_t* u = &strip.planned.cell_unknown()[static_cast<std::size_t>(3 * c)];
    const int pairs[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    for (int k = 0; k < 3; ++k) {
      const double v =
          weight_of(item, c) * strip.planned.coefficient()[static_cast<std::size_t>(3 * c + k)];
      const int p = u[pairs[k][0]], q = u[pairs[k][1]];
      if (p < n) a[p][p] += v;
      if (q < n) a[q][q] += v;
      if (p < n && q < n) {
        a[p][q] -= v;
        a[q][p] -= v;
      }
    }
  }
  for (int l = 0; l < kElectrodes - 1; ++l) a[kUnknowns - kElectrodes + l][n] = current[l];
  for (int k = 0; k < n; ++k)
    for (int i = k + 1; i < n; ++i) {
      const double f = a[i][k] / a[k][k];
      for (int j = k; j <= n; ++j) a[i][j] -= f * a[k][j];
    }
  Numbers x(kUnknowns, 0.0);
  for (int i = n - 1; i >= 0; --i) {
    double sum = a[i][n];
    for (int j = i + 1; j < n; ++j) sum -= a[i][j] * x[j];
    x[i] = sum / a[i][i];
  }
  return x;
}

struct Run {
  Numbers voltages, gradient, moved, jacobian;
  std::vector<std::int32_t> status;
};

// Two drives, three measurements of each, for `batch` samples; `broken` has a negative weight.
template <class S>
Run run(const Strip& strip, int batch, int broken) {
  static const double drive[] = {1, -1, 0, 0, 0.5, 0.5, -1, 0};
  static const double measure[] = {1, 0, -1, 0, 0, 1, 0, -1, 1, -1, 1, -1};
  static const std::int32_t pair[] = {0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2};
  constexpr int count = 6;
  const int cells = strip.mesh.cells;
  const auto size = [&](int width) { return static_cast<std::size_t>(batch * width); };
  Numbers weights, dy, dw;
  for (int i = 0; i < batch; ++i) {
    for (int c = 0; c < cells; ++c) weights.push_back(weight_of(i, c));
    for (int c = 0; c < cells; ++c) dw.push_back(std::cos(0.3 * c + i));
    for (int k = 0; k < count; ++k) dy.push_back(std::sin(2.0 * k + i));
  }
  if (broken >= 0) weights[size(0) + static_cast<std::size_t>(broken * cells + 5)] = -100;
  Run out{Numbers(size(count)), Numbers(size(cells)), Numbers(size(count)),
          Numbers(size(count * cells)), std::vector<std::int32_t>(size(1))};
  lpgd::EitTask<double> task{};
  task.mesh = strip.mesh;
  task.pattern = {2, 3, count, drive, measure, pair};
  task.batch = batch;
  task.weights = weights.data();
  task.cotangent = dy.data();
  task.voltages = out.voltages.data();
  task.gradient = out.gradient.data();
  task.jacobian = out.jacobian.data();
  task.status = out.status.data();
  constexpr int lanes = lpgd::ScalarTraits<S>::lanes;
  const auto walk = [&] {
    lpgd::EitSolve<S, double> solve;
    std::vector<S> memory(solve.bind(task, nullptr) / sizeof(S));
    solve.bind(task, memory.data());
    for (int first = 0; first < batch; first += lanes)
      solve.run(task, {first, batch - first < lanes ? batch - first : lanes});
  };
  walk();
  task.gradient = nullptr;
  task.jacobian = nullptr;
  task.cotangent = nullptr;
  task.tangent = dw.data();
  task.moved = out.moved.data();
  walk();
  return out;
}

}  // namespace

LPGD_TEST(eit_agrees_with_dense_elimination) {
  const Strip strip;
  const Run found = run<double>(strip, 2, -1);
  const double drive[] = {1, -1, 0, 0};
  for (int item = 0; item < 2; ++item) {
    const Numbers u = dense_potentials(strip, item, drive);
    const double* e = &u[kUnknowns - kElectrodes];
    const double expected[] = {e[0] - e[2], e[1] - e[3], e[0] - e[1] + e[2] - e[3]};
    for (int k = 0; k < 3; ++k)
      CHECK_NEAR(found.voltages[static_cast<std::size_t>(6 * item + k)], expected[k], 1e-12);
    CHECK(found.status[static_cast<std::size_t>(item)] == 0);
  }
}

LPGD_TEST(eit_derivatives_agree_with_the_jacobian) {
  const Strip strip;
  const int cells = strip.mesh.cells;
  const Run found = run<Pack<double, 4>>(strip, 6, -1);
  for (int i = 0; i < 6; ++i) {
    const double* J = &found.jacobian[static_cast<std::size_t>(6 * cells * i)];
    for (int c = 0; c < cells; ++c) {
      double sum = 0;
      for (int k = 0; k < 6; ++k) sum += std::sin(2.0 * k + i) * J[k * cells + c];
      CHECK_NEAR(found.gradient[static_cast<std::size_t>(i * cells + c)], sum, 1e-12);
    }
    for (int k = 0; k < 6; ++k) {
      double sum = 0;
      for (int c = 0; c < cells; ++c) sum += J[k * cells + c] * std::cos(0.3 * c + i);
      CHECK_NEAR(found.moved[static_cast<std::size_t>(6 * i + k)], sum, 1e-12);
    }
  }
}

LPGD_TEST(eit_lanes_do_not_feel_a_broken_neighbour) {
  const Strip strip;
  const int cells = strip.mesh.cells;
  const Run whole = run<Pack<double, 4>>(strip, 6, -1), hurt = run<Pack<double, 4>>(strip, 6, 2);
  const Run alone = run<double>(strip, 6, -1);
  for (int i = 0; i < 6; ++i) {
    const bool bad = i == 2;
    CHECK(hurt.status[static_cast<std::size_t>(i)] == (bad ? 4 : 0));
    for (int k = 0; k < 6; ++k) {
      const auto at = static_cast<std::size_t>(6 * i + k);
      CHECK(bad ? std::isnan(hurt.voltages[at]) : hurt.voltages[at] == whole.voltages[at]);
      CHECK(hurt.moved[at] == (bad ? 0.0 : whole.moved[at]));
      CHECK_NEAR(alone.voltages[at], whole.voltages[at], 1e-12);
    }
    for (int c = 0; c < cells; ++c) {
      const auto at = static_cast<std::size_t>(i * cells + c);
      CHECK(hurt.gradient[at] == (bad ? 0.0 : whole.gradient[at]));
    }
  }
}
