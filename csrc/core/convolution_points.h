// The maps of minimal filtering (Winograd, "Arithmetic complexity of computations", 1980; Lavin &
// Gray, "Fast algorithms for convolutional neural networks", 2016) for kernels of three: a tile of
// four results from six numbers takes 6 products instead of 12,
//
//   y = A' [(G w) * (B' x)],
//
// polynomials at 0, 1, -1, 2, -2 and infinity. The gradients are the same three maps in another
// order. Registers are along tiles; the tiles of a few items stand side by side, so that short
// signals fill them.
#pragma once

#include "convolution_types.h"
#include "lane_shuffles.h"
#include "prelu.h"

LPGD_BEGIN_NAMESPACE

constexpr int kTileResults = 4;
constexpr int kPoints = 6;

// Output channels that are summed together, at up to three registers of tiles: 24 of the 32 that
// AVX-512 has, 12 of 16.
template <class T>
constexpr int kSummedChannels = wide_lanes<T>() * sizeof(T) >= 64 ? 8 : 4;

constexpr int tiles_of(int n) { return (n + kTileResults - 1) / kTileResults; }

// Items whose tiles stand side by side: a matter of n alone, as the order of sums is.
constexpr int minimal_group(int n) {
  constexpr int kTiles = 128;  // with 32 channels some 100 kB
  return tiles_of(n) < kTiles ? kTiles / tiles_of(n) : 1;
}

// `count` in whole registers
template <class T>
constexpr int whole_registers(int count) {
  constexpr int W = wide_lanes<T>();
  return (count + W - 1) / W * W;
}

// Numbers from one channel's tiles to the next: of a group of items, and a register that reads and
// writes may run into.
template <class T>
constexpr int tile_line(int n) {
  return whole_registers<T>(minimal_group(n) * tiles_of(n)) + wide_lanes<T>();
}

// Channels that are correlated with others at a time; there is room for whole fours of them.
constexpr int kFour = 4;
constexpr int whole_fours(int channels) { return (channels + kFour - 1) / kFour * kFour; }

// Numbers from the tiles of all channels at one point to those at the next. One register more than
// there are: powers of two would have all points compete for the same lines of the cache.
template <class T>
constexpr std::int64_t point_stride(int channels, int n) {
  return std::int64_t{whole_fours(channels)} * tile_line<T>(n) + wide_lanes<T>();
}

// Tiles of a group of items: [kPoints] of [channels, tile_line].
template <class T>
constexpr std::int64_t tile_block(int channels, int n) {
  return kPoints * point_stride<T>(channels, n);
}

// Weights at the points: [kPoints, outputs / kSummedChannels, inputs, kSummedChannels].
template <class T>
constexpr int channel_blocks(int outputs) {
  return (outputs + kSummedChannels<T> - 1) / kSummedChannels<T>;
}
template <class T>
constexpr std::int64_t point_weights(int outputs, int inputs) {
  return std::int64_t{kPoints} * channel_blocks<T>(outputs) * kSummedChannels<T> * inputs;
}

// G
template <class T>
constexpr T kKernelAt[kPoints][3] = {
    {T(1) / 4, 0, 0},
    {-T(1) / 6, -T(1) / 6, -T(1) / 6},
    {-T(1) / 6, T(1) / 6, -T(1) / 6},
    {T(1) / 24, T(1) / 12, T(1) / 6},
    {T(1) / 24, -T(1) / 12, T(1) / 6},
    {0, 0, 1},
};

// G w of w [outputs, inputs, 3] or, for the way back, of the kernel turned round.
template <class T>
void weights_at_points(const ConvolutionTask<T>& task, bool turned, T* to) {
  constexpr int O = kSummedChannels<T>;
  const int inputs = task.inputs, outputs = task.outputs;
  const int rows = turned ? inputs : outputs, cols = turned ? outputs : inputs;
  const T* w = task.w;
  const int blocks = channel_blocks<T>(rows);
  const std::int64_t stride = std::int64_t{blocks} * cols * O;
  for (int r = 0; r < blocks * O; r += O)
    for (int c = 0; c < cols; ++c, to += O) {
      T entries[3][O] = {};
      for (int o = 0; o < O && r + o < rows; ++o)
        for (int k = 0; k < 3; ++k)
          entries[k][o] =
              turned ? w[(c * inputs + r + o) * 3 + 2 - k] : w[((r + o) * inputs + c) * 3 + k];
      for (int f = 0; f < kPoints; ++f)
        for (int o = 0; o < O; ++o)
          to[f * stride + o] = kKernelAt<T>[f][0] * entries[0][o] +
                               kKernelAt<T>[f][1] * entries[1][o] +
                               kKernelAt<T>[f][2] * entries[2][o];
    }
}

