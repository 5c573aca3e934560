// The k smallest costs, by quickselect, and the ranking that the costs like best, by a sort.
#pragma once

#include "oracle_order.h"
#include "oracle_radix.h"

LPGD_BEGIN_NAMESPACE

struct TopK {
  template <class Group, class T>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const TopKTask<T>& task) {
    if constexpr (kIsSerial<Group>) return static_cast<std::size_t>(task.n) * sizeof(T);
    OracleSlices slices(nullptr);
    RadixSelect<Group>{}.bind(slices);
    return slices.used();
  }

  template <class Group, class T>
  LPGD_DEVICE static void run(const Group& group, const TopKTask<T>& task, std::int64_t item,
                              void* memory) {
    const std::int64_t n = task.n, k = task.k;
    const T* costs = task.costs + item * n;
    T* x = task.out.x + item * n;
    fill(group, x, n, T(0));
    if (!are_costs(group, costs, n)) return fail(group, task.out, item, kOracleBadData);
    if (k == 0) return finish(group, task.out, item, 0.0);
    double objective = 0;
    if constexpr (kIsSerial<Group>) {
      T* copy = static_cast<T*>(memory);
      for (std::int64_t i = 0; i < n; ++i) copy[i] = costs[i];
      const T last = smallest(copy, n, k - 1);
      if (!(last < std::numeric_limits<T>::infinity()))
        return fail(group, task.out, item, kOracleInfeasible);
      std::int64_t ties = k;  // of those equal to the last one, how many are taken
      for (std::int64_t i = 0; i < n; ++i) ties -= costs[i] < last;
      for (std::int64_t i = 0; i < n; ++i) {
        const bool tie = costs[i] == last && ties > 0;
        ties -= tie;
        if (!tie && !(costs[i] < last)) continue;
        x[i] = T(1);
        objective += static_cast<double>(costs[i]);
      }
    } else {
      RadixSelect<Group> select;
      OracleSlices slices(memory);
      select.bind(slices);
      const auto last = select.smallest(group, costs, n, k - 1);
      if (last.least >= radix_key(std::numeric_limits<T>::infinity()))
        return fail(group, task.out, item, kOracleInfeasible);
      // a piece of the costs a lane, so that the first of those equal to the last one are known
      const std::int64_t piece = (n + group.size() - 1) / group.size();
      const std::int64_t begin = group.lane() * piece;
      const std::int64_t end = begin + piece < n ? begin + piece : n;
      std::int64_t ties = last.ties;
      if (last.some) {
        std::int32_t own = 0, all = 0;
        for (std::int64_t i = begin; i < end; ++i) own += radix_key(costs[i]) == last.least;
        ties -= sum_before(group, own, select.slots, all);
      }
      for (std::int64_t i = begin; i < end; ++i) {
        const auto key = radix_key(costs[i]);
        const bool tie = key >= last.least && key <= last.most && ties > 0;
        ties -= tie && last.some;
        if (!tie && !(key < last.least)) continue;
        x[i] = T(1);
        objective += static_cast<double>(costs[i]);
      }
    }
    finish(group, task.out, item, group.sum(objective));
  }

 private:
  // The value that a sort would put at place k, by passes without a branch. Values equal to the
  // pivot leave the search at once, so that ties cost nothing.
  template <class T>
  LPGD_DEVICE static T smallest(T* values, std::int64_t n, std::int64_t k) {
    std::int64_t begin = 0, end = n;
    while (end - begin > 1) {
      const T a = values[begin], b = values[begin + (end - begin) / 2], c = values[end - 1];
      const T pivot = max_of(min_of(a, b), min_of(max_of(a, b), c));
      const std::int64_t low =
          to_front(values, begin, end, [pivot](T value) { return value < pivot; });
      if (k < low) {
        end = low;
        continue;
      }
      begin = to_front(values, low, end, [pivot](T value) { return value == pivot; });
      if (k < begin) return pivot;
    }
    return values[begin];
  }

  // Brings those of [begin, end) that are wanted to the front; where the others start.
  template <class T, class F>
  LPGD_INLINE static std::int64_t to_front(T* values, std::int64_t begin, std::int64_t end,
                                           const F& is_wanted) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T value = values[i];
      values[i] = values[begin];
      values[begin] = value;
      begin += is_wanted(value);
    }
    return begin;
  }
};

struct Ranking {
  template <class Group, class T>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const RankingTask<T>& task) {
    OracleSlices slices(nullptr);
    CostOrder<Group, T>{}.bind(slices, task.n);
    return slices.used();
  }

  template <class Group, class T>
  LPGD_DEVICE static void run(const Group& group, const RankingTask<T>& task, std::int64_t item,
                              void* memory) {
    const std::int64_t n = task.n;
    const T* costs = task.costs + item * n;
    T* x = task.out.x + item * n;
    fill(group, x, n, T(0));
    if (!are_finite(group, costs, n)) return fail(group, task.out, item, kOracleBadData);
    CostOrder<Group, T> by_cost;
    OracleSlices slices(memory);
    by_cost.bind(slices, n);
    by_cost.descending(group, costs, n);
    // the smallest value to the largest cost
    double objective = 0;
    LPGD_EACH(group, k, n) {
      const std::int32_t i = by_cost.order[k];
      x[i] = task.values[k];
      objective += static_cast<double>(costs[i]) * static_cast<double>(x[i]);
    }
    finish(group, task.out, item, group.sum(objective));
  }
};

LPGD_END_NAMESPACE
