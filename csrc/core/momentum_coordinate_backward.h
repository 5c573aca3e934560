// The per-coordinate form backward. Weight gradients are sums over rows: a block's [inputs | 1 | h]
// is transposed, so that the columns of a gradient are lanes and nothing is summed over lanes.
#pragma once

#include "momentum_coordinate.h"

LPGD_BEGIN_NAMESPACE

// out[r, 0..C) += sum over the block of a_r joint, for P lines of a and C registers of every row
template <int P, int C, class V, class T>
LPGD_INLINE void product_tile(const T* a, const T* joint, int line, T* out) {
  constexpr int R = CoordinateBlock<T>::rows, W = ScalarTraits<V>::lanes;
  V acc[P][C];
  LPGD_UNROLL
  for (int p = 0; p < P; ++p) {
    LPGD_UNROLL
    for (int c = 0; c < C; ++c) acc[p][c] = V(T(0));
  }
  for (int i = 0; i < R; ++i) {
    V right[C];
    LPGD_UNROLL
    for (int c = 0; c < C; ++c) right[c] = load<V>(joint + i * line + c * W);
    add_multiples(a + i, R, right, acc);
  }
  LPGD_UNROLL
  for (int p = 0; p < P; ++p) {
    LPGD_UNROLL
    for (int c = 0; c < C; ++c) {
      T* here = out + p * line + c * W;
      store(here, load<V>(here) + acc[p][c]);
    }
  }
}

template <int C, class V, class T>
LPGD_INLINE void product_columns(const T* a, int rows, const T* joint, int line, T* out) {
  constexpr int R = CoordinateBlock<T>::rows;
  constexpr int P = C == 1 || sizeof(Wide<T>) == 64 ? 8 : 4;  // half of the registers for sums
  int r = 0;
  for (; r + P <= rows; r += P) product_tile<P, C, V>(a + r * R, joint, line, out + r * line);
  for (; r < rows; ++r) product_tile<1, C, V>(a + r * R, joint, line, out + r * line);
}

// The sums over the block of a_r joint_m, added to out[r, m], for r of `rows` lines of a and m of
// `columns`, or a few more.
template <class T>
LPGD_INLINE void joint_products(const T* a, int rows, const T* joint, int columns, int line,
                                T* out) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  int m = 0;
  for (; columns - m > W; m += 2 * W) {
    if (columns - m <= W + W / 2) break;
    product_columns<2, S>(a, rows, joint + m, line, out + m);
  }
  for (; m < columns; m += W) {
    if constexpr (W >= 8) {
      using Half = Pack<T, W / 2>;
      if (columns - m <= W / 2) {
        product_columns<1, Half>(a, rows, joint + m, line, out + m);
        continue;
      }
    }
    product_columns<1, S>(a, rows, joint + m, line, out + m);
  }
}

// Lines of a block to columns of a matrix whose rows are `line` long.
template <class T>
LPGD_INLINE void transpose_lines(const T* from, int lines, T* to, int line) {
  constexpr int R = CoordinateBlock<T>::rows;
  for (int m = 0; m < lines; ++m)
    for (int i = 0; i < R; ++i) to[i * line + m] = from[m * R + i];
}

// Sums over the block, of products of two lines and of one.
template <class T>
LPGD_INLINE T product_of_lines(const T* a, const T* b) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  S acc(T(0));
  for (int i = 0; i < R; i += W) acc += load<S>(a + i) * load<S>(b + i);
  return sum_lanes(acc);
}
template <class T>
LPGD_INLINE T sum_of_line(const T* a) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  S acc(T(0));
  for (int i = 0; i < R; i += W) acc += load<S>(a + i);
  return sum_lanes(acc);
}

