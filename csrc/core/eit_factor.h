// A = L D L' in a fixed pattern, and solves with it. S is a number, or a register of samples.
#pragma once

#include "eit_types.h"
#include "scalar.h"

LPGD_BEGIN_NAMESPACE

// Right-hand sides that are solved for at once: an entry of the factor and its row are read once
// for all.
inline constexpr int kEitColumns = 8;

template <class S>
struct EitFactor {
  S* entry;    // [entries] of L
  S* pivot;    // [unknowns] of D
  S* inverse;  // [unknowns]
  S* scratch;  // [unknowns]

  // The links' weights: link[i] = sum of w_c c over the cells that it belongs to.
  static void assemble(const EitMesh& mesh, const S* weight, S* link) {
    for (int i = 0; i < mesh.links; ++i) link[i] = S(0.0);
    for (int c = 0; c < mesh.cells; ++c)
      for (int k = 0; k < 3; ++k)
        link[mesh.cell_link[3 * c + k]] += weight[c] * S(mesh.coefficient[3 * c + k]);
  }

  // Below its first entry, column k has the rows of column k + 1: a fundamental supernode. (It
  // never has others, so that counting is enough.)
  static bool nested(const EitMesh& mesh, int k) {
    const int begin = mesh.column[k], end = mesh.column[k + 1];
    return begin < end && mesh.row[begin] == k + 1 && k + 2 < mesh.unknowns &&
           end - begin == mesh.column[k + 2] - end + 1;
  }

  // Entries r, ..., r + count - 1 of a row are in columns that have the same rows below it.
  static bool same_rows(const EitMesh& mesh, int r, int count) {
    for (int i = 0; i + 1 < count; ++i)
      if (mesh.row_column[r + i + 1] != mesh.row_column[r + i] + 1 ||
          !nested(mesh, mesh.row_column[r + i]))
        return false;
    return true;
  }

  // The columns of entries r, ... of a row go into scratch, which is read and written once for all.
  template <int kCount>
  void update(const EitMesh& mesh, int r, S& d) {
    const S* from[kCount];
    S factor[kCount];
    for (int i = 0; i < kCount; ++i) {
      from[i] = entry + mesh.row_slot[r + i];
      factor[i] = *from[i] * pivot[mesh.row_column[r + i]];
      d -= *from[i] * factor[i];
    }
    const std::int32_t* row = mesh.row + mesh.row_slot[r];
    const int count = mesh.column[mesh.row_column[r] + 1] - mesh.row_slot[r];
    for (int s = 1; s < count; ++s) {
      S sum = scratch[row[s]];
      LPGD_UNROLL
      for (int i = 0; i < kCount; ++i) sum -= from[i][s] * factor[i];
      scratch[row[s]] = sum;
    }
  }

  // Rows j, ..., j + kCount - 1 of x <- L^-T x
  template <int kCount>
  void gather(const EitMesh& mesh, int j, S* x) const {
    S sum[kCount][kEitColumns];
    S* to = x + static_cast<std::ptrdiff_t>(j) * kEitColumns;
    for (int i = 0; i < kCount; ++i) {
      LPGD_UNROLL
      for (int c = 0; c < kEitColumns; ++c) sum[i][c] = to[i * kEitColumns + c];
    }
    const int begin = mesh.column[j + kCount - 1], end = mesh.column[j + kCount];
    const S* above = entry + begin - (end - begin);  // of column j, in the rows of column j + 1
    for (int s = begin; s < end; ++s) {
      const S* from = x + static_cast<std::ptrdiff_t>(mesh.row[s]) * kEitColumns;
      LPGD_UNROLL
      for (int c = 0; c < kEitColumns; ++c) {
        sum[kCount - 1][c] -= entry[s] * from[c];
        if constexpr (kCount == 2) sum[0][c] -= above[s - begin] * from[c];
      }
    }
    LPGD_UNROLL
    for (int c = 0; c < kEitColumns; ++c) {
      if constexpr (kCount == 2) sum[0][c] -= entry[mesh.column[j]] * sum[1][c];
      for (int i = 0; i < kCount; ++i) to[i * kEitColumns + c] = sum[i][c];
    }
  }

