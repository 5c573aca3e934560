// Electrical impedance tomography on a sample, or on a register of samples: voltages, J'dy, J dw,
// second derivatives and the Jacobian itself. With u_d the potentials under drive d, z_d those
// under the currents sum_k dy_k measure_k of the measurements of drive d, and A_c the matrix of
// weights c:
//
//   (J'dy)_c = - sum_d z_d' L_c u_d            J dw = - measure' A^-1 A_dw u_d
//   d<dy, J dw>/dw_c = sum_d z_d' L_c u'_d + z'_d' L_c u_d,  u' = A^-1 A_dw u,  z' = A^-1 A_dw z
#pragma once

#include <limits>

#include "eit_factor.h"

LPGD_BEGIN_NAMESPACE

// Samples first, ..., first + count - 1 in the lanes; lanes that are left over repeat the last.
struct EitLanes {
  std::int64_t first;
  int count;

  LPGD_INLINE std::int64_t item(int lane) const {
    return first + (lane < count ? lane : count - 1);
  }
};

template <class S, class T>
LPGD_INLINE S eit_load(const EitLanes& lanes, const T* from, std::int64_t width, std::int64_t at) {
  S out(0.0);
  for (int lane = 0; lane < ScalarTraits<S>::lanes; ++lane)
    set_lane(out, lane, static_cast<double>(from[lanes.item(lane) * width + at]));
  return out;
}

template <class S, class T>
LPGD_INLINE void eit_store(const EitLanes& lanes, T* to, std::int64_t width, std::int64_t at, S v) {
  for (int lane = 0; lane < lanes.count; ++lane)
    to[(lanes.first + lane) * width + at] = static_cast<T>(get_lane(v, lane));
}

// Loops are dealt out to the lanes of the group: over right-hand sides in the solves, where each
// lane has columns of its own, and over links, cells and measurements between them.
template <class Group, class S, class T>
class EitSolve {
  using Factor = EitFactor<Group, S>;
  // Many lanes read differences of potentials side by side along the links, not the columns.
  static constexpr bool kTurned = Factor::kOwn == 1;
  static constexpr int kWidth = Factor::kWidth, kOwn = Factor::kOwn, kParts = Factor::kParts;
  static constexpr T kLargest = std::numeric_limits<T>::max();

 public:
  // Bytes of the factor, which is read most and may lie in a memory of its own.
  LPGD_HOST_TOO static std::size_t factor_bytes(const EitMesh& mesh) {
    return (static_cast<std::size_t>(mesh.entries) + 3 * static_cast<std::size_t>(mesh.unknowns)) *
           sizeof(S);
  }

