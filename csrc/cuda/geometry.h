// How the kernels of prox.cu and qp.cu are laid out on a GPU: blocks, threads, shared memory and
// workspace, from sizes and the device's limits. Plain functions, tested without a GPU
// (tests/native/test_geometry.cpp). Counts are 64-bit up to the number of blocks; kernels walk what
// a grid does not cover.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/prox_types.h"

namespace lpgd::cuda {

constexpr int kWarpLanes = 32;
constexpr std::int64_t kMostBlocks = 65535;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::size_t round_up(std::size_t count, std::size_t unit) {
  return (count + unit - 1) / unit * unit;
}
// At least one block, at most what a grid may be made of; the kernels' loops have a stride.
constexpr int blocks_for(std::int64_t count) {
  return static_cast<int>(count < 1 ? 1 : count < kMostBlocks ? count : kMostBlocks);
}

// --- proximal operators
// -----------------------------------------------------------------------------

constexpr int kProxThreads = 256;
constexpr int kProxWalkers = 64;              // threads of a block whose threads walk rows
constexpr std::int64_t kProxPiece = 1 << 14;  // columns that a worker sums up in a backward pass
constexpr std::int64_t kProxForwardPiece = 1 << 12;
constexpr std::int64_t kProxNarrow = 32;    // rows too short for a warp: a thread a coordinate
constexpr std::int64_t kProxWarpRow = 512;  // the longest row that a warp takes
constexpr std::int64_t kProxMostWalkers = 65536;
constexpr std::size_t kProxMostScratch = std::size_t{1} << 28;

// `lanes` threads of a block are a worker; workers walk `units`: rows, coordinates, items.
struct WorkerLaunch {
  int blocks, threads, lanes;
  std::int64_t units;
};

// Rows that are summed up: a warp for the short ones, a block for the long ones.
constexpr WorkerLaunch prox_rows_launch(std::int64_t rows, std::int64_t n) {
  const int lanes = n <= kProxWarpRow ? kWarpLanes : kProxThreads;
  return {blocks_for(ceil_div(rows, kProxThreads / lanes)), kProxThreads, lanes, rows};
}

// Separable operators by pieces of rows: `across` blocks share the pieces of a row, `down` blocks
// of `threads / lanes` workers the rows, so that no kernel divides.
struct StretchLaunch {
  int across, down, threads, lanes;
  std::int64_t pieces;  // of a row
};

constexpr StretchLaunch prox_stretch_launch(std::int64_t rows, std::int64_t n, std::int64_t piece) {
  const std::int64_t pieces = ceil_div(n, piece);
  const int lanes = n <= kProxWarpRow ? kWarpLanes : kProxThreads;
  return {blocks_for(pieces), blocks_for(ceil_div(rows, kProxThreads / lanes)), kProxThreads, lanes,
          pieces};
}

// The same, a thread a coordinate
constexpr WorkerLaunch prox_narrow_launch(std::int64_t rows, std::int64_t n) {
  return {blocks_for(ceil_div(rows * n, kProxThreads)), kProxThreads, 1, rows * n};
}

// Threads that walk rows from end to end, each with `lane_bytes` of scratch (0: none)
constexpr std::int64_t prox_walkers(std::int64_t rows, std::size_t lane_bytes) {
  std::int64_t lanes = rows < kProxMostWalkers ? rows : kProxMostWalkers;
  if (lane_bytes > 0) {
    const auto fit = static_cast<std::int64_t>(kProxMostScratch / lane_bytes);
    if (lanes > fit) lanes = fit < kProxWalkers ? kProxWalkers : fit;
  }
  return lanes;
}

// Where no parameter tells rows apart, they are one row, whose loads need not start anew in each.
// Not so where a row has a gradient of its own.
template <class T>
ProxTask<T> flattened(const ProxTask<T>& task) {
  ProxTask<T> out = task;
  for (int k = 0; k < kProxParameters; ++k) {
    const ProxParameter<T>& p = task.parameters[k];
    const bool shared = p.step == 0 && (p.row_step == 0 || task.rows == 1);
    const bool own = p.step != 0 && (p.row_step == task.n || task.rows == 1);
    const bool summed =
        task.gradient_parameters[k].data != nullptr && task.gradient_parameters[k].step == 0;
    if ((p.data != nullptr && !shared && !own) || (summed && task.rows != 1)) return task;
    out.parameters[k].row_step = 0;
  }
  out.rows = task.rows > 0 ? 1 : 0;
  out.n = task.rows * task.n;
  return out;
}

// --- quadratic programs
// -----------------------------------------------------------------------------

// What a device can give; from cudaDeviceGetAttribute.
struct DeviceLimits {
  int processors;
  std::size_t shared_per_block;  // with cudaFuncSetAttribute
  std::size_t shared_per_processor;
  std::size_t shared_reserved;  // of every block, for the system
};

constexpr int kQpWarpSize = 32;  // the largest n that a warp takes
constexpr int kQpMostThreads = 128;
constexpr int kQpMostWorkers = 4;                        // warps of a block
constexpr std::size_t kQpScratch = 34 * sizeof(double);  // static shared memory, in 16 bytes
constexpr std::size_t kQpCounter = 256;                  // bytes before the workspace
constexpr std::size_t kQpMostWorkspace = std::size_t{1} << 32;

// A worker is a warp (n <= 32) or a block. Its workspace is in shared memory where two blocks then
// still fit on a processor; else the matrix that is factored, where one does; the rest is global.
struct QpLayout {
  int threads, lanes, workers;  // of a block; of a worker; workers of a block
  std::size_t fast;             // bytes of a worker in shared memory
  std::size_t slow;             // bytes of a worker in global memory

