// The "same" convolution with a kernel of three by minimal filtering: summed over channels, the
// products of all tiles are six small matrix products, one a point (convolution_points.h). Half the
// multiply-adds of convolution.h, whose place it takes where that is worth the maps.
#pragma once

#include "convolution.h"
#include "convolution_points.h"

LPGD_BEGIN_NAMESPACE

// The tiles of `items` items of x [items, channels, n].
template <class T>
void group_at_points(const T* x, int items, int channels, int n, const T* slope, T* inputs,
                     T* results) {
  const int line = tile_line<T>(n), tiles = tiles_of(n);
  const std::int64_t stride = point_stride<T>(channels, n);
  for (int b = 0; b < items; ++b)
    for (int c = 0; c < channels; ++c) {
      const std::int64_t at = std::int64_t{c} * line + b * tiles;
      tiles_at_points(x + (std::int64_t{b} * channels + c) * n, n, slope,
                      inputs == nullptr ? nullptr : inputs + at,
                      results == nullptr ? nullptr : results + at, stride);
    }
  const int used = items * tiles, end = whole_registers<T>(used);
  const auto clear = [&](T* block) {
    for (int row = 0; row < kPoints * channels; ++row)
      for (int i = used; i < end; ++i)
        block[row / channels * stride + std::int64_t{row % channels} * line + i] = T(0);
  };
  if (inputs != nullptr) clear(inputs);
  if (results != nullptr) clear(results);
}

// Products at one point, kSummedChannels outputs at P registers of tiles.
template <int P, class T>
LPGD_INLINE void products_at_point(const T* w, int inputs, const T* tiles, int line, T* out) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>(), O = kSummedChannels<T>;
  S acc[O][P];
  for (int o = 0; o < O; ++o)
    for (int p = 0; p < P; ++p) acc[o][p] = S(T(0));
  for (int c = 0; c < inputs; ++c, w += O, tiles += line) {
    S value[P];
    LPGD_UNROLL
    for (int p = 0; p < P; ++p) value[p] = load<S>(tiles + p * W);
    add_multiples(w, 1, value, acc);
  }
  for (int o = 0; o < O; ++o)
    for (int p = 0; p < P; ++p) store(out + o * line + p * W, acc[o][p]);
}

// What becomes of the results: y = bias + them, or the gradient before a PReLU of x.
template <class T>
struct TakeResults {
  const T* bias;
  T* y;
  int outputs, n;

  void operator()(int b, int o, const T* products, std::int64_t stride) const {
    using S = Wide<T>;
    constexpr int W = wide_lanes<T>();
    const S add = broadcast<S>(bias[o]);
    T* to = y + (std::int64_t{b} * outputs + o) * n;
    results_from_points(products, stride, n, [&](int first, int count, const S& value) {
      if (count == W)
        store(to + first, value + add);
      else
        store_some(to + first, value + add, count);
    });
  }
};
template <class T>
struct TakeGradients {
  const T* x;      // [items, inputs, n]
  const T* slope;  // or null
  T *d_x, *d_slope;
  int inputs, n;

  void operator()(int b, int c, const T* products, std::int64_t stride) const {
    using S = Wide<T>;
    constexpr int W = wide_lanes<T>();
    const S factors = broadcast<S>(slope == nullptr ? T(1) : *slope);
    const std::int64_t at = (std::int64_t{b} * inputs + c) * n;
    S sum = S(T(0));
    results_from_points(products, stride, n, [&](int first, int count, const S& value) {
      S of_slope = S(T(0)), d = value;
      if (slope != nullptr)
        d = prelu_backward_of(load_within<S>(x + at, first, n), factors, value, of_slope);
      if (count == W) {
        store(d_x + at + first, d);
      } else {
        store_some(d_x + at + first, d, count);
        T part[W] = {};  // what is beyond n may be no number
        store_some(part, of_slope, count);
        of_slope = load<S>(part);
      }
      sum += of_slope;
    });
    if (slope != nullptr) d_slope[b] = sum_lanes(sum) + (c == 0 ? T(0) : d_slope[b]);
  }
};

