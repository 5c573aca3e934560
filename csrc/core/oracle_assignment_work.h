// The memory of an assignment and the scans of its rows. One lane alone scans registers at a time;
// several lanes take a column each, find the same numbers and, of equal ones, the same column.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

// C: what the matrix is kept in. One lane alone has whole registers of doubles in each row, +inf
// beyond the last column; several lanes have the costs as they are. Column j belongs to lane j mod
// size, which alone touches `distance`, `open_v`, `free_column` and `from` of it while a path is
// searched for: a scan then needs no barrier but those of its reductions.
template <class Group, class C>
struct AssignmentWork {
  using S = Wide<double>;
  static constexpr int kLanes = kIsSerial<Group> ? wide_lanes<double>() : 1;

  Group group;
  std::int64_t n, m, padded;
  C* copy;         // [n, padded], absent where the costs are read in place
  const C* c;      // the same, or the costs
  double* v;       // [padded]
  double* open_v;  // [padded]: v, but -inf for columns that the search has settled
  double* distance;
  double* free_column;  // 0 for columns that are free, +inf for others
  double* from;         // the row before a column on its path; a number, to go through selects
  double* settled_distance;
  std::int32_t *settled, *column_of, *row_of, *free_rows;

  template <class T>
  LPGD_HOST_TOO std::size_t bind(const AssignmentTask<T>& task, void* memory) {
    n = task.n;
    m = task.m;
    padded = (m + kLanes - 1) / kLanes * kLanes;
    OracleSlices slices(memory);
    slices.take(copy, !kIsSerial<Group> && task.in_place ? 0 : n * padded);
    slices.take(v, padded);
    slices.take(open_v, padded);
    slices.take(distance, padded);
    slices.take(free_column, padded);
    slices.take(from, padded);
    slices.take(settled_distance, padded);
    slices.take(settled, padded);
    slices.take(column_of, n);
    slices.take(row_of, padded);
    slices.take(free_rows, n);
    c = copy;
    return slices.used();
  }

  LPGD_INLINE bool leads() const { return group.lane() == 0; }
  LPGD_INLINE bool owns(std::int64_t j) const {
    return kIsSerial<Group> || j % group.size() == group.lane();
  }
  LPGD_INLINE double cost(std::int64_t i, std::int64_t j) const {
    return static_cast<double>(c[i * padded + j]);
  }

  // False: a number that is no cost. A barrier as well.
  template <class T>
  LPGD_DEVICE bool load(const AssignmentTask<T>& task, std::int64_t item) {
    const T* costs = task.costs + item * n * m;
    if constexpr (kIsSerial<Group>) {
      if (!are_costs(group, costs, n * m)) return false;
      for (std::int64_t i = 0; i < n; ++i) {
        C* row = copy + i * padded;
        if (task.transposed) {
          for (std::int64_t j = 0; j < m; ++j) row[j] = static_cast<C>(costs[j * n + i]);
        } else if (i * m + padded <= n * m) {  // whole registers, into the next row
          for (std::int64_t j = 0; j < padded; j += kLanes)
            for (int lane = 0; lane < kLanes; ++lane)
              row[j + lane] = static_cast<C>(costs[i * m + j + lane]);
        } else {
          for (std::int64_t j = 0; j < m; ++j) row[j] = static_cast<C>(costs[i * m + j]);
        }
        for (std::int64_t j = m; j < padded; ++j) row[j] = kOracleInfinity;
      }
      return true;
    } else {
      if (task.in_place) c = costs;
      bool good = true;
      LPGD_EACH(group, k, n * m) {
        const T value = costs[k];
        good &= IsCost<T>{}(value);
        if (task.in_place) continue;
        const auto rows = static_cast<std::uint32_t>(n), at = static_cast<std::uint32_t>(k);
        copy[task.transposed ? at % rows * m + at / rows : k] = value;
      }
      return holds_on_all(group, good);
    }
  }

  struct Two {
    double first, second;
    std::int64_t at;  // the first column that has `first`; of several lanes only
  };

