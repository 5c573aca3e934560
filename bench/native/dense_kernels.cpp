#include "dense_kernels.h"

#include <cstring>
#include <random>

#include "core/dense.h"
#include "cpu/qp_registers.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class Number, class Walk>
struct Factoring {
  using S = Number;
  using Group = Walk;
  static constexpr int lanes = ScalarTraits<S>::lanes;
  static constexpr int width = RowVector<Group, S>::width;

  struct Parts {
    int n, ld;
    S *P, *diag, *rows, *weight, *panel, *lower, *inverse;
    Parts(int size, void* at) : n(size), ld(row_stride(size, width)) {
      S* next = static_cast<S*>(at);
      const auto take = [&](int count) {
        S* here = next;
        next += count;
        return here;
      };
      P = take(n * ld);
      rows = take(n * ld);
      lower = take(n * ld);
      panel = take(kTileCols * ld);
      diag = take(n);
      weight = take(ld);
      inverse = take(n);
    }
  };

  static std::size_t workspace_bytes(int n) {
    const std::size_t size = static_cast<std::size_t>(n), ld = row_stride(n, width);
    return (3 * size * ld + (kTileCols + 1) * ld + 2 * size) * sizeof(S);
  }

  static void fill(int n, void* workspace) {
    std::memset(static_cast<unsigned char*>(workspace), 0, workspace_bytes(n));
    const Parts at(n, workspace);
    std::mt19937_64 generator(7);
    std::normal_distribution<double> normal;
    for (int l = 0; l < lanes; ++l)
      for (int i = 0; i < n; ++i) {
        for (int k = 0; k < n; ++k) {
          set_lane(at.rows[i * at.ld + k], l, normal(generator));
          set_lane(at.P[i * at.ld + k], l, i == k ? 1.0 : 0.0);
        }
        set_lane(at.diag[i], l, 0.5);
        set_lane(at.weight[i], l, 1.0 / (1 + i));
      }
  }

  static void factor(int n, void* workspace) {
    const Parts at(n, workspace);
    const NormalMatrix<S> matrix{n,       at.ld,     S(1), at.P,  nullptr, at.diag,
                                 at.rows, at.weight, n,    at.ld, at.panel};
    cholesky(Group{}, matrix, Factor<S>{n, at.ld, at.lower, at.inverse});
  }

  static double error(int n, void* workspace) {
    const Parts at(n, workspace);
    double worst = 0, largest = 0;
    for (int l = 0; l < lanes; ++l)
      for (int i = 0; i < n; ++i)
        for (int j = 0; j <= i; ++j) {
          double matrix = get_lane(at.P[i * at.ld + j], l) + (i == j ? get_lane(at.diag[i], l) : 0);
          double product = 0;
          for (int k = 0; k < n; ++k)
            matrix += get_lane(at.rows[i * at.ld + k], l) * get_lane(at.weight[k], l) *
                      get_lane(at.rows[j * at.ld + k], l);
          for (int k = 0; k <= j; ++k)
            product += get_lane(at.lower[i * at.ld + k], l) * get_lane(at.lower[j * at.ld + k], l);
          worst = max_of(worst, abs_of(product - matrix));
          largest = max_of(largest, abs_of(matrix));
        }
    return worst / largest;
  }

  static constexpr FactorLayout layout() { return {lanes, workspace_bytes, fill, factor, error}; }
};

}  // namespace

const DenseKernels& dense_kernels() {
  static constexpr DenseKernels kernels{Factoring<Lanes<double, kRegister>, SerialGroup>::layout(),
                                        Factoring<double, VectorGroup<kRowRegister>>::layout()};
  return kernels;
}

LPGD_END_NAMESPACE
