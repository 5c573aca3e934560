// Products of a matrix with the rows of a batch, items in lanes. A block of items is transposed to
// lines, one number of every item side by side; numbers of the matrix are broadcast from where they
// lie, so that it needs no packing, whatever its shape. Host only.
#pragma once

#include "lane_shuffles.h"

LPGD_BEGIN_NAMESPACE

// P registers of items
template <class T, int P>
struct ItemBlock {
  static constexpr int lanes = wide_lanes<T>();
  static constexpr int items = P * lanes;
  static constexpr bool sixteen = sizeof(Wide<T>) == 32;  // registers; else 32
  // Outputs at a time: enough sums to hide the latency of additions, and no more lines of the
  // matrix than a set of the first cache holds, since with a stride of 4 KiB all are in one.
  static constexpr int rows = P == 1 ? 8 : (sixteen ? 12 : P == 2 ? 16 : 24) / P;
  // Where outputs are columns of the matrix: rows of it that all outputs use while they are in the
  // first cache. Each time the sums are read and written again.
  static constexpr int depth = P == 1 ? 8 : P == 2 ? 32 : 64;
  // Inputs at a time: a pointer to a row of the matrix, fetched once, serves as many broadcasts.
  static constexpr int inputs = !sixteen ? 4 / P : P == 1 ? 2 : 1;
};

// As many registers as they have lanes, rows to columns: each round takes every number's place, row
// and lane in one word, round by a bit.
template <class S>
LPGD_INLINE void transpose_lanes(S (&v)[ScalarTraits<S>::lanes]) {
  constexpr int W = ScalarTraits<S>::lanes;
  if constexpr (W > 1) {
    LPGD_UNROLL_ALL
    for (int round = 1; round < W; round *= 2) {
      S out[W];
      LPGD_UNROLL_ALL
      for (int i = 0; i < W / 2; ++i) {
        out[2 * i] = zip_low(v[i], v[i + W / 2]);
        out[2 * i + 1] = zip_high(v[i], v[i + W / 2]);
      }
      LPGD_UNROLL_ALL
      for (int i = 0; i < W; ++i) v[i] = out[i];
    }
  }
}

// Columns 0..count of `items` rows that lie `stride` apart, to lines; zeros for absent items.
template <int P, class T>
LPGD_INLINE void lines_of_rows(const T* rows, std::int64_t stride, int items, int count, T* lines) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>(), M = ItemBlock<T, P>::items;
  for (int first = 0; first < M; first += W) {
    for (int k = 0; k < count; k += W) {
      const T* from = rows + first * stride + k;
      const int here = count - k < W ? count - k : W;
      S v[W];
      if (here == W && first + W <= items) {
        LPGD_UNROLL_ALL
        for (int i = 0; i < W; ++i) v[i] = load<S>(from + i * stride);
      } else {
        for (int i = 0; i < W; ++i)
          v[i] = first + i < items ? load_some<S>(from + i * stride, here) : S(T(0));
      }
      transpose_lanes(v);
      T* to = lines + k * M + first;
      if (here == W) {
        LPGD_UNROLL_ALL
        for (int i = 0; i < W; ++i) store(to + i * M, v[i]);
      } else {
        for (int i = 0; i < here; ++i) store(to + i * M, v[i]);
      }
    }
  }
}

// And back.
template <int P, class T>
LPGD_INLINE void rows_of_lines(const T* lines, int items, int count, T* rows, std::int64_t stride) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>(), M = ItemBlock<T, P>::items;
  for (int first = 0; first < items; first += W) {
    const int present = items - first < W ? items - first : W;
    for (int k = 0; k < count; k += W) {
      const T* from = lines + k * M + first;
      const int here = count - k < W ? count - k : W;
      S v[W];
      if (here == W) {
        LPGD_UNROLL_ALL
        for (int i = 0; i < W; ++i) v[i] = load<S>(from + i * M);
      } else {
        for (int i = 0; i < W; ++i) v[i] = i < here ? load<S>(from + i * M) : S(T(0));
      }
      transpose_lanes(v);
      T* to = rows + first * stride + k;
      if (here == W && present == W) {
        LPGD_UNROLL_ALL
        for (int i = 0; i < W; ++i) store(to + i * stride, v[i]);
      } else {
        for (int i = 0; i < present; ++i) store_some(to + i * stride, v[i], here);
      }
    }
  }
}

// Asks for the line `ahead` numbers on to be in the second-level cache. Whatever lies there: the
// address need not be one of the array's.
template <class T>
LPGD_INLINE void fetch_ahead(const T* from, std::int64_t ahead) {
  const auto address = reinterpret_cast<std::uintptr_t>(from);
  __builtin_prefetch(
      reinterpret_cast<const void*>(address + static_cast<std::uintptr_t>(ahead) * sizeof(T)), 0,
      2);
}

