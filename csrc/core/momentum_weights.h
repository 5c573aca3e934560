// Weight gradients of the dense form, from what some steps saw: sums over steps and items of
// products of two rows, a row's numbers in lanes. Host only.
#pragma once

#include "item_lines.h"
#include "momentum_units.h"

LPGD_BEGIN_NAMESPACE

// A part of every row of every step: the rows of step t begin at steps[t] + offset, `stride` apart.
// A step that is null has none.
template <class T>
struct StepRows {
  const T* const* steps;
  std::int64_t offset, stride;
};

// The last register of a row, whose first lanes are in the register before it too: they read as
// zero and are left as they are.
template <class T>
struct EndOfRegister {
  using Register = Wide<T>;
  typename ScalarTraits<Register>::Mask mine;

  explicit EndOfRegister(int skip) {
    T place[wide_lanes<T>()];
    for (int i = 0; i < wide_lanes<T>(); ++i) place[i] = T(i);
    mine = mask_not(less(load<Register>(place), Register(T(skip))));
  }
  LPGD_INLINE Register get(const T* from) const {
    return select(mine, load<Register>(from), Register(T(0)));
  }
  LPGD_INLINE void put(T* to, const Register& value) const {
    store(to, select(mine, value, load<Register>(to)));
  }
};

// The sums of products of two parts of all rows, written or added to what is there.
template <class T>
struct OuterTask {
  StepRows<T> left, right;
  std::int64_t steps, batch;
  T* out;  // [., stride]
  std::int64_t stride;
  bool add;
};

// Some rows, of all of whose left numbers are used while those of a panel of the right are in the
// first cache, one row after the other.
template <class T, int P>
struct OuterRows {
  static constexpr int most = 64, line = P * wide_lanes<T>();
  int count = 0;
  const T* left[most];
  alignas(64) T right[most * line];
};

// Of R numbers of left from j and P registers of right, written to out or added to it.
template <int R, int P, class T, class Lanes>
LPGD_INLINE void outer_tile(const OuterRows<T, P>& rows, int j, T* out, std::int64_t stride,
                            bool add, const Lanes& lanes) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  S acc[R][P];
  LPGD_UNROLL_ALL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) acc[r][p] = add ? lanes.get(out + r * stride + p * W) : S(T(0));
  }
  for (int i = 0; i < rows.count; ++i) {
    S value[P];
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) value[p] = load<S>(rows.right + i * rows.line + p * W);
    add_multiples(rows.left[i] + j, 1, value, acc);
  }
  LPGD_UNROLL_ALL
  for (int r = 0; r < R; ++r) {
    LPGD_UNROLL_ALL
    for (int p = 0; p < P; ++p) lanes.put(out + r * stride + p * W, acc[r][p]);
  }
}

template <int R, int P, class T, class Lanes>
LPGD_INLINE void outer_tiles(const OuterRows<T, P>& rows, int j, int end, T* out,
                             std::int64_t stride, bool add, const Lanes& lanes) {
  for (; j + R <= end; j += R) outer_tile<R, P>(rows, j, out + j * stride, stride, add, lanes);
  if constexpr (R > 1) {
    if (j < end) outer_tiles<R / 2, P>(rows, j, end, out, stride, add, lanes);
  }
}

// Rows [begin, end) of P registers of columns from k on.
template <int P, class T, class Lanes>
void outer_panel(const OuterTask<T>& task, int begin, int end, int k, Lanes lanes) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  OuterRows<T, P> rows;
  bool add = task.add;
  const auto flush = [&] {
    outer_tiles<ItemBlock<T, P>::rows, P>(rows, begin, end, task.out + k, task.stride, add, lanes);
    rows.count = 0;
    add = true;
  };
  for (std::int64_t t = 0; t < task.steps; ++t) {
    if (task.left.steps[t] == nullptr) continue;
    const T* a = task.left.steps[t] + task.left.offset;
    const T* b = task.right.steps[t] + task.right.offset + k;
    for (std::int64_t i = 0; i < task.batch; ++i, a += task.left.stride, b += task.right.stride) {
      rows.left[rows.count] = a;
      LPGD_UNROLL_ALL
      for (int p = 0; p < P; ++p)
        store(rows.right + rows.count * rows.line + p * W, S(lanes.get(b + p * W)));
      if (++rows.count == rows.most) flush();
    }
  }
  if (rows.count > 0 || !add) flush();  // no rows at all: zeros
}

// So few rows that writing is most of the work: then out from its first number to its last.
inline constexpr int kFewRows = 4;

template <class T>
LPGD_INLINE void outer_of_few(const OuterTask<T>& task, int begin, int end, int columns) {
  using S = Wide<T>;
  const T *left[kFewRows], *right[kFewRows];
  int count = 0;
  for (std::int64_t t = 0; t < task.steps; ++t) {
    if (task.left.steps[t] == nullptr) continue;
    for (std::int64_t i = 0; i < task.batch; ++i, ++count) {
      left[count] = task.left.steps[t] + task.left.offset + i * task.left.stride;
      right[count] = task.right.steps[t] + task.right.offset + i * task.right.stride;
    }
  }
  for (int j = begin; j < end; ++j) {
    T* out = task.out + j * task.stride;
    S factor[kFewRows];
    for (int i = 0; i < count; ++i) factor[i] = broadcast<S>(left[i][j]);
    sweep<T>(0, columns, [&](int k, auto lanes) {
      S sum = task.add ? lanes.get(out + k) : S(T(0));
      for (int i = 0; i < count; ++i) sum += factor[i] * lanes.get(right[i] + k);
      lanes.put(out + k, sum);
    });
  }
}

