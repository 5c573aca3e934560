// 0/1 knapsack by dynamic program: the best value for every way to use up whole capacities.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

// States of an item hang on those of the item before alone: lanes take a state each, with a barrier
// an item.
template <class Group>
struct KnapsackTable {
  Group group;
  double *best, *next;             // [states]: with the items so far
  std::int8_t* taken;              // [n, states]: whether the item is in that best choice
  std::int64_t *size, *need, *at;  // [dims]; the last two are of one lane

  LPGD_HOST_TOO std::size_t bind(std::int64_t n, std::int64_t dims, std::int64_t states,
                                 void* memory) {
    OracleSlices slices(memory);
    slices.take(best, states);
    slices.take(next, states);
    slices.take(taken, n * states);
    slices.take(size, dims);
    slices.take(need, dims);
    slices.take(at, dims);
    return slices.used();
  }

  template <class T>
  LPGD_DEVICE void solve(std::int64_t n, std::int64_t dims, const T* costs, const double* weights,
                         const double* capacity, std::int64_t states, T* x) {
    LPGD_EACH(group, d, dims) size[d] = static_cast<std::int64_t>(capacity[d]) + 1;
    fill(group, best, states, 0.0);
    group.sync();
    for (std::int64_t i = 0; i < n; ++i) {
      const double value = -static_cast<double>(costs[i]);
      std::int8_t* row = taken + i * states;
      const std::int64_t back = offset(n, dims, weights, i);
      if (!(value > 0) || back < 0) {
        fill(group, row, states, std::int8_t{0});
        continue;
      }
      if constexpr (kIsSerial<Group>) {
        add(dims, value, back, states, row);
      } else {
        add_by_lanes(n, dims, weights + i, value, back, states, row);
      }
      double* swap = best;
      best = next;
      next = swap;
    }
    group.sync();
    if (group.lane() != 0) return;
    std::int64_t state = states - 1;
    for (std::int64_t i = n - 1; i >= 0; --i) {
      if (taken[i * states + state] == 0) continue;
      x[i] = T(1);
      state -= offset(n, dims, weights, i);
    }
  }

 private:
  // How far back the state without the item is; -1: it never fits. One lane alone sets `need`.
  LPGD_DEVICE std::int64_t offset(std::int64_t n, std::int64_t dims, const double* weights,
                                  std::int64_t i) {
    std::int64_t back = 0;
    for (std::int64_t d = 0; d < dims; ++d) {
      const auto uses = static_cast<std::int64_t>(weights[d * n + i]);
      if constexpr (kIsSerial<Group>) need[d] = uses;
      if (uses >= size[d]) return -1;
      back = back * size[d] + uses;
    }
    return back;
  }

  // Taken only where that is better: of equal choices the one without later items stays.
  LPGD_DEVICE void add(std::int64_t dims, double value, std::int64_t back, std::int64_t states,
                       std::int8_t* row) {
    const std::int64_t last = size[dims - 1], skip = need[dims - 1];
    fill(at, dims, std::int64_t{0});
    for (std::int64_t start = 0; start < states; start += last) {
      bool fits = true;
      for (std::int64_t d = 0; d < dims - 1; ++d) fits &= at[d] >= need[d];
      const std::int64_t first = fits ? skip : last;
      const double* old = best + start;
      double* to = next + start;
      std::int8_t* mark = row + start;
      for (std::int64_t s = 0; s < first; ++s) {
        to[s] = old[s];
        mark[s] = 0;
      }
      for (std::int64_t s = first; s < last; ++s) {
        const double with = old[s - back] + value;
        const bool better = old[s] < with;
        to[s] = better ? with : old[s];
        mark[s] = static_cast<std::int8_t>(better);
      }
      for (std::int64_t d = dims - 2; d >= 0 && ++at[d] == size[d]; --d) at[d] = 0;
    }
  }

  // The same, a state at a time; weights: of the item, n apart.
  LPGD_DEVICE void add_by_lanes(std::int64_t n, std::int64_t dims, const double* weights,
                                double value, std::int64_t back, std::int64_t states,
                                std::int8_t* row) {
    LPGD_EACH(group, s, states) {
      bool fits = true;
      auto rest = static_cast<std::uint32_t>(s);  // a table has at most 2^30 states
      for (std::int64_t d = dims - 1; d > 0; --d) {
        const auto count = static_cast<std::uint32_t>(size[d]);
        fits &= rest % count >= static_cast<std::uint32_t>(weights[d * n]);
        rest /= count;
      }
      fits &= rest >= static_cast<std::uint32_t>(weights[0]);
      const double old = best[s], with = fits ? best[s - back] + value : old;
      const bool better = old < with;
      next[s] = better ? with : old;
      row[s] = static_cast<std::int8_t>(better);
    }
    group.sync();
  }
};

// How many states capacities have; -1: more than `most`, or none.
LPGD_HOST_TOO std::int64_t knapsack_states(std::int64_t dims, const double* capacity,
                                           std::int64_t most) {
  std::int64_t count = 1;
  for (std::int64_t d = 0; d < dims; ++d) {
    if (!(capacity[d] >= 0) || !(capacity[d] < static_cast<double>(most))) return -1;
    count *= static_cast<std::int64_t>(capacity[d]) + 1;  // both at most 2^30
    if (count > most) return -1;
  }
  return count;
}

// The conversion has no meaning beyond its bounds, infinities included.
LPGD_HOST_TOO bool is_whole(double weight) {
  return 0 <= weight && weight <= 9e15 &&
         static_cast<double>(static_cast<std::int64_t>(weight)) == weight;
}

LPGD_END_NAMESPACE
