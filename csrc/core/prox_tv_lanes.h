// Total variation with one weight a row, a register of rows at a time, by Condat's direct algorithm
// (2013): a segment grows while a constant fits; where none does, it is cut off and the walk goes
// on behind the cut. Each step of the walk is a handful of selects, so rows do not mispredict each
// other's branches. A walk may go back and forth O(n^2) times; rows that take too long are left to
// the taut string.
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

  // Rows first, ..., first + used - 1
  template <class T>
  LPGD_HD static void value(const ProxTask<T>& task, std::int64_t first, int used, void* scratch) {
    const SerialGroup group;
    const std::int64_t n = task.n;
    const T* x[kWidth];
    std::int64_t count[kWidth];
    bool failed[kWidth];
    S lambda = S(0);
    for (int lane = 0; lane < kWidth; ++lane) {
      const ProxRow<T> row = row_of(task, first + (lane < used ? lane : 0), scratch);
      x[lane] = row.x;
      count[lane] = 0;
      const T sum = sum_of<T>(group, n, [&](auto at) { return at.load(row.x); });
      const T w = row.p[0].scalar();
      failed[lane] = !(sum - sum == T(0)) || !(w >= T(0));
      set_lane(lambda, lane, static_cast<double>(w));
    }
    auto* levels = static_cast<double*>(scratch);
    double* ends = levels + kWidth * (n + 1);
    auto gather = [&](S place) {
      S out;
      double places[kWidth];
      __builtin_memcpy(places, &place, sizeof(places));
      for (int lane = 0; lane < kWidth; ++lane)
        set_lane(out, lane, static_cast<double>(x[lane][place_of(places[lane])]));
      return out;
    };

    const S zero = S(kZero), last = S(kZero + static_cast<double>(n - 1));
    S k = zero, start = zero, low_end = zero, high_end = zero;
    S low = gather(k) - lambda, high = gather(k) + lambda;  // the levels that would still fit
    S low_slack = lambda, high_slack = -lambda;             // of the dual at k, for either level
    S done = S(0);
    for (int lane = 0; lane < kWidth; ++lane)
      if (failed[lane] || lane >= used) set_lane(done, lane, 1.0);
    for (std::int64_t step = 0; step < 12 * n + 64; ++step) {
      const auto live = equal(done, S(0));
      if (step % 8 == 0 && !any_lane(live)) break;
      const auto at_end = equal(k, last);
      const S next = gather(min_of(k + S(1), last));
      const S to_low = low_slack + next - low, to_high = high_slack + next - high;
      const auto down = less(select(at_end, low_slack, to_low + lambda), S(0));
      const auto up =
          mask_and(mask_not(down), less(S(0), select(at_end, high_slack, to_high - lambda)));
      const auto cut = mask_or(down, up);
      const S size = k - start + select(at_end, S(1), S(2));
      const S share = S(1) / size;

      // what is cut off, or the rest at the end
      const S level = select(down, low, select(up, high, low + low_slack * share));
      const S end = select(down, low_end, select(up, high_end, k));
      const auto written = mask_and(live, mask_or(cut, at_end));
      for (int lane = 0; lane < kWidth; ++lane) {
        const std::int64_t at = lane * (n + 1) + count[lane];
        levels[at] = get_lane(level, lane);
        ends[at] = get_lane(end, lane);
        count[lane] += mask_lane(written, lane) ? 1 : 0;
      }
      done = select(mask_and(live, mask_and(at_end, mask_not(cut))), S(1), done);

      // behind a cut
      const S behind = min_of(end + S(1), last);
      const S fresh = gather(behind);
      const auto keep_high = mask_and(down, at_end), keep_low = mask_and(up, at_end);
      const S cut_low = select(down, fresh, select(keep_low, low, fresh - lambda - lambda));
      const S cut_high = select(down, select(keep_high, high, fresh + lambda + lambda), fresh);
      const S cut_low_slack = select(keep_low, fresh - lambda - low, lambda);
      const S cut_high_slack = select(keep_high, fresh + lambda - high, -lambda);
      // one further
      const S ahead = k + S(1);
      const auto low_hit = mask_not(less(to_low, lambda));
      const auto high_hit = mask_not(less(-lambda, to_high));
      low = select(cut, cut_low, select(low_hit, low + (to_low - lambda) * share, low));
      high = select(cut, cut_high, select(high_hit, high + (to_high + lambda) * share, high));
      low_slack = select(cut, cut_low_slack, select(low_hit, lambda, to_low));
      high_slack = select(cut, cut_high_slack, select(high_hit, -lambda, to_high));
      low_end = select(cut, select(keep_low, low_end, behind), select(low_hit, ahead, low_end));
      high_end =
          select(cut, select(keep_high, high_end, behind), select(high_hit, ahead, high_end));
      start = select(cut, behind, start);
      k = select(cut, behind, min_of(ahead, last));
    }

    bool late[kWidth];
    for (int lane = 0; lane < used; ++lane) {
      late[lane] = get_lane(done, lane) == 0.0;
      const ProxRow<T> row = row_of(task, first + lane, scratch);
      if (failed[lane]) row.fail(group);
      if (failed[lane] || late[lane]) continue;
      std::int64_t i = 0;
      for (std::int64_t c = 0; c < count[lane]; ++c) {
        const T level = static_cast<T>(levels[lane * (n + 1) + c]);
        const std::int64_t end = place_of(ends[lane * (n + 1) + c]);
        for (; i <= end; ++i) row.out[i] = level;
      }
    }
    for (int lane = 0; lane < used; ++lane)
      if (late[lane] && !failed[lane])
        TotalVariation::value(group, row_of(task, first + lane, scratch));
  }
};

LPGD_END_NAMESPACE
