// Dense kernels on row-major matrices, over a Scalar (a number, or a pack of problems) and a Group.
//
// Everything is arranged as products of rows with rows, so that one register tile does the work of
// the normal matrix G'WG, of Cholesky, of the triangular solve for A and of the Schur complement.
#pragma once

#include "dense_tile.h"

LPGD_BEGIN_NAMESPACE

// The matrix to factor: base_scale * base + fixed + diag + rows * diag(weight) * rows', of which
// any part but diag may be absent.
template <class S>
struct NormalMatrix {
  int n, ld;  // ld: numbers from one row of `base` and `fixed` to the next
  S base_scale;
  const S* base;    // [n, n] or null
  const S* fixed;   // [n, n] or null; lower triangle
  const S* diag;    // [n]
  const S* rows;    // [n, m] or null
  const S* weight;  // [m] or null for ones
  int m, ld_rows;   // ld_rows: numbers from one row of `rows` to the next
  S* panel;         // [kTileCols, ld_rows] scratch, needed with weights
};

template <class S>
struct Factor {
  int n, ld;
  S* lower;    // [n, ld] row-major, lower triangle used
  S* inverse;  // [n] inverse pivots; 0 where the pivot was dropped
};

namespace detail {

// What is there of an entry before any product.
template <class S>
LPGD_INLINE S plain_part(const NormalMatrix<S>& mat, int row, int col) {
  S value = mat.base ? mat.base_scale * mat.base[row * mat.ld + col] : S(0);
  if (mat.fixed) value += mat.fixed[row * mat.ld + col];
  return value;
}

template <int C, class S>
struct PanelDiagonal {
  S lower[C][C];
  S inverse[C];
};

// Finish R rows of a panel: subtract nothing more, only the triangular solve with its C x C head.
template <int R, int C, class S>
LPGD_INLINE void solve_panel_rows(const PanelDiagonal<C, S>& head, S (&acc)[R][C]) {
  LPGD_UNROLL
  for (int c = 0; c < C; ++c) {
    LPGD_UNROLL
    for (int r = 0; r < R; ++r) {
      S value = acc[r][c];
      LPGD_UNROLL
      for (int d = 0; d < c; ++d) value -= acc[r][d] * head.lower[c][d];
      acc[r][c] = value * head.inverse[c];
    }
  }
}

// What follows a finished panel is zero until it is computed, up to a whole vector: products with
// the panels so far have no remainder.
template <int C, class Group, class S>
LPGD_INLINE void clear_after(const Factor<S>& f, int row, int col) {
  constexpr int kWidth = RowVector<Group, S>::width;
  if constexpr (kWidth > 1) {
    const int end = row_stride(col + C, kWidth);
    for (int k = col + C; k < end; ++k) f.lower[row * f.ld + k] = S(0);
  }
}

template <int R, int C, class Group, class S>
LPGD_INLINE void factor_rows(const NormalMatrix<S>& mat, const Factor<S>& f, const S* right,
                             const PanelDiagonal<C, S>& head, int row, int col) {
  S acc[R][C];
  LPGD_UNROLL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL
    for (int c = 0; c < C; ++c) acc[r][c] = plain_part(mat, row + r, col + c);
  }
  dot_tiles<R, C, Group>(mat.rows ? mat.rows + row * mat.ld_rows : nullptr, right, mat.ld_rows,
                         mat.m, f.lower + row * f.ld, f.lower + col * f.ld, f.ld, col, acc);
  solve_panel_rows<R, C>(head, acc);
  LPGD_UNROLL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL
    for (int c = 0; c < C; ++c) f.lower[(row + r) * f.ld + col + c] = acc[r][c];
    clear_after<C, Group>(f, row + r, col);
  }
}

