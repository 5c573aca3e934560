// Isotonic regression by pooling adjacent violators, and what is made of it after a sort: the
// sorted l1 norm (OWL, SLOPE) and the permutahedron. A row is walked by one lane, sums are in
// double.
#pragma once

#include "prox_sort.h"

LPGD_BEGIN_NAMESPACE

// The pools of a row on a stack: of each, the weighted sum, the weight and the end
struct Pools {
  double* sums;
  double* sizes;
  std::int64_t* ends;

  LPGD_HOST_TOO static std::size_t bytes(std::int64_t n) {
    return 3 * static_cast<std::size_t>(n) * sizeof(double);
  }
  LPGD_INLINE static Pools at(void* scratch, std::int64_t n) {
    auto* data = static_cast<double*>(scratch);
    return {data, data + n, reinterpret_cast<std::int64_t*>(data + 2 * n)};
  }
};

// The nondecreasing fit of get(0), ..., get(n - 1) with weights weight(i) > 0: emit(begin, end,
// value) for every pool in order. Means are compared by cross-multiplication: a division would be
// in the loop's critical path.
template <class Get, class Weight, class Emit>
LPGD_INLINE void pool_adjacent(const Pools& pools, std::int64_t n, const Get& get,
                               const Weight& weight, const Emit& emit) {
  std::int64_t top = -1;
  std::int64_t i = 0;
  while (i < n) {
    double size = weight(i), sum = get(i) * size;
    ++i;
    // followers below the mean join at once, without a visit to the stack
    while (i < n) {
      const double next = get(i);
      if (!(next * size <= sum)) break;
      const double share = weight(i);
      sum += next * share;
      size += share;
      ++i;
    }
    while (top >= 0 && pools.sums[top] * size >= sum * pools.sizes[top]) {
      sum += pools.sums[top];
      size += pools.sizes[top];
      --top;
    }
    ++top;
    pools.sums[top] = sum;
    pools.sizes[top] = size;
    pools.ends[top] = i;
  }
  std::int64_t begin = 0;
  for (std::int64_t k = 0; k <= top; ++k) {
    emit(begin, pools.ends[k], pools.sums[k] / pools.sizes[k]);
    begin = pools.ends[k];
  }
}

template <class Get, class Emit>
LPGD_INLINE void pool_adjacent(const Pools& pools, std::int64_t n, const Get& get,
                               const Emit& emit) {
  pool_adjacent(pools, n, get, [](std::int64_t) { return 1.0; }, emit);
}

struct IsotonicRegression {
  LPGD_HOST_TOO static std::size_t scratch_bytes(std::int64_t n) { return Pools::bytes(n); }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const T sum = sum_of<T>(g, row.n, [&](auto at) { return at.load(row.x); });
    if (!(sum - sum == T(0))) return row.fail(g);
    pool_adjacent(
        Pools::at(row.scratch, row.n), row.n,
        [&](std::int64_t i) { return static_cast<double>(row.x[i]); },
        [&](std::int64_t begin, std::int64_t end, double mean) {
          row.write_run(row.out, begin, end, static_cast<T>(mean));
        });
  }

  // the mean of the gradient over each run of equal values
  template <class Group, class T>
  LPGD_HD static void vjp(const Group&, const ProxRow<T>& row) {
    for (std::int64_t begin = 0, end = 0; begin < row.n; begin = end) {
      const T level = row.out[begin];
      end = run_end(row.out, begin, row.n);
      const double sum = run_sum(row.gradient, begin, end) + static_cast<double>(level - level);
      row.write_run(row.gx, begin, end, static_cast<T>(sum / static_cast<double>(end - begin)));
    }
  }
};

// The same in the norm sum w_i p_i^2 with w > 0: the pools' means are weighted ones.
struct WeightedIsotonic {
  LPGD_HOST_TOO static std::size_t scratch_bytes(std::int64_t n) { return Pools::bytes(n); }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const RowParameter<T> w = row.p[0];
    const auto facts = reduce<T, 3>(g, row.n, [&](auto at, auto* term) {
      using S = decltype(at.load(row.x));
      term[0] = at.load(row.x);
      term[1] = at.load(w);
      term[2] = select(less(S(0), at.load(w)), S(0), S(1));
    });
    if (!(facts[0] - facts[0] == T(0)) || !(facts[1] - facts[1] == T(0)) || facts[2] != T(0))
      return row.fail(g);
    pool_adjacent(
        Pools::at(row.scratch, row.n), row.n,
        [&](std::int64_t i) { return static_cast<double>(row.x[i]); },
        [&](std::int64_t i) { return static_cast<double>(w[i]); },
        [&](std::int64_t begin, std::int64_t end, double mean) {
          for (std::int64_t i = begin; i < end; ++i) row.out[i] = static_cast<T>(mean);
        });
  }

  // a run's level is sum w x / sum w: sum g goes to x_i by w_i / sum w, to w_i by (x_i - level) /
  // sum w
  template <class Group, class T>
  LPGD_HD static void vjp(const Group&, const ProxRow<T>& row) {
    const RowParameter<T> w = row.p[0];
    double all = 0;
    for (std::int64_t begin = 0, end = 0; begin < row.n; begin = end) {
      const T level = row.out[begin];
      double sum = static_cast<double>(level - level), size = 0;  // nan
      for (end = begin; end < row.n && (end == begin || row.out[end] == level); ++end) {
        sum += static_cast<double>(row.gradient[end]);
        size += static_cast<double>(w[end]);
      }
      const double share = sum / size;
      for (std::int64_t i = begin; i < end; ++i) {
        row.gx[i] = static_cast<T>(static_cast<double>(w[i]) * share);
        if (row.gp[0] == nullptr) continue;
        const double turn = (static_cast<double>(row.x[i]) - static_cast<double>(level)) * share;
        if (row.each_p[0]) row.gp[0][i] = static_cast<T>(turn);
        all += turn;
      }
    }
    if (row.gp[0] != nullptr && !row.each_p[0]) row.gp[0][0] = static_cast<T>(all);
  }
};

