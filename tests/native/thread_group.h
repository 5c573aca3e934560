// A group of host threads: runs the very code that a CUDA block runs, its syncs and reductions
// included, so that a missing barrier is a data race that ThreadSanitizer reports.
#pragma once

#include <barrier>
#include <thread>
#include <vector>

#include "core/group.h"

namespace lpgd::test {

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

    template <class Op>
    double reduce(double value, Op op) const {
      team->slots_[static_cast<std::size_t>(my_lane)] = value;
      sync();
      double total = team->slots_[0];
      for (int l = 1; l < size(); ++l) total = op(total, team->slots_[static_cast<std::size_t>(l)]);
      sync();  // the slots may be written again right after
      return total;
    }
    template <class S>
    S sum(S value) const {
      return static_cast<S>(reduce(value, [](double a, double b) { return a + b; }));
    }
    template <class S>
    S max(S value) const {
      return static_cast<S>(reduce(value, [](double a, double b) { return max_nan(a, b); }));
    }
    template <class S>
    S min(S value) const {
      return static_cast<S>(reduce(value, [](double a, double b) { return a < b ? a : b; }));
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

}  // namespace lpgd::test