template <int C, class S, class Group>
LPGD_INLINE S factor_panel(const Group& g, const NormalMatrix<S>& mat, const Factor<S>& f, int col,
                           S min_pivot) {
  using T = RealOf<S>;
  const int n = mat.n;
  const int ldr = mat.ld_rows;
  const S* right = mat.rows ? mat.rows + col * ldr : nullptr;
  if (mat.rows && mat.weight) {
    for (int c = 0; c < C; ++c)
      LPGD_FOR (g, k, mat.m) mat.panel[c * ldr + k] = mat.weight[k] * right[c * ldr + k];
    right = mat.panel;
    g.sync();
  }
  // The head of the panel: every lane holds all of it, the long sums are shared out.
  S head_sum[C][C];
  S head_old[C][C];
  for (int r = 0; r < C; ++r)
    for (int c = 0; c < C; ++c) head_sum[r][c] = head_old[r][c] = S(0);
  if (mat.rows)
    dot_tile_shared<C, C>(g, mat.rows + col * ldr, ldr, right, ldr, mat.m, false, head_sum);
  const S* old = f.lower + col * f.ld;
  dot_tile_shared<C, C>(g, old, f.ld, old, f.ld, col, false, head_old);
  PanelDiagonal<C, S> head;
  LPGD_UNROLL
  for (int r = 0; r < C; ++r) {
    S reference = S(0);
    LPGD_UNROLL
    for (int c = 0; c <= r; ++c) {
      S value = g.sum(head_sum[r][c]) + plain_part(mat, col + r, col + c);
      if (c == r) {
        value += mat.diag[col + r];
        reference = value;
      }
      value -= g.sum(head_old[r][c]);
      LPGD_UNROLL
      for (int d = 0; d < c; ++d) value -= head.lower[r][d] * head.lower[c][d];
      if (c < r) {
        head.lower[r][c] = value * head.inverse[c];
      } else {
        // A pivot lost in rounding marks a dependent direction: drop it (its component stays 0).
        const S floor = reference * S(Precision<T>::pivot_floor) + S(Precision<T>::tiny);
        min_pivot = min_of(min_pivot, value);
        const auto keep = less(floor, value);
        const S root = sqrt_of(select(keep, value, S(1)));
        head.lower[r][r] = root;
        head.inverse[r] = select(keep, S(1) / root, S(0));
      }
    }
  }
  if (g.lane() == 0) {
    for (int r = 0; r < C; ++r) {
      for (int c = 0; c <= r; ++c) f.lower[(col + r) * f.ld + col + c] = head.lower[r][c];
      f.inverse[col + r] = head.inverse[r];
    }
  }
  // Every panel row below it on its own: one tile of rows a lane.
  const int below = n - col - C;
  const int tiles = (below + kTileRows - 1) / kTileRows;
  LPGD_FOR (g, tile, tiles) {
    const int row = col + C + tile * kTileRows;
    switch (n - row) {
      case 1:
        factor_rows<1, C, Group>(mat, f, right, head, row, col);
        break;
      case 2:
        factor_rows<2, C, Group>(mat, f, right, head, row, col);
        break;
      case 3:
        factor_rows<3, C, Group>(mat, f, right, head, row, col);
        break;
      default:
        factor_rows<4, C, Group>(mat, f, right, head, row, col);
    }
  }
  g.sync();
  return min_pivot;
}

}  // namespace detail

// Cholesky of `mat` into `f`. Returns the smallest pivot met, before any was dropped: negative
// if the matrix is not semidefinite.
template <class S, class Group>
LPGD_HD S cholesky(const Group& g, const NormalMatrix<S>& mat, const Factor<S>& f) {
  S min_pivot = S(RealOf<S>(1) / Precision<RealOf<S>>::tiny);
  int col = 0;
  for (; col + kTileCols <= mat.n; col += kTileCols)
    min_pivot = detail::factor_panel<kTileCols>(g, mat, f, col, min_pivot);
  if (mat.n - col == 2)
    min_pivot = detail::factor_panel<2>(g, mat, f, col, min_pivot);
  else if (mat.n - col == 1)
    min_pivot = detail::factor_panel<1>(g, mat, f, col, min_pivot);
  return min_pivot;
}

// out = scale * rows * rows', its lower triangle; rows [n, count], `ld` apart.
template <class S, class Group>
LPGD_HD void gram(const Group& g, const S* rows, int n, int count, int ld, S scale, S* out,
                  int ld_out) {
  LPGD_FOR (g, i, n) {
    int j = 0;
    for (; j + kTileCols <= i + 1; j += kTileCols) {
      S sums[1][kTileCols] = {};
      dot_tile_alone<1, kTileCols, Group>(rows + i * ld, ld, rows + j * ld, ld, count, true, sums);
      for (int c = 0; c < kTileCols; ++c) out[i * ld_out + j + c] = scale * sums[0][c];
    }
    for (; j <= i; ++j) {
      S sum[1][1] = {{S(0)}};
      dot_tile_alone<1, 1, Group>(rows + i * ld, ld, rows + j * ld, ld, count, true, sum);
      out[i * ld_out + j] = scale * sum[0][0];
    }
  }
  g.sync();
}