// What the sorting operators share: `order` has the coordinates from large to small, ~i where a
// pool starts. Weights must not increase.
template <bool Abs>
struct Sorted {
  LPGD_HOST_TOO static std::size_t scratch_bytes(std::int64_t n) {
    return Pools::bytes(n) + RowSort::bytes(n);
  }
  LPGD_INLINE static std::int32_t place(std::int32_t entry) { return entry < 0 ? ~entry : entry; }

  template <class Group, class T>
  LPGD_INLINE static bool prepare(const Group& g, const ProxRow<T>& row) {
    const T sum = sum_of<T>(g, row.n, [&](auto at) { return abs_of(at.load(row.x)); });
    bool good = sum - sum == T(0);
    const RowParameter<T> w = row.p[0];
    for (std::int64_t i = 1; i < row.n * w.step; ++i) good = good && w[i] <= w[i - 1];
    const T last = w[row.n - 1];
    good = good && (Abs ? last >= T(0) : last - last == T(0)) && w[0] - w[0] == T(0);
    if (!good) {
      row.fail(g);
      for (std::int64_t i = 0; i < row.n; ++i) row.order[i] = static_cast<std::int32_t>(i);
      return false;
    }
    if (!row.sorted)
      sort_row<Abs>(row.x, row.n, row.order, static_cast<char*>(row.scratch) + Pools::bytes(row.n));
    return true;
  }
};

struct SortedNorm : Sorted<true> {
  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    if (row.n == 0 || !prepare(g, row)) return;
    const RowParameter<T> w = row.p[0];
    pool_adjacent(
        Pools::at(row.scratch, row.n), row.n,
        [&](std::int64_t k) {
          return static_cast<double>(w[k]) - static_cast<double>(abs_of(row.x[row.order[k]]));
        },
        [&](std::int64_t begin, std::int64_t end, double mean) {
          const T size = static_cast<T>(mean < 0 ? -mean : 0.0);
          for (std::int64_t k = begin; k < end; ++k) {
            const std::int32_t i = row.order[k];
            row.out[i] = row.x[i] < T(0) ? -size : size;
          }
          row.order[begin] = ~row.order[begin];
        });
  }

  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    double all = 0;
    for (std::int64_t begin = 0, end = 0; begin < row.n; begin = end) {
      double sum = 0;
      std::int32_t i = place(row.order[begin]);
      const T level = row.out[i];
      for (end = begin; end < row.n && (end == begin || row.order[end] >= 0); ++end) {
        i = place(row.order[end]);
        sum += static_cast<double>(sign_of(row.x[i]) * row.gradient[i]);
      }
      T mean = static_cast<T>(sum / static_cast<double>(end - begin));
      if (level == T(0)) mean = T(0);
      mean += level - level;
      for (std::int64_t k = begin; k < end; ++k) {
        i = place(row.order[k]);
        row.gx[i] = sign_of(row.x[i]) * mean;
        if (row.gp[0] != nullptr && row.each_p[0]) row.gp[0][k] = -mean;
      }
      all -= static_cast<double>(mean) * static_cast<double>(end - begin);
    }
    if (row.gp[0] != nullptr && !row.each_p[0]) row.gp[0][0] = static_cast<T>(all);
    (void)g;
  }
};

// the convex hull of the permutations of w: x less the fit of the sorted x - w (Blondel et al.
// 2020)
struct Permutahedron : Sorted<false> {
  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    if (row.n == 0 || !prepare(g, row)) return;
    const RowParameter<T> w = row.p[0];
    pool_adjacent(
        Pools::at(row.scratch, row.n), row.n,
        [&](std::int64_t k) {
          return static_cast<double>(w[k]) - static_cast<double>(row.x[row.order[k]]);
        },
        [&](std::int64_t begin, std::int64_t end, double mean) {
          for (std::int64_t k = begin; k < end; ++k) {
            const std::int32_t i = row.order[k];
            row.out[i] = static_cast<T>(static_cast<double>(row.x[i]) + mean);
          }
          row.order[begin] = ~row.order[begin];
        });
  }

  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    double all = 0;
    for (std::int64_t begin = 0, end = 0; begin < row.n; begin = end) {
      double sum = 0;
      for (end = begin; end < row.n && (end == begin || row.order[end] >= 0); ++end)
        sum += static_cast<double>(row.gradient[place(row.order[end])]);
      T mean = static_cast<T>(sum / static_cast<double>(end - begin));
      const T level = row.out[place(row.order[begin])];
      mean += level - level;
      for (std::int64_t k = begin; k < end; ++k) {
        const std::int32_t i = place(row.order[k]);
        row.gx[i] = row.gradient[i] - mean;
        if (row.gp[0] != nullptr && row.each_p[0]) row.gp[0][k] = mean;
      }
      all += static_cast<double>(mean) * static_cast<double>(end - begin);
    }
    if (row.gp[0] != nullptr && !row.each_p[0]) row.gp[0][0] = static_cast<T>(all);
    (void)g;
  }
};

LPGD_END_NAMESPACE
