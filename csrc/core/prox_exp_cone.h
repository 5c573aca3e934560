// The exponential cone, closure of {(r, s, t): s > 0, s exp(r / s) <= t}. On its curved face the
// projection is s (rho, 1, e^rho) and what it leaves is mu (e^rho, (1 - rho) e^rho, -1); rho is the
// root of an increasing function (Friberg 2023, "Projection onto the exponential cone").
#pragma once

#include "prox_math.h"

LPGD_BEGIN_NAMESPACE

struct ExponentialCone {
  LPGD_HOST_TOO static std::size_t scratch_bytes(std::int64_t) { return 0; }

  enum Face { kInside, kOrigin, kFlat, kCurved, kBroken };

  template <class T>
  LPGD_INLINE static Face face(T r, T s, T t) {
    const T sum = r + s + t;
    if (!(sum - sum == T(0))) return kBroken;
    if (s > T(0) && s * exp_of(r / s) <= t) return kInside;
    if (s == T(0) && r <= T(0) && t >= T(0)) return kInside;
    if (r > T(0) && t < T(0) && r * exp_of(s / r - T(1)) <= -t) return kOrigin;
    if (r == T(0) && s <= T(0) && t <= T(0)) return kOrigin;
    if (r <= T(0) && s <= T(0)) return kFlat;
    return kCurved;
  }

  // rho, with the s and mu e^rho that go with it
  LPGD_HD static double root(double r, double s, double t, double* scale, double* push) {
    const double infinity = std::numeric_limits<double>::infinity();
    double low = r > 0 ? 1 - s / r : -infinity;
    double high = s > 0 ? r / s : infinity;
    double rho = low == -infinity ? high - 1 : high == infinity ? low + 1 : 0.5 * (low + high);
    for (int step = 0; step < 200; ++step) {
      const double q = rho * rho - rho + 1;
      const double a = (rho - 1) * r + s, b = r - rho * s;
      const double up = exp_of(rho), down = exp_of(-rho);
      const double value = (a * up - b * down) / q;
      const double h = value - t;
      const double slope = ((r + a) * up + (s + b) * down) / q - value * (2 * rho - 1) / q;
      *scale = a / q;
      *push = b / q;
      if (h > 0) {
        high = rho;
      } else {
        low = rho;
      }
      double next = rho - h / slope;
      if (!(next > low && next < high)) {
        next = low == -infinity   ? rho - 2 * (1 + abs_of(rho))
               : high == infinity ? rho + 2 * (1 + abs_of(rho))
                                  : 0.5 * (low + high);
        if (next > 700) next = 700;  // e^rho stays finite
        if (next < -700) next = -700;
      }
      if (abs_of(next - rho) <= 4e-16 * (1 + abs_of(rho))) break;
      rho = next;
    }
    return rho;
  }

  // The projection's second and third numbers at the root. For rho > 0 the third is t + mu: as s
  // e^rho it would have the rounding of s, which is what a difference left, times a number that may
  // be huge.
  LPGD_INLINE static void at_root(double rho, double t, double push, double* scale, double* last) {
    if (rho > 0) {
      *last = max_of(t + push * exp_of(-rho), 0.0);
      *scale = *last * exp_of(-rho);
    } else {
      *scale = max_of(*scale, 0.0);
      *last = *scale * exp_of(rho);
    }
  }

  template <class Group, class T>
  LPGD_HD static void value(const Group& g, const ProxRow<T>& row) {
    if (row.n != 3) return row.fail(g);
    const auto r = static_cast<double>(row.x[0]), s = static_cast<double>(row.x[1]);
    const auto t = static_cast<double>(row.x[2]);
    double out[3] = {r, s, t}, scale = 0, push = 0;
    switch (face(r, s, t)) {
      case kInside:
        break;
      case kOrigin:
        out[0] = out[1] = out[2] = 0;
        break;
      case kFlat:
        out[1] = 0;
        out[2] = max_of(t, 0.0);
        break;
      case kCurved: {
        const double rho = root(r, s, t, &scale, &push);
        at_root(rho, t, push, &scale, &out[2]);
        out[0] = scale * rho;
        out[1] = scale;
        break;
      }
      case kBroken:
        return row.fail(g);
    }
    for (int i = 0; i < 3; ++i) row.out[i] = static_cast<T>(out[i]);
  }

  // on the curved face the first-order conditions differentiated: (I + mu H) dp + n dmu = dx,
  // n'dp = 0, with H = e^rho / s w w', w = (1, -rho, 0)
  template <class Group, class T>
  LPGD_HD static void vjp(const Group&, const ProxRow<T>& row) {
    if (row.n != 3) return;
    const auto r = static_cast<double>(row.x[0]), s = static_cast<double>(row.x[1]);
    const auto t = static_cast<double>(row.x[2]);
    double up[3], out[3];
    for (int i = 0; i < 3; ++i) out[i] = up[i] = static_cast<double>(row.gradient[i]);
    double scale = 0, push = 0;
    switch (face(r, s, t)) {
      case kInside:
        break;
      case kOrigin:
        out[0] = out[1] = out[2] = 0;
        break;
      case kFlat:
        out[1] = 0;
        if (!(t > 0)) out[2] = 0;
        break;
      case kCurved: {
        const double rho = root(r, s, t, &scale, &push);
        double last = 0;
        at_root(rho, t, push, &scale, &last);
        // the normal, divided by what is large in it
        const double e = exp_of(-abs_of(rho));
        const double one = rho > 0 ? e : 1.0, grow = rho > 0 ? 1.0 : e;
        const double normal[3] = {grow, (1 - rho) * grow, -one};
        const double w[3] = {1, -rho, 0}, room = scale + push * (1 + rho * rho);
        const double spread = room > 0 ? push / room : 0.0;
        auto solve = [&](const double* v, double* to) {
          const double along = spread * (w[0] * v[0] + w[1] * v[1]);
          for (int i = 0; i < 3; ++i) to[i] = v[i] - along * w[i];
        };
        double left[3], right[3];
        solve(up, left);
        solve(normal, right);
        double over = 0, under = 0;
        for (int i = 0; i < 3; ++i) {
          over += normal[i] * left[i];
          under += normal[i] * right[i];
        }
        for (int i = 0; i < 3; ++i) out[i] = left[i] - right[i] * (over / under);
        break;
      }
      case kBroken:
        out[0] = out[1] = out[2] = std::numeric_limits<double>::quiet_NaN();
        break;
    }
    for (int i = 0; i < 3; ++i) row.gx[i] = static_cast<T>(out[i]);
  }
};

LPGD_END_NAMESPACE
