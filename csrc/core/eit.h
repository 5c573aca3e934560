// Electrical impedance tomography on a register of samples: voltages, J'dy, J dw, second
// derivatives and the Jacobian itself. With u_d the potentials under drive d, z_d those under the
// currents sum_k dy_k measure_k of the measurements of drive d, and A_c the matrix of weights c:
//
//   (J'dy)_c = - sum_d z_d' L_c u_d            J dw = - measure' A^-1 A_dw u_d
//   d<dy, J dw>/dw_c = sum_d z_d' L_c u'_d + z'_d' L_c u_d,  u' = A^-1 A_dw u,  z' = A^-1 A_dw z
#pragma once

#include "eit_factor.h"

LPGD_BEGIN_NAMESPACE

// Samples first, ..., first + count - 1 in the lanes; lanes that are left over repeat the last.
struct EitLanes {
  std::int64_t first;
  int count;

  std::int64_t item(int lane) const { return first + (lane < count ? lane : count - 1); }
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

template <class S, class T>
class EitSolve {
 public:
  // Slices of a workspace; null asks how many bytes it takes.
  std::size_t bind(const EitTask<T>& task, void* memory) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    std::size_t used = 0;
    const auto slice = [&](S*& pointer, std::size_t count) {
      pointer = memory ? static_cast<S*>(memory) + used : nullptr;
      used += count;
    };
    const auto n = static_cast<std::size_t>(mesh.unknowns);
    const auto fields = static_cast<std::size_t>(
        task.jacobian ? chunks(pattern.drives) + chunks(pattern.measured) : 2);
    slice(factor_.entry, static_cast<std::size_t>(mesh.entries));
    slice(factor_.pivot, n);
    slice(factor_.inverse, n);
    slice(factor_.scratch, n);
    slice(weight_, static_cast<std::size_t>(mesh.cells));
    slice(link_, static_cast<std::size_t>(mesh.links));
    slice(product_, static_cast<std::size_t>(mesh.links));
    slice(field_, n * kEitColumns * fields);
    slice(voltage_, static_cast<std::size_t>(pattern.count));
    slice(current_,
          static_cast<std::size_t>(pattern.drives) * static_cast<std::size_t>(mesh.electrodes));
    return used * sizeof(S);
  }

  void run(const EitTask<T>& task, const EitLanes& lanes) {
    const EitMesh& mesh = task.mesh;
    for (int c = 0; c < mesh.cells; ++c)
      weight_[c] = eit_load<S>(lanes, task.weights, mesh.cells, c);
    EitFactor<S>::assemble(mesh, weight_, link_);
    const auto good = factor_.factor(mesh, link_);
    if (task.status)
      for (int lane = 0; lane < lanes.count; ++lane)
        task.status[lanes.first + lane] = mask_lane(good, lane) ? 0 : 4;
    if (task.voltages || task.target) voltages(task, lanes, good);
    if (task.tangent) {
      for (int c = 0; c < mesh.cells; ++c)
        weight_[c] = eit_load<S>(lanes, task.tangent, mesh.cells, c);
      EitFactor<S>::assemble(mesh, weight_, link_);
    }
    if (task.gradient) gradient(task, lanes, good);
    if (task.moved) moved(task, lanes, good);
    if (task.jacobian) jacobian(task, lanes, good);
  }

 private:
  static int chunks(int count) { return (count + kEitColumns - 1) / kEitColumns; }

  // Currents [electrodes] of patterns first, first + 1, ... into columns at, at + 1, ... of x.
  void inject(const EitMesh& mesh, const double* pattern, int first, int count, int at, int width,
              S* x) const {
    for (int l = 0; l < mesh.electrodes; ++l) {
      S* row = x + static_cast<std::ptrdiff_t>(mesh.first_electrode() + l) * kEitColumns;
      for (int c = 0; c < width; ++c)
        row[at + c] = first + c < count
                          ? S(pattern[static_cast<std::ptrdiff_t>(first + c) * mesh.electrodes + l])
                          : S(0.0);
    }
  }

  void inject_adjoint(const EitMesh& mesh, int first, int count, int at, int width, S* x) const {
    for (int l = 0; l < mesh.electrodes; ++l) {
      S* row = x + static_cast<std::ptrdiff_t>(mesh.first_electrode() + l) * kEitColumns;
      for (int c = 0; c < width; ++c)
        row[at + c] = first + c < count
                          ? current_[static_cast<std::ptrdiff_t>(first + c) * mesh.electrodes + l]
                          : S(0.0);
    }
  }

