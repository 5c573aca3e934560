// How the kernels of pdhg.cu and eit.cu are laid out on a GPU: blocks, threads, shared memory and
// workspace, from sizes and the device's limits. Plain functions, tested without a GPU
// (tests/native/test_pdhg.cpp and test_eit.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace lpgd::cuda {

// What a device can give; from cudaDeviceGetAttribute.
struct SparseLimits {
  int processors, threads_per_processor;
  std::size_t shared_per_block;  // with cudaFuncSetAttribute
  std::size_t shared_per_processor;
  std::size_t shared_reserved;  // of every block, for the system
};

constexpr std::size_t kSparseHead = 256;     // bytes before a workspace: counters and flags
constexpr std::size_t kSparseScratch = 512;  // at most, static shared memory of the kernels
constexpr std::size_t kSparseMostWorkspace = std::size_t{1} << 32;
constexpr int kSparseResident = 16;  // blocks of a processor, at most

constexpr std::size_t to_lines(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

struct SparseLaunch {
  int blocks, threads;
  std::size_t shared_bytes;     // of a block, dynamic
  std::size_t block_bytes;      // of a block in the workspace
  std::size_t common_bytes;     // before the blocks' slices
  std::size_t workspace_bytes;  // of all
};

// As many blocks as the device holds at once, not more than there are items, nor than their
// workspace may cost; at least one.
constexpr SparseLaunch sparse_launch(const SparseLimits& device, int threads,
                                     std::size_t shared_bytes, std::size_t block_bytes,
                                     std::size_t common_bytes, std::int64_t items) {
  const std::size_t shared = shared_bytes + kSparseScratch + device.shared_reserved;
  std::int64_t resident = device.threads_per_processor / threads;
  const auto by_shared = static_cast<std::int64_t>(device.shared_per_processor / shared);
  if (resident > by_shared) resident = by_shared;
  if (resident > kSparseResident) resident = kSparseResident;
  std::int64_t blocks = std::int64_t{device.processors} * (resident < 1 ? 1 : resident);
  if (blocks > items) blocks = items;
  if (block_bytes > 0) {
    const auto affordable = static_cast<std::int64_t>(kSparseMostWorkspace / block_bytes);
    if (blocks > affordable) blocks = affordable;
  }
  if (blocks < 1) blocks = 1;
  const std::size_t common = kSparseHead + to_lines(common_bytes);
  return {static_cast<int>(blocks),
          threads,
          shared_bytes,
          block_bytes,
          common,
          common + static_cast<std::size_t>(blocks) * block_bytes};
}

// `blocks` blocks of `bytes` each fit on a processor at once.
constexpr bool shares_fit(const SparseLimits& device, std::size_t bytes, std::size_t blocks) {
  return bytes + kSparseScratch <= device.shared_per_block &&
         blocks * (bytes + kSparseScratch + device.shared_reserved) <= device.shared_per_processor;
}

// --- PDHG: a problem a block, a row and a column a lane
// ----------------------------------------------

constexpr int kPdhgMostThreads = 512;

// `vectors`: bytes of a problem's vectors, in shared memory where they fit; `matrices`: bytes of
// its matrices, 0 where the batch shares them, `common`: of what all blocks share.
constexpr SparseLaunch pdhg_launch(const SparseLimits& device, int n, int rows, std::size_t vectors,
                                   std::size_t matrices, std::size_t common, std::int64_t batch) {
  const int most = n > rows ? n : rows;
  const int threads = most >= kPdhgMostThreads ? kPdhgMostThreads : (most + 31) / 32 * 32;
  const bool near = shares_fit(device, vectors, 1);
  return sparse_launch(device, threads < 32 ? 32 : threads, near ? vectors : 0,
                       to_lines(matrices + (near ? 0 : vectors)), common, batch);
}

// --- EIT: a sample a block, an entry of a column or a right-hand side a lane
// --------------------------

constexpr int kEitCheckThreads = 256;
constexpr int kEitMostThreads = 128;
constexpr std::size_t kEitNearBlocks = 4;  // that must fit with their factors in shared memory

// `work` and `factor` (a part of it): bytes of a sample
constexpr SparseLaunch eit_launch(const SparseLimits& device, int unknowns, std::size_t work,
                                  std::size_t factor, std::int64_t batch) {
  const int threads = unknowns <= 128 ? 32 : unknowns <= 1024 ? 64 : kEitMostThreads;
  const bool near = shares_fit(device, factor, kEitNearBlocks);
  return sparse_launch(device, threads, near ? factor : 0, to_lines(work - (near ? factor : 0)), 0,
                       batch);
}

// Blocks that look at the integers of a mesh, about sixteen a thread
constexpr int eit_check_blocks(std::int64_t integers) {
  const std::int64_t blocks = integers / (16 * kEitCheckThreads) + 1;
  return static_cast<int>(blocks < 64 ? blocks : 64);
}

}  // namespace lpgd::cuda