  // Slices of a workspace; null asks how many bytes it takes. `factor`: factor_bytes elsewhere,
  // which the workspace then does without.
  LPGD_HOST_TOO std::size_t bind(const EitTask<T>& task, void* memory, void* factor = nullptr) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    S* base = static_cast<S*>(factor ? factor : memory);
    std::size_t used = 0;
    const auto take = [&](int count) {
      S* at = base ? base + used : nullptr;
      used += static_cast<std::size_t>(count);
      return at;
    };
    const int whole = chunks(pattern.drives) + chunks(pattern.measured);
    const int fields = task.jacobian ? (kTurned ? 2 : 1) * whole : task.tangent ? 2 : 1;
    factor_.entry = take(mesh.entries);
    factor_.pivot = take(mesh.unknowns);
    factor_.inverse = take(mesh.unknowns);
    factor_.scratch = take(mesh.unknowns);
    if (factor) {
      base = static_cast<S*>(memory);
      used = 0;
    }
    weight_ = take(mesh.cells);
    link_ = take(mesh.links);
    product_ = take(mesh.links);
    voltage_ = take(pattern.count);
    current_ = take(pattern.drives * mesh.electrodes);
    field_ = take(0);
    return (used +
            static_cast<std::size_t>(mesh.unknowns) * kWidth * static_cast<std::size_t>(fields)) *
           sizeof(S);
  }

  LPGD_HD void run(const Group& group, const EitTask<T>& task, const EitLanes& lanes) {
    const EitMesh& mesh = task.mesh;
    load_links(group, task, lanes, task.weights);
    auto good = factor_.factor(group, mesh, link_);
    if (task.voltages || task.target) good = voltages(group, task, lanes, good);
    if (task.status && group.lane() == 0)
      for (int lane = 0; lane < lanes.count; ++lane)
        task.status[lanes.first + lane] = mask_lane(good, lane) ? 0 : 4;
    if (task.tangent) load_links(group, task, lanes, task.tangent);
    if (task.gradient) gradient(group, task, lanes, good);
    if (task.moved) moved(group, task, lanes, good);
    if (task.jacobian) jacobian(group, task, lanes, good);
    group.sync();  // the workspace may be written again right after
  }

 private:
  LPGD_HOST_TOO static int chunks(int count) { return (count + kWidth - 1) / kWidth; }

  LPGD_HD void load_links(const Group& group, const EitTask<T>& task, const EitLanes& lanes,
                          const T* weights) {
    LPGD_FOR (group, c, task.mesh.cells)
      weight_[c] = eit_load<S>(lanes, weights, task.mesh.cells, c);
    group.sync();
    Factor::assemble(group, task.mesh, weight_, link_);
  }

  // current(l, c) enters at electrode l in column c, but none at the ground, which stays at zero.
  template <class Current>
  LPGD_INLINE static void inject(const Group& group, const EitMesh& mesh, S* x,
                                 const Current& current) {
    LPGD_FOR (group, part, kParts)
      for (int l = 0; l < mesh.electrodes; ++l)
        for (int c = part * kOwn; c < (part + 1) * kOwn; ++c)
          x[static_cast<std::ptrdiff_t>(mesh.first_electrode() + l) * kWidth + c] =
              l + 1 < mesh.electrodes ? current(l, c) : S(0.0);
  }

  // That of patterns first, first + 1, ...
  LPGD_INLINE static S current_of(const EitMesh& mesh, const double* patterns, int pattern,
                                  int count, int l) {
    return pattern < count ? S(patterns[static_cast<std::ptrdiff_t>(pattern) * mesh.electrodes + l])
                           : S(0.0);
  }

  LPGD_INLINE static void ground(const Group& group, const EitMesh& mesh, S* x) {
    LPGD_FOR (group, part, kParts)
      for (int c = part * kOwn; c < (part + 1) * kOwn; ++c)
        x[static_cast<std::ptrdiff_t>(mesh.free()) * kWidth + c] = S(0.0);
  }

  // measure' x of the measurements of drives first, first + 1, ..., which are the columns of x.
  template <class Put>
  LPGD_INLINE static void measure(const Group& group, const EitTask<T>& task, int first, const S* x,
                                  const Put& put) {
    const EitMesh& mesh = task.mesh;
    group.sync();
    LPGD_FOR (group, k, task.pattern.count) {
      const int c = task.pattern.pair[2 * k] - first;
      if (c < 0 || c >= kWidth) continue;
      const double* weight =
          task.pattern.measure +
          static_cast<std::ptrdiff_t>(task.pattern.pair[2 * k + 1]) * mesh.electrodes;
      S sum(0.0);
      for (int l = 0; l < mesh.electrodes - 1; ++l)
        sum +=
            S(weight[l]) * x[static_cast<std::ptrdiff_t>(mesh.first_electrode() + l) * kWidth + c];
      put(k, sum);
    }
    group.sync();
  }

  // Of `good`, those whose voltages are numbers of the caller's type.
  LPGD_HD MaskOf<S> voltages(const Group& group, const EitTask<T>& task, const EitLanes& lanes,
                             MaskOf<S> good) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    for (int first = 0; first < pattern.drives; first += kWidth) {
      inject(group, mesh, field_, [&](int l, int c) {
        return current_of(mesh, pattern.drive, first + c, pattern.drives, l);
      });
      factor_.electrodes(group, mesh, field_);
      measure(group, task, first, field_, [&](int k, S value) { voltage_[k] = value; });
    }
    S beyond(0.0);
    LPGD_FOR (group, k, pattern.count)
      beyond =
          max_of(beyond, select(less(abs_of(voltage_[k]), S(double(kLargest))), S(0.0), S(1.0)));
    good = mask_and(good, equal(group.max(beyond), S(0.0)));
    if (!task.voltages) return good;
    LPGD_FOR (group, k, pattern.count)
      eit_store(lanes, task.voltages, pattern.count, k,
                select(good, voltage_[k], S(std::numeric_limits<double>::quiet_NaN())));
    return good;
  }

  // The currents sum_k dy_k measure_k of each drive; dy, in place of the voltages, is F - y where
  // there is a target.
  LPGD_HD void adjoint_currents(const Group& group, const EitTask<T>& task, const EitLanes& lanes) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    LPGD_FOR (group, k, pattern.count)
      voltage_[k] = task.target ? voltage_[k] - eit_load<S>(lanes, task.target, pattern.count, k)
                                : eit_load<S>(lanes, task.cotangent, pattern.count, k);
    group.sync();
    for (int d = 0; d < pattern.drives; ++d)
      LPGD_FOR (group, l, mesh.electrodes)
        current_[static_cast<std::ptrdiff_t>(d) * mesh.electrodes + l] = S(0.0);
    for (int k = 0; k < pattern.count; ++k) {  // lanes keep their electrodes
      S* current = current_ + static_cast<std::ptrdiff_t>(pattern.pair[2 * k]) * mesh.electrodes;
      const double* weight =
          pattern.measure + static_cast<std::ptrdiff_t>(pattern.pair[2 * k + 1]) * mesh.electrodes;
      const S dy = voltage_[k];
      LPGD_FOR (group, l, mesh.electrodes) current[l] += S(weight[l]) * dy;
    }
    group.sync();
  }

  // b = A_dw x, link_ holding the links of dw; zero at the ground
  LPGD_HD void apply(const Group& group, const EitMesh& mesh, const S* x, S* b) const {
    LPGD_FOR (group, part, kParts) {
      const S* from = x + part * kOwn;
      S* to = b + part * kOwn;
      for (int j = 0; j < mesh.unknowns; ++j)
        for (int c = 0; c < kOwn; ++c) to[static_cast<std::ptrdiff_t>(j) * kWidth + c] = S(0.0);
      for (int i = 0; i < mesh.links; ++i) {
        const std::ptrdiff_t p = static_cast<std::ptrdiff_t>(mesh.link[2 * i]) * kWidth;
        const std::ptrdiff_t q = static_cast<std::ptrdiff_t>(mesh.link[2 * i + 1]) * kWidth;
        for (int c = 0; c < kOwn; ++c) {
          const S flow = link_[i] * (from[p + c] - from[q + c]);
          to[p + c] += flow;
          to[q + c] -= flow;
        }
      }
    }
    ground(group, mesh, b);
  }

  LPGD_HD void gradient(const Group& group, const EitTask<T>& task, const EitLanes& lanes,
                        MaskOf<S> good) {
    constexpr int half = kWidth / 2;  // columns of u, and as many of z
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    const bool second = task.tangent != nullptr;
    S* moved = field_ + static_cast<std::ptrdiff_t>(mesh.unknowns) * kWidth;
    adjoint_currents(group, task, lanes);
    LPGD_FOR (group, i, mesh.links) product_[i] = S(0.0);
    for (int first = 0; first < pattern.drives; first += half) {
      inject(group, mesh, field_, [&](int l, int c) {
        if (c < half) return current_of(mesh, pattern.drive, first + c, pattern.drives, l);
        const int d = first + c - half;
        return d < pattern.drives ? current_[static_cast<std::ptrdiff_t>(d) * mesh.electrodes + l]
                                  : S(0.0);
      });
      factor_.electrodes(group, mesh, field_);
      factor_.inside(group, mesh, field_);
      if (second) {
        apply(group, mesh, field_, moved);
        factor_.forward(group, mesh, 0, moved);
        ground(group, mesh, moved);
        factor_.scale(group, mesh, 0, moved);
        factor_.backward(group, mesh, 0, mesh.free(), moved);
      }
      group.sync();
      LPGD_FOR (group, i, mesh.links) {
        const std::ptrdiff_t p = static_cast<std::ptrdiff_t>(mesh.link[2 * i]) * kWidth;
        const std::ptrdiff_t q = static_cast<std::ptrdiff_t>(mesh.link[2 * i + 1]) * kWidth;
        S sum = product_[i];
        for (int c = 0; c < half; ++c) {
          const S u = field_[p + c] - field_[q + c],
                  z = field_[p + half + c] - field_[q + half + c];
          if (second)
            sum +=
                z * (moved[p + c] - moved[q + c]) + u * (moved[p + half + c] - moved[q + half + c]);
          else
            sum -= z * u;
        }
        product_[i] = sum;
      }
      group.sync();
    }
    LPGD_FOR (group, c, mesh.cells) {
      S sum(0.0);
      for (int k = 0; k < 3; ++k)
        sum += S(mesh.coefficient[3 * c + k]) * product_[mesh.cell_link[3 * c + k]];
      eit_store(lanes, task.gradient, mesh.cells, c, select(good, sum, S(0.0)));
    }
  }

  LPGD_HD void moved(const Group& group, const EitTask<T>& task, const EitLanes& lanes,
                     MaskOf<S> good) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    S* b = field_ + static_cast<std::ptrdiff_t>(mesh.unknowns) * kWidth;
    for (int first = 0; first < pattern.drives; first += kWidth) {
      inject(group, mesh, field_, [&](int l, int c) {
        return current_of(mesh, pattern.drive, first + c, pattern.drives, l);
      });
      factor_.electrodes(group, mesh, field_);
      factor_.inside(group, mesh, field_);
      apply(group, mesh, field_, b);
      factor_.forward(group, mesh, 0, b);
      ground(group, mesh, b);
      factor_.scale(group, mesh, mesh.first_electrode(), b);
      factor_.backward(group, mesh, mesh.first_electrode(), mesh.free(), b);
      measure(group, task, first, b, [&](int k, S value) {
        eit_store(lanes, task.moved, pattern.count, k, select(good, -value, S(0.0)));
      });
    }
  }

  LPGD_HD void fields(const Group& group, const EitMesh& mesh, const double* patterns, int count,
                      S* x) {
    for (int first = 0; first < count; first += kWidth) {
      inject(group, mesh, x,
             [&](int l, int c) { return current_of(mesh, patterns, first + c, count, l); });
      factor_.electrodes(group, mesh, x);
      factor_.inside(group, mesh, x);
      x += static_cast<std::ptrdiff_t>(mesh.unknowns) * kWidth;
    }
  }

  // Blocks [unknowns][kWidth] of x as [kWidth][unknowns]
  LPGD_HD static S* turned(const Group& group, const EitMesh& mesh, const S* x,
                           std::ptrdiff_t blocks, S* to) {
    const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(mesh.unknowns) * kWidth;
    for (std::ptrdiff_t b = 0; b < blocks; ++b)
      LPGD_FOR (group, j, mesh.unknowns)
        for (std::ptrdiff_t c = 0; c < kWidth; ++c)
          to[b * size + c * mesh.unknowns + j] = x[b * size + j * kWidth + c];
    group.sync();
    return to;
  }

  LPGD_HD void jacobian(const Group& group, const EitTask<T>& task, const EitLanes& lanes,
                        MaskOf<S> good) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    const std::ptrdiff_t block = static_cast<std::ptrdiff_t>(mesh.unknowns) * kWidth;
    S* driven = field_;
    S* measured = field_ + chunks(pattern.drives) * block;
    fields(group, mesh, pattern.drive, pattern.drives, driven);
    fields(group, mesh, pattern.measure, pattern.measured, measured);
    group.sync();
    std::ptrdiff_t stride = kWidth;  // from an unknown to the next
    if constexpr (kTurned) {
      const std::ptrdiff_t whole = chunks(pattern.drives) + chunks(pattern.measured);
      driven = turned(group, mesh, field_, whole, field_ + whole * block);
      measured = driven + chunks(pattern.drives) * block;
      stride = 1;
    }
    const auto column = [&](const S* x, int c) {
      const std::ptrdiff_t in_block =
          kTurned ? c % kWidth * std::ptrdiff_t{mesh.unknowns} : c % kWidth;
      return x + c / kWidth * block + in_block;
    };
    const std::int64_t size = static_cast<std::int64_t>(pattern.count) * mesh.cells;
    for (int k = 0; k < pattern.count; ++k) {
      const int d = pattern.pair[2 * k], m = pattern.pair[2 * k + 1];
      const S *u = column(driven, d), *z = column(measured, m);
      // differences along the links, once for the cells on both of their sides
      LPGD_FOR (group, i, mesh.links) {
        const std::ptrdiff_t p = mesh.link[2 * i] * stride, q = mesh.link[2 * i + 1] * stride;
        product_[i] = (u[p] - u[q]) * (z[p] - z[q]);
      }
      group.sync();
      LPGD_FOR (group, c, mesh.cells) {
        S sum(0.0);
        for (int j = 0; j < 3; ++j)
          sum -= S(mesh.coefficient[3 * c + j]) * product_[mesh.cell_link[3 * c + j]];
        eit_store(lanes, task.jacobian, size, static_cast<std::int64_t>(k) * mesh.cells + c,
                  select(good, sum, S(0.0)));
      }
      group.sync();
    }
  }

  Factor factor_;
  S *weight_, *link_, *product_, *field_, *voltage_, *current_;
};

LPGD_END_NAMESPACE
