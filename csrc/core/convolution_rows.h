// The convolution of short signals on many lanes: a row (a position of an item) a lane, weights in
// shared memory, four channels side by side. What is kept for the backward pass is x alone.
#pragma once

#include "convolution_types.h"
#include "lanes.h"
#include "prelu.h"
#include "row_products.h"

LPGD_BEGIN_NAMESPACE

// What a position sees of a signal [channels, n]: act(x) under the kernel, zero beyond its ends,
// taps of a channel side by side.
template <class T>
struct Taps {
  const T* x;  // of the item
  int n, kernel, position;
  T slope;  // 1: no activation
  int channel = 0, tap = 0;

  LPGD_INLINE void seek(int i) {
    channel = i / kernel;
    tap = i % kernel;
  }
  LPGD_INLINE T next() {
    const int at = position + tap - kernel / 2;
    const T value =
        at >= 0 && at < n ? prelu_of(x[static_cast<std::int64_t>(channel) * n + at], slope) : T(0);
    ++tap;
    if (tap == kernel) {
      tap = 0;
      ++channel;
    }
    return value;
  }
};

// Four output channels from quad `first` on, of w [outputs, inputs, kernel]; turned round: four
// input channels, for the way back.
template <bool turned, class T>
struct KernelWeights {
  const T* w;
  int outputs, inputs, kernel, first;

  LPGD_INLINE Quad<T> operator()(int i, int quad) const {
    const int channels = turned ? inputs : outputs, other = i / kernel, tap = i % kernel;
    Quad<T> out{};
    for (int q = 0; q < 4; ++q) {
      const int c = 4 * (first + quad) + q;
      if (c >= channels) break;
      if constexpr (turned)
        out.v[q] = w[(static_cast<std::int64_t>(other) * inputs + c) * kernel + kernel - 1 - tap];
      else
        out.v[q] = w[static_cast<std::int64_t>(c) * inputs * kernel + i];
    }
    return out;
  }
};

template <class T>
LPGD_INLINE T slope_of(const ConvolutionTask<T>& task) {
  return task.slope == nullptr ? T(1) : *task.slope;  // prelu(x, 1) is x
}

// Quads [begin, end) of channels, at the rows [from, from + group size) of [B, n]. Forward: y.
// Backward: d_x, and of_slope [B n], each row's part in the slope's gradient by these channels.
// `memory`: `room` quads, shared.
template <bool backward, int J, class Group, class T>
LPGD_INLINE void convolve_rows(const Group& g, const ConvolutionTask<T>& task, std::int64_t from,
                               int begin, int end, Quad<T>* memory, int room, T* of_slope) {
  const std::int64_t row = from + g.lane();
  const bool active = row < task.batch * task.n;
  const Place at = place_of(active ? row : 0, task.n);
  const int n = task.n, channels = backward ? task.inputs : task.outputs;
  const int others = backward ? task.outputs : task.inputs;
  const T slope = slope_of(task);
  const Taps<T> taps{(backward ? task.d_y : task.x) + at.row * others * n, n, task.kernel,
                     at.column, backward ? T(1) : slope};
  const KernelWeights<backward, T> weights{task.w, task.outputs, task.inputs, task.kernel, begin};
  const std::int64_t mine = at.row * channels * n + at.column;
  QuadStage<T> stage;
  stage.bind(memory, room, end - begin, others * task.kernel, J);
  T slope_sum = T(0);
  for (int first = 0; first < stage.quads; first += J) {
    Quad<T> sums[J] = {};
    if constexpr (!backward)
      for (int u = 0; u < J; ++u)
        for (int q = 0; q < 4; ++q) {
          const int c = 4 * (begin + first + u) + q;
          if (c < channels) sums[u].v[q] = task.bias[c];
        }
    quad_products(g, stage, weights, first, active, taps, sums);
    if (!active) continue;
    LPGD_UNROLL
    for (int u = 0; u < J; ++u) {
      LPGD_UNROLL
      for (int q = 0; q < 4; ++q) {
        const int c = 4 * (begin + first + u) + q;
        if (first + u >= stage.quads || c >= channels) continue;
        const std::int64_t entry = mine + static_cast<std::int64_t>(c) * n;
        if constexpr (backward) {
          T part;
          task.d_x[entry] = prelu_backward_of(task.x[entry], slope, sums[u].v[q], part);
          slope_sum += part;
        } else {
          task.y[entry] = sums[u].v[q];
        }
      }
    }
  }
  if constexpr (backward)
    if (active && task.slope != nullptr) of_slope[row] = slope_sum;
}

