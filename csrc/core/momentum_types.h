// The plain structs of the recurrent momentum: pointers and sizes. All arrays are contiguous.
//
//   (v, h', c') = Xi(g, h, c):  stacked LSTM or GRU cells on the gradient g, then
//   v = b_out + W_out [h'_1; ...; h'_L]
//
// Gate buffers have four rows an item or unit, whatever the cell:
//   LSTM  i, f, g, o (activated)
//   GRU   r, z, n (activated) and q = W_hn h + b_hn
// and in a backward pass the gradients with respect to their pre-activations (GRU: of r, z, n, q).
#pragma once

#include <cstddef>
#include <cstdint>

namespace lpgd {

enum class MomentumCell : int { kLstm = 0, kGru = 1 };

inline constexpr int kGateRows = 4;
inline constexpr int kMostLayers = 8;

// rows of W_ih and W_hh a unit: LSTM 4, GRU 3. Static: every instruction set needs its own copy.
static inline constexpr int cell_rows(MomentumCell cell) {
  return cell == MomentumCell::kLstm ? 4 : 3;
}

template <class T>
struct CellWeights {
  const T* w_ih;  // [rows * H, inputs]
  const T* w_hh;  // [rows * H, H]
  const T* b_ih;  // [rows * H]
  const T* b_hh;
};

// One layer on a batch: x [B, K], h, c [B, H].
template <class T>
struct CellTask {
  MomentumCell cell;
  std::int64_t batch;
  int inputs, hidden;
  CellWeights<T> weights;
  const T* x;
  const T *h, *c;   // c: LSTM only
  T* gates;         // [B, 4 H]; for activate(): W_ih x in it, in columns 0..rows*H of each item
  const T* from_h;  // [B, rows * H] W_hh h, for activate() alone
  T *h_out, *c_out;
};

template <class T>
struct CellBackwardTask {
  MomentumCell cell;
  std::int64_t batch;
  int hidden;
  const T* gates;          // [B, 4 H]
  const T *h, *c, *c_out;  // [B, H]; h: GRU only, c and c_out: LSTM only
  // the gradient of h' is the sum of those that are not null
  const T* d_h_given;   // [B, H]
  const T* d_h_output;  // [B, d_h_output_stride]
  std::int64_t d_h_output_stride;
  const T* d_h_above;  // [B, H]
  const T* d_c_given;  // [B, H] or null
  T* d_gates;          // [B, 4 H]
  T* d_c;              // [B, H], LSTM
  T* d_h_direct;       // [B, H], GRU: what reaches h past the matrices
};

// A step of all layers and the output map. h, c, h_out, c_out [L, B, H], gates [L, B, 4 H].
template <class T>
struct StepTask {
  MomentumCell cell;
  std::int64_t batch, inputs, outputs;
  int layers, hidden;
  CellWeights<T> weights[kMostLayers];
  const T *w_out, *b_out;  // [outputs, L H], [outputs]
  const T* x;              // [B, inputs]
  const T *h, *c;          // c: LSTM only
  T *v, *h_out, *c_out;    // v [B, outputs]
  T* gates;
};

// And backward. Gradients that are given may be null, which is zero; d_x may be, which is unwanted.
template <class T>
struct StepBackwardTask {
  MomentumCell cell;
  std::int64_t batch, inputs, outputs;
  int layers, hidden;
  CellWeights<T> weights[kMostLayers];
  const T* w_out;
  const T *h, *c, *c_out, *gates;    // h: GRU only, c and c_out: LSTM only
  const T *d_v, *d_h_out, *d_c_out;  // [B, outputs], [L, B, H]
  T *d_x, *d_h, *d_c, *d_gates;      // [B, inputs], [L, B, H], [L, B, 4 H]
};

// The gradients of all weights from what so many steps saw: arrays of as many pointers. Where d_v
// is null, a step's output had no gradient.
template <class T>
struct WeightGradientTask {
  MomentumCell cell;
  std::int64_t steps, batch, inputs, outputs;
  int layers, hidden;
  const T* const* x;        // [B, inputs]
  const T* const* before;   // h [L, B, H]
  const T* const* after;    // h' [L, B, H]
  const T* const* d_gates;  // [L, B, 4 H]
  const T* const* d_v;      // [B, outputs]
  T* const* totals;         // of w_ih, w_hh, b_ih, b_hh of each layer, w_out, b_out
  bool add;                 // to what is there
};

// The same small cells at every row (coordinate of every item): rows are lanes.
template <class T>
struct CoordinateTask {
  MomentumCell cell;
  std::int64_t rows;
  int layers, hidden;
  CellWeights<T> weights[kMostLayers];  // inputs: 1, then H
  const T *w_out, *b_out;               // [L H], [1]
  const T* x;                           // [rows]
  const T *h, *c;                       // [L, H, rows]
  T *v, *h_out, *c_out;                 // [rows], [L, H, rows]
  // backward: gradients given (null: zero), gradients wanted
  const T *d_v, *d_h_out, *d_c_out;
  T *d_x, *d_h, *d_c;
};

// Numbers of the weight gradients of all layers and the output map, one after the other:
// W_ih, W_hh, b_ih, b_hh of each layer, W_out, b_out. GRU: b_ih and b_hh differ; LSTM: they agree.
static inline constexpr std::int64_t coordinate_weight_count(MomentumCell cell, int layers,
                                                             int hidden) {
  std::int64_t count = 0;
  for (int l = 0; l < layers; ++l)
    count +=
        static_cast<std::int64_t>(cell_rows(cell)) * hidden * ((l == 0 ? 1 : hidden) + hidden + 2);
  return count + static_cast<std::int64_t>(layers) * hidden + 1;
}

}  // namespace lpgd
