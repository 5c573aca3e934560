// Linear assignment by shortest augmenting paths: Jonker and Volgenant, "A shortest augmenting path
// algorithm for dense and sparse linear assignment problems", Computing 38 (1987).
//
// Duals v keep c_ij - v_j >= u_i for all pairs, with equality for those assigned. Column reduction
// and two rounds of augmenting row reduction assign most rows; each row that is left searches for a
// shortest path to a free column (Dijkstra over reduced costs). For n < m the columns that stay
// free need v = 0: v starts there, since both later phases lower v of assigned columns alone.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

struct Assignment {
  using S = Wide<double>;
  static constexpr int kLanes = wide_lanes<double>();

  std::int64_t n, m, padded;
  double* c;       // [n, padded], +inf beyond m
  double* v;       // [padded]
  double* open_v;  // [padded]: v, but -inf for columns that the search has settled
  double* distance;
  double* free_column;  // 0 for columns that are free, +inf for others
  double* from;         // the row before a column on its path; a number, to go through selects
  double* settled_distance;
  std::int32_t *settled, *column_of, *row_of, *free_rows;

  template <class T>
  std::size_t bind(const AssignmentTask<T>& task, void* memory) {
    n = task.n;
    m = task.m;
    padded = (m + kLanes - 1) / kLanes * kLanes;
    OracleSlices slices(memory);
    slices.take(c, n * padded);
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
    return slices.used();
  }

  template <class T>
  static std::size_t workspace_bytes(const AssignmentTask<T>& task) {
    return Assignment{}.bind(task, nullptr);
  }

  template <class T>
  static void run(const AssignmentTask<T>& task, std::int64_t item, void* memory) {
    Assignment work;
    work.bind(task, memory);
    const std::int64_t size = task.n * task.m;
    T* x = task.out.x != nullptr ? task.out.x + item * size : nullptr;
    if (x != nullptr) fill(x, size, T(0));
    T* u = task.u + item * task.n;
    T* v = task.v + item * task.m;
    std::int64_t* columns = task.columns + item * task.n;
    std::int32_t status = kOracleBadData;
    if (work.load(task, item)) status = work.solve() ? kOracleOk : kOracleInfeasible;
    if (status != kOracleOk) {
      fill(columns, task.n, std::int64_t{-1});
      fill(u, task.n, T(0));
      fill(v, task.m, T(0));
      fail(task.out, item, status);
      return;
    }
    double objective = 0;
    for (std::int64_t i = 0; i < task.n; ++i) {
      const std::int64_t j = work.column_of[i];
      const double cost = work.c[i * work.padded + j];
      objective += cost;
      columns[i] = j;
      u[i] = static_cast<T>(cost - work.v[j]);
      if (x != nullptr) x[task.transposed ? j * task.n + i : i * task.m + j] = T(1);
    }
    for (std::int64_t j = 0; j < task.m; ++j) v[j] = static_cast<T>(work.v[j]);
    finish(task.out, item, objective);
  }

 private:
  template <class T>
  bool load(const AssignmentTask<T>& task, std::int64_t item) {
    const T* costs = task.costs + item * n * m;
    if (!are_costs(costs, n * m)) return false;
    for (std::int64_t i = 0; i < n; ++i) {
      double* row = c + i * padded;
      if (task.transposed) {
        for (std::int64_t j = 0; j < m; ++j) row[j] = static_cast<double>(costs[j * n + i]);
      } else if (i * m + padded <= n * m) {  // whole registers, into the next row
        for (std::int64_t j = 0; j < padded; j += kLanes)
          for (int lane = 0; lane < kLanes; ++lane)
            row[j + lane] = static_cast<double>(costs[i * m + j + lane]);
      } else {
        for (std::int64_t j = 0; j < m; ++j) row[j] = static_cast<double>(costs[i * m + j]);
      }
      for (std::int64_t j = m; j < padded; ++j) row[j] = kOracleInfinity;
    }
    return true;
  }

