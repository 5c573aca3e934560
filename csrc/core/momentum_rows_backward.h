// The backward pass of the per-coordinate form on many lanes; see momentum_rows.h.
#pragma once

#include "momentum_rows.h"

LPGD_BEGIN_NAMESPACE

// Gate gradients of unit j at a row of the group, and what met the weights there: inputs, the
// states before, and one for the biases.
template <class T>
struct GateGradients {
  const T* gates;  // [4, H, lanes]
  int hidden, lanes;

  LPGD_INLINE Quad<T> operator()(int j, int row) const {
    const std::int64_t plane = static_cast<std::int64_t>(hidden) * lanes;
    const T* at = gates + static_cast<std::int64_t>(j) * lanes + row;
    return {{at[0], at[plane], at[2 * plane], at[3 * plane]}};
  }
};
template <class T>
struct LayerInputs {
  const T *x, *h;  // of the group's first row
  std::int64_t x_step, h_step;
  int inputs, hidden;

  LPGD_INLINE T operator()(int i, int row) const {
    if (i < inputs) return x[i * x_step + row];
    i -= inputs;
    return i < hidden ? h[i * h_step + row] : T(1);
  }
};

// Into the sums of a layer: W_ih, W_hh, b_ih, b_hh (coordinate_weight_count).
template <MomentumCell cell, class T>
struct LayerSums {
  T* sums;
  int inputs, hidden;
  bool first;  // nothing is in the sums yet

  LPGD_INLINE void put(T* to, T value, bool fresh) const {
    *to = fresh && first ? value : *to + value;
  }
  LPGD_INLINE void operator()(int j, int i, const Quad<T>& sum, bool fresh) const {
    constexpr int G = cell_rows(cell);
    // where each row of W_hh is in the quad
    constexpr int place[4] = {0, 1, cell == MomentumCell::kLstm ? 2 : 3, 3};
    T* hh = sums + static_cast<std::int64_t>(G) * hidden * inputs;
    T* bias = hh + static_cast<std::int64_t>(G) * hidden * hidden;
    LPGD_UNROLL
    for (int r = 0; r < G; ++r) {
      const std::int64_t unit = static_cast<std::int64_t>(r) * hidden + j;
      if (i < inputs) {
        put(sums + unit * inputs + i, sum.v[r], fresh);
      } else if (i < inputs + hidden) {
        put(hh + unit * hidden + i - inputs, sum.v[place[r]], fresh);
      } else {
        put(bias + unit, sum.v[r], fresh);
        put(bias + G * hidden + unit, sum.v[place[r]], fresh);
      }
    }
  }
};

// The output map as one unit: d_v; the states of all layers, and one for its bias.
template <class T>
struct OutputGradient {
  const T* d_v;  // of the group's first row, or null

  LPGD_INLINE Quad<T> operator()(int, int row) const {
    return {{d_v == nullptr ? T(0) : d_v[row], T(0), T(0), T(0)}};
  }
};
template <class T>
struct OutputInputs {
  const T* h_out;  // [L H, lanes]
  int states, lanes;

  LPGD_INLINE T operator()(int i, int row) const {
    return i < states ? h_out[static_cast<std::int64_t>(i) * lanes + row] : T(1);
  }
};
template <class T>
struct OutputSums {
  T* sums;
  bool first;

  LPGD_INLINE void operator()(int, int i, const Quad<T>& sum, bool fresh) const {
    sums[i] = fresh && first ? sum.v[0] : sums[i] + sum.v[0];
  }
};

// out[k] (+)= sum over the rows r of W [rows, cols] of W[r, k] d[r], on a lane's row
template <class Group, class T, class Input>
LPGD_INLINE void row_back_products(const Group& g, const RowMemory<T>& memory, const T* w, int rows,
                                   int cols, bool active, const Input& d, bool add, T* out,
                                   std::int64_t step) {
  QuadStage<T> stage;
  stage.bind(memory.quads, 2 * memory.stage, (cols + 3) / 4, rows, kInputTile);
  const ColumnWeights<T> weights{w, cols};
  for (int first = 0; first < stage.quads; first += kInputTile) {
    Quad<T> sums[kInputTile] = {};
    quad_products(g, stage, weights, first, active, d, sums);
    if (!active) continue;
    LPGD_UNROLL
    for (int u = 0; u < kInputTile; ++u) {
      LPGD_UNROLL
      for (int q = 0; q < 4; ++q) {
        const int k = 4 * (first + u) + q;
        if (k < cols) out[k * step] = add ? out[k * step] + sums[u].v[q] : sums[u].v[q];
      }
    }
  }
}

