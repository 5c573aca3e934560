// Linear assignment by shortest augmenting paths: Jonker and Volgenant, "A shortest augmenting path
// algorithm for dense and sparse linear assignment problems", Computing 38 (1987).
//
// Duals v keep c_ij - v_j >= u_i for all pairs, with equality for those assigned. Column reduction
// and two rounds of augmenting row reduction assign most rows; each row that is left searches for a
// shortest path to a free column (Dijkstra over reduced costs). For n < m the columns that stay
// free need v = 0: v starts there, since both later phases lower v of assigned columns alone.
//
// Of a group every lane follows the whole course, since the scans give all the same; what is not
// dealt out is written by the first lane, between barriers.
#pragma once

#include <type_traits>

#include "oracle_assignment_work.h"

LPGD_BEGIN_NAMESPACE

template <class Group, class C>
struct AssignmentSearch : AssignmentWork<Group, C> {
  using Work = AssignmentWork<Group, C>;
  using typename Work::Reached;
  using typename Work::S;
  using typename Work::Two;
  using Work::c, Work::v, Work::open_v, Work::distance, Work::free_column, Work::from;
  using Work::group, Work::n, Work::m, Work::padded, Work::kLanes, Work::leads, Work::owns;
  using Work::settled, Work::settled_distance, Work::column_of, Work::row_of, Work::free_rows;

  // False: some row can't have a column.
  LPGD_DEVICE bool solve() {
    fill(group, column_of, n, -1);
    fill(group, row_of, padded, -1);
    fill(group, v, padded, 0.0);
    group.sync();
    if (n == m) reduce_columns();
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      if (column_of[i] >= 0) continue;
      if (leads()) free_rows[count] = static_cast<std::int32_t>(i);
      ++count;
    }
    group.sync();
    for (int round = 0; round < 2 && count > 0; ++round)
      if (!reduce_rows(count)) return false;
    LPGD_EACH(group, j, padded) {
      open_v[j] = v[j];
      free_column[j] = row_of[j] < 0 ? 0.0 : kOracleInfinity;
    }
    group.sync();
    for (std::int64_t k = 0; k < count; ++k)
      if (!augment(free_rows[k])) return false;
    return true;
  }

 private:
  // v_j = min_i c_ij; the column goes to that row if it has none. Then a row that is the minimum of
  // one column alone passes its slack on to v, which makes the column dearer for other rows.
  LPGD_DEVICE void reduce_columns() {
    double* least = distance;
    double* at = from;
    if constexpr (kIsSerial<Group>) {
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
    } else {
      LPGD_EACH(group, j, m) {
        C best = c[j];
        std::int64_t row = 0;
        for (std::int64_t i = 1; i < n; ++i) {
          const C value = c[i * padded + j];
          if (!(value < best)) continue;
          best = value;
          row = i;
        }
        least[j] = static_cast<double>(best);
        at[j] = static_cast<double>(row);
      }
    }
    std::int32_t* columns = settled;  // how many columns have their minimum in a row
    fill(group, columns, n, 0);
    group.sync();
    if (leads()) {
      for (std::int64_t j = m - 1; j >= 0; --j) {
        if (!(least[j] < kOracleInfinity)) continue;
        v[j] = least[j];
        const auto i = static_cast<std::int32_t>(at[j]);
        if (++columns[i] == 1) {
          column_of[i] = static_cast<std::int32_t>(j);
          row_of[j] = i;
        }
      }
    }
    group.sync();
    for (std::int64_t i = 0; i < n; ++i) {
      if (columns[i] != 1) continue;
      const std::int32_t j = column_of[i];
      if constexpr (kIsSerial<Group>) {
        const double kept = v[j];
        v[j] = -kOracleInfinity;  // out of the minimum
        const double slack = this->two_least(i).first;
        v[j] = slack < kOracleInfinity ? kept - slack : kept;
      } else {
        const double slack = this->two_least(i, j).first;
        if (leads() && slack < kOracleInfinity) v[j] -= slack;
        group.sync();
      }
    }
  }

  // Every free row takes its best column, whose v falls until the second best is as good; the row
  // that had it is free. False: a row has no column.
  LPGD_DEVICE bool reduce_rows(std::int64_t& count) {
    // Rows can take columns from each other for very long, with gains that shrink to rounding; a
    // path settles them at once. As many steps as there are rows is where this pays.
    std::int64_t budget = count;
    const std::int64_t given = count;
    std::int64_t k = 0;
    count = 0;
    while (k < given) {
      const std::int32_t i = free_rows[k++];
      if (budget-- <= 0) {
        put_off(i, count++);
        continue;
      }
      const Two least = this->two_least(i);
      if (!(least.first < kOracleInfinity)) return false;
      std::int64_t j = least.at;
      if constexpr (kIsSerial<Group>) j = this->column_at(i, least.first, 0);
      std::int32_t before = row_of[j];
      double lower = 0;
      bool lowered = false;
      if (least.second < kOracleInfinity) {
        lower = v[j] - (least.second - least.first);
        lowered = lower < v[j];
        if (!lowered && before >= 0) {
          // equally good, perhaps free
          const std::int64_t other = this->column_at(i, least.second, j + 1);
          if (this->cost(i, other) - v[other] == least.second) j = other;
          before = row_of[j];
        }
      } else if (before >= 0) {  // its only column: to be settled by a path
        put_off(i, count++);
        continue;
      }
      group.sync();  // all lanes have read what the first one writes now
      std::int64_t place = -1;
      if (before >= 0) place = lowered ? --k : count++;
      if (leads()) {
        if (lowered) v[j] = lower;
        row_of[j] = i;
        column_of[i] = static_cast<std::int32_t>(j);
        if (before >= 0) {
          column_of[before] = -1;
          free_rows[place] = before;
        }
      }
      group.sync();
    }
    return true;
  }

  LPGD_INLINE void put_off(std::int32_t row, std::int64_t place) {
    group.sync();
    if (leads()) free_rows[place] = row;
    group.sync();
  }

  LPGD_DEVICE bool augment(std::int32_t start) {
    std::int64_t done = 0, last = 0, end = -1;
    double shortest = 0;
    for (std::int32_t i = start;;) {
      // c_ij - v_j of the column that row i is assigned to, less the distance to it
      const double offset = done == 0 ? 0.0 : this->cost(i, last) - v[last] - shortest;
      const Reached next = done == 0 ? this->template relax<true>(i, offset)
                                     : this->template relax<false>(i, offset);
      shortest = next.distance;
      if (!(shortest < kOracleInfinity)) return false;
      last = next.column;
      if (next.is_free) {
        end = last;
        break;
      }
      if (leads()) {
        settled[done] = static_cast<std::int32_t>(last);
        settled_distance[done] = shortest;
      }
      if (owns(last)) {
        distance[last] = kOracleInfinity;
        open_v[last] = -kOracleInfinity;
      }
      ++done;
      i = row_of[last];
    }
    group.sync();
    LPGD_EACH(group, k, done) {
      const std::int32_t j = settled[k];
      v[j] += settled_distance[k] - shortest;
      open_v[j] = v[j];
    }
    if (owns(end)) free_column[end] = kOracleInfinity;
    if (leads()) {
      for (std::int64_t j = end; j >= 0;) {
        const auto i = static_cast<std::int32_t>(from[j]);
        row_of[j] = i;
        const std::int64_t next = i == start ? -1 : column_of[i];
        column_of[i] = static_cast<std::int32_t>(j);
        j = next;
      }
    }
    group.sync();
    return true;
  }
};

