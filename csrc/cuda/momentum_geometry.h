// Launch geometry of the recurrent momentum: plain functions of the problem, which the tests call
// on any machine. Nothing here depends on the device, so that neither does the order of a sum.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lpgd::cuda {

// The kernels over entries: a thread each, or several, a grid apart.
inline constexpr int kEntryThreads = 256;
inline constexpr std::int64_t kMostEntryBlocks = std::int64_t{1} << 20;

inline int entry_blocks(std::int64_t count) {
  const std::int64_t blocks = count / kEntryThreads + (count % kEntryThreads > 0 ? 1 : 0);
  return static_cast<int>(blocks < kMostEntryBlocks ? blocks : kMostEntryBlocks);
}

// Sums over blocks' parts: 32 entries a block at a time.
inline int sum_blocks(std::int64_t count) {
  const std::int64_t blocks = count / 32 + (count % 32 > 0 ? 1 : 0);
  return static_cast<int>(blocks < kMostEntryBlocks ? blocks : kMostEntryBlocks);
}

// The per-coordinate form: a row a thread. Shared memory holds two stages of `stage` quads of
// weights each, as much as a layer needs, but no more than any device has without being asked.
inline constexpr int kRowThreads = 128;
inline constexpr int kLeastStage = 256;
inline constexpr int kMostStageBytes = 20 << 10;
inline constexpr std::int64_t kMostRowBlocks = 512;  // whose sums of weight gradients are added up
inline constexpr std::int64_t kMostRowBytes = std::int64_t{1} << 28;

struct RowGeometry {
  int blocks;
  int stage;
  std::size_t shared_bytes;
  // of the backward pass: numbers of a block's workspace, and of its sums
  std::int64_t work, sums;

  std::int64_t workspace() const { return blocks * (work + sums); }
};

inline int row_stage(int hidden, int number_bytes) {
  const int quad = 4 * number_bytes, most = kMostStageBytes / quad;
  const std::int64_t needed = (hidden + std::int64_t{3}) / 4 * 4 * hidden;
  return needed < kLeastStage ? kLeastStage : needed > most ? most : static_cast<int>(needed);
}

inline std::int64_t row_groups(std::int64_t rows) {
  return rows / kRowThreads + (rows % kRowThreads > 0 ? 1 : 0);
}

inline RowGeometry row_geometry(std::int64_t rows, int hidden, int number_bytes) {
  const std::int64_t groups = row_groups(rows);
  const int stage = row_stage(hidden, number_bytes);
  return {static_cast<int>(groups < kMostEntryBlocks ? groups : kMostEntryBlocks), stage,
          std::size_t{8} * static_cast<std::size_t>(stage * number_bytes), 0, 0};
}

// `sums`: numbers of all weights
inline RowGeometry row_backward_geometry(std::int64_t rows, int layers, int hidden,
                                         std::int64_t sums, int number_bytes) {
  RowGeometry out = row_geometry(rows, hidden, number_bytes);
  out.work = std::int64_t{kRowThreads} * hidden * (6 * std::int64_t{layers} + 1);
  out.sums = sums;
  const std::int64_t fit = kMostRowBytes / ((out.work + sums) * number_bytes);
  std::int64_t most = fit < 1 ? 1 : fit;
  if (most > kMostRowBlocks) most = kMostRowBlocks;
  if (out.blocks > most) out.blocks = static_cast<int>(most);
  return out;
}

}  // namespace lpgd::cuda