// A matrix as a product reads it: its rows make outputs, w [outputs, inputs]... What lies `ahead`
// numbers behind is the part of the matrix that the next product reads.
template <class T>
struct ByRows {
  const T* data;
  std::int64_t stride;
  std::int64_t ahead = 0;
  LPGD_INLINE ByRows output(int r) const { return {data + r * stride, stride, ahead}; }
  LPGD_INLINE ByRows inputs(std::int64_t k, std::int64_t count) const {
    return {data + k, stride, count};
  }
};
// ... or its columns do, w [inputs, outputs].
template <class T>
struct ByColumns {
  const T* data;
  std::int64_t stride;
  std::int64_t ahead = 0;
  LPGD_INLINE ByColumns output(int r) const { return {data + r, stride, ahead}; }
  LPGD_INLINE ByColumns inputs(std::int64_t k, std::int64_t count) const {
    return {data + k * stride, stride, count * stride};
  }
};

// R lines of out += sum over inputs k of w(r, k) in_k
template <int R, int P, class T>
LPGD_INLINE void item_tile(const ByRows<T>& w, int inputs, const T* in, T* out) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>(), M = ItemBlock<T, P>::items, K = ItemBlock<T, P>::inputs;
  constexpr int kLine = 64 / static_cast<int>(sizeof(T));
  S acc[R][P];
  LPGD_UNROLL_ALL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) acc[r][p] = load<S>(out + r * M + p * W);
  }
  int k = 0;
  for (; k + K <= inputs; k += K) {
    if (k % kLine == 0) {
      LPGD_UNROLL_ALL
      for (int r = 0; r < R; ++r) fetch_ahead(w.data + r * w.stride + k, w.ahead);
    }
    S value[K][P];
    LPGD_UNROLL_ALL
    for (int i = 0; i < K; ++i) {
      LPGD_UNROLL_ALL
      for (int p = 0; p < P; ++p) value[i][p] = load<S>(in + (k + i) * M + p * W);
    }
    LPGD_UNROLL_ALL
    for (int r = 0; r < R; ++r) {
      const T* from = w.data + r * w.stride + k;
      LPGD_UNROLL_ALL
      for (int i = 0; i < K; ++i) {
        const S factor = broadcast<S>(from[i]);
        LPGD_UNROLL_ALL
        for (int p = 0; p < P; ++p) acc[r][p] += factor * value[i][p];
      }
    }
  }
  for (; k < inputs; ++k) {
    LPGD_UNROLL_ALL
    for (int r = 0; r < R; ++r) {
      const S factor = broadcast<S>(w.data[r * w.stride + k]);
      LPGD_UNROLL_ALL
      for (int p = 0; p < P; ++p) acc[r][p] += factor * load<S>(in + k * M + p * W);
    }
  }
  LPGD_UNROLL_ALL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) store(out + r * M + p * W, acc[r][p]);
  }
}

template <int R, int P, class T>
LPGD_INLINE void item_tile(const ByColumns<T>& w, int inputs, const T* in, T* out) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>(), M = ItemBlock<T, P>::items;
  S acc[R][P];
  LPGD_UNROLL_ALL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) acc[r][p] = load<S>(out + r * M + p * W);
  }
  const T* from = w.data;
  for (int k = 0; k < inputs; ++k, from += w.stride) {
    S value[P];
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) value[p] = load<S>(in + k * M + p * W);
    fetch_ahead(from, w.ahead);
    add_multiples(from, 1, value, acc);
  }
  LPGD_UNROLL_ALL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) store(out + r * M + p * W, acc[r][p]);
  }
}

// The outputs from r on in tiles of R, the rest in smaller ones.
template <int R, int P, class Matrix, class T>
LPGD_INLINE void item_tiles(const Matrix& w, int r, int outputs, int inputs, const T* in, T* out) {
  constexpr int M = ItemBlock<T, P>::items;
  for (; r + R <= outputs; r += R) item_tile<R, P>(w.output(r), inputs, in, out + r * M);
  if constexpr (R > 1) {
    if (r < outputs) item_tiles<R / 2, P>(w, r, outputs, inputs, in, out);
  }
}

// out_r += sum over inputs k of w(r, k) in_k for all lines r of `outputs`
template <int P, class T>
void item_products(const ByRows<T>& w, int outputs, int inputs, const T* in, T* out) {
  item_tiles<ItemBlock<T, P>::rows, P>(w, 0, outputs, inputs, in, out);
}
template <int P, class T>
void item_products(const ByColumns<T>& w, int outputs, int inputs, const T* in, T* out) {
  using Block = ItemBlock<T, P>;
  for (int k = 0; k < inputs; k += Block::depth) {
    const int here = inputs - k < Block::depth ? inputs - k : Block::depth;
    item_tiles<Block::rows, P>(ByColumns<T>{w.data + k * w.stride, w.stride, w.ahead}, 0, outputs,
                               here, in + k * Block::items, out);
  }
}

LPGD_END_NAMESPACE
