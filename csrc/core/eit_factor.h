// A = L D L' in a fixed pattern, and solves with it. S is a number, or a register of samples.
//
// One lane takes all right-hand sides, so that an entry of the factor and its row are read once for
// them. Of many lanes each has right-hand sides of its own, which need no sync; the entries of a
// column of the factor are dealt out to them.
#pragma once

#include <type_traits>

#include "eit_types.h"
#include "group.h"
#include "scalar.h"

LPGD_BEGIN_NAMESPACE

// Right-hand sides that are solved for at once, and those of them that go through a lane's
// registers together.
template <class Group>
struct EitColumns {
  static constexpr int width = 32, own = 1;
};
template <>
struct EitColumns<SerialGroup> {
  static constexpr int width = 8, own = 8;
};

template <class Group, class S>
struct EitFactor {
  static constexpr int kWidth = EitColumns<Group>::width, kOwn = EitColumns<Group>::own;
  static constexpr int kParts = kWidth / kOwn;

  S* entry;    // [entries] of L
  S* pivot;    // [unknowns] of D
  S* inverse;  // [unknowns]
  S* scratch;  // [unknowns]

  // The links' weights: link[i] = sum of w_c c over the cells that it belongs to.
  LPGD_HD static void assemble(const Group& group, const EitMesh& mesh, const S* weight, S* link) {
    if constexpr (std::is_same_v<Group, SerialGroup>) {  // in the same order
      for (int i = 0; i < mesh.links; ++i) link[i] = S(0.0);
      for (int c = 0; c < mesh.cells; ++c)
        for (int k = 0; k < 3; ++k)
          link[mesh.cell_link[3 * c + k]] += weight[c] * S(mesh.coefficient[3 * c + k]);
    } else {
      LPGD_FOR (group, i, mesh.links) {
        S sum(0.0);
        for (int k = mesh.link_start[i]; k < mesh.link_start[i + 1]; ++k) {
          const int place = mesh.link_cell[k];
          sum += weight[place / 3] * S(mesh.coefficient[place]);
        }
        link[i] = sum;
      }
      group.sync();
    }
  }

  // Below its first entry, column k has the rows of column k + 1: a fundamental supernode. (It
  // never has others, so that counting is enough.)
  LPGD_INLINE static bool nested(const EitMesh& mesh, int k) {
    const int begin = mesh.column[k], end = mesh.column[k + 1];
    return begin < end && mesh.row[begin] == k + 1 && k + 2 < mesh.unknowns &&
           end - begin == mesh.column[k + 2] - end + 1;
  }

  // Entries r, ..., r + count - 1 of a row are in columns that have the same rows below it.
  LPGD_INLINE static bool same_rows(const EitMesh& mesh, int r, int count) {
    for (int i = 0; i + 1 < count; ++i)
      if (mesh.row_column[r + i + 1] != mesh.row_column[r + i] + 1 ||
          !nested(mesh, mesh.row_column[r + i]))
        return false;
    return true;
  }

  // The columns of entries r, ... of a row go into scratch, which is read and written once for all.
  template <int kCount>
  LPGD_INLINE void update(const Group& group, const EitMesh& mesh, int r, S& d) {
    const S* from[kCount];
    S factor[kCount];
    for (int i = 0; i < kCount; ++i) {
      from[i] = entry + mesh.row_slot[r + i];
      factor[i] = *from[i] * pivot[mesh.row_column[r + i]];
      d -= *from[i] * factor[i];
    }
    const std::int32_t* row = mesh.row + mesh.row_slot[r];
    const int count = mesh.column[mesh.row_column[r] + 1] - mesh.row_slot[r];
    for (int s = 1 + group.lane(); s < count; s += group.size()) {
      S sum = scratch[row[s]];
      LPGD_UNROLL
      for (int i = 0; i < kCount; ++i) sum -= from[i][s] * factor[i];
      scratch[row[s]] = sum;
    }
    group.sync();
  }

  // Rows j, ..., j + kCount - 1 of x <- L^-T x; x begins at the columns of this lane
  template <int kCount>
  LPGD_INLINE void gather(const EitMesh& mesh, int j, S* x) const {
    S sum[kCount][kOwn];
    S* to = x + static_cast<std::ptrdiff_t>(j) * kWidth;
    for (int i = 0; i < kCount; ++i) {
      LPGD_UNROLL
      for (int c = 0; c < kOwn; ++c) sum[i][c] = to[i * kWidth + c];
    }
    const int begin = mesh.column[j + kCount - 1], end = mesh.column[j + kCount];
    const S* above = entry + begin - (end - begin);  // of column j, in the rows of column j + 1
    for (int s = begin; s < end; ++s) {
      const S* from = x + static_cast<std::ptrdiff_t>(mesh.row[s]) * kWidth;
      LPGD_UNROLL
      for (int c = 0; c < kOwn; ++c) {
        sum[kCount - 1][c] -= entry[s] * from[c];
        if constexpr (kCount == 2) sum[0][c] -= above[s - begin] * from[c];
      }
    }
    LPGD_UNROLL
    for (int c = 0; c < kOwn; ++c) {
      if constexpr (kCount == 2) sum[0][c] -= entry[mesh.column[j]] * sum[1][c];
      for (int i = 0; i < kCount; ++i) to[i * kWidth + c] = sum[i][c];
    }
  }

