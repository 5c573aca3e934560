// Matrix products of the dense form for the smallest batches, a register along a row of the
// weights.
#pragma once

#include "momentum_units.h"

LPGD_BEGIN_NAMESPACE

// sums[r] = row_r . x for R rows that lie `stride` apart
template <int R, class T>
LPGD_INLINE void dot_rows(const T* rows, std::int64_t stride, const T* x, int count, T* sums) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  S acc[R];
  for (int r = 0; r < R; ++r) acc[r] = S(T(0));
  int k = 0;
  for (; k + W <= count; k += W) {
    const S value = load<S>(x + k);
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) acc[r] += load<S>(rows + r * stride + k) * value;
  }
  for (int r = 0; r < R; ++r) sums[r] = sum_lanes(acc[r]);
  for (; k < count; ++k)
    for (int r = 0; r < R; ++r) sums[r] += rows[r * stride + k] * x[k];
}

// Units [begin, end) of all items: pre-activations, biases included, into the gates' buffer. The
// rows of one unit are read together, each once for all items while it is in L1.
template <class T>
void cell_products(const CellTask<T>& task, int begin, int end) {
  const int H = task.hidden, K = task.inputs;
  const CellWeights<T>& w = task.weights;
  for (int j = begin; j < end; ++j) {
    for (std::int64_t b = 0; b < task.batch; ++b) {
      T from_x[4], from_h[4];
      T* gates = task.gates + b * 4 * H + j;
      const T* w_ih = w.w_ih + static_cast<std::int64_t>(j) * K;
      const T* w_hh = w.w_hh + static_cast<std::int64_t>(j) * H;
      if (task.cell == MomentumCell::kLstm) {
        dot_rows<4>(w_ih, static_cast<std::int64_t>(H) * K, task.x + b * K, K, from_x);
        dot_rows<4>(w_hh, static_cast<std::int64_t>(H) * H, task.h + b * H, H, from_h);
        for (int r = 0; r < 4; ++r)
          gates[r * H] = from_x[r] + from_h[r] + w.b_ih[r * H + j] + w.b_hh[r * H + j];
      } else {
        dot_rows<3>(w_ih, static_cast<std::int64_t>(H) * K, task.x + b * K, K, from_x);
        dot_rows<3>(w_hh, static_cast<std::int64_t>(H) * H, task.h + b * H, H, from_h);
        for (int r = 0; r < 3; ++r) from_x[r] += w.b_ih[r * H + j];
        for (int r = 0; r < 3; ++r) from_h[r] += w.b_hh[r * H + j];
        for (int r = 0; r < 2; ++r) gates[r * H] = from_x[r] + from_h[r];
        gates[2 * H] = from_x[2];
        gates[3 * H] = from_h[2];
      }
    }
  }
}

// out[b, r] = bias[r] + row_r . [x_1[b]; ...; x_L[b]] for rows [begin, end) of w [rows, L * count]
// and x_l [batch, count], `x_stride` numbers after each other
template <class T>
void output_products(const T* w, const T* bias, const T* x, std::int64_t x_stride,
                     std::int64_t batch, int layers, int count, std::int64_t rows, T* out,
                     std::int64_t begin, std::int64_t end) {
  const std::int64_t stride = static_cast<std::int64_t>(layers) * count;
  for (std::int64_t r = begin; r < end; r += 4) {
    const int here = static_cast<int>(end - r < 4 ? end - r : 4);
    for (std::int64_t b = 0; b < batch; ++b) {
      T total[4] = {};
      for (int l = 0; l < layers; ++l) {
        T sums[4] = {};
        const T* from = w + r * stride + static_cast<std::int64_t>(l) * count;
        const T* value = x + l * x_stride + b * count;
        if (here == 4)
          dot_rows<4>(from, stride, value, count, sums);
        else
          for (int i = 0; i < here; ++i)
            dot_rows<1>(from + i * stride, stride, value, count, sums + i);
        for (int i = 0; i < here; ++i) total[i] += sums[i];
      }
      for (int i = 0; i < here; ++i) out[b * rows + r + i] = total[i] + bias[r + i];
    }
  }
}

// out[b, k] (+)= sum_r a[b, r] w[r, k] for columns k in [begin, end), rows of w `cols` long. Eight
// rows at a time, so that out is read and written an eighth as often.
template <class T>
void transposed_products(const T* a, std::int64_t a_stride, const T* w, std::int64_t rows,
                         std::int64_t cols, std::int64_t batch, T* out, bool add,
                         std::int64_t begin, std::int64_t end) {
  using S = Wide<T>;
  constexpr int kRows = 8;
  for (std::int64_t r = 0; r < rows; r += kRows) {
    const int here = static_cast<int>(rows - r < kRows ? rows - r : kRows);
    const bool first = r == 0 && !add;
    for (std::int64_t b = 0; b < batch; ++b) {
      const T* from = w + r * cols;
      T factor[kRows] = {};
      for (int i = 0; i < here; ++i) factor[i] = a[b * a_stride + r + i];
      sweep<T>(static_cast<int>(begin), static_cast<int>(end), [&](int k, auto lanes) {
        T* target = out + b * cols + k;
        S sum = first ? S(T(0)) : lanes.get(target);
        if (here == kRows) {
          LPGD_UNROLL
          for (int i = 0; i < kRows; ++i)
            sum += lanes.get(from + i * cols + k) * broadcast<S>(factor[i]);
        } else {
          for (int i = 0; i < here; ++i)
            sum += lanes.get(from + i * cols + k) * broadcast<S>(factor[i]);
        }
        lanes.put(target, sum);
      });
    }
  }
}

LPGD_END_NAMESPACE