struct Assignment {
  // Doubles in whole registers for one lane; several lanes convert what they read.
  template <class Group, class T>
  using Search = AssignmentSearch<Group, std::conditional_t<kIsSerial<Group>, double, T>>;

  template <class Group, class T>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const AssignmentTask<T>& task) {
    Search<Group, T> work{};
    return work.bind(task, nullptr);
  }

  template <class Group, class T>
  LPGD_DEVICE static void run(const Group& group, const AssignmentTask<T>& task, std::int64_t item,
                              void* memory) {
    Search<Group, T> work{};
    work.group = group;
    work.bind(task, memory);
    const std::int64_t size = task.n * task.m;
    T* x = task.out.x != nullptr ? task.out.x + item * size : nullptr;
    if (x != nullptr) fill(group, x, size, T(0));
    T* u = task.u + item * task.n;
    T* v = task.v + item * task.m;
    std::int64_t* columns = task.columns + item * task.n;
    std::int32_t status = kOracleBadData;
    if (work.load(task, item)) status = work.solve() ? kOracleOk : kOracleInfeasible;
    if (status != kOracleOk) {
      fill(group, columns, task.n, std::int64_t{-1});
      fill(group, u, task.n, T(0));
      fill(group, v, task.m, T(0));
      fail(group, task.out, item, status);
      return;
    }
    double objective = 0;
    LPGD_EACH(group, i, task.n) {
      const std::int64_t j = work.column_of[i];
      const double cost = work.cost(i, j);
      objective += cost;
      columns[i] = j;
      u[i] = static_cast<T>(cost - work.v[j]);
      if (x != nullptr) x[task.transposed ? j * task.n + i : i * task.m + j] = T(1);
    }
    LPGD_EACH(group, j, task.m) v[j] = static_cast<T>(work.v[j]);
    finish(group, task.out, item, group.sum(objective));
  }
};

LPGD_END_NAMESPACE
