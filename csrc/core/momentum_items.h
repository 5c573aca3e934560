// A step of the dense form with items in lanes: a block of items goes through all layers and the
// output map while its states stay in L1, and so it does backward. Host only.
#pragma once

#include "item_lines.h"
#include "momentum.h"

LPGD_BEGIN_NAMESPACE

// Numbers of the inputs, or of the outputs, that are lines at a time.
inline constexpr int kItemChunk = 128;

// Where a block's lines are in the workspace.
template <class T>
struct ItemWork {
  T *chunk, *gates;
  T* state;     // h; backward, the gradient of h' that was given, then that of h
  T* cell;      // c; backward, for a GRU, h
  T* cell_out;  // backward: c'
  T* past;      // backward: the gradient of c' that was given, then what comes past the matrices
  T* states;    // of all layers: h'; backward, their gradients

  static constexpr std::size_t scalars(int layers, int hidden) {  // an item
    return kItemChunk + static_cast<std::size_t>(hidden) * (8 + static_cast<std::size_t>(layers));
  }
  LPGD_INLINE void bind(int hidden, int items, T* memory) {
    const std::size_t M = static_cast<std::size_t>(items);
    const std::size_t layer = M * static_cast<std::size_t>(hidden);
    chunk = memory;
    gates = chunk + kItemChunk * M;
    state = gates + 4 * layer;
    cell = state + layer;
    cell_out = cell + layer;
    past = cell_out + layer;
    states = past + layer;
  }
};

template <class T>
LPGD_INLINE void fill_line(T* line, int items, T value) {
  for (int i = 0; i < items; ++i) line[i] = value;
}

// out_r += w(r, .) rows, for rows [items, count] `stride` apart, of which a part is lines at a time
template <int P, class Matrix, class T>
LPGD_INLINE void products_of_rows(const Matrix& w, int outputs, const T* rows, std::int64_t stride,
                                  std::int64_t count, int items, T* chunk, T* out) {
  for (std::int64_t k = 0; k < count; k += kItemChunk) {
    const int here = static_cast<int>(count - k < kItemChunk ? count - k : kItemChunk);
    lines_of_rows<P>(rows + k, stride, items, here, chunk);
    item_products<P>(w.inputs(k, here), outputs, here, chunk, out);
  }
}

// Gates of a layer from its two products, in lines, to new states.
template <int P, class T>
LPGD_INLINE void activate_lines(MomentumCell cell, int hidden, T* gates, const T* h, T* c,
                                T* h_out) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const int count = hidden * ItemBlock<T, P>::items;
  for (int i = 0; i < count; i += W) {
    Gates<S> g{load<S>(gates + i), load<S>(gates + count + i), load<S>(gates + 2 * count + i),
               load<S>(gates + 3 * count + i)};
    S h_here;
    if (cell == MomentumCell::kLstm) {
      S c_here;
      lstm_cell(g, load<S>(c + i), c_here, h_here);
      store(c + i, c_here);
    } else {
      gru_cell(g, load<S>(h + i), h_here);
    }
    store(h_out + i, h_here);
    store(gates + i, g.a);
    store(gates + count + i, g.b);
    store(gates + 2 * count + i, g.c);
    store(gates + 3 * count + i, g.d);
  }
}

// Biases of a layer, line by line: where both products end in one gate, the two together.
template <class T>
LPGD_INLINE void bias_lines(MomentumCell cell, const CellWeights<T>& w, int hidden, int items,
                            T* gates) {
  const int joint = cell == MomentumCell::kLstm ? 4 * hidden : 2 * hidden;
  for (int r = 0; r < joint; ++r) fill_line(gates + r * items, items, w.b_ih[r] + w.b_hh[r]);
  for (int r = joint; r < cell_rows(cell) * hidden; ++r) {
    fill_line(gates + r * items, items, w.b_ih[r]);
    fill_line(gates + (r + hidden) * items, items, w.b_hh[r]);
  }
}

