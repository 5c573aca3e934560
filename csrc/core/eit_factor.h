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
      for (int r = mesh.row_start[j]; r < mesh.row_start[j + 1]; ++r) {
        const int k = mesh.row_column[r], slot = mesh.row_slot[r], last = mesh.column[k + 1];
        const S scaled = entry[slot] * pivot[k];
        d -= entry[slot] * scaled;
        for (int s = slot + 1; s < last; ++s) scratch[mesh.row[s]] -= entry[s] * scaled;
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

  // x <- L^-T x for the rows last - 1, ..., first
  void backward(const EitMesh& mesh, int first, int last, S* x) const {
    for (int j = last - 1; j >= first; --j) {
      S* to = x + static_cast<std::ptrdiff_t>(j) * kEitColumns;
      S sum[kEitColumns];
      LPGD_UNROLL
      for (int c = 0; c < kEitColumns; ++c) sum[c] = to[c];
      for (int s = mesh.column[j]; s < mesh.column[j + 1]; ++s) {
        const S* from = x + static_cast<std::ptrdiff_t>(mesh.row[s]) * kEitColumns;
        LPGD_UNROLL
        for (int c = 0; c < kEitColumns; ++c) sum[c] -= entry[s] * from[c];
      }
      LPGD_UNROLL
      for (int c = 0; c < kEitColumns; ++c) to[c] = sum[c];
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
