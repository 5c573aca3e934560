// Total variation with one weight a row, a register of rows at a time, by Condat's direct algorithm
// (2013): a segment grows while a constant fits; where none does, it is cut off and the walk goes
// on behind the cut. Each step of the walk is a handful of selects, so rows do not mispredict each
// other's branches. While no row can be at its last place, steps leave out what matters there only.
// A walk may go back and forth O(n^2) times; rows that take too long are left to the taut string.
#pragma once

#include "prox_tv.h"

LPGD_BEGIN_NAMESPACE

struct TotalVariationLanes {
  using S = Wide<double>;
  static constexpr int kWidth = ScalarTraits<S>::lanes;
  // A place i is held as 2^52 + i: differences are exact, and its low bits are i, no conversion
  static constexpr double kZero = 4503599627370496.0;
  LPGD_INLINE static std::int64_t place_of(double held) {
    std::int64_t bits;
    __builtin_memcpy(&bits, &held, sizeof(bits));
    return bits & ((std::int64_t{1} << 52) - 1);
  }

  LPGD_HOST_TOO static std::size_t scratch_bytes(std::int64_t n) {
    const std::size_t cuts = static_cast<std::size_t>(kWidth) * static_cast<std::size_t>(n + 1);
    const std::size_t lanes = cuts * 2 * sizeof(double);
    const std::size_t one = TotalVariation::scratch_bytes(n);
    return lanes > one ? lanes : one;
  }

  // A register of rows on their way
  template <class T>
  struct Walk {
    const T* x[kWidth];
    std::int64_t count[kWidth];  // of the cuts, whose levels and ends are in [lane, n + 1]
    bool failed[kWidth];
    std::int64_t n;
    double *levels, *ends;
    S lambda, last, k, start, low_end, high_end, done;
    S low, high;              // the levels that would still fit
    S low_slack, high_slack;  // of the dual at k, for either level

    LPGD_INLINE S gather(S place) const {
      S out;
      double places[kWidth];
      __builtin_memcpy(places, &place, sizeof(places));
      for (int lane = 0; lane < kWidth; ++lane)
        set_lane(out, lane, static_cast<double>(x[lane][place_of(places[lane])]));
      return out;
    }

    LPGD_INLINE void begin(const ProxTask<T>& task, std::int64_t first, int used, double* room) {
      n = task.n;
      levels = room;
      ends = room + kWidth * (n + 1);
      done = lambda = S(0);
      for (int lane = 0; lane < kWidth; ++lane) {
        const ProxRow<T> row = row_of(task, first + (lane < used ? lane : 0), nullptr);
        x[lane] = row.x;
        count[lane] = 0;
        const T sum = sum_of<T>(SerialGroup{}, n, [&](auto at) { return at.load(row.x); });
        const T w = row.p[0].scalar();
        failed[lane] = !(sum - sum == T(0)) || !(w >= T(0));
        set_lane(lambda, lane, static_cast<double>(w));
        if (failed[lane] || lane >= used) set_lane(done, lane, 1.0);
      }
      k = start = low_end = high_end = S(kZero);
      last = S(kZero + static_cast<double>(n - 1));
      low = gather(k) - lambda;
      high = gather(k) + lambda;
      low_slack = lambda;
      high_slack = -lambda;
    }

    // The steps that surely end before a row's last place, since a step goes one place on at most;
    // -1: all rows are done.
    LPGD_INLINE std::int64_t ahead_of_end() const {
      std::int64_t furthest = n;
      for (int lane = 0; lane < kWidth; ++lane) {
        const std::int64_t left = n - 1 - place_of(get_lane(k, lane));
        if (is_late(lane) && left < furthest) furthest = left;
      }
      return furthest == n ? -1 : furthest;
    }