// Items [first, first + items), no more than P registers hold.
template <int P, class T>
void step_block(const StepTask<T>& task, std::int64_t first, int items, T* memory) {
  constexpr int M = ItemBlock<T, P>::items;
  const int H = task.hidden, L = task.layers, rows = cell_rows(task.cell) * H;
  const bool lstm = task.cell == MomentumCell::kLstm;
  ItemWork<T> work;
  work.bind(H, M, memory);
  for (int l = 0; l < L; ++l) {
    const CellWeights<T>& w = task.weights[l];
    const std::int64_t at = (l * task.batch + first) * H;
    T* h_out = work.states + static_cast<std::int64_t>(l) * H * M;
    bias_lines(task.cell, w, H, M, work.gates);
    if (l == 0)
      products_of_rows<P>(ByRows<T>{w.w_ih, task.inputs}, rows, task.x + first * task.inputs,
                          task.inputs, task.inputs, items, work.chunk, work.gates);
    else
      item_products<P>(ByRows<T>{w.w_ih, H}, rows, H, h_out - static_cast<std::int64_t>(H) * M,
                       work.gates);
    lines_of_rows<P>(task.h + at, H, items, H, work.state);
    const int joint = lstm ? rows : 2 * H;
    item_products<P>(ByRows<T>{w.w_hh, H}, joint, H, work.state, work.gates);
    if (lstm)
      lines_of_rows<P>(task.c + at, H, items, H, work.cell);
    else  // the third gate's part of h is a number of its own
      item_products<P>(ByRows<T>{w.w_hh + static_cast<std::int64_t>(joint) * H, H}, H, H,
                       work.state, work.gates + 3 * H * M);
    activate_lines<P>(task.cell, H, work.gates, work.state, work.cell, h_out);
    rows_of_lines<P>(work.gates, items, 4 * H, task.gates + 4 * at, 4 * H);
    rows_of_lines<P>(h_out, items, H, task.h_out + at, H);
    if (lstm) rows_of_lines<P>(work.cell, items, H, task.c_out + at, H);
  }
  const int width = L * H;
  for (std::int64_t r = 0; r < task.outputs; r += kItemChunk) {
    const int here =
        static_cast<int>(task.outputs - r < kItemChunk ? task.outputs - r : kItemChunk);
    for (int i = 0; i < here; ++i) fill_line(work.chunk + i * M, M, task.b_out[r + i]);
    item_products<P>(ByRows<T>{task.w_out + r * width, width}, here, width, work.states,
                     work.chunk);
    rows_of_lines<P>(work.chunk, items, here, task.v + first * task.outputs + r, task.outputs);
  }
}

// Gates to the gradients of what they were before their functions; `direct` gets what reaches c
// (LSTM) or h (GRU) past the matrices.
template <int P, class T>
LPGD_INLINE void cell_backward_lines(MomentumCell cell, int hidden, T* gates,
                                     const ItemWork<T>& work, const T* d_states, T* direct) {
  using S = Wide<T>;
  constexpr int W = wide_lanes<T>();
  const int count = hidden * ItemBlock<T, P>::items;
  for (int i = 0; i < count; i += W) {
    const Gates<S> g{load<S>(gates + i), load<S>(gates + count + i), load<S>(gates + 2 * count + i),
                     load<S>(gates + 3 * count + i)};
    const S d_h = load<S>(d_states + i) + load<S>(work.state + i), before = load<S>(work.cell + i);
    S past;
    const Gates<S> d = cell == MomentumCell::kLstm
                           ? lstm_cell_backward(g, before, tanh_of(load<S>(work.cell_out + i)), d_h,
                                                load<S>(direct + i), past)
                           : gru_cell_backward(g, before, d_h, past);
    store(direct + i, past);
    store(gates + i, d.a);
    store(gates + count + i, d.b);
    store(gates + 2 * count + i, d.c);
    store(gates + 3 * count + i, d.d);
  }
}

// Lines of rows that may be absent: zeros then.
template <int P, class T>
LPGD_INLINE void lines_or_zero(const T* rows, std::int64_t offset, int count, int items, T* lines) {
  if (rows != nullptr)
    lines_of_rows<P>(rows + offset, count, items, count, lines);
  else
    fill_line(lines, count * ItemBlock<T, P>::items, T(0));
}

