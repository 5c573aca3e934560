// 0/1 knapsack by branch and bound: depth first over the items by value for weight, the bound of
// Dantzig for what is left. Several resources are bounded by one, their sum weighted by multipliers
// that nearly minimise the Lagrangian dual at the root.
#pragma once

#include "oracle_order.h"

LPGD_BEGIN_NAMESPACE

// What is searched next hangs on all that has been found, and sums must round in one order: the
// first of several lanes searches, all of them sort.
template <class Group>
struct KnapsackBranch {
  // Capacities are met to this, relatively: decimal weights do not add up exactly.
  static constexpr double kSlack = 1e-9;
  static constexpr int kDualSteps = 100;

  Group group;
  CostOrder<Group, double> by_ratio;
  double *ratio, *value, *weight;   // of the items that may be taken, [n], then in order of ratio
  double* need;                     // [n, dims], in that order
  double *values, *weights_so_far;  // [n + 1]: sums of the first ones
  double *gained, *left;  // [n + 1], [n + 1, dims]: value and capacity left on the way down
  double *multiplier, *slope, *trial;  // [dims]
  std::int32_t* item;                  // [n]
  std::int8_t *taken, *best_taken;     // [n]
  std::int64_t* shared;                // [1]: what the first lane tells the others

  LPGD_HOST_TOO std::size_t bind(std::int64_t n, std::int64_t dims, void* memory) {
    OracleSlices slices(memory);
    by_ratio.bind(slices, n);
    slices.take(ratio, n);
    slices.take(value, n);
    slices.take(weight, n);
    slices.take(need, n * dims);
    slices.take(values, n + 1);
    slices.take(weights_so_far, n + 1);
    slices.take(gained, n + 1);
    slices.take(left, (n + 1) * dims);
    slices.take(multiplier, dims);
    slices.take(slope, dims);
    slices.take(trial, dims);
    slices.take(item, n);
    slices.take(taken, n);
    slices.take(best_taken, n);
    slices.take(shared, 1);
    return slices.used();
  }

