// Dynamic time warping: the cheapest monotone path through a matrix of costs.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

// One lane goes row by row. Several go along the anti-diagonals, whose cells hang on the two before
// alone: a barrier each. A cell gets the same step and the same number either way.
struct Alignment {
  enum Step : std::int8_t { kBoth, kDown, kRight };

  double* total;    // one lane: [m + 1], the row above, behind an entry that no path reaches
                    // several: [3, n + 2], the last diagonals, by rows, between two such entries
  std::int8_t* by;  // [n, m]; several lanes: [n + m - 1, min(n, m)], a diagonal after the other

  template <class Group, class T>
  LPGD_HOST_TOO std::size_t bind(const AlignmentTask<T>& task, void* memory) {
    OracleSlices slices(memory);
    if constexpr (kIsSerial<Group>) {
      slices.take(total, task.m + 1);
      slices.take(by, task.n * task.m);
    } else {
      slices.take(total, 3 * (task.n + 2));
      slices.take(by, (task.n + task.m - 1) * width(task));
    }
    return slices.used();
  }
  template <class Group, class T>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const AlignmentTask<T>& task) {
    return Alignment{}.bind<Group>(task, nullptr);
  }

  template <class Group, class T>
  LPGD_DEVICE static void run(const Group& group, const AlignmentTask<T>& task, std::int64_t item,
                              void* memory) {
    Alignment work;
    work.bind<Group>(task, memory);
    const std::int64_t n = task.n, m = task.m;
    const T* costs = task.costs + item * n * m;
    T* x = task.out.x + item * n * m;
    fill(group, x, n * m, T(0));
    if (!are_costs(group, costs, n * m)) return fail(group, task.out, item, kOracleBadData);
    double found = 0;
    if constexpr (kIsSerial<Group>) {
      found = work.walk_rows(task, costs);
    } else {
      found = work.walk_diagonals(group, task, costs);
    }
    if (!(found < kOracleInfinity)) return fail(group, task.out, item, kOracleInfeasible);
    if (group.lane() == 0) {
      for (std::int64_t i = n - 1, j = m - 1; i >= 0 && j >= 0;) {
        x[i * m + j] = T(1);
        const std::int8_t step = work.by[work.place<Group>(task, i, j)];
        i -= step != kRight;
        j -= step != kDown;
      }
    }
    finish(group, task.out, item, found);
  }

 private:
  template <class T>
  LPGD_HOST_TOO static std::int64_t width(const AlignmentTask<T>& task) {
    return task.n < task.m ? task.n : task.m;
  }
  template <class T>
  LPGD_INLINE static std::int64_t first_row(const AlignmentTask<T>& task, std::int64_t diagonal) {
    return diagonal < task.m ? 0 : diagonal - task.m + 1;
  }
  template <class Group, class T>
  LPGD_INLINE static std::int64_t place(const AlignmentTask<T>& task, std::int64_t i,
                                        std::int64_t j) {
    if constexpr (kIsSerial<Group>) return i * task.m + j;
    return (i + j) * width(task) + i - first_row(task, i + j);
  }

  // The best of the ways into a cell: of equal ones both steps at once, then down.
  LPGD_INLINE static double best_of(double corner, double above, double left, std::int8_t& step) {
    double best = corner;
    if (above < best) {
      best = above;
      step = kDown;
    }
    if (left < best) {
      best = left;
      step = kRight;
    }
    return best;
  }

  template <class T>
  LPGD_DEVICE double walk_rows(const AlignmentTask<T>& task, const T* costs) {
    const std::int64_t n = task.n, m = task.m;
    double* const row = total;
    std::int8_t* const steps = by;
    fill(row, m + 1, kOracleInfinity);
    row[0] = 0;  // the step into (0, 0)
    for (std::int64_t i = 0; i < n; ++i) {
      // as in Sakoe and Chiba: |i - j| <= window, from the first to the last cell that it holds
      const std::int64_t begin = task.window < 0 || i < task.window ? 0 : i - task.window;
      const std::int64_t end = task.window < 0 || i + task.window + 1 > m ? m : i + task.window + 1;
      double corner = begin < m ? row[begin] : kOracleInfinity, left = kOracleInfinity;
      row[begin < m ? begin : m] = kOracleInfinity;
      for (std::int64_t j = begin; j < end; ++j) {
        const double above = row[j + 1];
        std::int8_t step = kBoth;
        const double best = best_of(corner, above, left, step);
        corner = above;
        left = best + static_cast<double>(costs[i * m + j]);
        row[j + 1] = left;
        steps[i * m + j] = step;
      }
    }
    return row[m];
  }

  template <class Group, class T>
  LPGD_DEVICE double walk_diagonals(const Group& group, const AlignmentTask<T>& task,
                                    const T* costs) {
    const std::int64_t n = task.n, m = task.m;
    // no window holds more than all, and sums of it with a diagonal stay small
    const std::int64_t window = task.window < 0 || task.window > n + m ? n + m : task.window;
    if ((n < m ? m - n : n - m) > window) return kOracleInfinity;  // it leaves out the last cell
    double *current = total + 1, *before = current + n + 2, *earlier = before + n + 2;
    fill(group, total, 3 * (n + 2), kOracleInfinity);
    group.sync();
    for (std::int64_t diagonal = 0; diagonal < n + m - 1; ++diagonal) {
      const std::int64_t top = first_row(task, diagonal);
      const std::int64_t low = (diagonal - window + 1) / 2, high = (diagonal + window) / 2;
      const std::int64_t begin = low > top ? low : top;
      const std::int64_t most = diagonal < n ? diagonal : n - 1;
      const std::int64_t end = (high < most ? high : most) + 1;
      std::int8_t* steps = by + diagonal * width(task) - top;
      for (std::int64_t i = begin + group.lane(); i < end; i += group.size()) {
        const double corner = diagonal == 0 ? 0.0 : earlier[i - 1];
        std::int8_t step = kBoth;
        const double best = best_of(corner, before[i - 1], before[i], step);
        steps[i] = step;
        current[i] = best + static_cast<double>(costs[i * m + diagonal - i]);
      }
      // what the next two diagonals see beside these cells is three diagonals old
      if (group.lane() == 0) current[begin - 1] = current[end] = kOracleInfinity;
      double* swap = earlier;
      earlier = before;
      before = current;
      current = swap;
      group.sync();
    }
    return before[n - 1];
  }
};

LPGD_END_NAMESPACE
