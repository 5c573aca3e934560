// Launch geometry of the convolution of short signals: plain functions of the problem, which the
// tests call on any machine. Nothing here depends on the device, so that neither does the order of
// a sum.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lpgd::cuda {

inline constexpr int kConvolutionThreads = 128;
inline constexpr int kConvolutionRoomBytes = 40 << 10;  // shared memory that any device has
inline constexpr std::int64_t kMostConvolutionBlocks = std::int64_t{1} << 20;

// A row (a position of an item) a thread. Where there are few rows, channels are dealt out as well:
// groups of `tile` quads of them along the grid's second dimension.
struct ConvolutionGeometry {
  int blocks, groups;
  int tile;   // quads in registers: 1 or 4
  int quads;  // of a group
  int room;   // quads of weights in shared memory
  std::size_t shared_bytes;
};

inline std::int64_t blocks_of_rows(std::int64_t rows, int threads) {
  return rows / threads + (rows % threads > 0 ? 1 : 0);
}

// room for `needed` quads or for what shared memory holds
inline int convolution_room(std::int64_t needed, int number_bytes) {
  const int most = kConvolutionRoomBytes / (4 * number_bytes);
  return needed < 64 ? 64 : needed > most ? most : static_cast<int>(needed);
}

// `channels` that come out, `taps` = channels that go in * kernel
inline ConvolutionGeometry convolution_geometry(std::int64_t rows, int channels, std::int64_t taps,
                                                int number_bytes) {
  const std::int64_t blocks = blocks_of_rows(rows, kConvolutionThreads);
  const int quads = channels / 4 + (channels % 4 > 0 ? 1 : 0);
  ConvolutionGeometry out{};
  out.blocks = static_cast<int>(blocks < kMostConvolutionBlocks ? blocks : kMostConvolutionBlocks);
  // from four blocks a processor on, fewer reads of the signal are worth more than more threads
  out.tile = blocks * (quads / 4) >= 512 ? 4 : 1;
  const std::int64_t groups = (quads + out.tile - 1) / out.tile;
  const std::int64_t wanted = blocks >= 1024 ? 1 : groups < 65535 ? groups : 65535;
  const std::int64_t tiles = wanted > 0 ? (groups + wanted - 1) / wanted : 1;
  out.groups = static_cast<int>((groups + tiles - 1) / tiles);
  out.quads = static_cast<int>(tiles) * out.tile;
  out.room = convolution_room(out.quads * taps, number_bytes);
  out.shared_bytes = std::size_t{4} * static_cast<std::size_t>(out.room * number_bytes);
  return out;
}

// The sums over rows of the weights' gradients: blocks with `rows` each, whose sums are added up.
struct ConvolutionSums {
  int blocks;
  std::int64_t rows;
  int room;
  std::size_t shared_bytes;
  std::int64_t count;  // numbers of a block

  std::int64_t workspace() const { return blocks * count; }
};
inline constexpr std::int64_t kMostSumBlocks = 512;
inline constexpr std::int64_t kMostSumBytes = std::int64_t{1} << 26;

inline ConvolutionSums convolution_sums(std::int64_t rows, int outputs, std::int64_t taps,
                                        int number_bytes) {
  ConvolutionSums out{};
  out.count = outputs * (taps + 1);
  const std::int64_t fit = kMostSumBytes / ((out.count + 1) * number_bytes);
  std::int64_t most = fit < 1 ? 1 : fit < kMostSumBlocks ? fit : kMostSumBlocks;
  out.rows = (rows / most + 32) / 32 * 32;
  out.blocks = static_cast<int>(rows / out.rows + (rows % out.rows > 0 ? 1 : 0));
  out.room = kConvolutionRoomBytes / 2 / (4 * number_bytes);
  out.shared_bytes = kConvolutionRoomBytes / 2;
  return out;
}

}  // namespace lpgd::cuda
