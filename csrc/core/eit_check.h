// The integers of a mesh that memory safety hangs on, and what is returned where they are wrong.
#pragma once

#include <limits>

#include "eit_types.h"
#include "macros.h"

LPGD_BEGIN_NAMESPACE

enum EitFault : int {
  kEitFine,
  kEitCellLink,
  kEitLink,
  kEitLinkSlot,
  kEitLinkCell,
  kEitNodeLink,
  kEitColumn,
  kEitRowStart,
  kEitRow,
  kEitFactorContradicts,
  kEitPair,
  kEitFaults
};

// Entries `index` of a list of starts, from 0 to `total`, and of what they point into.
LPGD_INLINE bool rises(const std::int32_t* start, int count, int index, int total) {
  return start[index] >= (index > 0 ? start[index - 1] : 0) && start[index] <= total &&
         (index > 0 || start[0] == 0) && (index + 1 < count || start[index] == total);
}

LPGD_INLINE bool within(std::int32_t index, int bound, int least = 0) {
  return index >= least && index < bound;
}

// The columns of the factor: rows rise below the diagonal, and where a column is taken to have the
// rows of the next one (EitFactor::nested) it has them.
LPGD_INLINE int column_fault(const EitMesh& mesh, int j) {
  const int begin = mesh.column[j], end = mesh.column[j + 1];
  if (begin < 0 || end < begin || end > mesh.entries) return kEitColumn;
  for (int s = begin; s < end; ++s)
    if (mesh.row[s] <= (s > begin ? mesh.row[s - 1] : j) || mesh.row[s] >= mesh.free())
      return kEitRow;
  if (j + 2 >= mesh.unknowns || begin == end || mesh.row[begin] != j + 1) return kEitFine;
  const int next = mesh.column[j + 2];
  if (next < end || next > mesh.entries) return kEitColumn;
  if (end - begin != next - end + 1) return kEitFine;
  for (int s = begin + 1; s < end; ++s)
    if (mesh.row[s] != mesh.row[end + s - begin - 1]) return kEitFactorContradicts;
  return kEitFine;
}

// The lists by rows are those of the columns.
LPGD_INLINE int row_fault(const EitMesh& mesh, int j) {
  const int begin = mesh.row_start[j], end = mesh.row_start[j + 1];
  if (begin < 0 || end < begin || end > mesh.entries) return kEitRowStart;
  for (int r = begin; r < end; ++r) {
    const int k = mesh.row_column[r], slot = mesh.row_slot[r];
    if (!within(k, mesh.free()) || !within(slot, mesh.entries) || slot < mesh.column[k] ||
        slot >= mesh.column[k + 1] || mesh.row[slot] != j)
      return kEitFactorContradicts;
  }
  return kEitFine;
}

// A fault in the share of this lane, or kEitFine. No lane relies on what another looks at.
template <class Group>
LPGD_HD int eit_fault(const Group& group, const EitMesh& mesh, const EitPattern& pattern) {
  int fault = kEitFine;
  const auto hold = [&](bool fine, int kind) {
    if (!fine) fault = kind;
  };
  LPGD_FOR (group, i, 3 * mesh.cells) {
    hold(within(mesh.cell_link[i], mesh.links), kEitCellLink);
    hold(within(mesh.link_cell[i], 3 * mesh.cells), kEitLinkCell);
  }
  LPGD_FOR (group, i, 2 * mesh.links) {
    hold(within(mesh.link[i], mesh.unknowns), kEitLink);
    hold(within(mesh.node_link[i], mesh.links), kEitNodeLink);
  }
  LPGD_FOR (group, i, mesh.links) hold(within(mesh.link_slot[i], mesh.entries, -1), kEitLinkSlot);
  LPGD_FOR (group, i, mesh.links + 1)
    hold(rises(mesh.link_start, mesh.links + 1, i, 3 * mesh.cells), kEitLinkCell);
  LPGD_FOR (group, j, mesh.unknowns + 1)
    hold(rises(mesh.node_start, mesh.unknowns + 1, j, 2 * mesh.links), kEitNodeLink);
  LPGD_FOR (group, j, mesh.unknowns) {
    hold(rises(mesh.column, mesh.unknowns, j, mesh.entries), kEitColumn);
    hold(rises(mesh.row_start, mesh.unknowns, j, mesh.entries), kEitRowStart);
  }
  LPGD_FOR (group, j, mesh.free()) {
    const int of_column = column_fault(mesh, j), of_row = row_fault(mesh, j);
    if (of_column != kEitFine) fault = of_column;
    if (of_row != kEitFine) fault = of_row;
  }
  LPGD_FOR (group, k, pattern.count)
    hold(within(pattern.pair[2 * k], pattern.drives) &&
             within(pattern.pair[2 * k + 1], pattern.measured),
         kEitPair);
  return fault;
}

// What a sample without a mesh gets: as if its matrix were not positive definite.
template <class Group, class T>
LPGD_HD void eit_refuse(const Group& group, const EitTask<T>& task, std::int64_t item) {
  const int count = task.pattern.count, cells = task.mesh.cells;
  if (task.status && group.lane() == 0) task.status[item] = 4;
  LPGD_FOR (group, k, count) {
    if (task.voltages) task.voltages[item * count + k] = std::numeric_limits<T>::quiet_NaN();
    if (task.moved) task.moved[item * count + k] = T(0);
    if (task.jacobian)
      for (int c = 0; c < cells; ++c) task.jacobian[(item * count + k) * cells + c] = T(0);
  }
  if (task.gradient)
    LPGD_FOR (group, c, cells) task.gradient[item * cells + c] = T(0);
}

LPGD_END_NAMESPACE
