// Total variation in one dimension, sum w_i |p_{i+1} - p_i|, by the taut string: p is the slope of
// the shortest path through the corridor of half-width w around the running sums of x, and the path
// is found as in a funnel, with two chains of knots (one along the upper wall, one along the lower)
// from an apex. Every knot is pushed and popped at most once on each chain: O(n), whatever the
// weights.
#pragma once

#include "prox_math.h"

LPGD_BEGIN_NAMESPACE

struct TotalVariation {
  struct Knot {
    double height;
    std::int64_t place;
  };
  // slope(a, b) < slope(b, c), without a division
  LPGD_INLINE static bool turns_up(const Knot& a, const Knot& b, const Knot& c) {
    return (b.height - a.height) * static_cast<double>(c.place - b.place) <
           (c.height - b.height) * static_cast<double>(b.place - a.place);
  }

  LPGD_INLINE static bool turns_down(const Knot& a, const Knot& b, const Knot& c) {
    return (b.height - a.height) * static_cast<double>(c.place - b.place) >
           (c.height - b.height) * static_cast<double>(b.place - a.place);
  }

  LPGD_HOST_TOO static std::size_t scratch_bytes(std::int64_t n) {
    return 2 * (static_cast<std::size_t>(n) + 2) * sizeof(Knot);
  }

  template <class T>
  struct String {
    const ProxRow<T>& row;
    Knot* chain[2];  // [0] lower, [1] upper; the apex is at head of both
    std::int64_t head[2], tail[2];
    double apex_shift;  // of the apex from the running sum: -w, 0 or w

    // the level between two knots, from the numbers themselves: the running sums have lost digits
    LPGD_INLINE void emit(const Knot& from, const Knot& to, double from_shift, double to_shift) {
      double sum = to_shift - from_shift;
      for (std::int64_t i = from.place; i < to.place; ++i) sum += static_cast<double>(row.x[i]);
      const T level = static_cast<T>(sum / static_cast<double>(to.place - from.place));
      for (std::int64_t i = from.place; i < to.place; ++i) row.out[i] = level;
    }
    LPGD_INLINE double width(std::int64_t place) const {
      return place == row.n ? 0.0 : static_cast<double>(row.p[0][place - 1]);
    }

    template <int Upper>
    LPGD_INLINE void add(const Knot& knot) {
      constexpr int kOther = 1 - Upper;
      Knot* mine = chain[Upper];
      std::int64_t end = tail[Upper];
      const std::int64_t begin = head[Upper];
      // the upper chain bends up, the lower one down
      while (end > begin && !(Upper == 1 ? turns_up(mine[end - 1], mine[end], knot)
                                         : turns_down(mine[end - 1], mine[end], knot)))
        --end;
      if (end == begin) {
        Knot* other = chain[kOther];
        while (head[kOther] < tail[kOther]) {
          const Knot& first = other[head[kOther] + 1];
          const bool crossed = Upper == 1 ? turns_down(other[head[kOther]], first, knot)
                                          : turns_up(other[head[kOther]], first, knot);
          if (!crossed) break;
          const double shift = (kOther == 1 ? 1.0 : -1.0) * width(first.place);
          emit(other[head[kOther]], first, apex_shift, shift);
          apex_shift = shift;
          ++head[kOther];
          mine[begin] = first;
        }
      }
      mine[end + 1] = knot;
      tail[Upper] = end + 1;
    }
  };

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const std::int64_t n = row.n;
    if (n == 0) return;
    const auto facts = reduce<T, 2>(g, n, [&](auto at, auto* term) {
      using S = decltype(at.load(row.x));
      term[0] = at.load(row.x);
      term[1] = select(not_negative(at.load(row.p[0])), S(0), S(1));
    });
    if (!(facts[0] - facts[0] == T(0)) || facts[1] != T(0)) return row.fail(g);
    auto* knots = static_cast<Knot*>(row.scratch);
    String<T> string{row, {knots, knots + n + 2}, {0, 0}, {0, 0}, 0.0};
    string.chain[0][0] = string.chain[1][0] = {0.0, 0};
    double sum = 0;
    for (std::int64_t k = 1; k < n; ++k) {
      sum += static_cast<double>(row.x[k - 1]);
      const double w = static_cast<double>(row.p[0][k - 1]);
      string.template add<1>({sum + w, k});
      string.template add<0>({sum - w, k});
    }
    sum += static_cast<double>(row.x[n - 1]);
    string.template add<1>({sum, n});
    string.template add<0>({sum, n});
    const Knot* last = string.chain[0];
    for (std::int64_t k = string.head[0]; k < string.tail[0]; ++k) {
      const double shift = -string.width(last[k + 1].place);
      string.emit(last[k], last[k + 1], string.apex_shift, shift);
      string.apex_shift = shift;
    }
  }

  // The mean of g over each run of equal values; a weight moves the two runs beside its jump.
  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    double all = 0, before = 0;
    for (std::int64_t begin = 0, end = 0; begin < row.n; begin = end) {
      const T level = row.out[begin];
      end = run_end(row.out, begin, row.n);
      const double sum = run_sum(row.gradient, begin, end) + static_cast<double>(level - level);
      const double mean = sum / static_cast<double>(end - begin);
      row.write_run(row.gx, begin, end, static_cast<T>(mean));
      if (row.gp[0] != nullptr) {
        if (begin > 0) {
          const double turn = row.out[begin - 1] < level ? before - mean : mean - before;
          if (row.each_p[0]) row.gp[0][begin - 1] = static_cast<T>(turn);
          all += turn;
        }
        if (row.each_p[0])
          for (std::int64_t i = begin; i + 1 < end; ++i) row.gp[0][i] = T(0);
        if (row.each_p[0] && end == row.n) row.gp[0][row.n - 1] = T(0);
      }
      before = mean;
    }
    if (row.gp[0] != nullptr && !row.each_p[0]) row.gp[0][0] = static_cast<T>(all);
    (void)g;
  }
};

LPGD_END_NAMESPACE