  // The two smallest of c_ij - v_j, without column `skip`.
  LPGD_DEVICE Two two_least(std::int64_t i, std::int64_t skip = -1) const {
    Two out{kOracleInfinity, kOracleInfinity, -1};
    if constexpr (kIsSerial<Group>) {
      const C* row = c + i * padded;
      S first = broadcast<S>(kOracleInfinity), second = first;
      for (std::int64_t j = 0; j < padded; j += kLanes) {
        const S value = lpgd::load<S>(row + j) - lpgd::load<S>(v + j);
        second = min_of(second, max_of(first, value));
        first = min_of(first, value);
      }
      for (int lane = 0; lane < kLanes; ++lane) {
        const double a = get_lane(first, lane), b = get_lane(second, lane);
        out.second = min_of(min_of(out.second, b), max_of(out.first, a));
        out.first = min_of(out.first, a);
      }
    } else {
      double first = kOracleInfinity, second = kOracleInfinity, at = kNoIndex;
      LPGD_EACH(group, j, m) {
        const double value = j == skip ? kOracleInfinity : cost(i, j) - v[j];
        if (value < first) {
          second = first;
          first = value;
          at = static_cast<double>(j);
        } else {
          second = min_of(second, value);
        }
      }
      out.first = group.min(first);
      out.at = least_index(group, first == out.first ? at : kNoIndex);
      out.second = group.min(at == static_cast<double>(out.at) ? second : first);
    }
    return out;
  }

  // The first column from `begin` on with that value of c_ij - v_j, or the last column.
  LPGD_DEVICE std::int64_t column_at(std::int64_t i, double value, std::int64_t begin) const {
    if constexpr (kIsSerial<Group>) {
      const C* row = c + i * padded;
      std::int64_t j = begin;
      while (j < m - 1 && row[j] - v[j] != value) ++j;
      return j;
    } else {
      double at = static_cast<double>(m - 1);
      LPGD_EACH(group, j, m - 1) {
        if (j < begin || cost(i, j) - v[j] != value) continue;
        at = static_cast<double>(j);
        break;
      }
      return least_index(group, at);
    }
  }

  // The nearest open column; of equally near ones one that is free, and of those the first.
  struct Reached {
    double distance;
    std::int64_t column;
    bool is_free;
  };

  // Distances through row i, whose own column is `through` away.
  template <bool First>
  LPGD_DEVICE Reached relax(std::int32_t i, double through) const {
    const C* row = c + i * padded;
    Reached out{kOracleInfinity, 0, false};
    if constexpr (kIsSerial<Group>) {
      const S offset = broadcast<S>(through), number = broadcast<S>(static_cast<double>(i));
      S all = broadcast<S>(kOracleInfinity), open = all;
      for (std::int64_t j = 0; j < padded; j += kLanes) {
        S value = lpgd::load<S>(row + j) - lpgd::load<S>(open_v + j) - offset;
        if constexpr (First) {
          store(from + j, number);
        } else {
          const S known = lpgd::load<S>(distance + j);
          const auto better = less(value, known);
          value = select(better, value, known);
          store(from + j, select(better, number, lpgd::load<S>(from + j)));
        }
        store(distance + j, value);
        all = min_of(all, value);
        open = min_of(open, value + lpgd::load<S>(free_column + j));
      }
      double nearest_free = kOracleInfinity;
      for (int lane = 0; lane < kLanes; ++lane) {
        out.distance = min_of(out.distance, get_lane(all, lane));
        nearest_free = min_of(nearest_free, get_lane(open, lane));
      }
      if (!(out.distance < kOracleInfinity)) return out;
      out.is_free = nearest_free == out.distance;
      if (out.is_free) {
        while (distance[out.column] + free_column[out.column] != out.distance) ++out.column;
      } else {
        while (distance[out.column] != out.distance) ++out.column;
      }
    } else {
      double nearest = kOracleInfinity, at = kNoIndex;  // columns that are not free count from m on
      LPGD_EACH(group, j, m) {
        double value = cost(i, j) - open_v[j] - through;
        if (First || value < distance[j]) {
          from[j] = static_cast<double>(i);
        } else {
          value = distance[j];
        }
        distance[j] = value;
        const double place = static_cast<double>(free_column[j] == 0.0 ? j : j + m);
        if (value < nearest || (value == nearest && place < at)) {
          nearest = value;
          at = place;
        }
      }
      out.distance = group.min(nearest);
      const std::int64_t place = least_index(group, nearest == out.distance ? at : kNoIndex);
      out.is_free = place < m;
      out.column = out.is_free ? place : place - m;
    }
    return out;
  }
};

LPGD_END_NAMESPACE
