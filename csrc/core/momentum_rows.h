// The per-coordinate form on many lanes: a row (a coordinate of an item) a lane, weights in shared
// memory. The backward pass computes the gates again and keeps them in the group's workspace;
// weight gradients are added up over the rows that a group has, in their order.
#pragma once

#include "momentum.h"
#include "row_products.h"

LPGD_BEGIN_NAMESPACE

inline constexpr int kUnitTile = 4;   // units whose gates a lane has in registers
inline constexpr int kInputTile = 2;  // and quads of gradients, on the way back

// Shared memory: two stages of quads, or all of it for outer_sums.
template <class T>
struct RowMemory {
  Quad<T>* quads;
  int stage;  // quads of a stage, two of which there are

  LPGD_INLINE T* numbers() const { return reinterpret_cast<T*>(quads); }
  LPGD_INLINE int room() const { return 8 * stage; }
};

// A group's workspace; entries of a line belong to a lane each.
template <class T>
struct RowWork {
  T *gates, *h_out, *c_out, *d_in;  // [L, 4, H, lanes], twice [L, H, lanes], [H, lanes]

  LPGD_INLINE void bind(int layers, int hidden, int lanes, T* memory) {
    const std::int64_t state = static_cast<std::int64_t>(layers) * hidden * lanes;
    gates = memory;
    h_out = gates + 4 * state;
    c_out = h_out + state;
    d_in = c_out + state;
  }
};

// The gates of unit j as a quad, from W [rows H, inputs]; a GRU's third comes from x, its fourth
// from h.
template <MomentumCell cell, bool from_x, class T>
struct GateWeights {
  const T* w;
  int inputs, hidden;

  LPGD_INLINE Quad<T> operator()(int i, int j) const {
    const std::int64_t plane = static_cast<std::int64_t>(hidden) * inputs;
    const T* at = w + static_cast<std::int64_t>(j) * inputs + i;
    if constexpr (cell == MomentumCell::kLstm)
      return {{at[0], at[plane], at[2 * plane], at[3 * plane]}};
    else if constexpr (from_x)
      return {{at[0], at[plane], at[2 * plane], T(0)}};
    else
      return {{at[0], at[plane], T(0), at[2 * plane]}};
  }
};

// Four columns of W [rows, cols] as a quad.
template <class T>
struct ColumnWeights {
  const T* w;
  int cols;

  LPGD_INLINE Quad<T> operator()(int row, int quad) const {
    Quad<T> out{};
    for (int q = 0; q < 4; ++q)
      if (4 * quad + q < cols) out.v[q] = w[static_cast<std::int64_t>(row) * cols + 4 * quad + q];
    return out;
  }
};

// Gate gradients [4, H, lanes] in the order of a GRU's W_hh, which meets the first, the second and
// the fourth.
template <class T>
struct HiddenLines {
  const T* base;
  int lanes, jump_at, jump;
  int i = 0;

  LPGD_INLINE void seek(int to) { i = to; }
  LPGD_INLINE T next() {
    const std::int64_t line = i < jump_at ? i : i + jump;
    ++i;
    return base[line * lanes];
  }
};