    // AtEnd: some row may be at its last place
    template <bool AtEnd>
    LPGD_INLINE void step() {
      const auto live = equal(done, S(0));
      const auto at_end = equal(k, last);
      auto ending = [&](S yes, S no) { return AtEnd ? select(at_end, yes, no) : no; };
      const S next = gather(min_of(k + S(1), last));
      const S to_low = low_slack + next - low, to_high = high_slack + next - high;
      const auto down = less(ending(low_slack, to_low + lambda), S(0));
      const auto up = mask_and(mask_not(down), less(S(0), ending(high_slack, to_high - lambda)));
      const auto cut = mask_or(down, up);
      const S share = S(1) / (k - start + ending(S(1), S(2)));

      // what is cut off, or the rest at the end
      S level = select(down, low, high), end = select(down, low_end, high_end);
      auto written = mask_and(live, cut);
      if constexpr (AtEnd) {
        level = select(cut, level, low + low_slack * share);
        end = select(cut, end, k);
        written = mask_and(live, mask_or(cut, at_end));
        done = select(mask_and(live, mask_and(at_end, mask_not(cut))), S(1), done);
      }
      for (int lane = 0; lane < kWidth; ++lane) {
        const std::int64_t at = lane * (n + 1) + count[lane];
        levels[at] = get_lane(level, lane);
        ends[at] = get_lane(end, lane);
        count[lane] += mask_lane(written, lane) ? 1 : 0;
      }

      // behind a cut; at the end, the level on the other side stays
      const S behind = min_of(end + S(1), last);
      const S fresh = gather(behind);
      S cut_low = select(down, fresh, fresh - lambda - lambda);
      S cut_high = select(down, fresh + lambda + lambda, fresh);
      S cut_low_slack = lambda, cut_high_slack = -lambda, cut_low_end = behind,
        cut_high_end = behind;
      if constexpr (AtEnd) {
        const auto keep_high = mask_and(down, at_end), keep_low = mask_and(up, at_end);
        cut_low_slack = select(keep_low, fresh - lambda - low, lambda);
        cut_high_slack = select(keep_high, fresh + lambda - high, -lambda);
        cut_low = select(keep_low, low, cut_low);
        cut_high = select(keep_high, high, cut_high);
        cut_low_end = select(keep_low, low_end, behind);
        cut_high_end = select(keep_high, high_end, behind);
      }
      // one further
      const S ahead = k + S(1);
      const auto low_hit = mask_not(less(to_low, lambda));
      const auto high_hit = mask_not(less(-lambda, to_high));
      low = select(cut, cut_low, select(low_hit, low + (to_low - lambda) * share, low));
      high = select(cut, cut_high, select(high_hit, high + (to_high + lambda) * share, high));
      low_slack = select(cut, cut_low_slack, select(low_hit, lambda, to_low));
      high_slack = select(cut, cut_high_slack, select(high_hit, -lambda, to_high));
      low_end = select(cut, cut_low_end, select(low_hit, ahead, low_end));
      high_end = select(cut, cut_high_end, select(high_hit, ahead, high_end));
      start = select(cut, behind, start);
      k = select(cut, behind, min_of(ahead, last));
    }

    // Writes the rows; those that were not at their end are left to the taut string.
    LPGD_INLINE void end(const ProxTask<T>& task, std::int64_t first, int used) const {
      for (int lane = 0; lane < used; ++lane) {
        const ProxRow<T> row = row_of(task, first + lane, nullptr);
        if (failed[lane]) row.fail(SerialGroup{});
        if (failed[lane] || is_late(lane)) continue;
        std::int64_t i = 0;
        for (std::int64_t c = 0; c < count[lane]; ++c) {
          const T level = static_cast<T>(levels[lane * (n + 1) + c]);
          const std::int64_t to = place_of(ends[lane * (n + 1) + c]);
          for (; i <= to; ++i) row.out[i] = level;
        }
      }
    }
    LPGD_INLINE bool is_late(int lane) const { return get_lane(done, lane) == 0.0; }
  };

  // Rows first, ..., first + used - 1
  template <class T>
  LPGD_HD static void value(const ProxTask<T>& task, std::int64_t first, int used, void* scratch) {
    constexpr std::int64_t kFew = 8;  // steps between looks at where the rows are
    Walk<T> walk;
    walk.begin(task, first, used, static_cast<double*>(scratch));
    const std::int64_t limit = 12 * task.n + 64;
    for (std::int64_t step = 0; step < limit;) {
      const std::int64_t ahead = walk.ahead_of_end();
      if (ahead < 0) break;
      if (ahead >= kFew) {
        for (std::int64_t k = 0; k < ahead; ++k) walk.template step<false>();
        step += ahead;
      } else {
        for (std::int64_t k = 0; k < kFew; ++k) walk.template step<true>();
        step += kFew;
      }
    }
    walk.end(task, first, used);
    for (int lane = 0; lane < used; ++lane)
      if (walk.is_late(lane))
        TotalVariation::value(SerialGroup{}, row_of(task, first + lane, scratch));
  }
};

LPGD_END_NAMESPACE
