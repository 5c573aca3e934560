// The per-coordinate form: the same small cells at every row, rows in lanes. A block of rows and
// its states stay in L1 from the first layer to the momentum; weights are broadcast from L1. The
// backward pass computes the gates again, which costs less than to write and read them.
#pragma once

#include "lanes.h"
#include "momentum.h"

LPGD_BEGIN_NAMESPACE

template <class T>
struct CoordinateBlock {
  static constexpr int rows = 256 / static_cast<int>(sizeof(T));
  static constexpr int packs = rows / wide_lanes<T>();
  // Registers of rows at a time, beside four gates: with two multiply-adds a cycle, eight sums are
  // not enough to hide their latency.
  static constexpr int tile = sizeof(Wide<T>) == 64 ? 4 : packs % 2 == 0 ? 2 : 1;
};

// What a layer's gates are multiplied with for its weight gradients: [inputs | 1 | h] of every row.
// A line of these is padded with zeros, so that whole registers fit from the first two on.
template <class T>
LPGD_INLINE int joint_line(int layers, int hidden) {
  constexpr int W = wide_lanes<T>();
  const int inputs = layers > 1 ? hidden : 1, from_one = (hidden + 1 + W - 1) / W * W;
  return (inputs + from_one + W - 1) / W * W;
}

// Where a block's arrays are in the workspace; each is a multiple of `rows` long.
template <class T>
struct CoordinateWork {
  T *x, *h, *c, *gates, *h_out;
  T* c_out;  // in a backward pass, tanh c'
  T *d_h, *d_c, *d_in, *d_prev;
  T* joint;     // of each layer [rows, joint_line]
  T* products;  // of each layer [4 H, joint_line]: the weight gradients so far

  // numbers needed; forward alone needs no more than the backward pass
  static std::size_t scalars(int layers, int hidden) {
    const std::size_t state = static_cast<std::size_t>(layers) * hidden;
    const std::size_t line = joint_line<T>(layers, hidden);
    return CoordinateBlock<T>::rows *
               (2 + 8 * state + 4 * static_cast<std::size_t>(hidden) + layers * line) +
           4 * state * line;
  }
  void bind(int layers, int hidden, T* memory) {
    constexpr std::size_t R = CoordinateBlock<T>::rows;
    const std::size_t state = R * static_cast<std::size_t>(layers) * hidden;
    const std::size_t layer = R * static_cast<std::size_t>(hidden);
    auto take = [&memory](std::size_t count) {
      T* out = memory;
      memory += count;
      return out;
    };
    x = take(R);
    h = take(state);
    c = take(state);
    gates = take(4 * state);
    h_out = take(state);
    c_out = take(state);
    d_h = take(layer);
    d_c = take(layer);
    d_in = take(layer + R);
    d_prev = take(layer);
    const std::size_t line = joint_line<T>(layers, hidden);
    joint = take(R * layers * line);
    products = take(4 * static_cast<std::size_t>(layers) * hidden * line);
  }
};

// sums over [count] inputs of 4 (GRU: 3) rows of w, for a tile of P registers of rows
template <int R, int P, class T>
LPGD_INLINE void tile_products(const T* w, std::int64_t stride, const T* in, int count,
                               Wide<T> (&acc)[R][P]) {
  using S = Wide<T>;
  for (int m = 0; m < count; ++m) {
    S value[P];
    LPGD_UNROLL
    for (int p = 0; p < P; ++p)
      value[p] = load<S>(in + m * CoordinateBlock<T>::rows + p * wide_lanes<T>());
    add_multiples(w + m, stride, value, acc);
  }
}

template <int R, int P, class T>
LPGD_INLINE void tile_bias(const T* bias, int stride, Wide<T> (&acc)[R][P]) {
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) acc[r][p] = Wide<T>(bias[r * stride]);
}

