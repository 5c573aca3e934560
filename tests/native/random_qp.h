// Random problems with a strictly feasible point, in the arrays that the kernels take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "core/qp_types.h"

namespace lpgd::test {

struct RandomQp {
  std::int64_t batch;
  int n, m, p;
  bool bounds;
  std::vector<double> P, q, G, h, A, b, lb, ub;

  RandomQp(std::int64_t batch_, int n_, int m_, int p_, bool bounds_, bool quadratic, unsigned seed)
      : batch(batch_), n(n_), m(m_), p(p_), bounds(bounds_) {
    std::mt19937_64 bits(seed);
    std::normal_distribution<double> normal;
    auto draw = [&](std::vector<double>& v, std::size_t count) {
      v.resize(count);
      for (double& value : v) value = normal(bits);
    };
    const auto N = static_cast<std::size_t>(n), M = static_cast<std::size_t>(m);
    const auto Q = static_cast<std::size_t>(p), B = static_cast<std::size_t>(batch);
    draw(q, B * N);
    draw(G, B * M * N);
    draw(A, B * Q * N);
    std::vector<double> x0, root;
    draw(x0, B * N);
    for (double& value : x0) value *= 0.3;
    h.assign(B * M, 0.2);
    b.assign(B * Q, 0.0);
    for (std::size_t i = 0; i < B; ++i)
      for (std::size_t j = 0; j < N; ++j) {
        for (std::size_t k = 0; k < M; ++k) h[i * M + k] += G[(i * M + k) * N + j] * x0[i * N + j];
        for (std::size_t k = 0; k < Q; ++k) b[i * Q + k] += A[(i * Q + k) * N + j] * x0[i * N + j];
      }
    if (bounds) {
      lb.resize(B * N);
      ub.resize(B * N);
      for (std::size_t j = 0; j < B * N; ++j) {
        lb[j] = x0[j] - 1.0;
        ub[j] = x0[j] + 0.5;
      }
    }
    if (!quadratic) return;
    P.assign(B * N * N, 0.0);
    for (std::size_t i = 0; i < B; ++i) {
      draw(root, N * N);
      for (std::size_t r = 0; r < N; ++r)
        for (std::size_t c = 0; c < N; ++c) {
          double& entry = P[(i * N + r) * N + c];
          for (std::size_t k = 0; k < N; ++k) entry += root[r * N + k] * root[c * N + k];
          entry = entry / n + (r == c ? 0.05 : 0.0);
        }
    }
  }

  QpProblem<double> problem() const {
    QpProblem<double> out{};
    out.batch = batch;
    out.n = n;
    out.m = m;
    out.p = p;
    auto at = [](const std::vector<double>& v) { return v.empty() ? nullptr : v.data(); };
    out.P = at(P);
    out.q = q.data();
    out.G = at(G);
    out.h = at(h);
    out.A = at(A);
    out.b = at(b);
    out.lb = at(lb);
    out.ub = at(ub);
    out.stride_P = std::int64_t{n} * n;
    out.stride_q = out.stride_lb = out.stride_ub = n;
    out.stride_G = std::int64_t{m} * n;
    out.stride_h = m;
    out.stride_A = std::int64_t{p} * n;
    out.stride_b = p;
    return out;
  }
};

// Room for `rows` primal-dual points and their reports.
struct PointArrays {
  std::vector<double> x, y, z, z_lb, z_ub, residuals;
  std::vector<std::int32_t> status, iterations;

  PointArrays(const RandomQp& qp, std::int64_t rows) {
    const auto R = static_cast<std::size_t>(rows);
    x.assign(R * static_cast<std::size_t>(qp.n), -7.0);
    y.assign(R * static_cast<std::size_t>(qp.p), -7.0);
    z.assign(R * static_cast<std::size_t>(qp.m), -7.0);
    z_lb.assign(qp.bounds ? x.size() : 0, -7.0);
    z_ub.assign(z_lb.size(), -7.0);
    residuals.assign(3 * R, -7.0);
    status.assign(R, -7);
    iterations.assign(R, -7);
  }

  QpPoint<double> point() {
    return {x.data(), y.data(), z.data(), z_lb.empty() ? nullptr : z_lb.data(),
            z_ub.empty() ? nullptr : z_ub.data()};
  }
  QpPoint<const double> given() const {
    return {x.data(), y.data(), z.data(), z_lb.empty() ? nullptr : z_lb.data(),
            z_ub.empty() ? nullptr : z_ub.data()};
  }
  // qp.batch rows from `first` on, the point alone
  PointArrays rows(std::int64_t first, const RandomQp& qp) const {
    PointArrays out(qp, qp.batch);
    auto take = [&](const std::vector<double>& from, std::vector<double>& to, int width) {
      std::copy_n(from.begin() + first * width, to.size(), to.begin());
    };
    take(x, out.x, qp.n);
    take(y, out.y, qp.p);
    take(z, out.z, qp.m);
    take(z_lb, out.z_lb, qp.n);
    take(z_ub, out.z_ub, qp.n);
    return out;
  }

  QpReport<double> report() { return {status.data(), iterations.data(), residuals.data()}; }

  double distance(const PointArrays& other) const {
    double most = 0;
    auto compare = [&](const std::vector<double>& a, const std::vector<double>& b) {
      for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = a[i] - b[i];
        most = d - d == 0 ? std::max(most, d < 0 ? -d : d) : 1e300;
      }
    };
    compare(x, other.x);
    compare(y, other.y);
    compare(z, other.z);
    compare(z_lb, other.z_lb);
    compare(z_ub, other.z_ub);
    return most;
  }
};

}  // namespace lpgd::test
