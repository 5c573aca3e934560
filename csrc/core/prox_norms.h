// Operators that scale a row, or parts of it, by its length: the l2 norm and ball, norms of groups,
// the second-order cone.
#pragma once

#include "prox_math.h"

LPGD_BEGIN_NAMESPACE

// |v| over the entries load(i), scaled where the squares leave the range of T
template <class T, class Group, class F>
LPGD_INLINE T length_of(const Group& g, std::int64_t n, const F& load) {
  const T squares = sum_of<T>(g, n, [&](auto at) {
    const auto v = load(at);
    return v * v;
  });
  const bool fits = squares > std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon() &&
                    squares < std::numeric_limits<T>::max();
  if (fits || !(squares == squares)) return sqrt_of(squares);
  const T highest =
      reduce<T, 1, true>(g, n, [&](auto at, auto* term) { term[0] = abs_of(load(at)); })[0];
  if (!(highest > T(0))) return T(0);  // no entries: -inf
  if (highest - highest != T(0)) return highest;
  return highest * sqrt_of(sum_of<T>(g, n, [&](auto at) {
           const auto v = load(at) / decltype(load(at))(highest);
           return v * v;
         }));
}

// |x| and <x / |x|, g> of a row in one pass; where the squares leave the range of T, in more
template <class Group, class T>
LPGD_INLINE Sums<T, 2> length_and_pull(const Group& g, const ProxRow<T>& row) {
  const auto sums = reduce<T, 2>(g, row.n, [&](auto at, auto* term) {
    const auto v = at.load(row.x);
    term[0] = v * v;
    term[1] = v * at.load(row.gradient);
  });
  const T least = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  if (sums[0] > least && sums[0] < std::numeric_limits<T>::max()) {
    const T length = sqrt_of(sums[0]);
    return {{length, sums[1] / length}};
  }
  const T length = length_of<T>(g, row.n, [&](auto at) { return at.load(row.x); });
  const T inverse = length > T(0) ? T(1) / length : T(0);
  return {{length, sum_of<T>(g, row.n, [&](auto at) {
             return (at.load(row.x) * inverse) * at.load(row.gradient);
           })}};
}

// w ||p||: the row shortened by w
struct EuclideanNorm {
  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const T w = row.p[0].scalar();
    const T length = length_of<T>(g, row.n, [&](auto at) { return at.load(row.x); });
    if (!(length - length == T(0)) || !(w >= T(0))) return row.fail(g);
    const T scale = length <= w ? T(0) : T(1) - w / length;
    row.write(g, row.out, [&](auto at) { return at.load(row.x) * scale; });
  }

  // x / |x| * (|x| - w): the part of g along x is kept, the rest shrinks
  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    const T w = row.p[0].scalar();
    const auto facts = length_and_pull(g, row);
    const T length = facts[0];
    const T broken =
        !(length - length == T(0)) || !(w >= T(0)) ? std::numeric_limits<T>::quiet_NaN() : T(0);
    const bool zero = length <= w;
    const T inverse = zero ? T(0) : T(1) / length, along = zero ? T(0) : facts[1];
    const T scale = zero ? T(0) : T(1) - w * inverse;
    const T back = along * w * inverse * inverse;
    row.write(g, row.gx, [&](auto at) {
      return at.load(row.gradient) * scale + at.load(row.x) * back + broken;
    });
    row.give_scalar(g, 0, zero ? broken : broken - along);
  }
};

// ||p|| <= radius
struct EuclideanBall {
  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const T radius = row.p[0].scalar();
    const T length = length_of<T>(g, row.n, [&](auto at) { return at.load(row.x); });
    if (!(length - length == T(0)) || !(radius >= T(0))) return row.fail(g);
    if (length <= radius) return row.copy(g);
    const T scale = radius / length;
    row.write(g, row.out, [&](auto at) { return at.load(row.x) * scale; });
  }

  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    const T radius = row.p[0].scalar();
    const auto facts = length_and_pull(g, row);
    const T length = facts[0];
    const T broken = !(length - length == T(0)) || !(radius >= T(0))
                         ? std::numeric_limits<T>::quiet_NaN()
                         : T(0);
    const bool inside = length <= radius;
    const T inverse = inside ? T(0) : T(1) / length, along = inside ? T(0) : facts[1];
    const T scale = inside ? T(1) : radius * inverse;
    const T back = along * radius * inverse * inverse;
    row.write(g, row.gx, [&](auto at) {
      return at.load(row.gradient) * scale - at.load(row.x) * back + broken;
    });
    row.give_scalar(g, 0, inside ? broken : broken + along);
  }
};

