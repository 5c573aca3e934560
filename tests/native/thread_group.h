// A group of host threads: runs the very code that a CUDA block or warp runs, its syncs and
// reductions included, so that a missing barrier is a data race that ThreadSanitizer reports.
#pragma once

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/group.h"

namespace lpgd::test {

// What a reduction of a GPU's lanes comes to (core/group_order.h), from the values of all of them:
// the butterfly as its lowest lane sees it, then the warps in their order. Of a warp that is not
// whole (groups of a size that no GPU has), the lanes that are there.
template <class S, class Op>
S reduce_lanes(const double* values, int size, Op op) {
  std::vector<double> parts;
  for (int warp = 0; warp < size; warp += kWarp) {
    S lanes[kWarp];
    int count = std::min(kWarp, size - warp);
    for (int l = 0; l < count; ++l) lanes[l] = static_cast<S>(values[warp + l]);
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      for (int l = 0; l + offset < count; ++l) lanes[l] = op(lanes[l], lanes[l + offset]);
      count = std::min(count, offset);
    }
    parts.push_back(static_cast<double>(lanes[0]));
  }
  return reduce_parts<S>(parts.data(), static_cast<int>(parts.size()), op);
}

class ThreadTeam {
 public:
  explicit ThreadTeam(int size)
      : barrier_(size), slots_(static_cast<std::size_t>(size)), size_(size) {}

  // What an algorithm sees of the team on one thread.
  struct Group {
    ThreadTeam* team;
    int my_lane;

    int lane() const { return my_lane; }
    int size() const { return team->size_; }
    void sync() const { team->barrier_.arrive_and_wait(); }

    template <class S>
    S sum(S value) const {
      return reduce(value, AddLanes{});
    }
    template <class S>
    S max(S value) const {
      return reduce(value, MaxLanes{});
    }
    template <class S>
    S min(S value) const {
      return reduce(value, MinLanes{});
    }
    bool any(bool value) const { return max(value ? 1.0 : 0.0) > 0; }
    // lane 0's value; integers up to 2^53
    template <class S>
    S first(S value) const {
      if (my_lane == 0) team->slots_[0] = static_cast<double>(value);
      sync();
      const S out = static_cast<S>(team->slots_[0]);
      sync();
      return out;
    }
    // the value of the lane whose number differs in the bit `offset`: a warp's shuffle
    template <class S>
    S exchange(S value, int offset) const {
      put(value);
      sync();
      const S out = static_cast<S>(team->slots_[static_cast<std::size_t>(my_lane ^ offset)]);
      sync();
      return out;
    }

   private:
    template <class S>
    void put(S value) const {
      team->slots_[static_cast<std::size_t>(my_lane)] = static_cast<double>(value);
    }
    template <class S, class Op>
    S reduce(S value, Op op) const {
      put(value);
      sync();
      const S total = reduce_lanes<S>(team->slots_.data(), size(), op);
      sync();  // the slots may be written again right after
      return total;
    }
  };

  // body(group) on every lane
  template <class Body>
  void run(const Body& body) {
    std::vector<std::thread> threads;
    for (int l = 0; l < size_; ++l) threads.emplace_back([&, l] { body(Group{this, l}); });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::barrier<> barrier_;
  std::vector<double> slots_;
  int size_;
};

// The counter that the workers of a GPU take their items from (core/items.h). Relaxed, as it is
// there: it orders nothing but itself.
struct ItemCounter {
  std::atomic<std::int64_t>* at;
  std::int64_t next() { return at->fetch_add(1, std::memory_order_relaxed); }
};

}  // namespace lpgd::test
