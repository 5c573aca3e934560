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
};

// Where a block's arrays are in the workspace; each is a multiple of `rows` long.
template <class T>
struct CoordinateWork {
  T *x, *h, *c, *gates, *h_out, *c_out, *d_h, *d_c, *d_in, *d_prev;

  // numbers needed; forward alone needs no more than the backward pass
  static std::size_t scalars(int layers, int hidden) {
    const std::size_t state = static_cast<std::size_t>(layers) * hidden;
    return CoordinateBlock<T>::rows * (2 + 8 * state + 4 * static_cast<std::size_t>(hidden));
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
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) {
      const S factor = broadcast<S>(w[r * stride + m]);
      LPGD_UNROLL
      for (int p = 0; p < P; ++p) acc[r][p] += factor * value[p];
    }
  }
}

template <int R, int P, class T>
LPGD_INLINE void tile_bias(const T* bias, int stride, Wide<T> (&acc)[R][P]) {
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) acc[r][p] = Wide<T>(bias[r * stride]);
}

// One layer on a block. `gates` may be null: then they are not kept.
template <class T>
void coordinate_layer(MomentumCell cell, const CellWeights<T>& w, int inputs, int hidden,
                      const T* in, const T* h, const T* c, T* gates, T* h_out, T* c_out) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  constexpr int P = CoordinateBlock<T>::packs % 2 == 0 ? 2 : 1;
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
      for (int p = 0; p < P; ++p) {
        const int here = j * R + at + p * W;
        S new_h;
        if (cell == MomentumCell::kLstm) {
          S new_c;
          lstm_cell(g[p], load<S>(c + here), new_c, new_h);
          store(c_out + here, new_c);
        } else {
          gru_cell(g[p], load<S>(h + here), new_h);
        }
        store(h_out + here, new_h);
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

// sum over the block of a_r b_m, added to out[r * stride + m], for r of `rows` and m of `cols`
// lines
template <class T>
LPGD_INLINE void add_products(const T* a, int rows, const T* b, int cols, T* out, int stride) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  constexpr int kA = 2, kB = 4;
  int r = 0;
  for (; r + kA <= rows; r += kA) {
    int m = 0;
    for (; m + kB <= cols; m += kB) {
      S acc[kA][kB];
      for (auto& line : acc)
        for (S& value : line) value = S(T(0));
      for (int i = 0; i < R; i += W) {
        S left[kA], right[kB];
        LPGD_UNROLL
        for (int p = 0; p < kA; ++p) left[p] = load<S>(a + (r + p) * R + i);
        LPGD_UNROLL
        for (int q = 0; q < kB; ++q) right[q] = load<S>(b + (m + q) * R + i);
        LPGD_UNROLL
        for (int p = 0; p < kA; ++p) {
          LPGD_UNROLL
          for (int q = 0; q < kB; ++q) acc[p][q] += left[p] * right[q];
        }
      }
      for (int p = 0; p < kA; ++p)
        for (int q = 0; q < kB; ++q) out[(r + p) * stride + m + q] += sum_lanes(acc[p][q]);
    }
    for (; m < cols; ++m)
      for (int p = 0; p < kA; ++p) {
        S acc(T(0));
        for (int i = 0; i < R; i += W) acc += load<S>(a + (r + p) * R + i) * load<S>(b + m * R + i);
        out[(r + p) * stride + m] += sum_lanes(acc);
      }
  }
  for (; r < rows; ++r)
    for (int m = 0; m < cols; ++m) {
      S acc(T(0));
      for (int i = 0; i < R; i += W) acc += load<S>(a + r * R + i) * load<S>(b + m * R + i);
      out[r * stride + m] += sum_lanes(acc);
    }
}

template <class T>
LPGD_INLINE void add_sums(const T* a, int rows, T* out) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  for (int r = 0; r < rows; ++r) {
    S acc(T(0));
    for (int i = 0; i < R; i += W) acc += load<S>(a + r * R + i);
    out[r] += sum_lanes(acc);
  }
}

// out[m] (+)= sum_r w[r, m] d[r] for lines m of `cols`; w [rows, cols]
template <class T>
LPGD_INLINE void back_products(const T* w, const T* d, int rows, int cols, bool add, T* out) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  constexpr int P = CoordinateBlock<T>::packs % 2 == 0 ? 2 : 1;
  constexpr int kM = 4;
  for (int at = 0; at < R; at += P * W) {
    for (int m = 0; m < cols; m += kM) {
      const int here = cols - m < kM ? cols - m : kM;
      S acc[kM][P];
      for (int q = 0; q < kM; ++q)
        for (int p = 0; p < P; ++p)
          acc[q][p] = add && q < here ? load<S>(out + (m + q) * R + at + p * W) : S(T(0));
      for (int r = 0; r < rows; ++r) {
        S value[P];
        LPGD_UNROLL
        for (int p = 0; p < P; ++p) value[p] = load<S>(d + r * R + at + p * W);
        T factor[kM] = {};
        if (here == kM) {
          LPGD_UNROLL
          for (int q = 0; q < kM; ++q) factor[q] = w[r * cols + m + q];
        } else {
          for (int q = 0; q < here; ++q) factor[q] = w[r * cols + m + q];
        }
        LPGD_UNROLL
        for (int q = 0; q < kM; ++q) {
          LPGD_UNROLL
          for (int p = 0; p < P; ++p) acc[q][p] += broadcast<S>(factor[q]) * value[p];
        }
      }
      for (int q = 0; q < here; ++q)
        for (int p = 0; p < P; ++p) store(out + (m + q) * R + at + p * W, acc[q][p]);
    }
  }
}

