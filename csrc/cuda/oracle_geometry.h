// How the oracles are laid out on a device: blocks, threads, shared memory, workspace. Numbers in,
// numbers out, so that they are tested where there is no GPU.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lpgd::cuda {

constexpr int kOracleMostThreads = 256;
constexpr int kOracleItemsABlock = 32;  // of those that a thread each takes
constexpr std::int64_t kOracleMostBlocks = 2147483647;
constexpr std::int64_t kOracleBlocksAProcessor = 8;  // with workspace in global memory
constexpr std::size_t kOracleMostWorkspace = std::size_t{1} << 29;
constexpr std::size_t kOracleStaticShared = 512;  // of a block, beside its workspace
constexpr std::size_t kOracleQueue = 256;         // bytes before the slices: the next item
constexpr std::size_t kOracleLine = 256;          // slices start on one

struct OracleDevice {
  int processors;
  std::size_t shared_bytes;  // that a block may ask for
};

struct OraclePlan {
  std::int64_t blocks;
  int threads;
  std::size_t shared_bytes;     // workspace in shared memory, or
  std::size_t slice_bytes;      // a block's slice of one in global memory; 0 where it is shared
  std::size_t workspace_bytes;  // all slices, and the queue
};

// What there is to do at the same time for each thread to have some.
inline int oracle_threads(std::int64_t width) {
  return width <= 128 ? 32 : width <= 512 ? 64 : width <= 2048 ? 128 : kOracleMostThreads;
}

inline bool fits_shared(const OracleDevice& device, std::size_t bytes) {
  return bytes + kOracleStaticShared <= device.shared_bytes;
}

// `units` of work, each by a block, with `bytes` of memory. Where these fit into shared memory
// there is a block for each and the device deals them out. Otherwise as many blocks as have work at
// the same time, and memory, take one after the other.
inline OraclePlan plan_oracle_blocks(const OracleDevice& device, std::int64_t units,
                                     std::int64_t width, std::size_t bytes) {
  OraclePlan plan{};
  plan.threads = oracle_threads(width);
  if (fits_shared(device, bytes)) {
    plan.blocks = units < kOracleMostBlocks ? units : kOracleMostBlocks;
    plan.shared_bytes = bytes;
    return plan;
  }
  plan.slice_bytes = (bytes + kOracleLine - 1) / kOracleLine * kOracleLine;
  const auto room = static_cast<std::int64_t>(kOracleMostWorkspace / plan.slice_bytes);
  plan.blocks = device.processors * kOracleBlocksAProcessor;
  if (plan.blocks > room) plan.blocks = room < 1 ? 1 : room;
  if (plan.blocks > units) plan.blocks = units;
  plan.workspace_bytes = kOracleQueue + static_cast<std::size_t>(plan.blocks) * plan.slice_bytes;
  return plan;
}

// The blocks that `items` need, `kOracleItemsABlock` each.
constexpr std::int64_t oracle_item_blocks(std::int64_t items) {
  return items / kOracleItemsABlock + (items % kOracleItemsABlock != 0);
}

// Whether costs are copied into shared memory before they are scanned: where all items have room
// for a copy at the same time. More items do better with more of them at work and their costs in
// the caches. `bytes` are with the copy.
inline bool copies_costs(const OracleDevice& device, std::int64_t batch, std::size_t bytes) {
  if (!fits_shared(device, bytes)) return false;
  const auto together =
      static_cast<std::int64_t>(device.shared_bytes / (bytes + kOracleStaticShared));
  return batch <= device.processors * together;
}

}  // namespace lpgd::cuda
