// 0/1 knapsack by dynamic program: the best value for every way to use up whole capacities.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

struct KnapsackTable {
  double *best, *next;             // [states]: with the items so far
  std::int8_t* taken;              // [n, states]: whether the item is in that best choice
  std::int64_t *size, *need, *at;  // [dims]

  std::size_t bind(std::int64_t n, std::int64_t dims, std::int64_t states, void* memory) {
    OracleSlices slices(memory);
    slices.take(best, states);
    slices.take(next, states);
    slices.take(taken, n * states);
    slices.take(size, dims);
    slices.take(need, dims);
    slices.take(at, dims);
    return slices.used();
  }

  // How many states capacities have; -1: more than `most`.
  LPGD_HOST_TOO static std::int64_t states(std::int64_t dims, const double* capacity,
                                           std::int64_t most) {
    std::int64_t out = 1;
    for (std::int64_t d = 0; d < dims; ++d) {
      if (!(capacity[d] >= 0 && capacity[d] < static_cast<double>(most))) return -1;
      out *= static_cast<std::int64_t>(capacity[d]) + 1;
      if (out > most) return -1;
    }
    return out;
  }
  LPGD_HOST_TOO static bool are_whole(const double* weights, std::int64_t count) {
    bool whole = true;
    for (std::int64_t k = 0; k < count; ++k)
      whole &= weights[k] <= 9e15 &&
               static_cast<double>(static_cast<std::int64_t>(weights[k])) == weights[k];
    return whole;
  }

  template <class T>
  void solve(std::int64_t n, std::int64_t dims, const T* costs, const double* weights,
             const double* capacity, std::int64_t states, T* x) {
    for (std::int64_t d = 0; d < dims; ++d) size[d] = static_cast<std::int64_t>(capacity[d]) + 1;
    fill(best, states, 0.0);
    for (std::int64_t i = 0; i < n; ++i) {
      const double value = -static_cast<double>(costs[i]);
      std::int8_t* row = taken + i * states;
      const std::int64_t back = offset(n, dims, weights, i);
      if (!(value > 0) || back < 0) {
        fill(row, states, std::int8_t{0});
        continue;
      }
      add(dims, value, back, states, row);
    }
    std::int64_t state = states - 1;
    for (std::int64_t i = n - 1; i >= 0; --i) {
      if (taken[i * states + state] == 0) continue;
      x[i] = T(1);
      state -= offset(n, dims, weights, i);
    }
  }

 private:
  // How far back the state without the item is; -1: it never fits. Sets `need`.
  std::int64_t offset(std::int64_t n, std::int64_t dims, const double* weights, std::int64_t i) {
    std::int64_t back = 0;
    for (std::int64_t d = 0; d < dims; ++d) {
      need[d] = static_cast<std::int64_t>(weights[d * n + i]);
      if (need[d] >= size[d]) return -1;
      back = back * size[d] + need[d];
    }
    return back;
  }

  // Taken only where that is better: of equal choices the one without later items stays.
  void add(std::int64_t dims, double value, std::int64_t back, std::int64_t states,
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
    double* swap = best;
    best = next;
    next = swap;
  }
};

LPGD_END_NAMESPACE
