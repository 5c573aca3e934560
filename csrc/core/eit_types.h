// The plain structs of electrical impedance tomography: pointers and sizes. All arrays are
// contiguous.
//
// The matrix is A(w) = sum_c w_c L_c, a cell c being three unknowns with the Laplacian
//
//   u'L_c u = c_01 (u_0 - u_1)^2 + c_02 (u_0 - u_2)^2 + c_12 (u_1 - u_2)^2:
//
// a linear triangle (w its conductivity), or an edge of the boundary and the electrode that it lies
// on (w one over the contact impedance). The pairs of unknowns that cells are made of are the
// `links`. Unknowns are numbered in the order of elimination, electrodes last; the last of these is
// grounded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "macros.h"

namespace lpgd {

struct EitMesh {
  int unknowns, electrodes, cells, links, entries;
  const std::int32_t* cell_link;   // [cells, 3]: 01, 02, 12
  const std::int32_t* link_slot;   // [links]: its place in the factor; -1: it touches the ground
  const std::int32_t* link_start;  // [links + 1]: where the links' parts of link_cell start
  const std::int32_t* link_cell;   // [cells, 3]: places of coefficient, link by link
  const std::int32_t* node_start;  // [unknowns + 1]: where the unknowns' parts of node_link start
  const std::int32_t* node_link;   // [links, 2]: links, unknown by unknown
  const std::int32_t* column;      // [unknowns]: where the columns of the factor start, and the end
  const std::int32_t* row_start;   // [unknowns]: the same by rows
  const std::int32_t* link;        // [links, 2]
  const std::int32_t* row;         // [entries]: rows of these entries, increasing in a column
  const std::int32_t* row_column;  // [entries]
  const std::int32_t* row_slot;    // [entries]: place of the entry in its column
  const double* coefficient;       // [cells, 3]

  // The factor has no column for the ground.
  LPGD_HOST_TOO int free() const { return unknowns - 1; }
  LPGD_HOST_TOO int first_electrode() const { return unknowns - electrodes; }
};

// Measurement k: measured[pair[k][1]]' times the electrode potentials under currents
// drive[pair[k][0]].
struct EitPattern {
  int drives, measured, count;
  const double* drive;       // [drives, electrodes]
  const double* measure;     // [measured, electrodes]
  const std::int32_t* pair;  // [count, 2]
};

// Absent results are null. Of an item whose matrix is not positive definite (status 4) voltages are
// nan and derivatives zero.
template <class T>
struct EitTask {
  EitMesh mesh;
  EitPattern pattern;
  std::int64_t batch;
  const T* weights;    // [batch, cells]
  const T* target;     // [batch, count]: y of the gradient J'(F - y)
  const T* cotangent;  // [batch, count]: dy of J'dy, or of the curvature
  const T* tangent;    // [batch, cells]: dw of J dw, or of the curvature
  T* voltages;         // [batch, count]: F
  T* gradient;         // [batch, cells]: J'dy, J'(F - y), or d<dy, J dw>/dw
  T* moved;            // [batch, count]: J dw
  T* jacobian;         // [batch, count, cells]
  std::int32_t* status;
};

}  // namespace lpgd