  // The ground stays at zero, whatever current was written there.
  void ground(const EitMesh& mesh, S* x) const {
    S* row = x + static_cast<std::ptrdiff_t>(mesh.free()) * kEitColumns;
    for (int c = 0; c < kEitColumns; ++c) row[c] = S(0.0);
  }

  // measure' x of the measurements of drives first, first + 1, ..., which are the columns of x.
  template <class Put>
  void measure(const EitTask<T>& task, int first, const S* x, const Put& put) const {
    const EitMesh& mesh = task.mesh;
    for (int k = 0; k < task.pattern.count; ++k) {
      const int c = task.pattern.pair[2 * k] - first;
      if (c < 0 || c >= kEitColumns) continue;
      const double* weight =
          task.pattern.measure +
          static_cast<std::ptrdiff_t>(task.pattern.pair[2 * k + 1]) * mesh.electrodes;
      S sum(0.0);
      for (int l = 0; l < mesh.electrodes - 1; ++l)
        sum += S(weight[l]) *
               x[static_cast<std::ptrdiff_t>(mesh.first_electrode() + l) * kEitColumns + c];
      put(k, sum);
    }
  }

  void voltages(const EitTask<T>& task, const EitLanes& lanes, MaskOf<S> good) {
    const EitMesh& mesh = task.mesh;
    for (int first = 0; first < task.pattern.drives; first += kEitColumns) {
      inject(mesh, task.pattern.drive, first, task.pattern.drives, 0, kEitColumns, field_);
      ground(mesh, field_);
      factor_.electrodes(mesh, field_);
      measure(task, first, field_, [&](int k, S value) { voltage_[k] = value; });
    }
    if (!task.voltages) return;
    for (int k = 0; k < task.pattern.count; ++k)
      eit_store(lanes, task.voltages, task.pattern.count, k,
                select(good, voltage_[k], S(__builtin_nan(""))));
  }

