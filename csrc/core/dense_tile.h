// The register tile of dense.h: products of rows with rows.
#pragma once

#include "group.h"
#if !defined(__CUDACC__)
#include "lane_shuffles.h"
#endif

LPGD_BEGIN_NAMESPACE

// 4 x 3 accumulators + 3 + 1 operands fill the 16 registers of AVX2; 7 loads feed 12 multiply-adds.
constexpr int kTileRows = 4;
constexpr int kTileCols = 3;

// Numbers that a group takes at once along a row of scalars S. With more than one, rows are padded
// with zeros to a multiple of it (see row_stride), so that no product has a remainder.
template <class Group, class S>
struct RowVector {
  static constexpr int width = 1;
  using type = S;
};
#if !defined(__CUDACC__)
template <int Bytes>
struct RowVector<VectorGroup<Bytes>, double> {
  static constexpr int width = Bytes / 8;
  using type = Pack<double, width>;
};
template <int Bytes>
struct RowVector<VectorGroup<Bytes>, float> {
  static constexpr int width = Bytes / 4;
  using type = Pack<float, width>;
};
#endif

// `count` rounded up to whole vectors of `width` numbers.
LPGD_HOST_TOO constexpr int row_stride(int count, int width) {
  return (count + width - 1) / width * width;
}

// Keeps a register a register: GCC would rather read it from memory again for each of its products,
// and loads are what a tile waits for.
template <class S>
LPGD_INLINE void hold(S& value) {
#if !defined(__CUDACC__) && defined(__AVX2__)
  constexpr std::size_t kRegister = sizeof(Wide<RealOf<S>>);
  if constexpr (ScalarTraits<S>::lanes > 1 && sizeof(S) <= kRegister) asm("" : "+v"(value.v));
#else
  (void)value;
#endif
}

// acc[r][c] += sign * sum_k a[r][k] * b[c][k] over k = first, first + step, ... < count
template <int Sign, int R, int C, class S>
LPGD_INLINE void dot_tile(const S* a, int lda, const S* b, int ldb, int first, int step, int count,
                          S (&acc)[R][C]) {
  LPGD_ROLLED
  for (int k = first; k < count; k += step) {
    S right[C];
    LPGD_UNROLL
    for (int c = 0; c < C; ++c) right[c] = b[c * ldb + k];
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) {
      S left = a[r * lda + k];
      hold(left);
      LPGD_UNROLL
      for (int c = 0; c < C; ++c) {
        if constexpr (Sign > 0)
          acc[r][c] += left * right[c];
        else
          acc[r][c] -= left * right[c];
      }
    }
  }
}

// The same with a vector of k at a time, one sum for each lane; `count` in whole vectors.
template <int Sign, int R, int C, class V, class S>
LPGD_INLINE void dot_vectors(const S* a, int lda, const S* b, int ldb, int count, V (&acc)[R][C]) {
  for (int k = 0; k < count; k += ScalarTraits<V>::lanes) {
    V right[C];
    LPGD_UNROLL
    for (int c = 0; c < C; ++c) right[c] = V::load(b + c * ldb + k);
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) {
      V left = V::load(a + r * lda + k);
      hold(left);
      LPGD_UNROLL
      for (int c = 0; c < C; ++c) {
        if constexpr (Sign > 0)
          acc[r][c] += left * right[c];
        else
          acc[r][c] -= left * right[c];
      }
    }
  }
}

// acc[r][c] += the sum of the lanes of sums[r][c]
template <int R, int C, class V, class S>
LPGD_INLINE void add_lane_sums(const V (&sums)[R][C], S (&acc)[R][C]) {
  constexpr int W = ScalarTraits<V>::lanes;
  LPGD_UNROLL
  for (int first = 0; first < R * C; first += W) {
    S out[W];
    store(out, lane_sums(sums, first));
    LPGD_UNROLL
    for (int i = 0; i < W; ++i)
      if (first + i < R * C) acc[(first + i) / C][(first + i) % C] += out[i];
  }
}