// The gates' gradients of layer l at a lane's row, in place of the gates, and what goes past the
// matrices: c's gradient (LSTM), a part of h's (GRU).
template <MomentumCell cell, class T>
LPGD_INLINE void row_cells_backward(const CoordinateTask<T>& task, int l, std::int64_t row,
                                    int lane, int lanes, const RowWork<T>& work) {
  const int H = task.hidden;
  const std::int64_t plane = static_cast<std::int64_t>(H) * lanes;
  T* gates = work.gates + 4 * l * plane + lane;
  const T d_v = task.d_v == nullptr ? T(0) : task.d_v[row];
  for (int j = 0; j < H; ++j) {
    const std::int64_t here = static_cast<std::int64_t>(j) * lanes;
    const std::int64_t line = (static_cast<std::int64_t>(l) * H + j) * task.rows + row;
    T d_h = (task.d_h_out == nullptr ? T(0) : task.d_h_out[line]) + task.w_out[l * H + j] * d_v;
    if (l + 1 < task.layers) d_h += work.d_in[here + lane];
    const Gates<T> g{gates[here], gates[plane + here], gates[2 * plane + here],
                     gates[3 * plane + here]};
    Gates<T> d;
    T direct;
    if constexpr (cell == MomentumCell::kLstm) {
      const T d_c = task.d_c_out == nullptr ? T(0) : task.d_c_out[line];
      d = lstm_cell_backward(g, task.c[line], tanh_of(work.c_out[l * plane + here + lane]), d_h,
                             d_c, direct);
      task.d_c[line] = direct;
    } else {
      d = gru_cell_backward(g, task.h[line], d_h, direct);
      task.d_h[line] = direct;
    }
    gates[here] = d.a;
    gates[plane + here] = d.b;
    gates[2 * plane + here] = d.c;
    gates[3 * plane + here] = d.d;
  }
}

// Rows [from, from + group size): gradients of x, h, c; those of the weights are added to the
// group's `sums`, or (first) are the first there.
template <MomentumCell cell, class Group, class T>
LPGD_INLINE void rows_backward(const Group& g, const CoordinateTask<T>& task, std::int64_t from,
                               const RowMemory<T>& memory, const RowWork<T>& work, T* sums,
                               bool first) {
  const std::int64_t R = task.rows, row = from + g.lane();
  const bool active = row < R;
  const int H = task.hidden, L = task.layers, lane = g.lane(), lanes = g.size();
  constexpr int G = cell_rows(cell);
  const int count = static_cast<int>(R - from < lanes ? R - from : lanes);
  const std::int64_t plane = static_cast<std::int64_t>(H) * lanes, layer = H * R;
  for (int l = 0; l < L; ++l) {
    const std::int64_t at = l * layer + row;
    WorkSink<T> sink{work.gates + 4 * l * plane + lane, work.h_out + l * plane + lane,
                     work.c_out + l * plane + lane, lanes, H};
    const Lines<T> x = l == 0 ? Lines<T>{task.x + row, R} : Lines<T>{sink.h_out - plane, lanes};
    row_layer<cell>(g, memory, task.weights[l], l == 0 ? 1 : H, H, active, x,
                    Lines<T>{task.h + at, R}, cell_states<cell>(task, at), sink);
  }
  T* output_sums = sums + coordinate_weight_count(cell, L, H) - (L * H + 1);
  outer_sums(g, memory.numbers(), memory.room(), 1, L * H + 1, count,
             OutputGradient<T>{task.d_v == nullptr ? nullptr : task.d_v + from},
             OutputInputs<T>{work.h_out, L * H, lanes}, OutputSums<T>{output_sums, first});
  T* end = output_sums;
  for (int l = L - 1; l >= 0; --l) {
    const std::int64_t at = l * layer;
    const int inputs = l == 0 ? 1 : H;
    T* gates = work.gates + 4 * l * plane;
    if (active) row_cells_backward<cell>(task, l, row, lane, lanes, work);
    end -= static_cast<std::int64_t>(G) * H * (inputs + H + 2);
    const LayerInputs<T> met{l == 0 ? task.x + from : work.h_out + (l - 1) * plane,
                             task.h + at + from,
                             l == 0 ? R : lanes,
                             R,
                             inputs,
                             H};
    outer_sums(g, memory.numbers(), memory.room(), H, inputs + H + 1, count,
               GateGradients<T>{gates, H, lanes}, met, LayerSums<cell, T>{end, inputs, H, first});
    // their syncs also come between the sums above and the next rows, which overwrite the workspace
    const CellWeights<T>& w = task.weights[l];
    const Lines<T> all{gates + lane, lanes};
    row_back_products(g, memory, w.w_ih, G * H, inputs, active, all, false,
                      l == 0 ? task.d_x + row : work.d_in + lane, l == 0 ? R : lanes);
    T* d_h = task.d_h + at + row;
    if constexpr (cell == MomentumCell::kLstm)
      row_back_products(g, memory, w.w_hh, 4 * H, H, active, all, false, d_h, R);
    else
      row_back_products(g, memory, w.w_hh, 3 * H, H, active,
                        HiddenLines<T>{gates + lane, lanes, 2 * H, H}, true, d_h, R);
  }
}

LPGD_END_NAMESPACE
