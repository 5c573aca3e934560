// How kernels are laid out on a GPU: plain functions of sizes and limits.
#include <cstdint>
#include <vector>

#include "check.h"
#include "core/qp_items.h"
#include "cuda/geometry.h"

using namespace lpgd;
using namespace lpgd::cuda;

namespace {

constexpr std::int64_t kTwoTo31 = std::int64_t{1} << 31;

// by NVIDIA's documentation, CUDA C++ Programming Guide, "Technical Specifications"
constexpr DeviceLimits kTuring{40, 64 << 10, 64 << 10, 0};             // 7.5
constexpr DeviceLimits kAmpere{108, 163 << 10, 164 << 10, 1 << 10};    // 8.0
constexpr DeviceLimits kHopper{132, 227 << 10, 228 << 10, 1 << 10};    // 9.0
constexpr DeviceLimits kBlackwell{170, 99 << 10, 100 << 10, 1 << 10};  // 12.0
constexpr DeviceLimits kDevices[] = {kTuring, kAmpere, kHopper, kBlackwell};

// Every unit is walked once by the stride of a launch's workers.
bool covers(const WorkerLaunch& launch) {
  const std::int64_t workers = std::int64_t{launch.blocks} * (launch.threads / launch.lanes);
  std::vector<int> seen(static_cast<std::size_t>(launch.units));
  for (std::int64_t worker = 0; worker < workers; ++worker)
    for (std::int64_t k = worker; k < launch.units; k += workers)
      ++seen[static_cast<std::size_t>(k)];
  for (const int count : seen)
    if (count != 1) return false;
  return true;
}

bool covers(const StretchLaunch& launch, std::int64_t rows) {
  const std::int64_t workers = launch.threads / launch.lanes;
  std::vector<int> seen(static_cast<std::size_t>(rows * launch.pieces));
  for (std::int64_t y = 0; y < launch.down * workers; ++y)
    for (std::int64_t x = 0; x < launch.across; ++x)
      for (std::int64_t row = y; row < rows; row += launch.down * workers)
        for (std::int64_t piece = x; piece < launch.pieces; piece += launch.across)
          ++seen[static_cast<std::size_t>(row * launch.pieces + piece)];
  for (const int count : seen)
    if (count != 1) return false;
  return true;
}

bool is_launchable(const StretchLaunch& launch) {
  return launch.across >= 1 && launch.across <= kMostBlocks && launch.down >= 1 &&
         launch.down <= kMostBlocks && launch.threads % kWarpLanes == 0 &&
         launch.threads % launch.lanes == 0;
}

bool is_launchable(const WorkerLaunch& launch) {
  return launch.blocks >= 1 && launch.blocks <= kMostBlocks && launch.threads % kWarpLanes == 0 &&
         launch.threads <= 1024 && launch.threads % launch.lanes == 0;
}

template <class T>
QpDims dims(int n, int m, int p) {
  QpProblem<T> problem{};
  problem.n = n;
  problem.m = m;
  problem.p = p;
  const T one[] = {1};
  problem.P = one;  // there; not read
  return dims_of(problem);
}

template <class T>
QpLayout layout_for(const DeviceLimits& device, int n, int m, int p) {
  const QpDims size = dims<T>(n, m, p);
  return qp_layout(device, n, qp_work_scalars<T>(size) * sizeof(T),
                   qp_factor_scalars(size) * sizeof(T));
}

}  // namespace

LPGD_TEST(launches_of_prox_cover_all_there_is_once) {
  for (const std::int64_t rows : {1, 3, 9, 70000})
    for (const std::int64_t n : {1, 31, 32, 512, 513, 4097}) {
      const WorkerLaunch whole = prox_rows_launch(rows, n);
      CHECK(is_launchable(whole));
      CHECK(covers(whole));
      for (const std::int64_t piece : {kProxForwardPiece, kProxPiece}) {
        const StretchLaunch stretch = prox_stretch_launch(rows, n, piece);
        CHECK(is_launchable(stretch));
        CHECK(covers(stretch, rows));
      }
      if (rows * n < 1000000) {
        const WorkerLaunch narrow = prox_narrow_launch(rows, n);
        CHECK(is_launchable(narrow));
        CHECK(covers(narrow));
      }
    }
  CHECK(prox_rows_launch(5, kProxWarpRow).lanes == kWarpLanes);
  CHECK(prox_rows_launch(5, kProxWarpRow + 1).lanes == kProxThreads);
}

LPGD_TEST(counts_beyond_two_to_the_31_stay_whole) {
  const std::int64_t rows = 3 * kTwoTo31;
  CHECK(prox_rows_launch(rows, 7).units == rows);
  CHECK(prox_narrow_launch(rows, 7).units == 7 * rows);
  CHECK(prox_stretch_launch(rows, 40, kProxPiece).pieces == 1);
  CHECK(prox_stretch_launch(1, rows, kProxForwardPiece).pieces == 3 * kTwoTo31 / 4096);
  CHECK(prox_stretch_launch(1, rows + 1, kProxForwardPiece).pieces == 3 * kTwoTo31 / 4096 + 1);
  CHECK(outer_launch(rows).units == rows);
  for (const WorkerLaunch& launch :
       {prox_rows_launch(rows, 7), prox_narrow_launch(rows, 7), outer_launch(rows)})
    CHECK(is_launchable(launch));
  for (const StretchLaunch& launch :
       {prox_stretch_launch(1, rows, kProxPiece), prox_stretch_launch(rows, 40, kProxPiece)})
    CHECK(is_launchable(launch));
  ProxTask<float> task{};
  task.rows = kTwoTo31;
  task.n = 5;
  CHECK(flattened(task).n == 5 * kTwoTo31);
}