// out[m] (+)= sum_r w[r, m] d[r] for lines m of `cols`; w [rows, cols]
template <class T>
LPGD_INLINE void back_products(const T* w, const T* d, int rows, int cols, bool add, T* out) {
  using S = Wide<T>;
  constexpr int R = CoordinateBlock<T>::rows, W = wide_lanes<T>();
  constexpr int P = CoordinateBlock<T>::tile;
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
        add_multiples(factor, 1, value, acc);
      }
      for (int q = 0; q < here; ++q)
        for (int p = 0; p < P; ++p) store(out + (m + q) * R + at + p * W, acc[q][p]);
    }
  }
}

// The products of one layer, added to the gradients of W_ih, W_hh, b_ih, b_hh.
template <class T>
LPGD_INLINE void add_weight_gradients(MomentumCell cell, const T* products, int line, int inputs,
                                      int H, T* out) {
  const int rows = cell_rows(cell) * H;
  // the third gate of a GRU meets h in the buffer's fourth place
  const auto of_h = [&](int r) {
    const int place = cell == MomentumCell::kGru && r >= 2 * H ? r + H : r;
    return products + place * line + inputs;
  };
  for (int r = 0; r < rows; ++r)
    for (int m = 0; m < inputs; ++m) *out++ += products[r * line + m];
  for (int r = 0; r < rows; ++r)
    for (int m = 0; m < H; ++m) *out++ += of_h(r)[1 + m];
  for (int r = 0; r < rows; ++r) *out++ += products[r * line + inputs];
  for (int r = 0; r < rows; ++r) *out++ += of_h(r)[0];
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
  const int wide = joint_line<T>(L, H);
  for (int i = 0; i < L * (R + 4 * H) * wide; ++i) work.joint[i] = T(0);  // and the products
  for (std::int64_t row = begin; row < end; row += R) {
    const int count = static_cast<int>(end - row < R ? end - row : R);
    coordinate_cells(task, row, count, true, work);
    T d_v[R] = {};
    if (task.d_v != nullptr) gather(task.d_v + row, task.rows, 1, count, d_v);
    for (int m = 0; m < L * H; ++m)
      sums[starts[L] + m] += product_of_lines(d_v, work.h_out + m * R);
    sums[starts[L] + L * H] += sum_of_line(d_v);
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
      T* products = work.products + static_cast<std::int64_t>(4 * l) * H * wide;
      T* joint = work.joint + l * R * wide;
      transpose_lines(l == 0 ? work.x : work.h_out + at - H * R, inputs, joint, wide);
      for (int i = 0; i < R; ++i) joint[i * wide + inputs] = T(1);
      transpose_lines(work.h + at, H, joint + inputs + 1, wide);
      const CellWeights<T>& w = task.weights[l];
      back_products(w.w_ih, gates, G * H, inputs, false, work.d_in);
      if (lstm) {
        joint_products(gates, 4 * H, joint, inputs + 1 + H, wide, products);
        back_products(w.w_hh, gates, 4 * H, H, false, work.d_prev);
        scatter(work.d_c, task.rows, H, count, task.d_c + line);
      } else {  // W_ih meets r, z and n, W_hh meets r, z and q, the fourth
        joint_products(gates, 2 * H, joint, inputs + 1 + H, wide, products);
        joint_products(gates + 2 * H * R, H, joint, inputs + 1, wide, products + 2 * H * wide);
        joint_products(gates + 3 * H * R, H, joint + inputs, 1 + H, wide,
                       products + 3 * H * wide + inputs);
        back_products(w.w_hh, gates, 2 * H, H, true, work.d_prev);
        back_products(w.w_hh + 2 * H * H, gates + 3 * H * R, H, H, true, work.d_prev);
      }
      scatter(work.d_prev, task.rows, H, count, task.d_h + line);
      if (l == 0) scatter(work.d_in, task.rows, 1, count, task.d_x + row);
    }
  }
  for (int l = 0; l < L; ++l)
    add_weight_gradients(task.cell, work.products + 4 * l * H * wide, wide, l == 0 ? 1 : H, H,
                         sums + starts[l]);
}

LPGD_END_NAMESPACE
