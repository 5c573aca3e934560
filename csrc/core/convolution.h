// y = bias + w * act(x), a "same" convolution of short signals, act a PReLU or nothing. A signal
// with its channels is in L1 from the activation to the result; registers are along positions. What
// is kept for the backward pass is x alone.
#pragma once

#include "convolution_types.h"
#include "lanes.h"
#include "prelu.h"

LPGD_BEGIN_NAMESPACE

// Numbers of a padded line: whole registers of positions, and room for the kernel's reach.
template <class T>
constexpr int padded_line(int n, int kernel) {
  constexpr int W = wide_lanes<T>();
  return ((n + W - 1) / W + 1) * W + (kernel + W - 1) / W * W;
}

// act(x) of x [n] with a slope, in whole registers: zeros after it.
template <class T>
LPGD_INLINE void activate_line(const T* x, int n, const T* slope, T* to) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const S factors = broadcast<S>(slope == nullptr ? T(1) : *slope);  // prelu(x, 1) is x
  int i = 0;
  for (; i + W <= n; i += W) store(to + i, prelu_of(load<S>(x + i), factors));
  if (i < n) store(to + i, prelu_of(load_some<S>(x + i, n - i), factors));
}

// Lines of one item, x [channels, n] to [channels, line], zeros around.
template <class T>
LPGD_INLINE void pad_lines(const T* x, int channels, int n, int kernel, const T* slope, T* to) {
  const int line = padded_line<T>(n, kernel), reach = kernel / 2;
  for (int c = 0; c < channels; ++c) {
    T* here = to + c * line;
    for (int i = 0; i < reach; ++i) here[i] = T(0);
    activate_line(x + static_cast<std::int64_t>(c) * n, n, slope, here + reach);
    for (int k = reach + n; k < line; ++k) here[k] = T(0);
  }
}

// O output channels at P registers of positions
template <int O, int P, class T>
LPGD_INLINE void convolve_tile(const T* w, int inputs, int kernel, const T* lines, int line,
                               const T* bias, T* out, int n, int at) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  S acc[O][P];
  for (int o = 0; o < O; ++o)
    for (int p = 0; p < P; ++p) acc[o][p] = bias == nullptr ? S(T(0)) : S(bias[o]);
  const int stride = inputs * kernel;
  for (int c = 0; c < inputs; ++c) {
    const T* from = lines + c * line + at;
    const T* factors = w + c * kernel;
    for (int k = 0; k < kernel; ++k) {
      S value[P];
      LPGD_UNROLL
      for (int p = 0; p < P; ++p) value[p] = load<S>(from + k + p * W);
      add_multiples(factors + k, stride, value, acc);
    }
  }
  for (int o = 0; o < O; ++o)
    for (int p = 0; p < P; ++p) {
      const int first = at + p * W;
      T* to = out + static_cast<std::int64_t>(o) * n + first;
      if (first + W <= n)
        store(to, acc[o][p]);
      else if (first < n)
        store_some(to, acc[o][p], n - first);
    }
}

template <int O, class T>
LPGD_INLINE void convolve_channels(const T* w, int inputs, int kernel, const T* lines, int line,
                                   const T* bias, T* out, int n) {
  constexpr int W = wide_lanes<T>();
  int left = (n + W - 1) / W, at = 0;
  while (left > 0) {
    if (left == 3 || left > 4) {
      convolve_tile<O, 3>(w, inputs, kernel, lines, line, bias, out, n, at);
      left -= 3, at += 3 * W;
    } else if (left >= 2) {
      convolve_tile<O, 2>(w, inputs, kernel, lines, line, bias, out, n, at);
      left -= 2, at += 2 * W;
    } else {
      convolve_tile<O, 1>(w, inputs, kernel, lines, line, bias, out, n, at);
      left -= 1, at += W;
    }
  }
}

// out [outputs, n] from padded lines [inputs, line] and w [outputs, inputs, kernel]
template <class T>
void convolve_item(const T* w, int outputs, int inputs, int kernel, const T* lines, const T* bias,
                   T* out, int n) {
  constexpr int kTile = 4;
  const int line = padded_line<T>(n, kernel);
  int o = 0;
  for (; o + kTile <= outputs; o += kTile)
    convolve_channels<kTile>(w + o * inputs * kernel, inputs, kernel, lines, line,
                             bias == nullptr ? nullptr : bias + o,
                             out + static_cast<std::int64_t>(o) * n, n);
  for (; o < outputs; ++o)
    convolve_channels<1>(w + o * inputs * kernel, inputs, kernel, lines, line,
                         bias == nullptr ? nullptr : bias + o,
                         out + static_cast<std::int64_t>(o) * n, n);
}

// Items [begin, end); `workspace` holds one item's padded lines.
template <class T>
void convolution_forward(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                         void* workspace) {
  T* lines = static_cast<T*>(workspace);
  for (std::int64_t b = begin; b < end; ++b) {
    pad_lines(task.x + b * task.inputs * task.n, task.inputs, task.n, task.kernel, task.slope,
              lines);
    convolve_item(task.w, task.outputs, task.inputs, task.kernel, lines, task.bias,
                  task.y + b * task.outputs * task.n, task.n);
  }
}

// d from the gradient of prelu(x) to that of x; the slope's gradient.
template <class T>
LPGD_INLINE T prelu_backward(const T* x, T slope, T* d, int count) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const S factors = broadcast<S>(slope);
  S sums = S(T(0));
  int i = 0;
  for (; i + W <= count; i += W) {
    S of_slope;
    store(d + i, prelu_backward_of(load<S>(x + i), factors, load<S>(d + i), of_slope));
    sums += of_slope;
  }
  T sum = sum_lanes(sums);
  for (; i < count; ++i) {
    T of_slope;
    d[i] = prelu_backward_of(x[i], slope, d[i], of_slope);
    sum += of_slope;
  }
  return sum;
}

