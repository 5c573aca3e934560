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
    LPGD_UNROLL
    for (int o = 0; o < O; ++o) {
      const S factor = broadcast<S>(w[o]);
      LPGD_UNROLL
      for (int p = 0; p < P; ++p) acc[o][p] += factor * value[p];
    }
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

template <class T>
ConvolutionLayout minimal_layout(const ConvolutionTask<T>& task, bool backward) {
  const int inputs = task.inputs, outputs = task.outputs, n = task.n;
  const std::int64_t group = minimal_group(n), groups = (task.batch + group - 1) / group;
  const std::int64_t workspace =
      tile_block<T>(backward ? outputs : inputs, n) + tile_block<T>(kSummedChannels<T>, n);
  if (!backward) return {groups, point_weights<T>(outputs, inputs), workspace, 0, 0};
  return {groups, point_weights<T>(inputs, outputs), workspace, groups * tile_block<T>(inputs, n),
          groups * tile_block<T>(outputs, n)};
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

// Groups [begin, end): tiles of act(x) and of d_y into the task's lines, and d_x and the slope's
// gradient of each item. task.w is turned round, at the points.
template <class T>
void minimal_backward(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                      void* workspace) {
  T* tiles = static_cast<T*>(workspace);
  T* products = tiles + tile_block<T>(task.outputs, task.n);
  for (std::int64_t g = begin; g < end; ++g) {
    const std::int64_t first = g * minimal_group(task.n);
    const int items = items_of(task, g), n = task.n;
    const T* x = task.x + first * task.inputs * n;
    group_at_points<T>(x, items, task.inputs, n, task.slope,
                       task.x_lines + g * tile_block<T>(task.inputs, n), nullptr);
    group_at_points<T>(task.d_y + first * task.outputs * n, items, task.outputs, n, nullptr,
                       task.d_x == nullptr ? nullptr : tiles,
                       task.d_lines + g * tile_block<T>(task.outputs, n));
    if (task.d_x == nullptr) continue;
    const TakeGradients<T> take{x,
                                task.slope,
                                task.d_x + first * task.inputs * n,
                                task.slope == nullptr ? nullptr : task.d_slope + first,
                                task.inputs,
                                n};
    convolve_group(task.w, task.inputs, task.outputs, tiles, items, n, products, take);
  }
}

// sum over groups and tiles of d[o] x[c] at one point, for OT x CT entries
template <int OT, int CT, class T>
LPGD_INLINE void correlate_at_point(const ConvolutionTask<T>& task, int f, int o, int c) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const int line = tile_line<T>(task.n), group = minimal_group(task.n);
  S acc[OT][CT];
  for (auto& row : acc)
    for (S& value : row) value = S(T(0));
  const T* d = task.d_lines + f * point_stride<T>(task.outputs, task.n) + std::int64_t{o} * line;
  const T* x = task.x_lines + f * point_stride<T>(task.inputs, task.n) + std::int64_t{c} * line;
  for (std::int64_t first = 0; first < task.batch; first += group) {
    const std::int64_t left = task.batch - first;
    const int end =
        whole_registers<T>(static_cast<int>(left < group ? left : group) * tiles_of(task.n));
    for (int i = 0; i < end; i += W) {
      S right[CT];
      LPGD_UNROLL
      for (int q = 0; q < CT; ++q) right[q] = load<S>(x + q * line + i);
      LPGD_UNROLL
      for (int p = 0; p < OT; ++p) {
        const S value = load<S>(d + p * line + i);
        LPGD_UNROLL
        for (int q = 0; q < CT; ++q) acc[p][q] += value * right[q];
      }
    }
    d += tile_block<T>(task.outputs, task.n);
    x += tile_block<T>(task.inputs, task.n);
  }
  for (int p = 0; p < OT; ++p)
    for (int q = 0; q < CT; ++q) {
      const T sum = sum_lanes(acc[p][q]);
      T* to = task.d_w + ((o + p) * task.inputs + c + q) * 3;
      for (int k = 0; k < 3; ++k) to[k] = kKernelAt<T>[f][k] * sum + (f == 0 ? T(0) : to[k]);
    }
}

template <int OT, class T>
LPGD_INLINE void correlate_point_channels(const ConvolutionTask<T>& task, int f, int o) {
  int c = 0;
  for (; c + 4 <= task.inputs; c += 4) correlate_at_point<OT, 4>(task, f, o, c);
  for (; c < task.inputs; ++c) correlate_at_point<OT, 1>(task, f, o, c);
}

// Gradients of w and bias for the output channels [begin, end), after minimal_backward of all
// groups.
template <class T>
void minimal_weights(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end) {
  constexpr int W = wide_lanes<T>();
  const int last = static_cast<int>(end), line = tile_line<T>(task.n);
  const int group = minimal_group(task.n);
  for (int f = 0; f < kPoints; ++f) {
    int o = static_cast<int>(begin);
    for (; o + kCorrelated<T> <= last; o += kCorrelated<T>)
      correlate_point_channels<kCorrelated<T>>(task, f, o);
    for (; o < last; ++o) correlate_point_channels<1>(task, f, o);
  }
  // At 1, a tile of d_y is its sum.
  for (int o = static_cast<int>(begin); o < last; ++o) {
    Wide<T> sum(T(0));
    const T* d = task.d_lines + point_stride<T>(task.outputs, task.n) + std::int64_t{o} * line;
    for (std::int64_t first = 0; first < task.batch; first += group) {
      const std::int64_t left = task.batch - first;
      const int end_of =
          whole_registers<T>(static_cast<int>(left < group ? left : group) * tiles_of(task.n));
      for (int i = 0; i < end_of; i += W) sum += load<Wide<T>>(d + i);
      d += tile_block<T>(task.outputs, task.n);
    }
    task.d_bias[o] = sum_lanes(sum);
  }
}

LPGD_END_NAMESPACE