  // The currents sum_k dy_k measure_k of each drive; dy is F - y where there is a target.
  void adjoint_currents(const EitTask<T>& task, const EitLanes& lanes) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(pattern.drives) * mesh.electrodes;
         ++i)
      current_[i] = S(0.0);
    for (int k = 0; k < pattern.count; ++k) {
      const S dy = task.target ? voltage_[k] - eit_load<S>(lanes, task.target, pattern.count, k)
                               : eit_load<S>(lanes, task.cotangent, pattern.count, k);
      S* current = current_ + static_cast<std::ptrdiff_t>(pattern.pair[2 * k]) * mesh.electrodes;
      const double* weight =
          pattern.measure + static_cast<std::ptrdiff_t>(pattern.pair[2 * k + 1]) * mesh.electrodes;
      for (int l = 0; l < mesh.electrodes; ++l) current[l] += S(weight[l]) * dy;
    }
  }

  // b = A_dw x, link_ holding the links of dw
  void apply(const EitMesh& mesh, const S* x, S* b) const {
    for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(mesh.unknowns) * kEitColumns; ++i)
      b[i] = S(0.0);
    for (int i = 0; i < mesh.links; ++i) {
      const std::ptrdiff_t p = static_cast<std::ptrdiff_t>(mesh.link[2 * i]) * kEitColumns;
      const std::ptrdiff_t q = static_cast<std::ptrdiff_t>(mesh.link[2 * i + 1]) * kEitColumns;
      for (int c = 0; c < kEitColumns; ++c) {
        const S flow = link_[i] * (x[p + c] - x[q + c]);
        b[p + c] += flow;
        b[q + c] -= flow;
      }
    }
  }

  void gradient(const EitTask<T>& task, const EitLanes& lanes, MaskOf<S> good) {
    constexpr int half = kEitColumns / 2;  // columns of u, and as many of z
    const EitMesh& mesh = task.mesh;
    const bool second = task.tangent != nullptr;
    S* moved = field_ + static_cast<std::ptrdiff_t>(mesh.unknowns) * kEitColumns;
    adjoint_currents(task, lanes);
    for (int i = 0; i < mesh.links; ++i) product_[i] = S(0.0);
    for (int first = 0; first < task.pattern.drives; first += half) {
      inject(mesh, task.pattern.drive, first, task.pattern.drives, 0, half, field_);
      inject_adjoint(mesh, first, task.pattern.drives, half, half, field_);
      ground(mesh, field_);
      factor_.electrodes(mesh, field_);
      factor_.inside(mesh, field_);
      if (second) {
        apply(mesh, field_, moved);
        ground(mesh, moved);
        factor_.forward(mesh, 0, moved);
        ground(mesh, moved);
        factor_.scale(mesh, 0, moved);
        factor_.backward(mesh, 0, mesh.free(), moved);
      }
      for (int i = 0; i < mesh.links; ++i) {
        const std::ptrdiff_t p = static_cast<std::ptrdiff_t>(mesh.link[2 * i]) * kEitColumns;
        const std::ptrdiff_t q = static_cast<std::ptrdiff_t>(mesh.link[2 * i + 1]) * kEitColumns;
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
    }
    for (int c = 0; c < mesh.cells; ++c) {
      S sum(0.0);
      for (int k = 0; k < 3; ++k)
        sum += S(mesh.coefficient[3 * c + k]) * product_[mesh.cell_link[3 * c + k]];
      eit_store(lanes, task.gradient, mesh.cells, c, select(good, sum, S(0.0)));
    }
  }

  void moved(const EitTask<T>& task, const EitLanes& lanes, MaskOf<S> good) {
    const EitMesh& mesh = task.mesh;
    S* b = field_ + static_cast<std::ptrdiff_t>(mesh.unknowns) * kEitColumns;
    for (int first = 0; first < task.pattern.drives; first += kEitColumns) {
      inject(mesh, task.pattern.drive, first, task.pattern.drives, 0, kEitColumns, field_);
      ground(mesh, field_);
      factor_.electrodes(mesh, field_);
      factor_.inside(mesh, field_);
      apply(mesh, field_, b);
      factor_.forward(mesh, 0, b);
      ground(mesh, b);
      factor_.scale(mesh, mesh.first_electrode(), b);
      factor_.backward(mesh, mesh.first_electrode(), mesh.free(), b);
      measure(task, first, b, [&](int k, S value) {
        eit_store(lanes, task.moved, task.pattern.count, k, select(good, -value, S(0.0)));
      });
    }
  }

  void fields(const EitMesh& mesh, const double* pattern, int count, S* x) {
    for (int first = 0; first < count; first += kEitColumns) {
      inject(mesh, pattern, first, count, 0, kEitColumns, x);
      ground(mesh, x);
      factor_.electrodes(mesh, x);
      factor_.inside(mesh, x);
      x += static_cast<std::ptrdiff_t>(mesh.unknowns) * kEitColumns;
    }
  }

  void jacobian(const EitTask<T>& task, const EitLanes& lanes, MaskOf<S> good) {
    const EitMesh& mesh = task.mesh;
    const EitPattern& pattern = task.pattern;
    const std::ptrdiff_t block = static_cast<std::ptrdiff_t>(mesh.unknowns) * kEitColumns;
    S* driven = field_;
    S* measured = field_ + chunks(pattern.drives) * block;
    fields(mesh, pattern.drive, pattern.drives, driven);
    fields(mesh, pattern.measure, pattern.measured, measured);
    const std::int64_t size = static_cast<std::int64_t>(pattern.count) * mesh.cells;
    for (int k = 0; k < pattern.count; ++k) {
      const int d = pattern.pair[2 * k], m = pattern.pair[2 * k + 1];
      const S* u = driven + d / kEitColumns * block + d % kEitColumns;
      const S* z = measured + m / kEitColumns * block + m % kEitColumns;
      // differences along the links, once for the cells on both of their sides
      for (int i = 0; i < mesh.links; ++i) {
        const std::ptrdiff_t p = static_cast<std::ptrdiff_t>(mesh.link[2 * i]) * kEitColumns;
        const std::ptrdiff_t q = static_cast<std::ptrdiff_t>(mesh.link[2 * i + 1]) * kEitColumns;
        product_[i] = (u[p] - u[q]) * (z[p] - z[q]);
      }
      for (int c = 0; c < mesh.cells; ++c) {
        S sum(0.0);
        for (int j = 0; j < 3; ++j)
          sum -= S(mesh.coefficient[3 * c + j]) * product_[mesh.cell_link[3 * c + j]];
        eit_store(lanes, task.jacobian, size, static_cast<std::int64_t>(k) * mesh.cells + c,
                  select(good, sum, S(0.0)));
      }
    }
  }

  EitFactor<S> factor_;
  S *weight_, *link_, *product_, *field_, *voltage_, *current_;
};

LPGD_END_NAMESPACE