// The results of a group from its tiles and weights at the points, take(item, output, products,
// stride) for each channel; `products` holds the tiles of kSummedChannels.
template <class T, class Take>
void convolve_group(const T* w, int outputs, int inputs, const T* tiles, int items, int n,
                    T* products, const Take& take) {
  constexpr int W = wide_lanes<T>(), O = kSummedChannels<T>;
  const int line = tile_line<T>(n), blocks = channel_blocks<T>(outputs);
  const int registers = whole_registers<T>(items * tiles_of(n)) / W;
  const std::int64_t from_stride = point_stride<T>(inputs, n), to_stride = point_stride<T>(O, n);
  for (int block = 0; block < blocks; ++block) {
    for (int f = 0; f < kPoints; ++f) {
      const T* factors = w + (std::int64_t{f} * blocks + block) * inputs * O;
      const T* from = tiles + f * from_stride;
      T* to = products + f * to_stride;
      for (int left = registers; left > 0;) {
        const int now = left == 3 || left > 4 ? 3 : left >= 2 ? 2 : 1;
        if (now == 3)
          products_at_point<3>(factors, inputs, from, line, to);
        else if (now == 2)
          products_at_point<2>(factors, inputs, from, line, to);
        else
          products_at_point<1>(factors, inputs, from, line, to);
        left -= now, from += now * W, to += now * W;
      }
    }
    for (int b = 0; b < items; ++b)
      for (int o = block * O; o < (block + 1) * O && o < outputs; ++o)
        take(b, o, products + o % O * line + b * tiles_of(n), to_stride);
  }
}

// By measurement (docs/performance.md): where fewer products make up for the maps, and the tiles of
// an item fit into the second-level cache. A matter of shapes alone, so that an item's bits do not
// change with the batch.
template <class T>
constexpr bool is_minimal(const ConvolutionTask<T>& task) {
  return task.kernel == 3 && task.n >= 24 && task.n <= 2048 && task.inputs >= 8 &&
         task.outputs >= 8;
}

// Numbers that a group leaves for the gradients of w and bias.
template <class T>
constexpr std::int64_t group_sums(int outputs, int inputs) {
  const int blocks = (outputs + kCorrelated<T> - 1) / kCorrelated<T>;
  return std::int64_t{kPoints} * blocks * kCorrelated<T> * whole_fours(inputs) + outputs;
}

template <class T>
ConvolutionLayout minimal_layout(const ConvolutionTask<T>& task, bool backward) {
  const int inputs = task.inputs, outputs = task.outputs, n = task.n;
  const std::int64_t group = minimal_group(n), groups = (task.batch + group - 1) / group;
  const std::int64_t products = tile_block<T>(kSummedChannels<T>, n);
  const std::int64_t x_tiles = tile_block<T>(inputs, n), d_tiles = tile_block<T>(outputs, n);
  if (!backward) return {groups, point_weights<T>(outputs, inputs), x_tiles + products, 0, 0};
  return {groups, point_weights<T>(inputs, outputs), x_tiles + 2 * d_tiles + products,
          groups * group_sums<T>(outputs, inputs), 0};
}

// Items of group g.
template <class T>
LPGD_INLINE int items_of(const ConvolutionTask<T>& task, std::int64_t g) {
  const std::int64_t group = minimal_group(task.n), left = task.batch - g * group;
  return static_cast<int>(left < group ? left : group);
}

// Groups [begin, end) of items; task.w is at the points.
template <class T>
void minimal_forward(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                     void* workspace) {
  T* tiles = static_cast<T*>(workspace);
  T* products = tiles + tile_block<T>(task.inputs, task.n);
  for (std::int64_t g = begin; g < end; ++g) {
    const std::int64_t first = g * minimal_group(task.n);
    const int items = items_of(task, g), n = task.n;
    group_at_points<T>(task.x + first * task.inputs * n, items, task.inputs, n, task.slope, tiles,
                       nullptr);
    const TakeResults<T> take{task.bias, task.y + first * task.outputs * n, task.outputs, n};
    convolve_group(task.w, task.outputs, task.inputs, tiles, items, n, products, take);
  }
}

// out[r * C + c] = the sum of the lanes of sums[r][c], in whole registers
template <int R, int C, class V, class T>
LPGD_INLINE void store_lane_sums(const V (&sums)[R][C], T* out) {
  constexpr int W = ScalarTraits<V>::lanes;
  LPGD_UNROLL
  for (int first = 0; first < R * C; first += W) store(out + first, lane_sums(sums, first));
}