  // False: the limit of nodes was met; x is the best choice found. To be heard from the first lane.
  template <class T>
  LPGD_DEVICE bool solve(std::int64_t n, std::int64_t dims, const T* costs, const double* weights,
                         const double* capacity, std::int64_t most_nodes, T* x) {
    std::int64_t count = 0;
    if (group.lane() == 0) {
      count = collect(n, dims, costs, weights, capacity);
      *shared = count;
    }
    group.sync();
    count = *shared;
    if (count == 0) return true;
    by_ratio.ascending(group, ratio, count);
    if (group.lane() != 0) return true;
    values[0] = weights_so_far[0] = 0;
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int32_t from = by_ratio.order[k];
      values[k + 1] = values[k] + value[from];
      weights_so_far[k + 1] = weights_so_far[k] + weight[from];
      for (std::int64_t d = 0; d < dims; ++d) need[k * dims + d] = weights[d * n + item[from]];
    }
    const bool proved = search(dims, count, most_nodes);
    for (std::int64_t k = 0; k < count; ++k)
      if (best_taken[k] != 0) x[item[by_ratio.order[k]]] = T(1);
    return proved;
  }

 private:
  // The items that may be taken, with what they weigh; how many there are.
  template <class T>
  LPGD_DEVICE std::int64_t collect(std::int64_t n, std::int64_t dims, const T* costs,
                                   const double* weights, const double* capacity) {
    double* room = left;
    for (std::int64_t d = 0; d < dims; ++d) room[d] = capacity[d] + kSlack * capacity[d];
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      bool fits = costs[i] < T(0);
      for (std::int64_t d = 0; d < dims; ++d) fits &= weights[d * n + i] <= room[d];
      if (!fits) continue;
      value[count] = -static_cast<double>(costs[i]);
      item[count++] = static_cast<std::int32_t>(i);
    }
    if (count == 0) return 0;
    find_multipliers(n, dims, weights, room, count);
    for (std::int64_t k = 0; k < count; ++k) {
      weight[k] = 0;
      for (std::int64_t d = 0; d < dims; ++d) weight[k] += multiplier[d] * weights[d * n + item[k]];
      ratio[k] = weight[k] > 0 ? -value[k] / weight[k] : -kOracleInfinity;
    }
    return count;
  }

  // min over multipliers >= 0 of <multiplier, room> + sum_i max(0, value_i - <multiplier, w_i>),
  // roughly, by subgradients: any multipliers bound from above.
  LPGD_DEVICE void find_multipliers(std::int64_t n, std::int64_t dims, const double* weights,
                                    const double* room, std::int64_t count) {
    fill(multiplier, dims, 1.0);
    if (dims == 1) return;
    double total = 0, best = kOracleInfinity;
    for (std::int64_t k = 0; k < count; ++k) total += value[k];
    for (std::int64_t d = 0; d < dims; ++d) {
      double sum = 0;
      for (std::int64_t k = 0; k < count; ++k) sum += weights[d * n + item[k]];
      trial[d] = sum > room[d] ? total / (sum * static_cast<double>(dims)) : 0;
    }
    for (int step = 0; step < kDualSteps; ++step) {
      double dual = 0, norm = 0;
      for (std::int64_t d = 0; d < dims; ++d) {
        dual += trial[d] * room[d];
        slope[d] = room[d];
      }
      for (std::int64_t k = 0; k < count; ++k) {
        double reduced = value[k];
        for (std::int64_t d = 0; d < dims; ++d) reduced -= trial[d] * weights[d * n + item[k]];
        if (!(reduced > 0)) continue;
        dual += reduced;
        for (std::int64_t d = 0; d < dims; ++d) slope[d] -= weights[d * n + item[k]];
      }
      if (dual < best) {
        best = dual;
        for (std::int64_t d = 0; d < dims; ++d) multiplier[d] = trial[d];
      }
      for (std::int64_t d = 0; d < dims; ++d) norm += slope[d] * slope[d];
      if (!(norm > 0)) break;
      const double length = 0.2 * dual / (norm * (1 + 0.2 * step));
      for (std::int64_t d = 0; d < dims; ++d) trial[d] = max_of(trial[d] - length * slope[d], 0.0);
    }
  }

  // What the items from place k on can add, at most, in room for `space` of weighted capacity.
  LPGD_DEVICE double bound(std::int64_t k, std::int64_t count, double space) const {
    const double limit = weights_so_far[k] + space;
    std::int64_t low = k, high = count;  // the last place whose sum is within the limit
    while (low < high) {
      const std::int64_t middle = (low + high + 1) / 2;
      if (weights_so_far[middle] <= limit) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    double out = values[low] - values[k];
    if (low < count) {
      const double part = weights_so_far[low + 1] - weights_so_far[low];
      out += (limit - weights_so_far[low]) / part * (values[low + 1] - values[low]);
    }
    return out;
  }

  LPGD_DEVICE bool search(std::int64_t dims, std::int64_t count, std::int64_t most_nodes) {
    // sums differ by rounding with the order of their terms
    const double margin = 1e-13 * values[count];
    double best = 0;
    fill(best_taken, count, std::int8_t{0});
    gained[0] = 0;
    std::int64_t k = 0, nodes = 0;
    for (;;) {
      bool cut = false;
      for (; k < count && !cut; ++k) {
        if (++nodes > most_nodes) return false;
        const double* room = left + k * dims;
        double space = 0;
        bool fits = true;
        for (std::int64_t d = 0; d < dims; ++d) {
          space += multiplier[d] * room[d];
          fits &= need[k * dims + d] <= room[d];
        }
        cut = gained[k] + bound(k, count, space) <= best + margin;
        if (cut) break;
        taken[k] = static_cast<std::int8_t>(fits);
        gained[k + 1] = gained[k] + (fits ? values[k + 1] - values[k] : 0.0);
        for (std::int64_t d = 0; d < dims; ++d)
          left[(k + 1) * dims + d] = room[d] - (fits ? need[k * dims + d] : 0.0);
      }
      if (!cut && gained[count] > best) {
        best = gained[count];
        for (std::int64_t i = 0; i < count; ++i) best_taken[i] = taken[i];
      }
      do {
        if (k == 0) return true;
        --k;
      } while (taken[k] == 0);
      taken[k] = 0;
      gained[k + 1] = gained[k];
      for (std::int64_t d = 0; d < dims; ++d) left[(k + 1) * dims + d] = left[k * dims + d];
      ++k;
    }
  }
};

LPGD_END_NAMESPACE