LPGD_TEST(rows_are_one_where_no_parameter_tells_them_apart) {
  const double numbers[12] = {};
  double sums[12];
  ProxTask<double> task{};
  task.rows = 3;
  task.n = 4;
  const auto flat = [&](ProxParameter<double> p) {
    task.parameters[0] = p;
    const ProxTask<double> out = flattened(task);
    CHECK(out.rows * out.n == 12);
    CHECK(out.parameters[0].step == p.step);
    return out.rows == 1;
  };
  CHECK(flat({nullptr, 0, 0}));
  CHECK(flat({numbers, 0, 0}));   // one number
  CHECK(flat({numbers, 4, 1}));   // one a coordinate of every row
  CHECK(!flat({numbers, 1, 0}));  // one a row
  CHECK(!flat({numbers, 0, 1}));  // one a column
  task.gradient_parameters[0] = {sums, 4, 1};
  CHECK(flat({numbers, 4, 1}));
  task.gradient_parameters[0] = {sums, 1, 0};  // a sum for each row
  CHECK(!flat({numbers, 0, 0}));
  task.rows = 1;
  task.n = 12;
  CHECK(flat({numbers, 0, 0}));
  CHECK(flat({numbers, 1, 0}));
  CHECK(flat({numbers, 0, 1}));
}

LPGD_TEST(walkers_keep_to_their_scratch) {
  CHECK(prox_walkers(10, 0) == 10);
  CHECK(prox_walkers(kTwoTo31, 0) == kProxMostWalkers);
  CHECK(prox_walkers(kTwoTo31, 1024) == kProxMostWalkers);
  CHECK(prox_walkers(kTwoTo31, 1 << 20) == 256);
  CHECK(prox_walkers(kTwoTo31, std::size_t{1} << 27) == kProxWalkers);  // a block, at least
}

LPGD_TEST(layouts_of_the_qp_fit_every_device) {
  for (const DeviceLimits& device : kDevices)
    for (const int n : {1, 5, 10, 32, 33, 50, 96, 97, 150, 200, 500, 2000})
      for (const int m : {0, n, 4 * n}) {
        const int p = n / 2;
        for (const bool wide : {false, true}) {
          const QpLayout layout =
              wide ? layout_for<double>(device, n, m, p) : layout_for<float>(device, n, m, p);
          const QpDims size = dims<double>(n, m, p);
          const std::size_t bytes = wide ? 8 : 4;
          const std::size_t all = qp_work_scalars<double>(size) * bytes;
          CHECK(layout.threads == layout.lanes * layout.workers);
          CHECK(layout.threads <= kQpMostThreads);
          CHECK((layout.lanes & (layout.lanes - 1)) == 0);
          CHECK((layout.lanes == kWarpLanes) == (n <= kQpWarpSize));
          CHECK(layout.shared_bytes() + kQpScratch <= device.shared_per_block);
          CHECK(layout.fast % 256 == 0 && layout.slow % 256 == 0);
          // all of the workspace in one place, or the factor apart
          if (layout.slow == 0) {
            CHECK(layout.fast >= all);
            CHECK(2 * (layout.shared_bytes() + kQpScratch + device.shared_reserved) <=
                  device.shared_per_processor);
          } else {
            CHECK(layout.slow >= all);
            CHECK(layout.fast == 0 || layout.fast >= qp_factor_scalars(size) * bytes);
          }
        }
      }
}

LPGD_TEST(layouts_of_the_qp_on_an_h100) {
  // four warps a block, all in shared memory
  const QpLayout small = layout_for<float>(kHopper, 10, 10, 5);
  CHECK(small.workers == 4 && small.lanes == 32 && small.slow == 0);
  // the goal's size: a block each, all in shared memory
  const QpLayout goal = layout_for<float>(kHopper, 50, 50, 25);
  CHECK(goal.workers == 1 && goal.lanes == 64 && goal.slow == 0);
  // n = 200: the factor in shared memory, the rest global; n = 500: nothing fits
  const QpLayout large = layout_for<float>(kHopper, 200, 200, 100);
  CHECK(large.lanes == 128 && large.fast == 160000 / 256 * 256 && large.slow > 0);
  const QpLayout huge = layout_for<double>(kHopper, 500, 500, 250);
  CHECK(huge.fast == 0 && huge.slow > 0);
}

LPGD_TEST(blocks_of_the_qp_are_as_many_as_there_is_work_and_room_for) {
  const QpLayout small = layout_for<float>(kHopper, 10, 10, 5);
  CHECK(qp_blocks(kHopper, small, 4, 1) == 1);
  CHECK(qp_blocks(kHopper, small, 4, 5) == 2);
  CHECK(qp_blocks(kHopper, small, 4, 3 * kTwoTo31) == 4 * 132);
  CHECK(qp_blocks(kHopper, small, 0, 1000000) == 132);
  CHECK(qp_workspace_bytes(small, 528) == kQpCounter);
  const QpLayout huge = layout_for<double>(kHopper, 2000, 2000, 1000);
  const int blocks = qp_blocks(kHopper, huge, 8, 100000);
  CHECK(blocks >= 1 && blocks < 8 * 132);
  CHECK(qp_workspace_bytes(huge, blocks) <= kQpMostWorkspace + kQpCounter);
  const QpLayout monstrous{128, 128, 1, 0, kQpMostWorkspace + 1};
  CHECK(qp_blocks(kHopper, monstrous, 8, 100000) == 1);
}