// One layer of a lane's row; sink(j, gates, h', c') for every unit.
template <MomentumCell cell, class Group, class T, class Sink>
LPGD_INLINE void row_layer(const Group& g, const RowMemory<T>& memory, const CellWeights<T>& w,
                           int inputs, int hidden, bool active, const Lines<T>& x,
                           const Lines<T>& h, const Lines<T>& c, Sink& sink) {
  constexpr bool lstm = cell == MomentumCell::kLstm;
  const int H = hidden;
  QuadStage<T> stage_x, stage_h;
  stage_x.bind(memory.quads, memory.stage, H, inputs, kUnitTile);
  stage_h.bind(memory.quads + memory.stage, memory.stage, H, H, kUnitTile);
  const GateWeights<cell, true, T> weights_x{w.w_ih, inputs, H};
  const GateWeights<cell, false, T> weights_h{w.w_hh, H, H};
  for (int first = 0; first < H; first += kUnitTile) {
    // a GRU's third gate needs the part of h by itself
    Quad<T> sums[kUnitTile], from_h[kUnitTile];
    for (int u = 0; u < kUnitTile; ++u) {
      const int j = first + u < H ? first + u : H - 1;
      if constexpr (lstm) {
        for (int q = 0; q < 4; ++q) sums[u].v[q] = w.b_ih[q * H + j] + w.b_hh[q * H + j];
      } else {
        sums[u] = {{w.b_ih[j], w.b_ih[H + j], w.b_ih[2 * H + j], T(0)}};
        from_h[u] = {{w.b_hh[j], w.b_hh[H + j], T(0), w.b_hh[2 * H + j]}};
      }
    }
    quad_products(g, stage_x, weights_x, first, active, x, sums);
    if constexpr (lstm)
      quad_products(g, stage_h, weights_h, first, active, h, sums);
    else
      quad_products(g, stage_h, weights_h, first, active, h, from_h);
    if (!active) continue;
    LPGD_UNROLL
    for (int u = 0; u < kUnitTile; ++u) {
      const int j = first + u;
      if (j >= H) break;
      const T* s = sums[u].v;
      T new_h, new_c = T(0);
      if constexpr (lstm) {
        Gates<T> gates{s[0], s[1], s[2], s[3]};
        lstm_cell(gates, c.base[j * c.step], new_c, new_h);
        sink(j, gates, new_h, new_c);
      } else {
        const T* f = from_h[u].v;
        Gates<T> gates{s[0] + f[0], s[1] + f[1], s[2], f[3]};
        gru_cell(gates, h.base[j * h.step], new_h);
        sink(j, gates, new_h, new_c);
      }
    }
  }
}

// What becomes of a unit: states to the caller and a part of v, or all into the workspace.
template <class T>
struct ForwardSink {
  T *h_out, *c_out;  // of the lane's row; c_out: LSTM only
  std::int64_t step;
  const T* w_out;
  T v;

  LPGD_INLINE void operator()(int j, const Gates<T>&, T new_h, T new_c) {
    h_out[j * step] = new_h;
    if (c_out != nullptr) c_out[j * step] = new_c;
    v += w_out[j] * new_h;
  }
};
template <class T>
struct WorkSink {
  T *gates, *h_out, *c_out;
  int lanes, hidden;

  LPGD_INLINE void operator()(int j, const Gates<T>& g, T new_h, T new_c) {
    const std::int64_t plane = static_cast<std::int64_t>(hidden) * lanes;
    const std::int64_t here = static_cast<std::int64_t>(j) * lanes;
    gates[here] = g.a;
    gates[plane + here] = g.b;
    gates[2 * plane + here] = g.c;
    gates[3 * plane + here] = g.d;
    h_out[here] = new_h;
    c_out[here] = new_c;
  }
};

template <MomentumCell cell, class T>
LPGD_INLINE Lines<T> cell_states(const CoordinateTask<T>& task, std::int64_t at) {
  return {cell == MomentumCell::kLstm ? task.c + at : nullptr, task.rows};
}

// Rows [first, first + group size): v and the new states.
template <MomentumCell cell, class Group, class T>
LPGD_INLINE void rows_forward(const Group& g, const CoordinateTask<T>& task, std::int64_t first,
                              const RowMemory<T>& memory) {
  const std::int64_t row = first + g.lane(), R = task.rows;
  const bool active = row < R;
  const int H = task.hidden;
  const std::int64_t layer = H * R;
  ForwardSink<T> sink{nullptr, nullptr, R, nullptr, task.b_out[0]};
  for (int l = 0; l < task.layers; ++l) {
    const std::int64_t at = l * layer + row;
    sink.h_out = task.h_out + at;
    sink.c_out = cell == MomentumCell::kLstm ? task.c_out + at : nullptr;
    sink.w_out = task.w_out + l * H;
    // what the layer below has written, on this very lane
    const Lines<T> x{l == 0 ? task.x + row : task.h_out + at - layer, R};
    row_layer<cell>(g, memory, task.weights[l], l == 0 ? 1 : H, H, active, x,
                    Lines<T>{task.h + at, R}, cell_states<cell>(task, at), sink);
  }
  if (active) task.v[row] = sink.v;
}

LPGD_END_NAMESPACE