// The slope's gradient of item b, from parts [number, B n].
template <class Group, class T>
LPGD_INLINE void add_slope_parts(const Group& g, const T* parts, int number, std::int64_t batch,
                                 int n, std::int64_t b, T* d_slope) {
  T sum = T(0);
  for (int k = 0; k < number; ++k) {
    const T* item = parts + (k * batch + b) * n;
    LPGD_FOR (g, i, n) sum += item[i];
  }
  sum = g.sum(sum);
  if (g.lane() == 0) d_slope[b] = sum;
}

// For outer_sums: d_y of four channels at a row after `from`; act(x) under the kernel, and one for
// the bias; where their sums go.
template <class T>
struct GivenGradients {
  const T* d_y;
  int outputs, n;
  std::int64_t from;

  LPGD_INLINE Quad<T> operator()(int quad, int row) const {
    const Place at = place_of(from + row, n);
    const T* item = d_y + at.row * outputs * n + at.column;
    Quad<T> out{};
    for (int q = 0; q < 4; ++q)
      if (4 * quad + q < outputs) out.v[q] = item[static_cast<std::int64_t>(4 * quad + q) * n];
    return out;
  }
};
template <class T>
struct SeenInputs {
  const T* x;
  int inputs, n, kernel;
  T slope;
  std::int64_t from;

  LPGD_INLINE T operator()(int i, int row) const {
    if (i == inputs * kernel) return T(1);
    const Place at = place_of(from + row, n);
    Taps<T> taps{x + at.row * inputs * n, n, kernel, at.column, slope};
    taps.seek(i);
    return taps.next();
  }
};
template <class T>
struct KernelSums {
  T* sums;  // [outputs, inputs, kernel], [outputs]
  int outputs, taps;
  bool first;  // nothing is in the sums yet

  LPGD_INLINE void operator()(int quad, int i, const Quad<T>& sum, bool fresh) const {
    LPGD_UNROLL
    for (int q = 0; q < 4; ++q) {
      const int o = 4 * quad + q;
      if (o >= outputs) break;
      T* to = sums + (i < taps ? static_cast<std::int64_t>(o) * taps + i
                               : static_cast<std::int64_t>(outputs) * taps + o);
      *to = fresh && first ? sum.v[q] : *to + sum.v[q];
    }
  }
};

// Gradients of w and bias over `count` rows from `from` on, into the group's `sums`. `memory`:
// `room` quads, shared.
template <class Group, class T>
LPGD_INLINE void convolution_row_sums(const Group& g, const ConvolutionTask<T>& task,
                                      std::int64_t from, std::int64_t count, Quad<T>* memory,
                                      int room, T* sums) {
  constexpr int kMost = 1 << 20;  // rows that an int counts with room to spare
  const int taps = task.inputs * task.kernel;
  for (std::int64_t done = 0; done < count; done += kMost) {
    const std::int64_t at = from + done, left = count - done;
    outer_sums(g, reinterpret_cast<T*>(memory), 4 * room, (task.outputs + 3) / 4, taps + 1,
               left < kMost ? static_cast<int>(left) : kMost,
               GivenGradients<T>{task.d_y, task.outputs, task.n, at},
               SeenInputs<T>{task.x, task.inputs, task.n, task.kernel, slope_of(task), at},
               KernelSums<T>{sums, task.outputs, taps, done == 0});
  }
}

LPGD_END_NAMESPACE
