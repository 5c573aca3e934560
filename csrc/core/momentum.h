// The cells of the recurrent momentum, for one number or a register of them: what happens between
// the matrix products.
#pragma once

#include "activation.h"
#include "momentum_types.h"

LPGD_BEGIN_NAMESPACE

template <class S>
struct Gates {
  S a, b, c, d;  // LSTM i, f, g, o; GRU r, z, n, q
};

// LSTM: pre-activations to gates, c'
template <class S>
LPGD_INLINE void lstm_gates(Gates<S>& gates, S c, S& c_out) {
  gates.a = sigmoid_of(gates.a);
  gates.b = sigmoid_of(gates.b);
  gates.c = tanh_of(gates.c);
  gates.d = sigmoid_of(gates.d);
  c_out = gates.b * c + gates.a * gates.c;
}
// and h'
template <class S>
LPGD_INLINE void lstm_cell(Gates<S>& gates, S c, S& c_out, S& h_out) {
  lstm_gates(gates, c, c_out);
  h_out = gates.d * tanh_of(c_out);
}

// Gradients of the pre-activations and of c, from those of h' and c'; squashed: tanh c'.
template <class S>
LPGD_INLINE Gates<S> lstm_cell_backward(const Gates<S>& gates, S c, S squashed, S d_h, S d_c_out,
                                        S& d_c) {
  using T = RealOf<S>;
  const S one(T(1));
  const S d_cell = d_c_out + d_h * gates.d * (one - squashed * squashed);
  d_c = d_cell * gates.b;
  return {d_cell * gates.c * gates.a * (one - gates.a), d_cell * c * gates.b * (one - gates.b),
          d_cell * gates.a * (one - gates.c * gates.c), d_h * squashed * gates.d * (one - gates.d)};
}

// GRU: d = q is kept as it came, c comes in as W_in x + b_in
template <class S>
LPGD_INLINE void gru_cell(Gates<S>& gates, S h, S& h_out) {
  using T = RealOf<S>;
  gates.a = sigmoid_of(gates.a);
  gates.b = sigmoid_of(gates.b);
  gates.c = tanh_of(gates.c + gates.a * gates.d);
  h_out = (S(T(1)) - gates.b) * gates.c + gates.b * h;
}

template <class S>
LPGD_INLINE Gates<S> gru_cell_backward(const Gates<S>& gates, S h, S d_h_out, S& d_h) {
  using T = RealOf<S>;
  const S one(T(1));
  const S d_n = d_h_out * (one - gates.b) * (one - gates.c * gates.c);
  d_h = d_h_out * gates.b;
  return {d_n * gates.d * gates.a * (one - gates.a),
          d_h_out * (h - gates.c) * gates.b * (one - gates.b), d_n, d_n * gates.a};
}

LPGD_END_NAMESPACE