  // Left-looking, a column at a time. A pivot that is no positive share of its diagonal marks the
  // sample and is replaced by one: the other samples of a register go on as if alone.
  LPGD_HD MaskOf<S> factor(const Group& group, const EitMesh& mesh, const S* link) {
    const int n = mesh.free();
    LPGD_FOR (group, i, mesh.entries) entry[i] = S(0.0);
    LPGD_FOR (group, j, mesh.unknowns) {
      S sum(0.0);
      for (int k = mesh.node_start[j]; k < mesh.node_start[j + 1]; ++k)
        sum += link[mesh.node_link[k]];
      pivot[j] = sum;
    }
    group.sync();
    LPGD_FOR (group, i, mesh.links)
      if (mesh.link_slot[i] >= 0) entry[mesh.link_slot[i]] -= link[i];
    group.sync();
    MaskOf<S> good = equal(S(0.0), S(0.0));
    for (int j = 0; j < n; ++j) {
      const int begin = mesh.column[j], end = mesh.column[j + 1];
      const S diagonal = pivot[j];
      for (int s = begin + group.lane(); s < end; s += group.size())
        scratch[mesh.row[s]] = entry[s];
      group.sync();
      S d = diagonal;
      for (int r = mesh.row_start[j]; r < mesh.row_start[j + 1];) {
        const int left = mesh.row_start[j + 1] - r;
        if (left >= 4 && same_rows(mesh, r, 4)) {
          update<4>(group, mesh, r, d);
          r += 4;
        } else if (left >= 2 && same_rows(mesh, r, 2)) {
          update<2>(group, mesh, r, d);
          r += 2;
        } else {
          update<1>(group, mesh, r, d);
          r += 1;
        }
      }
      const auto fine = mask_and(less(S(Precision<double>::pivot_floor) * diagonal, d),
                                 mask_and(less(S(0.0), d), is_finite(d)));
      good = mask_and(good, fine);
      d = select(fine, d, S(1.0));
      const S over = S(1.0) / d;
      if (group.lane() == 0) {
        pivot[j] = d;
        inverse[j] = over;
      }
      for (int s = begin + group.lane(); s < end; s += group.size())
        entry[s] = scratch[mesh.row[s]] * over;
      group.sync();
    }
    return good;
  }

  // x <- L^-1 x from column `first` on; x [unknowns][kWidth]
  LPGD_HD void forward(const Group& group, const EitMesh& mesh, int first, S* x) const {
    LPGD_FOR (group, part, kParts) {
      S* mine = x + part * kOwn;
      for (int j = first; j < mesh.free(); ++j) {
        const S* from = mine + static_cast<std::ptrdiff_t>(j) * kWidth;
        for (int s = mesh.column[j]; s < mesh.column[j + 1]; ++s) {
          S* to = mine + static_cast<std::ptrdiff_t>(mesh.row[s]) * kWidth;
          LPGD_UNROLL
          for (int c = 0; c < kOwn; ++c) to[c] -= entry[s] * from[c];
        }
      }
    }
  }

  LPGD_HD void scale(const Group& group, const EitMesh& mesh, int first, S* x) const {
    LPGD_FOR (group, part, kParts) {
      S* mine = x + part * kOwn;
      for (int j = first; j < mesh.free(); ++j) {
        S* to = mine + static_cast<std::ptrdiff_t>(j) * kWidth;
        for (int c = 0; c < kOwn; ++c) to[c] = to[c] * inverse[j];
      }
    }
  }

  // x <- L^-T x for the rows last - 1, ..., first; two at once where they read the same rows
  LPGD_HD void backward(const Group& group, const EitMesh& mesh, int first, int last, S* x) const {
    LPGD_FOR (group, part, kParts) {
      S* mine = x + part * kOwn;
      for (int j = last - 1; j >= first;) {
        if (j > first && nested(mesh, j - 1)) {
          gather<2>(mesh, j - 1, mine);
          j -= 2;
        } else {
          gather<1>(mesh, j, mine);
          j -= 1;
        }
      }
    }
  }

  // Currents at the electrodes alone: their potentials need the last columns only.
  LPGD_HD void electrodes(const Group& group, const EitMesh& mesh, S* x) const {
    const int first = mesh.first_electrode();
    forward(group, mesh, first, x);
    scale(group, mesh, first, x);
    backward(group, mesh, first, mesh.free(), x);
  }

  // The potentials inside, those of the electrodes being there and no current entering elsewhere.
  LPGD_HD void inside(const Group& group, const EitMesh& mesh, S* x) const {
    const int first = mesh.first_electrode();
    LPGD_FOR (group, part, kParts)
      for (int j = 0; j < first; ++j)
        for (int c = 0; c < kOwn; ++c)
          x[static_cast<std::ptrdiff_t>(j) * kWidth + part * kOwn + c] = S(0.0);
    backward(group, mesh, 0, first, x);
  }
};

LPGD_END_NAMESPACE
