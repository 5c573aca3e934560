// What the dense form does between its matrix products, for one lane (registers along units) and
// for many (a unit of an item each).
#pragma once

#include "lanes.h"
#include "momentum.h"

LPGD_BEGIN_NAMESPACE

// How a loop over units reads and writes: a whole register, the first lanes of one, a number. Named
// types, since binutils can't demangle lambdas as template arguments, and a test reads the symbols.
template <class T>
struct WholeRegister {
  using Register = Wide<T>;
  LPGD_INLINE Register get(const T* from) const { return load<Register>(from); }
  LPGD_INLINE void put(T* to, const Register& value) const { store(to, value); }
};
template <class T>
struct PartOfRegister {
  using Register = Wide<T>;
  int count;
  LPGD_INLINE Register get(const T* from) const { return load_some<Register>(from, count); }
  LPGD_INLINE void put(T* to, const Register& value) const { store_some(to, value, count); }
};
template <class T>
struct OneNumber {
  using Register = T;
  LPGD_INLINE T get(const T* from) const { return *from; }
  LPGD_INLINE void put(T* to, T value) const { *to = value; }
};

// body(j, lanes) over [begin, end): whole registers, then a tail
template <class T, class Body>
LPGD_INLINE void sweep(int begin, int end, const Body& body) {
  constexpr int W = wide_lanes<T>();
  int j = begin;
  for (; j + W <= end; j += W) body(j, WholeRegister<T>{});
  if (j < end) body(j, PartOfRegister<T>{end - j});
}

// Units from j on of item b, as many as a register holds: gates (before their functions) to new
// states; the gates are kept in the item's buffer.
template <class T, class Lanes, class S = typename Lanes::Register>
LPGD_INLINE void activate_units(const CellTask<T>& task, std::int64_t b, T* gates, int j,
                                Lanes lanes, Gates<S> g) {
  const int H = task.hidden;
  S h_out;
  if (task.cell == MomentumCell::kLstm) {
    S c_out;
    lstm_cell(g, lanes.get(task.c + b * H + j), c_out, h_out);
    lanes.put(task.c_out + b * H + j, c_out);
  } else {
    gru_cell(g, lanes.get(task.h + b * H + j), h_out);
  }
  lanes.put(task.h_out + b * H + j, h_out);
  lanes.put(gates + j, g.a);
  lanes.put(gates + H + j, g.b);
  lanes.put(gates + 2 * H + j, g.c);
  lanes.put(gates + 3 * H + j, g.d);
}

// Units [begin, end) of item b, whose gates are before their functions in the buffer.
template <class T>
LPGD_INLINE void activate_item(const CellTask<T>& task, std::int64_t b, int begin, int end) {
  const int H = task.hidden;
  T* gates = task.gates + b * 4 * H;
  sweep<T>(begin, end, [&](int j, auto lanes) {
    activate_units(task, b, gates, j, lanes,
                   Gates<Wide<T>>{lanes.get(gates + j), lanes.get(gates + H + j),
                                  lanes.get(gates + 2 * H + j), lanes.get(gates + 3 * H + j)});
  });
}

// After the matrix library, W_ih x is in the gates' buffer and W_hh h in from_h. The rows from j on
// of one item, in all of which the two are added up...
template <class T, class Lanes>
LPGD_INLINE typename Lanes::Register joint_rows(const CellWeights<T>& w, const T* gates,
                                                const T* from_h, int j, Lanes lanes) {
  return lanes.get(gates + j) + lanes.get(from_h + j) + lanes.get(w.b_ih + j) +
         lanes.get(w.b_hh + j);
}
// ... and one of them alone, for the third gate of a GRU
template <class T, class Lanes>
LPGD_INLINE typename Lanes::Register own_rows(const T* product, const T* bias, int j, Lanes lanes) {
  return lanes.get(product + j) + lanes.get(bias + j);
}

// Items [begin, end) after the matrix library.
template <class T>
void activate_items(const CellTask<T>& task, std::int64_t begin, std::int64_t end) {
  using S = Wide<T>;
  const int H = task.hidden, rows = cell_rows(task.cell);
  const CellWeights<T>& w = task.weights;
  for (std::int64_t b = begin; b < end; ++b) {
    T* gates = task.gates + b * 4 * H;
    const T* from_h = task.from_h + b * rows * H;
    const int joint = task.cell == MomentumCell::kLstm ? 4 * H : 2 * H;
    sweep<T>(0, joint, [&](int j, auto lanes) {
      lanes.put(gates + j, joint_rows(w, gates, from_h, j, lanes));
    });
    if (task.cell == MomentumCell::kGru)
      sweep<T>(2 * H, 3 * H, [&](int j, auto lanes) {
        const S q = own_rows(from_h, w.b_hh, j, lanes);
        lanes.put(gates + j, own_rows<T>(gates, w.b_ih, j, lanes));
        lanes.put(gates + H + j, q);
      });
    activate_item(task, b, 0, H);
  }
}