// sum over groups w_G ||p_G||; w at the first coordinate of its group counts. A lane takes a group.
struct GroupNorm {
  template <class T>
  LPGD_INLINE static T length(const ProxRow<T>& row, std::int32_t begin, std::int32_t end) {
    T highest = T(0), squares = T(0);
    for (std::int32_t k = begin; k < end; ++k) {
      const T v = row.x[row.index[k]];
      squares += v * v;
      highest = max_nan(highest, abs_of(v));
    }
    const bool fits = squares > std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon() &&
                      squares < std::numeric_limits<T>::max();
    if (fits || highest == T(0) || highest - highest != T(0))
      return fits ? sqrt_of(squares) : highest;
    squares = T(0);
    for (std::int32_t k = begin; k < end; ++k) {
      const T v = row.x[row.index[k]] / highest;
      squares += v * v;
    }
    return highest * sqrt_of(squares);
  }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    const std::int32_t* starts = row.index + row.n;
    LPGD_FOR (g, group, row.groups) {
      const std::int32_t begin = starts[group], end = starts[group + 1];
      if (begin == end) continue;
      const T w = row.p[0][row.index[begin]];
      const T size = length(row, begin, end);
      T scale = size <= w ? T(0) : T(1) - w / size;
      if (!(size - size == T(0)) || !(w >= T(0))) scale = std::numeric_limits<T>::quiet_NaN();
      for (std::int32_t k = begin; k < end; ++k)
        row.out[row.index[k]] = row.x[row.index[k]] * scale;
    }
  }

  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    const std::int32_t* starts = row.index + row.n;
    T total = T(0);
    LPGD_FOR (g, group, row.groups) {
      const std::int32_t begin = starts[group], end = starts[group + 1];
      if (begin == end) continue;
      const T w = row.p[0][row.index[begin]];
      const T size = length(row, begin, end);
      const bool zero = size <= w;
      const T inverse = zero ? T(0) : T(1) / size;
      T along = T(0);
      for (std::int32_t k = begin; k < end; ++k)
        along += row.x[row.index[k]] * inverse * row.gradient[row.index[k]];
      T scale = zero ? T(0) : T(1) - w * inverse;
      if (!(size - size == T(0)) || !(w >= T(0))) scale = std::numeric_limits<T>::quiet_NaN();
      for (std::int32_t k = begin; k < end; ++k) {
        const std::int32_t i = row.index[k];
        row.gx[i] = row.gradient[i] * scale + row.x[i] * (along * w * inverse * inverse);
        if (row.gp[0] != nullptr && row.each_p[0])
          row.gp[0][i] = k == begin ? (zero ? scale : -along) : T(0);
      }
      total += zero ? scale : -along;
    }
    if (row.gp[0] != nullptr && !row.each_p[0]) {
      total = g.sum(total);
      if (g.lane() == 0) row.gp[0][0] = total;
    }
  }
};

// x = (t, v): ||v|| <= t
struct SecondOrderCone {
  template <class Group, class T>
  LPGD_INLINE static T length(const Group& g, const ProxRow<T>& row) {
    const T* v = row.x + 1;
    return length_of<T>(g, row.n - 1, [&](auto at) { return at.load(v); });
  }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    if (row.n == 0) return;
    const T t = row.x[0], size = length(g, row);
    if (!(size - size == T(0)) || !(t - t == T(0))) return row.fail(g);
    const T* v = row.x + 1;
    T* out = row.out + 1;
    T scale = T(1), head = t;
    if (size <= -t) {
      scale = head = T(0);
    } else if (size > t) {
      head = T(0.5) * (t + size);
      scale = head / size;
    }
    fill(g, row.n - 1, out, row.streaming, [&](auto at) { return at.load(v) * scale; });
    if (g.lane() == 0) row.out[0] = head;
  }

  // on the boundary 1/2 [1, u'; u, (1 + t/|v|) I - t/|v| u u'] with u = v / |v|
  template <class Group, class T>
  LPGD_HD static void vjp(const Group& g, const ProxRow<T>& row) {
    if (row.n == 0) return;
    const T t = row.x[0], size = length(g, row);
    const bool broken = !(size - size == T(0)) || !(t - t == T(0));
    const T *v = row.x + 1, *up = row.gradient + 1;
    T* gx = row.gx + 1;
    const T inverse = size > T(0) ? T(1) / size : T(0);
    const T along =
        sum_of<T>(g, row.n - 1, [&](auto at) { return (at.load(v) * inverse) * at.load(up); });
    const T g0 = row.gradient[0], ratio = t * inverse;
    T scale = T(1), back = T(0), head = g0;
    if (broken) {
      scale = head = std::numeric_limits<T>::quiet_NaN();
    } else if (size <= -t) {
      scale = head = T(0);
    } else if (size > t) {
      scale = T(0.5) * (T(1) + ratio);
      back = T(0.5) * inverse * (g0 - ratio * along);
      head = T(0.5) * (g0 + along);
    }
    fill(g, row.n - 1, gx, row.streaming,
         [&](auto at) { return at.load(up) * scale + at.load(v) * back; });
    if (g.lane() == 0) row.gx[0] = head;
  }
};

LPGD_END_NAMESPACE