template <int P, class T>
void step_backward_block(const StepBackwardTask<T>& task, std::int64_t first, int items,
                         T* memory) {
  constexpr int M = ItemBlock<T, P>::items;
  const int H = task.hidden, L = task.layers, rows = cell_rows(task.cell) * H, width = L * H;
  const bool lstm = task.cell == MomentumCell::kLstm;
  ItemWork<T> work;
  work.bind(H, M, memory);
  T *d_states = work.states, *direct = work.past;
  fill_line(d_states, width * M, T(0));
  if (task.d_v != nullptr)
    products_of_rows<P>(ByColumns<T>{task.w_out, width}, width, task.d_v + first * task.outputs,
                        task.outputs, task.outputs, items, work.chunk, d_states);
  for (int l = L - 1; l >= 0; --l) {
    const CellWeights<T>& w = task.weights[l];
    const std::int64_t at = (l * task.batch + first) * H;
    const ByColumns<T> w_hh{w.w_hh, H};
    lines_of_rows<P>(task.gates + 4 * at, 4 * H, items, 4 * H, work.gates);
    lines_or_zero<P>(task.d_h_out, at, H, items, work.state);
    lines_of_rows<P>((lstm ? task.c : task.h) + at, H, items, H, work.cell);
    if (lstm) {
      lines_of_rows<P>(task.c_out + at, H, items, H, work.cell_out);
      lines_or_zero<P>(task.d_c_out, at, H, items, direct);
    }
    cell_backward_lines<P>(task.cell, H, work.gates, work,
                           d_states + static_cast<std::int64_t>(l) * H * M, direct);
    rows_of_lines<P>(work.gates, items, 4 * H, task.d_gates + 4 * at, 4 * H);
    T* d_h = direct;
    if (lstm) {
      rows_of_lines<P>(direct, items, H, task.d_c + at, H);
      d_h = work.state;
      fill_line(d_h, H * M, T(0));
      item_products<P>(w_hh, H, rows, work.gates, d_h);
    } else {  // the third gate's part of h is a number of its own
      item_products<P>(w_hh, H, 2 * H, work.gates, d_h);
      item_products<P>(ByColumns<T>{w.w_hh + std::int64_t{2} * H * H, H}, H, H,
                       work.gates + 3 * H * M, d_h);
    }
    rows_of_lines<P>(d_h, items, H, task.d_h + at, H);
    if (l > 0)
      item_products<P>(ByColumns<T>{w.w_ih, H}, H, rows, work.gates,
                       d_states + static_cast<std::int64_t>(l - 1) * H * M);
  }
  if (task.d_x == nullptr) return;
  for (std::int64_t k = 0; k < task.inputs; k += kItemChunk) {
    const int here = static_cast<int>(task.inputs - k < kItemChunk ? task.inputs - k : kItemChunk);
    fill_line(work.chunk, here * M, T(0));
    item_products<P>(ByColumns<T>{task.weights[0].w_ih + k, task.inputs, here}, here, rows,
                     work.gates, work.chunk);
    rows_of_lines<P>(work.chunk, items, here, task.d_x + first * task.inputs + k, task.inputs);
  }
}

// Registers of items that a block has, of `left` items.
template <class T>
LPGD_INLINE int packs_of(std::int64_t left) {
  constexpr int W = wide_lanes<T>();
  return left > 2 * W ? 4 : left > W ? 2 : 1;
}

// body(packs, first, items) for the items [begin, end), block by block
template <class T, class Body>
LPGD_INLINE void item_blocks(std::int64_t begin, std::int64_t end, const Body& body) {
  constexpr int W = wide_lanes<T>();
  while (begin < end) {
    const int packs = packs_of<T>(end - begin);
    const int items = static_cast<int>(end - begin < packs * W ? end - begin : packs * W);
    body(packs, begin, items);
    begin += items;
  }
}

template <class T>
void step_items(const StepTask<T>& task, std::int64_t begin, std::int64_t end, void* workspace) {
  T* memory = static_cast<T*>(workspace);
  item_blocks<T>(begin, end, [&](int packs, std::int64_t first, int items) {
    if (packs == 4)
      step_block<4>(task, first, items, memory);
    else if (packs == 2)
      step_block<2>(task, first, items, memory);
    else
      step_block<1>(task, first, items, memory);
  });
}

template <class T>
void step_backward_items(const StepBackwardTask<T>& task, std::int64_t begin, std::int64_t end,
                         void* workspace) {
  T* memory = static_cast<T*>(workspace);
  item_blocks<T>(begin, end, [&](int packs, std::int64_t first, int items) {
    if (packs == 4)
      step_backward_block<4>(task, first, items, memory);
    else if (packs == 2)
      step_backward_block<2>(task, first, items, memory);
    else
      step_backward_block<1>(task, first, items, memory);
  });
}

// of the workspace for so many items
template <class T>
std::size_t step_bytes(int layers, int hidden, std::int64_t items) {
  constexpr std::size_t W = wide_lanes<T>();
  return ItemWork<T>::scalars(layers, hidden) * static_cast<std::size_t>(packs_of<T>(items)) * W *
         sizeof(T);
}

LPGD_END_NAMESPACE
