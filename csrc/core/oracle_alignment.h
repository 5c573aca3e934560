// Dynamic time warping: the cheapest monotone path through a matrix of costs.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

struct Alignment {
  enum Step : std::int8_t { kBoth, kDown, kRight };

  double* total;  // [m + 1]: the row above, behind an entry that no path reaches
  std::int8_t* by;

  template <class T>
  std::size_t bind(const AlignmentTask<T>& task, void* memory) {
    OracleSlices slices(memory);
    slices.take(total, task.m + 1);
    slices.take(by, task.n * task.m);
    return slices.used();
  }
  template <class T>
  static std::size_t workspace_bytes(const AlignmentTask<T>& task) {
    return Alignment{}.bind(task, nullptr);
  }

  template <class T>
  static void run(const AlignmentTask<T>& task, std::int64_t item, void* memory) {
    Alignment work;
    work.bind(task, memory);
    const std::int64_t n = task.n, m = task.m;
    const T* costs = task.costs + item * n * m;
    T* x = task.out.x + item * n * m;
    fill(x, n * m, T(0));
    if (!are_costs(costs, n * m)) return fail(task.out, item, kOracleBadData);
    fill(work.total, m + 1, kOracleInfinity);
    work.total[0] = 0;  // the step into (0, 0)
    for (std::int64_t i = 0; i < n; ++i) {
      // as in Sakoe and Chiba: |i - j| <= window, from the first to the last cell that it holds
      const std::int64_t begin = task.window < 0 || i < task.window ? 0 : i - task.window;
      const std::int64_t end = task.window < 0 || i + task.window + 1 > m ? m : i + task.window + 1;
      double corner = begin < m ? work.total[begin] : kOracleInfinity, left = kOracleInfinity;
      work.total[begin < m ? begin : m] = kOracleInfinity;
      for (std::int64_t j = begin; j < end; ++j) {
        const double above = work.total[j + 1];
        double best = corner;
        std::int8_t step = kBoth;
        if (above < best) {
          best = above;
          step = kDown;
        }
        if (left < best) {
          best = left;
          step = kRight;
        }
        corner = above;
        left = best + static_cast<double>(costs[i * m + j]);
        work.total[j + 1] = left;
        work.by[i * m + j] = step;
      }
    }
    if (!(work.total[m] < kOracleInfinity)) return fail(task.out, item, kOracleInfeasible);
    for (std::int64_t i = n - 1, j = m - 1; i >= 0 && j >= 0;) {
      x[i * m + j] = T(1);
      const std::int8_t step = work.by[i * m + j];
      i -= step != kRight;
      j -= step != kDown;
    }
    finish(task.out, item, work.total[m]);
  }
};

LPGD_END_NAMESPACE