// w [outputs, inputs, kernel] turned round: [inputs, outputs, kernel], kernel entries backwards.
template <class T>
void turn_kernel(const ConvolutionTask<T>& task, T* to) {
  const int last = task.kernel - 1;
  for (int o = 0; o < task.outputs; ++o)
    for (int c = 0; c < task.inputs; ++c)
      for (int k = 0; k <= last; ++k)
        to[(c * task.outputs + o) * task.kernel + last - k] =
            task.w[(o * task.inputs + c) * task.kernel + k];
}

// Items [begin, end): padded act(x) and d_y into the task's lines, and d_x and the slope's gradient
// of each item. task.w is turned round.
template <class T>
void convolution_backward(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end,
                          void* /*workspace*/) {
  const int line = padded_line<T>(task.n, task.kernel);
  for (std::int64_t b = begin; b < end; ++b) {
    const T* x = task.x + b * task.inputs * task.n;
    T* d_lines = task.d_lines + b * task.outputs * line;
    pad_lines(x, task.inputs, task.n, task.kernel, task.slope,
              task.x_lines + b * task.inputs * line);
    pad_lines<T>(task.d_y + b * task.outputs * task.n, task.outputs, task.n, task.kernel, nullptr,
                 d_lines);
    if (task.d_x == nullptr) continue;
    T* d_x = task.d_x + b * task.inputs * task.n;
    convolve_item<T>(task.w, task.inputs, task.outputs, task.kernel, d_lines, nullptr, d_x, task.n);
    if (task.slope == nullptr) continue;
    task.d_slope[b] = prelu_backward(x, *task.slope, d_x, task.inputs * task.n);
  }
}

template <class T>
ConvolutionLayout convolution_layout(const ConvolutionTask<T>& task, bool backward) {
  const std::int64_t line = padded_line<T>(task.n, task.kernel);
  if (!backward) return {task.batch, 0, task.inputs * line, 0, 0};
  return {task.batch, std::int64_t{task.inputs} * task.outputs * task.kernel, 0,
          task.batch * task.inputs * line, task.batch * task.outputs * line};
}

// sum over items and positions of d_y[o] x[c shifted by k], for OT x CT x KT entries
template <int OT, int CT, int KT, class T>
LPGD_INLINE void correlate_tile(const ConvolutionTask<T>& task, int o, int c, int k) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const int line = padded_line<T>(task.n, task.kernel), reach = task.kernel / 2;
  S acc[OT][CT][KT];
  for (auto& plane : acc)
    for (auto& row : plane)
      for (S& value : row) value = S(T(0));
  for (std::int64_t b = 0; b < task.batch; ++b) {
    const T* d = task.d_lines + (b * task.outputs + o) * line + reach;
    const T* x = task.x_lines + (b * task.inputs + c) * line + k;
    for (int i = 0; i < task.n; i += W) {
      S left[OT];
      LPGD_UNROLL
      for (int p = 0; p < OT; ++p) left[p] = load<S>(d + p * line + i);
      LPGD_UNROLL
      for (int q = 0; q < CT; ++q) {
        LPGD_UNROLL
        for (int r = 0; r < KT; ++r) {
          const S right = load<S>(x + q * line + i + r);
          LPGD_UNROLL
          for (int p = 0; p < OT; ++p) acc[p][q][r] += left[p] * right;
        }
      }
    }
  }
  for (int p = 0; p < OT; ++p)
    for (int q = 0; q < CT; ++q)
      for (int r = 0; r < KT; ++r)
        task.d_w[((o + p) * task.inputs + c + q) * task.kernel + k + r] = sum_lanes(acc[p][q][r]);
}

template <int OT, int CT, class T>
LPGD_INLINE void correlate_kernel(const ConvolutionTask<T>& task, int o, int c) {
  int k = 0;
  for (; k + 3 <= task.kernel; k += 3) correlate_tile<OT, CT, 3>(task, o, c, k);
  for (; k < task.kernel; ++k) correlate_tile<OT, CT, 1>(task, o, c, k);
}

template <int OT, class T>
LPGD_INLINE void correlate_channels(const ConvolutionTask<T>& task, int o) {
  int c = 0;
  for (; c + 2 <= task.inputs; c += 2) correlate_kernel<OT, 2>(task, o, c);
  for (; c < task.inputs; ++c) correlate_kernel<OT, 1>(task, o, c);
}

// Output channels whose sums stay in registers together: 24 of the 32 that AVX-512 has, 12 of 16.
template <class T>
constexpr int kCorrelated = wide_lanes<T>() * sizeof(T) >= 64 ? 4 : 2;

// Gradients of w and bias for the output channels [begin, end).
template <class T>
void convolution_weights(const ConvolutionTask<T>& task, std::int64_t begin, std::int64_t end) {
  const int line = padded_line<T>(task.n, task.kernel), reach = task.kernel / 2;
  const int last = static_cast<int>(end);
  int o = static_cast<int>(begin);
  for (; o + kCorrelated<T> <= last; o += kCorrelated<T>)
    correlate_channels<kCorrelated<T>>(task, o);
  for (; o < last; ++o) correlate_channels<1>(task, o);
  for (o = static_cast<int>(begin); o < last; ++o) {
    Wide<T> sum(T(0));  // beyond n there are zeros
    for (std::int64_t b = 0; b < task.batch; ++b) {
      const T* d = task.d_lines + (b * task.outputs + o) * line + reach;
      for (int i = 0; i < task.n; i += wide_lanes<T>()) sum += load<Wide<T>>(d + i);
    }
    task.d_bias[o] = sum_lanes(sum);
  }
}

LPGD_END_NAMESPACE
