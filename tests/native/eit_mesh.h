// A mesh of triangles given by their corners, with the pattern of its factor: what _eit_plan.py
// makes, for unknowns in their own order.
#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "core/eit_types.h"

namespace lpgd {

class PlannedMesh {
 public:
  // Corners (a, b, c) with a < b < c.
  void add(std::int32_t a, std::int32_t b, std::int32_t c, const double (&coefficients)[3]) {
    for (const std::int32_t i : {a, b, c}) cell_unknown_.push_back(i);
    const std::int32_t pairs[3][2] = {{a, b}, {a, c}, {b, c}};
    for (int k = 0; k < 3; ++k) {
      std::size_t at = 0;
      while (at < link_.size() && !(link_[at] == pairs[k][0] && link_[at + 1] == pairs[k][1]))
        at += 2;
      if (at == link_.size()) link_.insert(link_.end(), {pairs[k][0], pairs[k][1]});
      cell_link_.push_back(static_cast<std::int32_t>(at / 2));
      coefficient_.push_back(coefficients[k]);
    }
  }

  // Once all triangles are there; points into this object.
  EitMesh plan(int unknowns, int electrodes) {
    const int free = unknowns - 1;
    std::vector<std::set<std::int32_t>> below(static_cast<std::size_t>(free));
    for (std::size_t l = 0; l < link_.size(); l += 2)
      if (link_[l + 1] < free) below[static_cast<std::size_t>(link_[l])].insert(link_[l + 1]);
    for (auto& rows : below)  // elimination of a column joins its rows
      for (const std::int32_t i : rows)
        for (const std::int32_t k : rows)
          if (k > i) below[static_cast<std::size_t>(i)].insert(k);
    std::vector<std::vector<std::pair<std::int32_t, std::int32_t>>> by_row(below.size());
    for (std::int32_t j = 0; j < free; ++j) {
      column_.push_back(static_cast<std::int32_t>(row_.size()));
      for (const std::int32_t i : below[static_cast<std::size_t>(j)]) {
        by_row[static_cast<std::size_t>(i)].push_back({j, static_cast<std::int32_t>(row_.size())});
        row_.push_back(i);
      }
    }
    column_.push_back(static_cast<std::int32_t>(row_.size()));
    for (const auto& entries : by_row) {
      row_start_.push_back(static_cast<std::int32_t>(row_column_.size()));
      for (const auto& [j, slot] : entries) {
        row_column_.push_back(j);
        row_slot_.push_back(slot);
      }
    }
    row_start_.push_back(static_cast<std::int32_t>(row_column_.size()));
    for (std::size_t l = 0; l < link_.size(); l += 2) {
      std::int32_t slot = -1;
      if (link_[l + 1] < free) {
        slot = column_[static_cast<std::size_t>(link_[l])];
        while (row_[static_cast<std::size_t>(slot)] != link_[l + 1]) ++slot;
      }
      link_slot_.push_back(slot);
    }
    return {unknowns,
            electrodes,
            static_cast<int>(cell_unknown_.size() / 3),
            static_cast<int>(link_slot_.size()),
            static_cast<int>(row_.size()),
            cell_unknown_.data(),
            cell_link_.data(),
            link_.data(),
            link_slot_.data(),
            column_.data(),
            row_.data(),
            row_start_.data(),
            row_column_.data(),
            row_slot_.data(),
            coefficient_.data()};
  }

  const std::vector<std::int32_t>& cell_unknown() const { return cell_unknown_; }
  const std::vector<double>& coefficient() const { return coefficient_; }

 private:
  std::vector<std::int32_t> cell_unknown_, cell_link_, link_, link_slot_, column_, row_, row_start_,
      row_column_, row_slot_;
  std::vector<double> coefficient_;
};

}  // namespace lpgd