  constexpr std::size_t shared_bytes() const { return fast * static_cast<std::size_t>(workers); }
};

constexpr QpLayout qp_layout(const DeviceLimits& device, int n, std::size_t work_bytes,
                             std::size_t factor_bytes) {
  const std::size_t all = round_up(work_bytes, 256), factor = round_up(factor_bytes, 256);
  const auto fits = [&](std::size_t bytes, std::size_t blocks) {
    const std::size_t block = bytes + kQpScratch;
    return block <= device.shared_per_block &&
           blocks * (block + device.shared_reserved) <= device.shared_per_processor;
  };
  if (n <= kQpWarpSize) {
    for (int workers = kQpMostWorkers; workers >= 1; workers /= 2)
      if (fits(all * static_cast<std::size_t>(workers), 2))
        return {workers * kWarpLanes, kWarpLanes, workers, all, 0};
    return {kWarpLanes, kWarpLanes, 1, fits(factor, 1) ? factor : 0, all};
  }
  const int threads = n <= 96 ? 64 : kQpMostThreads;
  if (fits(all, 2)) return {threads, threads, 1, all, 0};
  return {threads, threads, 1, fits(factor, 1) ? factor : 0, all};
}

// As many blocks as the device holds at once (`resident` on each processor), not more than there
// are items to take, nor than their workspace may cost.
constexpr int qp_blocks(const DeviceLimits& device, const QpLayout& layout, int resident,
                        std::int64_t count) {
  std::int64_t blocks = std::int64_t{device.processors} * (resident < 1 ? 1 : resident);
  const std::int64_t needed = ceil_div(count, layout.workers);
  if (blocks > needed) blocks = needed;
  const std::size_t bytes = layout.slow * static_cast<std::size_t>(layout.workers);
  if (bytes > 0) {
    const auto affordable = static_cast<std::int64_t>(kQpMostWorkspace / bytes);
    if (blocks > affordable) blocks = affordable;
  }
  return blocks_for(blocks);
}

constexpr std::size_t qp_workspace_bytes(const QpLayout& layout, int blocks) {
  return kQpCounter +
         layout.slow * static_cast<std::size_t>(layout.workers) * static_cast<std::size_t>(blocks);
}

// Gradients of matrices: a block an item, whose rows * cols numbers its threads share.
constexpr int kOuterThreads = 128;
constexpr WorkerLaunch outer_launch(std::int64_t batch) {
  return {blocks_for(batch), kOuterThreads, kOuterThreads, batch};
}

}  // namespace lpgd::cuda