  // Left-looking, a column at a time. A pivot that is no positive share of its diagonal marks the
  // lane and is replaced by one: the other lanes go on as if alone.
  MaskOf<S> factor(const EitMesh& mesh, const S* link) {
    const int n = mesh.free();
    for (int i = 0; i < mesh.entries; ++i) entry[i] = S(0.0);
    for (int j = 0; j <= n; ++j) pivot[j] = S(0.0);
    for (int i = 0; i < mesh.links; ++i) {
      pivot[mesh.link[2 * i]] += link[i];
      pivot[mesh.link[2 * i + 1]] += link[i];
      if (mesh.link_slot[i] >= 0) entry[mesh.link_slot[i]] -= link[i];
    }
    MaskOf<S> good = equal(S(0.0), S(0.0));
    for (int j = 0; j < n; ++j) {
      const int begin = mesh.column[j], end = mesh.column[j + 1];
      for (int s = begin; s < end; ++s) scratch[mesh.row[s]] = entry[s];
      const S diagonal = pivot[j];
      S d = diagonal;
      for (int r = mesh.row_start[j]; r < mesh.row_start[j + 1];) {
        const int left = mesh.row_start[j + 1] - r;
        if (left >= 4 && same_rows(mesh, r, 4)) {
          update<4>(mesh, r, d);
          r += 4;
        } else if (left >= 2 && same_rows(mesh, r, 2)) {
          update<2>(mesh, r, d);
          r += 2;
        } else {
          update<1>(mesh, r, d);
          r += 1;
        }
      }
      const auto fine = mask_and(less(S(Precision<double>::pivot_floor) * diagonal, d),
                                 mask_and(less(S(0.0), d), is_finite(d)));
      good = mask_and(good, fine);
      d = select(fine, d, S(1.0));
      pivot[j] = d;
      inverse[j] = S(1.0) / d;
      for (int s = begin; s < end; ++s) entry[s] = scratch[mesh.row[s]] * inverse[j];
    }
    return good;
  }

  // x <- L^-1 x from column `first` on; x [unknowns][kEitColumns]
  void forward(const EitMesh& mesh, int first, S* x) const {
    for (int j = first; j < mesh.free(); ++j) {
      const S* from = x + static_cast<std::ptrdiff_t>(j) * kEitColumns;
      for (int s = mesh.column[j]; s < mesh.column[j + 1]; ++s) {
        S* to = x + static_cast<std::ptrdiff_t>(mesh.row[s]) * kEitColumns;
        LPGD_UNROLL
        for (int c = 0; c < kEitColumns; ++c) to[c] -= entry[s] * from[c];
      }
    }
  }

  void scale(const EitMesh& mesh, int first, S* x) const {
    for (int j = first; j < mesh.free(); ++j)
      for (int c = 0; c < kEitColumns; ++c)
        x[static_cast<std::ptrdiff_t>(j) * kEitColumns + c] =
            x[static_cast<std::ptrdiff_t>(j) * kEitColumns + c] * inverse[j];
  }

  // x <- L^-T x for the rows last - 1, ..., first; two at once where they read the same rows
  void backward(const EitMesh& mesh, int first, int last, S* x) const {
    for (int j = last - 1; j >= first;) {
      if (j > first && nested(mesh, j - 1)) {
        gather<2>(mesh, j - 1, x);
        j -= 2;
      } else {
        gather<1>(mesh, j, x);
        j -= 1;
      }
    }
  }

  // Currents at the electrodes alone: their potentials need the last columns only.
  void electrodes(const EitMesh& mesh, S* x) const {
    const int first = mesh.first_electrode();
    forward(mesh, first, x);
    scale(mesh, first, x);
    backward(mesh, first, mesh.free(), x);
  }

  // The potentials inside, those of the electrodes being there and no current entering elsewhere.
  void inside(const EitMesh& mesh, S* x) const {
    const int first = mesh.first_electrode();
    for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(first) * kEitColumns; ++i)
      x[i] = S(0.0);
    backward(mesh, 0, first, x);
  }
};

LPGD_END_NAMESPACE
