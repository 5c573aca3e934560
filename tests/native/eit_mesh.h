// A mesh of triangles given by their corners, with the pattern of its factor: what _eit_plan.py
// makes, for unknowns in their own order.
#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "core/eit_types.h"

namespace lpgd::test {

struct PlannedMesh {
  using Integers = std::vector<std::int32_t>;

  Integers cell_unknown, cell_link, link, link_slot, column, row, row_start, row_column, row_slot;
  Integers link_start{0}, link_cell, node_start{0}, node_link;
  std::vector<double> coefficient;

  // Corners a < b < c; coefficients of the sides ab, ac, bc.
  void add(int a, int b, int c, const double* sides) {
    for (int i : {a, b, c}) cell_unknown.push_back(i);
    const int pairs[3][2] = {{a, b}, {a, c}, {b, c}};
    for (const auto& pair : pairs) {
      std::size_t at = 0;
      while (at < link.size() && !(link[at] == pair[0] && link[at + 1] == pair[1])) at += 2;
      if (at == link.size()) link.insert(link.end(), {pair[0], pair[1]});
      cell_link.push_back(static_cast<std::int32_t>(at / 2));
      coefficient.push_back(*sides++);
    }
  }

  // Once all triangles are there; what it returns points into this object.
  EitMesh plan(int unknowns, int electrodes) {
    const int free = unknowns - 1;
    std::vector<std::set<int>> below(static_cast<std::size_t>(free));
    for (std::size_t l = 0; l < link.size(); l += 2)
      if (link[l + 1] < free) below[static_cast<std::size_t>(link[l])].insert(link[l + 1]);
    for (auto& rows : below)  // elimination of a column joins its rows
      for (int i : rows)
        for (int k : rows)
          if (k > i) below[static_cast<std::size_t>(i)].insert(k);
    std::vector<std::vector<std::pair<int, int>>> by_row(static_cast<std::size_t>(free));
    for (int j = 0; j < free; ++j) {
      column.push_back(static_cast<std::int32_t>(row.size()));
      for (int i : below[static_cast<std::size_t>(j)]) {
        by_row[static_cast<std::size_t>(i)].push_back({j, static_cast<int>(row.size())});
        row.push_back(i);
      }
    }
    column.push_back(static_cast<std::int32_t>(row.size()));
    for (const auto& entries : by_row) {
      row_start.push_back(static_cast<std::int32_t>(row_column.size()));
      for (const auto& [j, slot] : entries) {
        row_column.push_back(j);
        row_slot.push_back(slot);
      }
    }
    row_start.push_back(static_cast<std::int32_t>(row_column.size()));
    for (std::size_t l = 0; l < link.size(); l += 2) {
      int slot = -1;
      for (int s = 0; link[l + 1] < free && slot < 0; ++s)
        if (s >= column[static_cast<std::size_t>(link[l])] &&
            row[static_cast<std::size_t>(s)] == link[l + 1])
          slot = s;
      link_slot.push_back(slot);
    }
    for (int l = 0; l < static_cast<int>(link_slot.size()); ++l) {
      for (std::size_t k = 0; k < cell_link.size(); ++k)
        if (cell_link[k] == l) link_cell.push_back(static_cast<std::int32_t>(k));
      link_start.push_back(static_cast<std::int32_t>(link_cell.size()));
    }
    for (int j = 0; j < unknowns; ++j) {
      for (std::size_t k = 0; k < link.size(); ++k)
        if (link[k] == j) node_link.push_back(static_cast<std::int32_t>(k / 2));
      node_start.push_back(static_cast<std::int32_t>(node_link.size()));
    }
    return {unknowns,
            electrodes,
            static_cast<int>(cell_unknown.size() / 3),
            static_cast<int>(link_slot.size()),
            static_cast<int>(row.size()),
            cell_link.data(),
            link_slot.data(),
            link_start.data(),
            link_cell.data(),
            node_start.data(),
            node_link.data(),
            column.data(),
            row_start.data(),
            link.data(),
            row.data(),
            row_column.data(),
            row_slot.data(),
            coefficient.data()};
  }
};

}  // namespace lpgd::test