// Units from j on of item b, as many as a register holds: gradients of the gates (before their
// functions) and of what came in beside the matrices. `gates` and `d_gates` are the item's.
template <class T, class Lanes>
LPGD_INLINE void cell_backward_units(const CellBackwardTask<T>& task, std::int64_t b,
                                     const T* gates, T* d_gates, int j, Lanes lanes) {
  using S = typename Lanes::Register;
  const int H = task.hidden;
  const Gates<S> g{lanes.get(gates + j), lanes.get(gates + H + j), lanes.get(gates + 2 * H + j),
                   lanes.get(gates + 3 * H + j)};
  S d_h(T(0)), d_c_out(T(0)), d;
  if (task.d_h_given != nullptr) d_h += lanes.get(task.d_h_given + b * H + j);
  if (task.d_h_output != nullptr)
    d_h += lanes.get(task.d_h_output + b * task.d_h_output_stride + j);
  if (task.d_h_above != nullptr) d_h += lanes.get(task.d_h_above + b * H + j);
  Gates<S> out;
  if (task.cell == MomentumCell::kLstm) {
    if (task.d_c_given != nullptr) d_c_out = lanes.get(task.d_c_given + b * H + j);
    out = lstm_cell_backward(g, lanes.get(task.c + b * H + j),
                             tanh_of(lanes.get(task.c_out + b * H + j)), d_h, d_c_out, d);
    lanes.put(task.d_c + b * H + j, d);
  } else {
    out = gru_cell_backward(g, lanes.get(task.h + b * H + j), d_h, d);
    lanes.put(task.d_h_direct + b * H + j, d);
  }
  lanes.put(d_gates + j, out.a);
  lanes.put(d_gates + H + j, out.b);
  lanes.put(d_gates + 2 * H + j, out.c);
  lanes.put(d_gates + 3 * H + j, out.d);
}

template <class T>
void cell_backward_items(const CellBackwardTask<T>& task, std::int64_t begin, std::int64_t end) {
  const int H = task.hidden;
  for (std::int64_t b = begin; b < end; ++b) {
    const T* gates = task.gates + b * 4 * H;
    T* d_gates = task.d_gates + b * 4 * H;
    sweep<T>(0, H,
             [&](int j, auto lanes) { cell_backward_units(task, b, gates, d_gates, j, lanes); });
  }
}

// Many lanes: unit j of item b each, for the entries first, first + step, ... of [B, H].
template <class T>
LPGD_INLINE void activate_entries(const CellTask<T>& task, std::int64_t first, std::int64_t step) {
  const int H = task.hidden, rows = cell_rows(task.cell);
  const CellWeights<T>& w = task.weights;
  constexpr OneNumber<T> one{};
  for (std::int64_t i = first; i < task.batch * H; i += step) {
    const Place at = place_of(i, H);
    const int j = at.column;
    T* gates = task.gates + at.row * 4 * H;
    const T* from_h = task.from_h + at.row * rows * H;
    Gates<T> g;
    g.a = joint_rows(w, gates, from_h, j, one);
    g.b = joint_rows(w, gates, from_h, H + j, one);
    if (task.cell == MomentumCell::kLstm) {
      g.c = joint_rows(w, gates, from_h, 2 * H + j, one);
      g.d = joint_rows(w, gates, from_h, 3 * H + j, one);
    } else {
      g.c = own_rows<T>(gates, w.b_ih, 2 * H + j, one);
      g.d = own_rows(from_h, w.b_hh, 2 * H + j, one);
    }
    activate_units(task, at.row, gates, j, one, g);
  }
}

template <class T>
LPGD_INLINE void cell_backward_entries(const CellBackwardTask<T>& task, std::int64_t first,
                                       std::int64_t step) {
  const int H = task.hidden;
  for (std::int64_t i = first; i < task.batch * H; i += step) {
    const Place at = place_of(i, H);
    cell_backward_units(task, at.row, task.gates + at.row * 4 * H, task.d_gates + at.row * 4 * H,
                        at.column, OneNumber<T>{});
  }
}

// to [B, L H]: the states of all layers of an item one after the other; layers are `stride` apart
template <class T>
LPGD_INLINE void join_entries(const T* states, std::int64_t stride, std::int64_t batch, int layers,
                              int hidden, T* to, std::int64_t first, std::int64_t step) {
  const int width = layers * hidden;
  for (std::int64_t i = first; i < batch * width; i += step) {
    const Place at = place_of(i, width);
    to[i] = states[at.column / hidden * stride + at.row * hidden + at.column % hidden];
  }
}

LPGD_END_NAMESPACE