// The products of all channels of d with all of x, summed over the tiles of a group, by point and
// block of channels; and the sums of d, which are its tiles at 1.
template <class T>
void correlate_group(const T* d, const T* x, int outputs, int inputs, int items, int n, T* sums) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>(), O = kCorrelated<T>;
  const int line = tile_line<T>(n), end = whole_registers<T>(items * tiles_of(n));
  const std::int64_t d_stride = point_stride<T>(outputs, n), x_stride = point_stride<T>(inputs, n);
  for (int f = 0; f < kPoints; ++f)
    for (int o = 0; o < outputs; o += O)
      for (int c = 0; c < inputs; c += kFour, sums += O * kFour) {
        const T* left = d + f * d_stride + std::int64_t{o} * line;
        const T* right = x + f * x_stride + std::int64_t{c} * line;
        S acc[O][kFour];
        for (auto& row : acc)
          for (S& value : row) value = S(T(0));
        for (int i = 0; i < end; i += W) {
          S of_x[kFour];
          LPGD_UNROLL
          for (int q = 0; q < kFour; ++q) of_x[q] = load<S>(right + q * line + i);
          LPGD_UNROLL
          for (int p = 0; p < O; ++p) {
            const S of_d = load<S>(left + p * line + i);
            LPGD_UNROLL
            for (int q = 0; q < kFour; ++q) acc[p][q] += of_d * of_x[q];
          }
        }
        static_assert(O * kFour % W == 0);
        store_lane_sums(acc, sums);
      }
  for (int o = 0; o < outputs; ++o) {
    S sum = S(T(0));
    for (int i = 0; i < end; i += W) sum += load<S>(d + d_stride + std::int64_t{o} * line + i);
    sums[o] = sum_lanes(sum);
  }
}

// Groups [begin, end): d_x and the slope's gradient of each item, and the group's sums for the
// gradients of w and bias, into task.x_lines. task.w is turned round, at the points.
template <class T>
void minimal_backward(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                      void* workspace) {
  const int n = task.n, inputs = task.inputs, outputs = task.outputs;
  T* x_tiles = static_cast<T*>(workspace);
  T* d_tiles = x_tiles + tile_block<T>(inputs, n);  // A d
  T* tiles = d_tiles + tile_block<T>(outputs, n);   // B' d
  T* products = tiles + tile_block<T>(outputs, n);
  for (std::int64_t g = begin; g < end; ++g) {
    const std::int64_t first = g * minimal_group(n);
    const int items = items_of(task, g);
    const T* x = task.x + first * inputs * n;
    group_at_points<T>(x, items, inputs, n, task.slope, x_tiles, nullptr);
    group_at_points<T>(task.d_y + first * outputs * n, items, outputs, n, nullptr,
                       task.d_x == nullptr ? nullptr : tiles, d_tiles);
    correlate_group<T>(d_tiles, x_tiles, outputs, inputs, items, n,
                       task.x_lines + g * group_sums<T>(outputs, inputs));
    if (task.d_x == nullptr) continue;
    const TakeGradients<T> take{x,
                                task.slope,
                                task.d_x + first * inputs * n,
                                task.slope == nullptr ? nullptr : task.d_slope + first,
                                inputs,
                                n};
    convolve_group(task.w, inputs, outputs, tiles, items, n, products, take);
  }
}

// Gradients of w and bias for the output channels [begin, end), after minimal_backward of all
// groups, whose sums are added in their order.
template <class T>
void minimal_weights(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end) {
  constexpr int O = kCorrelated<T>, kBlock = O * kFour;
  const int inputs = task.inputs, outputs = task.outputs;
  const std::int64_t each = group_sums<T>(outputs, inputs);
  const std::int64_t groups = (task.batch + minimal_group(task.n) - 1) / minimal_group(task.n);
  const int across = whole_fours(inputs) / kFour, down = (outputs + O - 1) / O;
  for (int block = static_cast<int>(begin) / O; block * O < end; ++block)
    for (int c = 0; c < across; ++c) {
      T entries[3][kBlock] = {};
      for (int f = 0; f < kPoints; ++f) {
        const T* from = task.x_lines + ((std::int64_t{f} * down + block) * across + c) * kBlock;
        T sum[kBlock] = {};
        for (std::int64_t g = 0; g < groups; ++g)
          for (int i = 0; i < kBlock; ++i) sum[i] += from[g * each + i];
        for (int k = 0; k < 3; ++k)
          for (int i = 0; i < kBlock; ++i) entries[k][i] += kKernelAt<T>[f][k] * sum[i];
      }
      for (int i = 0; i < kBlock; ++i) {
        const int o = block * O + i / kFour, from = c * kFour + i % kFour;
        if (o < begin || o >= end || from >= inputs) continue;
        for (int k = 0; k < 3; ++k)
          task.d_w[(std::int64_t{o} * inputs + from) * 3 + k] = entries[k][i];
      }
    }
  for (std::int64_t o = begin; o < end; ++o) {
    T sum = T(0);
    for (std::int64_t g = 0; g < groups; ++g) sum += task.x_lines[(g + 1) * each - outputs + o];
    task.d_bias[o] = sum;
  }
}

LPGD_END_NAMESPACE