// Gradients of x, h, c for rows [begin, end); those of the weights, summed over these rows, are
// added to `sums` (layout: coordinate_weight_count).
template <class T>
void coordinate_backward(const CoordinateTask<T>& task, std::int64_t begin, std::int64_t end,
                         void* workspace, T* sums) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  const int H = task.hidden, L = task.layers, G = cell_rows(task.cell);
  const bool lstm = task.cell == MomentumCell::kLstm;
  CoordinateWork<T> work;
  work.bind(L, H, static_cast<T*>(workspace));
  std::int64_t starts[kMostLayers + 1] = {};
  for (int l = 0; l < L; ++l)
    starts[l + 1] = starts[l] + static_cast<std::int64_t>(G) * H * ((l == 0 ? 1 : H) + H + 2);
  for (std::int64_t row = begin; row < end; row += R) {
    const int count = static_cast<int>(end - row < R ? end - row : R);
    coordinate_cells(task, row, count, true, work);
    T d_v[R] = {};
    if (task.d_v != nullptr) gather(task.d_v + row, task.rows, 1, count, d_v);
    add_products(d_v, 1, work.h_out, L * H, sums + starts[L], L * H);
    add_sums(d_v, 1, sums + starts[L] + L * H);
    for (int l = L - 1; l >= 0; --l) {
      const int at = l * H * R;
      const std::int64_t line = static_cast<std::int64_t>(l) * H * task.rows + row;
      const int inputs = l == 0 ? 1 : H;
      T* gates = work.gates + 4 * at;
      if (task.d_h_out != nullptr)
        gather(task.d_h_out + line, task.rows, H, count, work.d_h);
      else
        for (int i = 0; i < H * R; ++i) work.d_h[i] = T(0);
      if (lstm && task.d_c_out != nullptr)
        gather(task.d_c_out + line, task.rows, H, count, work.d_c);
      else
        for (int i = 0; i < H * R; ++i) work.d_c[i] = T(0);
      for (int j = 0; j < H; ++j) {
        const S factor(task.w_out[l * H + j]);
        for (int i = 0; i < R; i += W) {
          const int here = j * R + i;
          S d_h = load<S>(work.d_h + here) + factor * load<S>(d_v + i);
          if (l + 1 < L) d_h += load<S>(work.d_in + here);
          const Gates<S> g{load<S>(gates + here), load<S>(gates + H * R + here),
                           load<S>(gates + 2 * H * R + here), load<S>(gates + 3 * H * R + here)};
          Gates<S> d;
          S direct;
          if (lstm) {
            d = lstm_cell_backward(g, load<S>(work.c + at + here), load<S>(work.c_out + at + here),
                                   d_h, load<S>(work.d_c + here), direct);
            store(work.d_c + here, direct);
          } else {
            d = gru_cell_backward(g, load<S>(work.h + at + here), d_h, direct);
            store(work.d_prev + here, direct);
          }
          store(gates + here, d.a);
          store(gates + H * R + here, d.b);
          store(gates + 2 * H * R + here, d.c);
          store(gates + 3 * H * R + here, d.d);
        }
      }
      // The padding rows have gates too: their gradients are zero, since d_h and d_c are.
      T* sum = sums + starts[l];
      T* sum_hh = sum + static_cast<std::int64_t>(G) * H * inputs;
      T* sum_b = sum_hh + static_cast<std::int64_t>(G) * H * H;
      const T* in = l == 0 ? work.x : work.h_out + at - H * R;
      add_products(gates, G * H, in, inputs, sum, inputs);
      add_sums(gates, G * H, sum_b);
      const CellWeights<T>& w = task.weights[l];
      back_products(w.w_ih, gates, G * H, inputs, false, work.d_in);
      if (lstm) {
        add_products(gates, 4 * H, work.h + at, H, sum_hh, H);
        add_sums(gates, 4 * H, sum_b + 4 * H);
        back_products(w.w_hh, gates, 4 * H, H, false, work.d_prev);
        scatter(work.d_c, task.rows, H, count, task.d_c + line);
      } else {  // W_hh meets r, z and q, which is the fourth
        add_products(gates, 2 * H, work.h + at, H, sum_hh, H);
        add_products(gates + 3 * H * R, H, work.h + at, H, sum_hh + 2 * H * H, H);
        add_sums(gates, 2 * H, sum_b + 3 * H);
        add_sums(gates + 3 * H * R, H, sum_b + 5 * H);
        back_products(w.w_hh, gates, 2 * H, H, true, work.d_prev);
        back_products(w.w_hh + 2 * H * H, gates + 3 * H * R, H, H, true, work.d_prev);
      }
      scatter(work.d_prev, task.rows, H, count, task.d_h + line);
      if (l == 0) scatter(work.d_in, task.rows, 1, count, task.d_x + row);
    }
  }
}

LPGD_END_NAMESPACE