// One layer on a block. `gates` may be null: then they are not kept. With them, c_out gets tanh c'.
template <class T>
void coordinate_layer(MomentumCell cell, const CellWeights<T>& w, int inputs, int hidden,
                      const T* in, const T* h, const T* c, T* gates, T* h_out, T* c_out) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  constexpr int P = CoordinateBlock<T>::tile;
  const int H = hidden;
  for (int j = 0; j < H; ++j) {
    const T* w_ih = w.w_ih + static_cast<std::int64_t>(j) * inputs;
    const T* w_hh = w.w_hh + static_cast<std::int64_t>(j) * H;
    const std::int64_t ih = static_cast<std::int64_t>(H) * inputs,
                       hh = static_cast<std::int64_t>(H) * H;
    for (int at = 0; at < R; at += P * W) {
      Gates<S> g[P];
      if (cell == MomentumCell::kLstm) {
        S acc[4][P];
        for (int r = 0; r < 4; ++r)
          for (int p = 0; p < P; ++p) acc[r][p] = S(w.b_ih[r * H + j] + w.b_hh[r * H + j]);
        tile_products<4, P>(w_ih, ih, in + at, inputs, acc);
        tile_products<4, P>(w_hh, hh, h + at, H, acc);
        for (int p = 0; p < P; ++p) g[p] = {acc[0][p], acc[1][p], acc[2][p], acc[3][p]};
      } else {
        S acc[3][P], from_h[3][P];
        tile_bias<3, P>(w.b_ih + j, H, acc);
        tile_bias<3, P>(w.b_hh + j, H, from_h);
        tile_products<3, P>(w_ih, ih, in + at, inputs, acc);
        tile_products<3, P>(w_hh, hh, h + at, H, from_h);
        for (int p = 0; p < P; ++p)
          g[p] = {acc[0][p] + from_h[0][p], acc[1][p] + from_h[1][p], acc[2][p], from_h[2][p]};
      }
      S new_c[P], new_h[P], squashed[P];
      if (cell == MomentumCell::kLstm) {
        // in two passes: tanh c' is a long chain behind another one, and the next gates are
        // independent
        LPGD_UNROLL
        for (int p = 0; p < P; ++p) lstm_gates(g[p], load<S>(c + j * R + at + p * W), new_c[p]);
        LPGD_UNROLL
        for (int p = 0; p < P; ++p) {
          squashed[p] = tanh_of(new_c[p]);
          new_h[p] = g[p].d * squashed[p];
        }
      } else {
        for (int p = 0; p < P; ++p) gru_cell(g[p], load<S>(h + j * R + at + p * W), new_h[p]);
      }
      for (int p = 0; p < P; ++p) {
        const int here = j * R + at + p * W;
        if (cell == MomentumCell::kLstm)
          store(c_out + here, gates != nullptr ? squashed[p] : new_c[p]);
        store(h_out + here, new_h[p]);
        if (gates != nullptr) {
          store(gates + here, g[p].a);
          store(gates + H * R + here, g[p].b);
          store(gates + 2 * H * R + here, g[p].c);
          store(gates + 3 * H * R + here, g[p].d);
        }
      }
    }
  }
}

// Rows [row, row + count) of `lines` arrays that lie `stride` apart, padded with zeros.
template <class T>
LPGD_INLINE void gather(const T* from, std::int64_t stride, int lines, int count, T* to) {
  constexpr int R = CoordinateBlock<T>::rows;
  for (int m = 0; m < lines; ++m) {
    for (int i = 0; i < count; ++i) to[m * R + i] = from[m * stride + i];
    for (int i = count; i < R; ++i) to[m * R + i] = T(0);
  }
}

template <class T>
LPGD_INLINE void scatter(const T* from, std::int64_t stride, int lines, int count, T* to) {
  constexpr int R = CoordinateBlock<T>::rows;
  for (int m = 0; m < lines; ++m)
    for (int i = 0; i < count; ++i) to[m * stride + i] = from[m * R + i];
}

// All layers of the block at `row`; work holds its inputs, states and (keep) gates.
template <class T>
void coordinate_cells(const CoordinateTask<T>& task, std::int64_t row, int count, bool keep,
                      CoordinateWork<T>& work) {
  constexpr int R = CoordinateBlock<T>::rows;
  const int H = task.hidden, L = task.layers;
  gather(task.x + row, task.rows, 1, count, work.x);
  gather(task.h + row, task.rows, L * H, count, work.h);
  if (task.cell == MomentumCell::kLstm) gather(task.c + row, task.rows, L * H, count, work.c);
  for (int l = 0; l < L; ++l) {
    const int at = l * H * R;
    coordinate_layer(task.cell, task.weights[l], l == 0 ? 1 : H, H,
                     l == 0 ? work.x : work.h_out + at - H * R, work.h + at, work.c + at,
                     keep ? work.gates + 4 * at : nullptr, work.h_out + at, work.c_out + at);
  }
}

template <class T>
void coordinate_forward(const CoordinateTask<T>& task, std::int64_t begin, std::int64_t end,
                        void* workspace) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  const int H = task.hidden, L = task.layers;
  CoordinateWork<T> work;
  work.bind(L, H, static_cast<T*>(workspace));
  for (std::int64_t row = begin; row < end; row += R) {
    const int count = static_cast<int>(end - row < R ? end - row : R);
    coordinate_cells(task, row, count, false, work);
    for (int i = 0; i < R; i += W) {
      S v(task.b_out[0]);
      for (int m = 0; m < L * H; ++m)
        v += broadcast<S>(task.w_out[m]) * load<S>(work.h_out + m * R + i);
      store(work.x + i, v);
    }
    scatter(work.x, task.rows, 1, count, task.v + row);
    scatter(work.h_out, task.rows, L * H, count, task.h_out + row);
    if (task.cell == MomentumCell::kLstm)
      scatter(work.c_out, task.rows, L * H, count, task.c_out + row);
  }
}

LPGD_END_NAMESPACE
