// The sparse factorisation and the loops of electrical impedance tomography on a strip of
// triangles, against dense elimination: one sample alone, registers of samples of which one is
// broken, and the code of a CUDA block on host threads. Its launch geometry.
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "check.h"
#include "core/eit.h"
#include "core/eit_check.h"
#include "core/pack.h"
#include "cuda/sparse_geometry.h"
#include "eit_mesh.h"
#include "thread_group.h"

namespace {

using Numbers = std::vector<double>;
using Integers = std::vector<std::int32_t>;
using lpgd::Pack;
using lpgd::SerialGroup;
using lpgd::test::ThreadTeam;

constexpr int kUnknowns = 30, kElectrodes = 4;

// Triangles (i, i + 1, i + 2) of a strip, and some far ones for fill.
struct Strip : lpgd::test::PlannedMesh {
  lpgd::EitMesh mesh{};

  Strip() {
    for (int i = 0; i + 2 < kUnknowns; ++i) add(i, i + 1, i + 2);
    for (int i = 0; i + 9 < kUnknowns; i += 7) add(i, i + 4, i + 9);
    mesh = plan(kUnknowns, kElectrodes);
  }

  void add(int a, int b, int c) {
    double sides[3];
    for (std::size_t k = 0; k < 3; ++k)
      sides[k] = 0.5 + 0.1 * static_cast<double>((coefficient.size() + k) % 7);
    PlannedMesh::add(a, b, c, sides);
  }
};

double weight_of(int item, int cell) { return 1.2 + std::sin(1.0 + 0.7 * cell * (item + 1)); }

// Potentials [unknowns] under currents, the last unknown being zero, by dense elimination.
Numbers dense_potentials(const Strip& strip, int item, const double* current) {
  const int n = kUnknowns - 1;
  std::vector<Numbers> a(n, Numbers(n + 1, 0.0));
  for (int c = 0; c < strip.mesh.cells; ++c) {
    const std::int32_t* u = &strip.cell_unknown[static_cast<std::size_t>(3 * c)];
    const int pairs[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    for (int k = 0; k < 3; ++k) {
      const double v = weight_of(item, c) * strip.coefficient[static_cast<std::size_t>(3 * c + k)];
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
  Numbers voltages, gradient, moved, jacobian, data_gradient, curvature;
  std::vector<std::int32_t> status;
};

const double kDrive[] = {1, -1, 0, 0, 0.5, 0.5, -1, 0};
const double kMeasure[] = {1, 0, -1, 0, 0, 1, 0, -1, 1, -1, 1, -1};
const std::int32_t kPair[] = {0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2};
const lpgd::EitPattern kPattern{2, 3, 6, kDrive, kMeasure, kPair};

// All that a task can ask for, for two drives with three measurements of each and `batch` samples,
// `broken` of which has a negative weight: solve(task) computes one after the other.
template <class Solve>
Run run_tasks(const Strip& strip, int batch, int broken, const Solve& solve) {
  constexpr int count = 6;
  const int cells = strip.mesh.cells;
  const auto size = [&](int width) { return static_cast<std::size_t>(batch * width); };
  Numbers weights, dy, dw;
  for (int i = 0; i < batch; ++i) {
    for (int c = 0; c < cells; ++c) weights.push_back(weight_of(i, c));
    for (int c = 0; c < cells; ++c) dw.push_back(std::cos(0.3 * c + i));
    for (int k = 0; k < count; ++k) dy.push_back(std::sin(2.0 * k + i));
  }
  if (broken >= 0) weights[static_cast<std::size_t>(broken * cells + 5)] = -100;
  Run out{Numbers(size(count)),
          Numbers(size(cells)),
          Numbers(size(count)),
          Numbers(size(count * cells)),
          Numbers(size(cells)),
          Numbers(size(cells)),
          std::vector<std::int32_t>(size(1))};
  lpgd::EitTask<double> plain{};
  plain.mesh = strip.mesh;
  plain.pattern = kPattern;
  plain.batch = batch;
  plain.weights = weights.data();
  lpgd::EitTask<double> task = plain;
  task.cotangent = dy.data();
  task.voltages = out.voltages.data();
  task.gradient = out.gradient.data();
  task.jacobian = out.jacobian.data();
  task.status = out.status.data();
  solve(task);
  task = plain;
  task.tangent = dw.data();
  task.moved = out.moved.data();
  solve(task);
  task = plain;
  task.target = dy.data();
  task.gradient = out.data_gradient.data();
  solve(task);
  task = plain;
  task.cotangent = dy.data();
  task.tangent = dw.data();
  task.gradient = out.curvature.data();
  solve(task);
  return out;
}

template <class S>
Run run(const Strip& strip, int batch, int broken) {
  constexpr int lanes = lpgd::ScalarTraits<S>::lanes;
  return run_tasks(strip, batch, broken, [&](const lpgd::EitTask<double>& task) {
    lpgd::EitSolve<SerialGroup, S, double> solve;
    std::vector<S> memory(solve.bind(task, nullptr) / sizeof(S));
    solve.bind(task, memory.data());
    for (int first = 0; first < batch; first += lanes)
      solve.run(SerialGroup{}, task, {first, batch - first < lanes ? batch - first : lanes});
  });
}

// A block's work, sample after sample. `apart`: with the factor in a memory of its own.
Run run_on_threads(const Strip& strip, int batch, int broken, int lanes, bool apart) {
  ThreadTeam team(lanes);
  using Solve = lpgd::EitSolve<ThreadTeam::Group, double, double>;
  return run_tasks(strip, batch, broken, [&](const lpgd::EitTask<double>& task) {
    const std::size_t all = Solve{}.bind(task, nullptr), own = Solve::factor_bytes(task.mesh);
    Numbers memory((apart ? all - own : all) / sizeof(double));
    Numbers factor(apart ? own / sizeof(double) : 0);
    team.run([&](const auto& group) {
      Solve solve;
      const std::size_t used = solve.bind(task, memory.data(), apart ? factor.data() : nullptr);
      if (group.lane() == 0) CHECK(used == memory.size() * sizeof(double));
      for (int item = 0; item < batch; ++item) solve.run(group, task, {item, 1});
    });
  });
}

double worst(const Numbers& a, const Numbers& b) {
  double most = a.size() == b.size() ? 0 : 1e300;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::isnan(a[i]) && std::isnan(b[i]))) {
      const double apart = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
      most = apart <= most ? most : apart;  // a nan on one side stays
    }
  return most;
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

LPGD_TEST(eit_is_the_same_on_any_lanes) {
  const Strip strip;
  for (const int broken : {-1, 1}) {
    const Run serial = run<double>(strip, 2, broken);
    for (const int lanes : {1, 2, 32, 96}) {
      const Run found = run_on_threads(strip, 2, broken, lanes, lanes % 3 == 2);
      CHECK(found.status == serial.status);
      CHECK_NEAR(worst(found.voltages, serial.voltages), 0.0, 1e-13);
      CHECK_NEAR(worst(found.gradient, serial.gradient), 0.0, 1e-13);
      CHECK_NEAR(worst(found.moved, serial.moved), 0.0, 1e-13);
      CHECK_NEAR(worst(found.jacobian, serial.jacobian), 0.0, 1e-13);
      CHECK_NEAR(worst(found.data_gradient, serial.data_gradient), 0.0, 1e-13);
      CHECK_NEAR(worst(found.curvature, serial.curvature), 0.0, 1e-13);
    }
  }
}

LPGD_TEST(eit_bits_repeat_on_lanes) {
  const Strip strip;
  const Run first = run_on_threads(strip, 2, -1, 7, false);
  const Run again = run_on_threads(strip, 2, -1, 7, true);
  CHECK(first.voltages == again.voltages);
  CHECK(first.gradient == again.gradient);
  CHECK(first.jacobian == again.jacobian);
  CHECK(first.curvature == again.curvature);
}

// More drives than a chunk of columns holds, of both widths.
LPGD_TEST(eit_has_as_many_drives_as_it_likes) {
  const Strip strip;
  const int cells = strip.mesh.cells;
  constexpr int drives = 70;
  Numbers drive, weights, dy;
  Integers pair;
  for (int d = 0; d < drives; ++d) {
    const double a = std::sin(d + 1.0), b = std::cos(2.0 * d);
    drive.insert(drive.end(), {a, b, -a, -b});
    pair.insert(pair.end(), {d * 11 % drives, d % 3});  // not in the order of lanes
    dy.push_back(std::sin(0.5 * d));
  }
  for (int c = 0; c < cells; ++c) weights.push_back(weight_of(0, c));
  const auto size = static_cast<std::size_t>(cells);
  std::vector<Numbers> voltages, gradients, jacobians;
  for (const int lanes : {0, 1, 32}) {
    voltages.emplace_back(drives);
    gradients.emplace_back(size);
    jacobians.emplace_back(drives * size);
    lpgd::EitTask<double> task{};
    task.mesh = strip.mesh;
    task.pattern = {drives, 3, drives, drive.data(), kMeasure, pair.data()};
    task.batch = 1;
    task.weights = weights.data();
    task.cotangent = dy.data();
    task.voltages = voltages.back().data();
    task.gradient = gradients.back().data();
    task.jacobian = jacobians.back().data();
    const auto solve = [&](const auto& group) {
      using Group = std::remove_cvref_t<decltype(group)>;
      lpgd::EitSolve<Group, double, double> work;
      static Numbers memory;
      if (group.lane() == 0) memory.assign(work.bind(task, nullptr) / sizeof(double), 0.0);
      group.sync();
      work.bind(task, memory.data());
      work.run(group, task, {0, 1});
    };
    if (lanes == 0)
      solve(SerialGroup{});
    else
      ThreadTeam(lanes).run(solve);
  }
  for (int k = 0; k < drives; ++k) {
    const Numbers u =
        dense_potentials(strip, 0, &drive[static_cast<std::size_t>(k * 11 % drives * 4)]);
    double expected = 0;
    for (int l = 0; l < kElectrodes; ++l)
      expected +=
          kMeasure[4 * (k % 3) + l] * u[static_cast<std::size_t>(kUnknowns - kElectrodes + l)];
    CHECK_NEAR(voltages[0][static_cast<std::size_t>(k)], expected, 1e-12);
  }
  for (std::size_t other = 1; other < voltages.size(); ++other) {
    CHECK_NEAR(worst(voltages[other], voltages[0]), 0.0, 1e-12);
    CHECK_NEAR(worst(gradients[other], gradients[0]), 0.0, 1e-12);
    CHECK_NEAR(worst(jacobians[other], jacobians[0]), 0.0, 1e-12);
  }
}

LPGD_TEST(eit_finds_what_is_no_mesh) {
  Strip strip;
  const auto fault_on = [&](int lanes, const lpgd::EitPattern& pattern) {
    int found = 0;  // largest over the lanes, each of which sees its share
    for (int lane = 0; lane < lanes; ++lane) {
      struct Share {
        int my_lane, lanes;
        int lane() const { return my_lane; }
        int size() const { return lanes; }
      };
      const int here = lpgd::eit_fault(Share{lane, lanes}, strip.mesh, pattern);
      found = here > found ? here : found;
    }
    return found;
  };
  const auto check = [&](int expected) {
    for (const int lanes : {1, 5, 64}) CHECK(fault_on(lanes, kPattern) == expected);
  };
  check(lpgd::kEitFine);
  const auto with = [&](Integers& array, std::size_t at, std::int32_t value, int expected) {
    const std::int32_t kept = array[at];
    array[at] = value;
    check(expected);
    array[at] = kept;
  };
  with(strip.cell_link, 4, strip.mesh.links, lpgd::kEitCellLink);
  with(strip.link, 7, -1, lpgd::kEitLink);
  with(strip.link_slot, 3, strip.mesh.entries, lpgd::kEitLinkSlot);
  with(strip.link_slot, 3, -2, lpgd::kEitLinkSlot);
  with(strip.link_cell, 0, -1, lpgd::kEitLinkCell);
  with(strip.link_start, strip.link_start.size() - 1, 2, lpgd::kEitLinkCell);
  with(strip.node_link, 9, strip.mesh.links, lpgd::kEitNodeLink);
  with(strip.node_start, 0, 1, lpgd::kEitNodeLink);
  with(strip.row, 5, kUnknowns - 1, lpgd::kEitFactorContradicts);
  with(strip.row_slot, 2, strip.mesh.entries, lpgd::kEitFactorContradicts);
  with(strip.row_column, 2, -1, lpgd::kEitFactorContradicts);
  with(strip.row_start, 3, 1 << 30, lpgd::kEitRowStart);
  // wild numbers everywhere: whatever it finds, it reads nothing out of bounds
  for (Integers* array : {&strip.column, &strip.row, &strip.row_start, &strip.row_column,
                          &strip.row_slot, &strip.cell_link, &strip.node_start}) {
    const Integers kept = *array;
    for (std::size_t i = 0; i < array->size(); ++i)
      (*array)[i] = static_cast<std::int32_t>(2654435761U * (i + 1));
    CHECK(fault_on(5, kPattern) != lpgd::kEitFine);
    *array = kept;
  }
  const std::int32_t wrong[] = {0, 0, 0, 3, 0, 2, 1, 0, 1, 1, 1, 2};
  CHECK(fault_on(3, {2, 3, 6, kDrive, kMeasure, wrong}) == lpgd::kEitPair);
}

LPGD_TEST(eit_refuses_samples_without_a_mesh) {
  const Strip strip;
  const Run found = run_tasks(strip, 3, -1, [](const lpgd::EitTask<double>& task) {
    for (int item = 0; item < 3; ++item) lpgd::eit_refuse(SerialGroup{}, task, item);
  });
  for (const std::int32_t status : found.status) CHECK(status == 4);
  for (const double v : found.voltages) CHECK(std::isnan(v));
  for (const Numbers* zero : {&found.gradient, &found.moved, &found.jacobian, &found.curvature})
    for (const double v : *zero) CHECK(v == 0);
}

LPGD_TEST(eit_launches_fit_the_device) {
  using namespace lpgd::cuda;
  const SparseLimits h100{132, 2048, 232448, 233472, 1024};
  // the mesh that comes with the package: four factors fit on a processor
  const std::size_t factor = (5285 + 3 * 375) * 8, work = factor + 110000;
  const SparseLaunch near = eit_launch(h100, 375, work, factor, 10000);
  CHECK(near.threads == 64);
  CHECK(near.shared_bytes == factor);
  CHECK(near.blocks == 132 * 4);
  CHECK(near.block_bytes >= work - factor && near.block_bytes % 256 == 0);
  CHECK(near.workspace_bytes == near.common_bytes + 528 * near.block_bytes);
  CHECK(near.shared_bytes + kSparseScratch <= h100.shared_per_block);
  // a fine one: from global memory, as many as the workspace may hold
  const SparseLaunch far = eit_launch(h100, 5140, std::size_t{30} << 20, 1179152, 10000);
  CHECK(far.shared_bytes == 0);
  CHECK(far.threads == kEitMostThreads);
  CHECK(far.blocks == static_cast<int>(kSparseMostWorkspace / (std::size_t{30} << 20)));
  CHECK(far.workspace_bytes <= kSparseMostWorkspace + far.common_bytes);
  // no more blocks than samples, one for none; more samples than an int holds
  CHECK(eit_launch(h100, 30, 4096, 1024, 3).blocks == 3);
  CHECK(eit_launch(h100, 30, 4096, 1024, 0).blocks == 1);
  CHECK(eit_launch(h100, 30, 4096, 1024, std::int64_t{1} << 33).blocks == 132 * kSparseResident);
  // one that is larger than the workspace may be still gets its block
  CHECK(eit_launch(h100, 100000, std::size_t{1} << 34, 1024, 5).blocks == 1);
  CHECK(eit_check_blocks(0) == 1);
  CHECK(eit_check_blocks(25000) == 7);
  CHECK(eit_check_blocks(std::int64_t{1} << 40) == 64);
}