// Rows [begin, end) of out [., columns].
template <class T>
LPGD_INLINE void outer_rows(const OuterTask<T>& task, int begin, int end, int columns) {
  if (task.steps * task.batch <= kFewRows) {
    outer_of_few(task, begin, end, columns);
    return;
  }
  constexpr int W = wide_lanes<T>();
  const WholeRegister<T> whole{};
  int k = 0;
  for (; columns - k >= 4 * W; k += 4 * W) outer_panel<4>(task, begin, end, k, whole);
  for (; columns - k >= 2 * W; k += 2 * W) outer_panel<2>(task, begin, end, k, whole);
  for (; columns - k >= W; k += W) outer_panel<1>(task, begin, end, k, whole);
  if (k == columns) return;
  if (columns > W)
    outer_panel<1>(task, begin, end, columns - W, EndOfRegister<T>(W - (columns - k)));
  else
    outer_panel<1>(task, begin, end, 0, PartOfRegister<T>{columns});
}

// out[begin..end) (+)= sums over all rows
template <class T>
void sum_rows(const StepRows<T>& rows, std::int64_t steps, std::int64_t batch, int begin, int end,
              T* out, bool add) {
  using S = Wide<T>;
  sweep<T>(begin, end, [&](int j, auto lanes) {
    S sum = add ? lanes.get(out + j) : S(T(0));
    for (std::int64_t t = 0; t < steps; ++t) {
      if (rows.steps[t] == nullptr) continue;
      const T* from = rows.steps[t] + rows.offset + j;
      for (std::int64_t item = 0; item < batch; ++item) sum += lanes.get(from + item * rows.stride);
    }
    lanes.put(out + j, sum);
  });
}

// The share of `part` of `parts` in `count` rows.
struct RowShare {
  int begin, end;
};
LPGD_INLINE RowShare row_share(std::int64_t count, std::int64_t part, std::int64_t parts) {
  return {static_cast<int>(count * part / parts), static_cast<int>(count * (part + 1) / parts)};
}

// One share of the rows of every weight.
template <class T>
void weight_gradients(const WeightGradientTask<T>& task, std::int64_t part, std::int64_t parts) {
  const int H = task.hidden, L = task.layers, rows = cell_rows(task.cell) * H;
  const std::int64_t line = task.batch * H, m = task.outputs;
  const auto outer = [&](const StepRows<T>& left, const StepRows<T>& right, int count, int columns,
                         T* to, std::int64_t stride) {
    const RowShare share = row_share(count, part, parts);
    const OuterTask<T> outer_task{left, right, task.steps, task.batch, to, stride, task.add};
    outer_rows(outer_task, share.begin, share.end, columns);
  };
  const auto sums = [&](const StepRows<T>& left, int count, T* to) {
    const RowShare share = row_share(count, part, parts);
    sum_rows(left, task.steps, task.batch, share.begin, share.end, to, task.add);
  };
  for (int l = 0; l < L; ++l) {
    const int K = l == 0 ? static_cast<int>(task.inputs) : H;
    const StepRows<T> gates{task.d_gates, 4 * l * line, 4 * H};
    const StepRows<T> fourth{task.d_gates, 4 * l * line + 3 * H, 4 * H};
    const StepRows<T> before{task.before, l * line, H};
    T* const* of_layer = task.totals + 4 * l;
    T *w_ih = of_layer[0], *w_hh = of_layer[1], *b_ih = of_layer[2], *b_hh = of_layer[3];
    outer(gates, l == 0 ? StepRows<T>{task.x, 0, K} : StepRows<T>{task.after, (l - 1) * line, H},
          rows, K, w_ih, K);
    sums(gates, rows, b_ih);
    // W_hh of a GRU meets the gradients of r, z and q, the fourth
    const int joint = task.cell == MomentumCell::kLstm ? rows : 2 * H;
    outer(gates, before, joint, H, w_hh, H);
    sums(gates, joint, b_hh);
    if (joint == rows) continue;
    outer(fourth, before, H, H, w_hh + static_cast<std::int64_t>(joint) * H, H);
    sums(fourth, H, b_hh + joint);
  }
  const StepRows<T> outputs{task.d_v, 0, m};
  const std::int64_t width = static_cast<std::int64_t>(L) * H;
  T *w_out = task.totals[4 * L], *b_out = task.totals[4 * L + 1];
  for (int l = 0; l < L; ++l)
    outer(outputs, {task.after, l * line, H}, static_cast<int>(m), H, w_out + l * H, width);
  sums(outputs, static_cast<int>(m), b_out);
}

LPGD_END_NAMESPACE
