// Shortest path over the cells of a grid. What a step costs is the cell it enters, so the first
// settled neighbour gives a cell its distance for good: each cell enters the heap once, no key ever
// falls, and the search ends when the target is reached.
#pragma once

#include <type_traits>

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

// The smallest distance first. Which of equal ones comes first hangs on the distances alone.
struct CellHeap {
  struct Entry {
    double distance;
    std::int32_t cell;
  };
  Entry* entries;
  std::int64_t size;

  LPGD_INLINE void raise(std::int64_t k, const Entry& entry) {
    while (k > 0) {
      const std::int64_t parent = (k - 1) / 2;
      if (!(entry.distance < entries[parent].distance)) break;
      entries[k] = entries[parent];
      k = parent;
    }
    entries[k] = entry;
  }
  LPGD_INLINE void push(double distance, std::int32_t cell) { raise(size++, {distance, cell}); }
  // The hole goes down to a leaf, by selects without a branch, and the last entry up from there: it
  // was a leaf and will not rise far.
  LPGD_INLINE Entry pop() {
    const Entry top = entries[0], last = entries[--size];
    std::int64_t k = 0;
    for (std::int64_t child = 1; child + 1 < size; child = 2 * k + 1) {
      child += entries[child + 1].distance < entries[child].distance;
      entries[k] = entries[child];
      k = child;
    }
    if (2 * k + 2 == size) {
      entries[k] = entries[2 * k + 1];
      k = 2 * k + 1;
    }
    raise(k, last);
    return top;
  }
};

// Cells come off the heap one by one, and of equal ones in an order that the heap alone has: one
// lane searches. The others look at the costs with it and lay them out. C: what these are kept in,
// doubles for one lane alone, else the costs as they are, which leaves room for larger grids.
template <class Group, class C>
struct GridWork {
  C* open;          // costs of the cells not reached yet, in a border of walls; +inf elsewhere
  std::int8_t* by;  // the step that reached a cell
  CellHeap heap;

  template <class T>
  LPGD_HOST_TOO std::size_t bind(const GridTask<T>& task, void* memory) {
    const std::int64_t cells = (task.height + 2) * (task.width + 2);
    OracleSlices slices(memory);
    slices.take(open, cells);
    slices.take(by, cells);
    slices.take(heap.entries, task.height * task.width);
    return slices.used();
  }

  // False: a negative cost. A barrier as well.
  template <class T>
  LPGD_DEVICE bool load(const Group& group, const GridTask<T>& task, const T* costs) {
    constexpr C kWall = std::numeric_limits<C>::infinity();
    const std::int64_t stride = task.width + 2;
    bool bad = false;
    if constexpr (kIsSerial<Group>) {
      fill(open, stride, kWall);
      for (std::int64_t i = 0; i < task.height; ++i) {
        C* row = open + (i + 1) * stride;
        row[0] = row[stride - 1] = kWall;
        for (std::int64_t j = 0; j < task.width; ++j) {
          const T cost = costs[i * task.width + j];
          bad |= !(cost >= T(0));
          row[j + 1] = static_cast<C>(cost);
        }
      }
      fill(open + (task.height + 1) * stride, stride, kWall);
    } else {
      LPGD_EACH(group, k, (task.height + 2) * stride) {
        const auto at = static_cast<std::uint32_t>(k), across = static_cast<std::uint32_t>(stride);
        const std::int64_t i = at / across, j = at % across;
        const bool inside = i > 0 && i <= task.height && j > 0 && j <= task.width;
        const T cost = inside ? costs[(i - 1) * task.width + j - 1] : T(0);
        bad |= !(cost >= T(0));
        open[k] = inside ? static_cast<C>(cost) : kWall;
      }
    }
    return holds_on_all(group, !bad);
  }

  LPGD_DEVICE bool search(std::int32_t source, std::int32_t target, const std::int32_t* steps,
                          int count) {
    heap.size = 0;
    if (!(static_cast<double>(open[source]) < kOracleInfinity)) return false;
    heap.push(static_cast<double>(open[source]), source);
    open[source] = std::numeric_limits<C>::infinity();
    if (source == target) return true;
    while (heap.size > 0) {
      const CellHeap::Entry at = heap.pop();
      if constexpr (kIsSerial<Group>) {
        for (int k = 0; k < count; ++k) {
          const std::int32_t cell = at.cell + steps[k];
          if (reach(at, cell, k, open[cell], target)) return true;
        }
      } else {
        // fetched together, where a processor would wait for each in turn
        constexpr int kMost = 8;
        C costs[kMost];
        LPGD_UNROLL
        for (int k = 0; k < kMost; ++k)
          costs[k] = k < count ? open[at.cell + steps[k]] : std::numeric_limits<C>::infinity();
        LPGD_UNROLL
        for (int k = 0; k < kMost; ++k)
          if (reach(at, at.cell + steps[k], k, costs[k], target)) return true;
      }
    }
    return false;
  }

 private:
  // True at the target.
  LPGD_INLINE bool reach(const CellHeap::Entry& at, std::int32_t cell, int step, C cost,
                         std::int32_t target) {
    if (!(static_cast<double>(cost) < kOracleInfinity)) return false;
    by[cell] = static_cast<std::int8_t>(step);
    if (cell == target) return true;
    open[cell] = std::numeric_limits<C>::infinity();
    heap.push(at.distance + static_cast<double>(cost), cell);
    return false;
  }
};

struct GridPath {
  template <class Group, class T>
  using Work = GridWork<Group, std::conditional_t<kIsSerial<Group>, double, T>>;

  template <class Group, class T>
  LPGD_HOST_TOO static std::size_t workspace_bytes(const GridTask<T>& task) {
    return Work<Group, T>{}.bind(task, nullptr);
  }

  template <class Group, class T>
  LPGD_DEVICE static void run(const Group& group, const GridTask<T>& task, std::int64_t item,
                              void* memory) {
    Work<Group, T> work;
    work.bind(task, memory);
    const std::int64_t size = task.height * task.width, stride = task.width + 2;
    const T* costs = task.costs + item * size;
    T* x = task.out.x + item * size;
    fill(group, x, size, T(0));
    if (!are_costs(group, costs, size) || !work.load(group, task, costs))
      return fail(group, task.out, item, kOracleBadData);
    if (group.lane() != 0) return;
    const auto padded = [&](std::int64_t cell) {
      return static_cast<std::int32_t>((cell / task.width + 1) * stride + cell % task.width + 1);
    };
    const auto down = static_cast<std::int32_t>(stride);
    const std::int32_t steps[8] = {-down, -1, 1, down, -down - 1, -down + 1, down - 1, down + 1};
    const int count = task.diagonal ? 8 : 4;
    const std::int32_t source = padded(task.source), target = padded(task.target);
    if (!work.search(source, target, steps, count))
      return fail(group, task.out, item, kOracleInfeasible);
    double objective = 0;
    for (std::int32_t cell = target;; cell -= steps[work.by[cell]]) {
      const std::int64_t at = (cell / stride - 1) * task.width + cell % stride - 1;
      x[at] = T(1);
      objective += static_cast<double>(costs[at]);
      if (cell == source) break;
    }
    finish(group, task.out, item, objective);
  }
};

LPGD_END_NAMESPACE