// acc[r][c] += sum over k < whole of a[r][k] * b[c][k] - sum over k < old of a_old[r][k] *
// b_old[c][k]: by one lane alone. The first part is left out for a null a.
template <int R, int C, class Group, class S>
LPGD_INLINE void dot_tiles(const S* a, const S* b, int ld, int whole, const S* a_old,
                           const S* b_old, int ld_old, int old, S (&acc)[R][C]) {
  constexpr int kWidth = RowVector<Group, S>::width;
  if constexpr (kWidth > 1) {
    using V = typename RowVector<Group, S>::type;
    V sums[R][C];
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) {
      LPGD_UNROLL
      for (int c = 0; c < C; ++c) sums[r][c] = V(S(0));
    }
    if (a) dot_vectors<1, R, C, V>(a, ld, b, ld, row_stride(whole, kWidth), sums);
    dot_vectors<-1, R, C, V>(a_old, ld_old, b_old, ld_old, row_stride(old, kWidth), sums);
    add_lane_sums(sums, acc);
  } else {
    if (a) dot_tile<1, R, C>(a, ld, b, ld, 0, 1, whole, acc);
    dot_tile<-1, R, C>(a_old, ld_old, b_old, ld_old, 0, 1, old, acc);
  }
}

// acc[r][c] += sum over k < count of a[r][k] * b[c][k], by one lane alone. `exact`: what follows
// the rows is not zero.
template <int R, int C, class Group, class S>
LPGD_INLINE void dot_tile_alone(const S* a, int lda, const S* b, int ldb, int count, bool exact,
                                S (&acc)[R][C]) {
  constexpr int kWidth = RowVector<Group, S>::width;
  if constexpr (kWidth > 1) {
    using V = typename RowVector<Group, S>::type;
    V sums[R][C];
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) {
      LPGD_UNROLL
      for (int c = 0; c < C; ++c) sums[r][c] = V(S(0));
    }
    const int vectors = exact ? count / kWidth * kWidth : row_stride(count, kWidth);
    dot_vectors<1, R, C, V>(a, lda, b, ldb, vectors, sums);
    add_lane_sums(sums, acc);
    if (exact) dot_tile<1, R, C>(a, lda, b, ldb, vectors, 1, count, acc);
  } else {
    dot_tile<1, R, C>(a, lda, b, ldb, 0, 1, count, acc);
  }
}

// acc[r][c] += the sum over all k < count, of which this lane does its share; the shares of all
// lanes are to be added.
template <int R, int C, class Group, class S>
LPGD_INLINE void dot_tile_shared(const Group& g, const S* a, int lda, const S* b, int ldb,
                                 int count, bool exact, S (&acc)[R][C]) {
  if constexpr (RowVector<Group, S>::width > 1)
    dot_tile_alone<R, C, Group>(a, lda, b, ldb, count, exact, acc);
  else
    dot_tile<1, R, C>(a, lda, b, ldb, g.lane(), g.size(), count, acc);
}

// y[k] += sum_r coefficient[r] * mat[r][k] for k < count, R rows of stride `ld`.
template <int R, class Group, class S>
LPGD_INLINE void add_rows(const Group& g, const S* mat, int ld, const S (&coefficient)[R],
                          int count, S* y) {
  constexpr int kWidth = RowVector<Group, S>::width;
  int done = 0;
  if constexpr (kWidth > 1) {
    using V = typename RowVector<Group, S>::type;
    for (; done + kWidth <= count; done += kWidth) {
      V sum = V::load(y + done);
      LPGD_UNROLL
      for (int r = 0; r < R; ++r) sum += V(coefficient[r]) * V::load(mat + r * ld + done);
      sum.store(y + done);
    }
  }
  for (int k = done + g.lane(); k < count; k += g.size()) {
    S sum = y[k];
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) sum += coefficient[r] * mat[r * ld + k];
    y[k] = sum;
  }
}

LPGD_END_NAMESPACE