// A register of x [n] from `first` on, zeros beyond.
template <class S, class T>
LPGD_INLINE S load_within(const T* x, int first, int n) {
  if (first + ScalarTraits<S>::lanes <= n) return load<S>(x + first);
  return first < n ? load_some<S>(x + first, n - first) : S(T(0));
}

// One channel of one item, x [n], act(x) with a slope: its tiles at the points, `stride` numbers
// from one point to the next. B' for the signal to be convolved, into `inputs`; A for what it is
// correlated with, into `results`. Either may be null. Beyond the last tile, up to a whole
// register, come zeros.
template <class T>
LPGD_INLINE void tiles_at_points(const T* x, int n, const T* slope, T* inputs, T* results,
                                 std::int64_t stride) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const S two = broadcast<S>(T(2)), four = broadcast<S>(T(4)), five = broadcast<S>(T(5));
  const S eight = broadcast<S>(T(8)), factors = broadcast<S>(slope == nullptr ? T(1) : *slope);
  S before = S(T(0));
  for (int t = 0; t < tiles_of(n); t += W) {
    S row[4], p[4];  // x[4 t], ..., x[4 t + 3] of W tiles
    LPGD_UNROLL
    for (int j = 0; j < 4; ++j)
      row[j] = prelu_of(load_within<S>(x, kTileResults * t + j * W, n), factors);
    split_by_four(row, p);
    if (inputs != nullptr) {
      const int next = kTileResults * (t + W);
      const T after = next < n ? prelu_of(x[next], get_lane(factors, 0)) : T(0);
      const S first = one_later(before, p[3]), last = one_sooner(p[0], broadcast<S>(after));
      const S even = p[3] - p[1], odd = two * (p[2] - p[0]);
      const S evens = p[3] - four * p[1], odds = p[2] - four * p[0];
      store(inputs + t, four * first - five * p[1] + p[3]);
      store(inputs + stride + t, evens + odds);
      store(inputs + 2 * stride + t, evens - odds);
      store(inputs + 3 * stride + t, even + odd);
      store(inputs + 4 * stride + t, even - odd);
      store(inputs + 5 * stride + t, four * p[0] - five * p[2] + last);
      before = p[3];
    }
    if (results != nullptr) {
      const S even = p[0] + p[2], odd = p[1] + p[3];
      const S evens = p[0] + four * p[2], odds = two * p[1] + eight * p[3];
      store(results + t, p[0]);
      store(results + stride + t, even + odd);
      store(results + 2 * stride + t, even - odd);
      store(results + 3 * stride + t, evens + odds);
      store(results + 4 * stride + t, evens - odds);
      store(results + 5 * stride + t, p[3]);
    }
  }
}

// A' of one channel of one item: take(first, count, register) for all n results.
template <class T, class Take>
LPGD_INLINE void results_from_points(const T* products, std::int64_t stride, int n,
                                     const Take& take) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const S two = broadcast<S>(T(2)), four = broadcast<S>(T(4)), eight = broadcast<S>(T(8));
  for (int t = 0; t < tiles_of(n); t += W) {
    S m[kPoints], y_by_four[4], row[4];
    LPGD_UNROLL
    for (int f = 0; f < kPoints; ++f) m[f] = load<S>(products + f * stride + t);
    const S sum1 = m[1] + m[2], sum2 = m[3] + m[4], odd1 = m[1] - m[2], odd2 = m[3] - m[4];
    y_by_four[0] = m[0] + sum1 + sum2;
    y_by_four[1] = odd1 + two * odd2;
    y_by_four[2] = sum1 + four * sum2;
    y_by_four[3] = odd1 + eight * odd2 + m[5];
    interleave_four(y_by_four, row);
    LPGD_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int first = kTileResults * t + j * W;
      if (first < n) take(first, n - first < W ? n - first : W, row[j]);
    }
  }
}

LPGD_END_NAMESPACE