  bool solve() {
    fill(column_of, n, -1);
    fill(row_of, padded, -1);
    fill(v, padded, 0.0);
    if (n == m) reduce_columns();
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i)
      if (column_of[i] < 0) free_rows[count++] = static_cast<std::int32_t>(i);
    for (int round = 0; round < 2 && count > 0; ++round)
      if (!reduce_rows(count)) return false;
    for (std::int64_t j = 0; j < padded; ++j) {
      open_v[j] = v[j];
      free_column[j] = row_of[j] < 0 ? 0.0 : kOracleInfinity;
    }
    for (std::int64_t k = 0; k < count; ++k)
      if (!augment(free_rows[k])) return false;
    return true;
  }

  // v_j = min_i c_ij; the column goes to that row if it has none. Then a row that is the minimum of
  // one column alone passes its slack on to v, which makes the column dearer for other rows.
  void reduce_columns() {
    double* least = distance;
    double* at = from;
    for (std::int64_t j = 0; j < padded; j += kLanes) {
      S best = lpgd::load<S>(c + j), row = broadcast<S>(0.0);
      for (std::int64_t i = 1; i < n; ++i) {
        const S value = lpgd::load<S>(c + i * padded + j);
        const auto better = less(value, best);
        best = select(better, value, best);
        row = select(better, broadcast<S>(static_cast<double>(i)), row);
      }
      store(least + j, best);
      store(at + j, row);
    }
    std::int32_t* columns = settled;  // how many columns have their minimum in a row
    fill(columns, n, 0);
    for (std::int64_t j = m - 1; j >= 0; --j) {
      if (!(least[j] < kOracleInfinity)) continue;
      v[j] = least[j];
      const auto i = static_cast<std::int32_t>(at[j]);
      if (++columns[i] == 1) {
        column_of[i] = static_cast<std::int32_t>(j);
        row_of[j] = i;
      }
    }
    for (std::int64_t i = 0; i < n; ++i) {
      if (columns[i] != 1) continue;
      const std::int32_t j = column_of[i];
      const double kept = v[j];
      v[j] = -kOracleInfinity;  // out of the minimum
      const double slack = two_least(i).first;
      v[j] = slack < kOracleInfinity ? kept - slack : kept;
    }
  }

  struct Two {
    double first, second;
  };

  // The two smallest of c_ij - v_j.
  Two two_least(std::int64_t i) const {
    const double* row = c + i * padded;
    S first = broadcast<S>(kOracleInfinity), second = first;
    for (std::int64_t j = 0; j < padded; j += kLanes) {
      const S value = lpgd::load<S>(row + j) - lpgd::load<S>(v + j);
      second = min_of(second, max_of(first, value));
      first = min_of(first, value);
    }
    Two out{kOracleInfinity, kOracleInfinity};
    for (int lane = 0; lane < kLanes; ++lane) {
      const double a = get_lane(first, lane), b = get_lane(second, lane);
      out.second = min_of(min_of(out.second, b), max_of(out.first, a));
      out.first = min_of(out.first, a);
    }
    return out;
  }

  std::int64_t column_at(std::int64_t i, double value, std::int64_t begin) const {
    const double* row = c + i * padded;
    std::int64_t j = begin;
    while (j < m - 1 && row[j] - v[j] != value) ++j;
    return j;
  }

  // Every free row takes its best column, whose v falls until the second best is as good; the row
  // that had it is free. False: a row has no column.
  bool reduce_rows(std::int64_t& count) {
    // Rows can take columns from each other for very long, with gains that shrink to rounding; a
    // path settles them at once. As many steps as there are rows is where this pays.
    std::int64_t budget = count;
    const std::int64_t given = count;
    std::int64_t k = 0;
    count = 0;
    while (k < given) {
      const std::int32_t i = free_rows[k++];
      if (budget-- <= 0) {
        free_rows[count++] = i;
        continue;
      }
      const Two least = two_least(i);
      if (!(least.first < kOracleInfinity)) return false;
      std::int64_t j = column_at(i, least.first, 0);
      std::int32_t before = row_of[j];
      bool lowered = false;
      if (least.second < kOracleInfinity) {
        const double lower = v[j] - (least.second - least.first);
        lowered = lower < v[j];
        if (lowered) {
          v[j] = lower;
        } else if (before >= 0) {
          // equally good, perhaps free
          const std::int64_t other = column_at(i, least.second, j + 1);
          if (c[i * padded + other] - v[other] == least.second) j = other;
          before = row_of[j];
        }
      } else if (before >= 0) {  // its only column: to be settled by a path
        free_rows[count++] = i;
        continue;
      }
      row_of[j] = i;
      column_of[i] = static_cast<std::int32_t>(j);
      if (before < 0) continue;
      column_of[before] = -1;
      free_rows[lowered ? --k : count++] = before;
    }
    return true;
  }

  bool augment(std::int32_t start) {
    std::int64_t done = 0, end = -1;
    double shortest = 0;
    for (std::int32_t i = start;;) {
      const double* row = c + i * padded;
      // c_ij - v_j of the column that row i is assigned to, less the distance to it
      const double offset =
          done == 0 ? 0.0 : row[settled[done - 1]] - v[settled[done - 1]] - shortest;
      const Two least = done == 0 ? relax<true>(row, offset, i) : relax<false>(row, offset, i);
      shortest = least.first;
      if (!(shortest < kOracleInfinity)) {
        return false;
      }
      std::int64_t j = 0;
      if (least.second == shortest) {
        while (distance[j] + free_column[j] != shortest) ++j;
        end = j;
        break;
      }
      while (distance[j] != shortest) ++j;
      settled[done] = static_cast<std::int32_t>(j);
      settled_distance[done++] = shortest;
      distance[j] = kOracleInfinity;
      open_v[j] = -kOracleInfinity;
      i = row_of[j];
    }
    for (std::int64_t k = 0; k < done; ++k) {
      const std::int32_t j = settled[k];
      v[j] += settled_distance[k] - shortest;
      open_v[j] = v[j];
    }
    free_column[end] = kOracleInfinity;
    for (std::int64_t j = end; j >= 0;) {
      const auto i = static_cast<std::int32_t>(from[j]);
      row_of[j] = i;
      const std::int64_t next = i == start ? -1 : column_of[i];
      column_of[i] = static_cast<std::int32_t>(j);
      j = next;
    }
    return true;
  }

  // Distances through a row; the shortest of all open columns, and of those that are free.
  template <bool First>
  Two relax(const double* row, double offset, std::int32_t i) {
    const S through = broadcast<S>(offset), number = broadcast<S>(static_cast<double>(i));
    S all = broadcast<S>(kOracleInfinity), open = all;
    for (std::int64_t j = 0; j < padded; j += kLanes) {
      S value = lpgd::load<S>(row + j) - lpgd::load<S>(open_v + j) - through;
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
    Two out{kOracleInfinity, kOracleInfinity};
    for (int lane = 0; lane < kLanes; ++lane) {
      out.first = min_of(out.first, get_lane(all, lane));
      out.second = min_of(out.second, get_lane(open, lane));
    }
    return out;
  }
};

LPGD_END_NAMESPACE