namespace detail {

template <int R, class S, class Group>
LPGD_INLINE void forward_block(const Group& g, const Factor<S>& f, S* x, int row) {
  const int n = f.ld;
  S sums[R][1];
  for (int r = 0; r < R; ++r) sums[r][0] = S(0);
  dot_tile_shared<R, 1>(g, f.lower + row * n, n, x, 0, row, true, sums);
  S out[R];
  LPGD_UNROLL
  for (int r = 0; r < R; ++r) {
    S value = x[row + r] - g.sum(sums[r][0]);
    LPGD_UNROLL
    for (int d = 0; d < r; ++d) value -= f.lower[(row + r) * n + row + d] * out[d];
    out[r] = value * f.inverse[row + r];
  }
  g.sync();
  if (g.lane() == 0)
    for (int r = 0; r < R; ++r) x[row + r] = out[r];
  g.sync();
}

template <int R, class S, class Group>
LPGD_INLINE void backward_block(const Group& g, const Factor<S>& f, S* x, int row) {
  const int n = f.ld;
  S out[R];
  LPGD_UNROLL
  for (int r = R - 1; r >= 0; --r) {
    S value = x[row + r];
    LPGD_UNROLL
    for (int d = R - 1; d > r; --d) value -= f.lower[(row + d) * n + row + r] * out[d];
    out[r] = value * f.inverse[row + r];
  }
  g.sync();
  if (g.lane() == 0)
    for (int r = 0; r < R; ++r) x[row + r] = out[r];
  LPGD_UNROLL
  for (int r = 0; r < R; ++r) out[r] = -out[r];
  add_rows<R>(g, f.lower + row * n, n, out, row, x);
  g.sync();
}

}  // namespace detail

// x <- lower^-1 x. All lanes have synchronised before and after.
template <class S, class Group>
LPGD_HD void solve_lower(const Group& g, const Factor<S>& f, S* x) {
  int row = 0;
  for (; row + 4 <= f.n; row += 4) detail::forward_block<4>(g, f, x, row);
  for (; row < f.n; ++row) detail::forward_block<1>(g, f, x, row);
}

// x <- lower^-T x
template <class S, class Group>
LPGD_HD void solve_upper(const Group& g, const Factor<S>& f, S* x) {
  const int whole = f.n / 4 * 4;
  for (int row = f.n - 1; row >= whole; --row) detail::backward_block<1>(g, f, x, row);
  for (int row = whole - 4; row >= 0; row -= 4) detail::backward_block<4>(g, f, x, row);
}

// y[i] = alpha * y[i] + sum_k mat[i][k] * x[k] for the rows of mat [rows, cols], `ld` apart. alpha
// is 0, 1 or -1.
template <class S, class Group>
LPGD_HD void multiply_rows(const Group& g, const S* mat, int rows, int cols, int ld, const S* x,
                           S* y, RealOf<S> alpha) {
  const int tiles = (rows + 3) / 4;
  LPGD_FOR (g, tile, tiles) {
    const int row = tile * 4;
    if (row + 4 <= rows) {
      S sums[4][1];
      for (int r = 0; r < 4; ++r) sums[r][0] = alpha == 0 ? S(0) : S(alpha) * y[row + r];
      dot_tile_alone<4, 1, Group>(mat + row * ld, ld, x, 0, cols, true, sums);
      for (int r = 0; r < 4; ++r) y[row + r] = sums[r][0];
    } else {
      for (int i = row; i < rows; ++i) {
        S sums[1][1] = {{alpha == 0 ? S(0) : S(alpha) * y[i]}};
        dot_tile_alone<1, 1, Group>(mat + i * ld, ld, x, 0, cols, true, sums);
        y[i] = sums[0][0];
      }
    }
  }
  g.sync();
}

// y[k] = alpha * y[k] + sum_i mat[i][k] * c[i]: the transposed product without a transposed copy.
template <class S, class Group>
LPGD_HD void multiply_cols(const Group& g, const S* mat, int rows, int cols, int ld, const S* c,
                           S* y, RealOf<S> alpha) {
  LPGD_FOR (g, k, cols) y[k] = alpha == 0 ? S(0) : S(alpha) * y[k];
  int row = 0;
  for (; row + 4 <= rows; row += 4) {
    const S four[4] = {c[row], c[row + 1], c[row + 2], c[row + 3]};
    add_rows<4>(g, mat + row * ld, ld, four, cols, y);
  }
  for (; row < rows; ++row) {
    const S one[1] = {c[row]};
    add_rows<1>(g, mat + row * ld, ld, one, cols, y);
  }
  g.sync();
}

LPGD_END_NAMESPACE
