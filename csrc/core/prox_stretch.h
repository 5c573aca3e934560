// A stretch of a row under a separable operator, as the lanes of a GPU walk it: 16 bytes to a load
// where all arrays lie on 16 bytes, and number by number what is left. (The CPU's loops over
// registers are in cpu/prox_separable.cpp.)
#pragma once

#include "prox_lanes.h"

LPGD_BEGIN_NAMESPACE

template <class T>
struct alignas(16) Chunk {
  static constexpr int count = 16 / static_cast<int>(sizeof(T));
  T v[count];

#if defined(__CUDACC__)
  // one load or store of 16 bytes: the type says how it lies
  LPGD_INLINE static Chunk load(const T* from) { return *reinterpret_cast<const Chunk*>(from); }
  LPGD_INLINE void store(T* to) const { *reinterpret_cast<Chunk*>(to) = *this; }
#else
  LPGD_INLINE static Chunk load(const T* from) {
    Chunk out;
    __builtin_memcpy(&out, from, sizeof(out));
    return out;
  }
  LPGD_INLINE void store(T* to) const { __builtin_memcpy(to, this, sizeof(*this)); }
#endif
};

template <class T>
LPGD_INLINE bool in_chunks(const T* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

namespace detail {

// The numbers of a parameter for a chunk, or for one coordinate
template <int Count, class T>
struct ChunkParameters {
  Chunk<T> p[Count + 1];

  LPGD_INLINE void load(const RowParameter<T>* parameters, std::int64_t i) {
    for (int k = 0; k < Count; ++k) {
      if (parameters[k].step != 0) {
        p[k] = Chunk<T>::load(parameters[k].data + i);
      } else {
        for (int c = 0; c < Chunk<T>::count; ++c) p[k].v[c] = parameters[k].data[0];
      }
    }
  }
  LPGD_INLINE void lane(int c, T* out) const {
    for (int k = 0; k < Count; ++k) out[k] = p[k].v[c];
  }
};

template <class F, int Count, class T>
LPGD_INLINE T separable_value(T x, const T* p) {
  if constexpr (Count > 0)
    if (!F::valid(p)) return std::numeric_limits<T>::quiet_NaN();
  return x == x ? F::value(x, p) : x;
}

template <class F, int Count, class T>
LPGD_INLINE void separable_derivative(T x, const T* p, T* d) {
  F::derivative(x, p, d);
  bool valid = x == x;
  if constexpr (Count > 0) valid = valid && F::valid(p);
  if (!valid)
    for (int k = 0; k <= Count; ++k) d[k] = std::numeric_limits<T>::quiet_NaN();
}

}  // namespace detail

// out[i] for i < count. `p`: the parameters of this stretch.
template <class F, int Count, class T, class Group>
LPGD_INLINE void stretch_value(const Group& g, std::int64_t count, const T* x,
                               const RowParameter<T>* parameters, T* out) {
  constexpr int kChunk = Chunk<T>::count;
  bool chunked = in_chunks(x) && in_chunks(out);
  for (int k = 0; k < Count; ++k)
    chunked = chunked && (parameters[k].step == 0 || in_chunks(parameters[k].data));
  const std::int64_t whole = chunked ? count / kChunk * kChunk : 0;
  for (std::int64_t i = std::int64_t{g.lane()} * kChunk; i < whole;
       i += std::int64_t{g.size()} * kChunk) {
    const Chunk<T> v = Chunk<T>::load(x + i);
    detail::ChunkParameters<Count, T> given;
    given.load(parameters, i);
    Chunk<T> value;
    LPGD_UNROLL
    for (int c = 0; c < kChunk; ++c) {
      T p[Count + 1];
      given.lane(c, p);
      value.v[c] = detail::separable_value<F, Count>(v.v[c], p);
    }
    value.store(out + i);
  }
  for (std::int64_t i = whole + g.lane(); i < count; i += g.size()) {
    T p[Count + 1];
    for (int k = 0; k < Count; ++k) p[k] = parameters[k][i];
    out[i] = detail::separable_value<F, Count>(x[i], p);
  }
}

// gx[i], the gradients gp[k][i] of parameters that have a number a coordinate (null: not asked
// for), and this lane's share of totals[k] for those `summed`, of which a row has one.
template <class F, int Count, class T, class Group>
LPGD_INLINE void stretch_vjp(const Group& g, std::int64_t count, const T* x, const T* gradient,
                             const RowParameter<T>* parameters, T* gx, T* const* gp,
                             const bool* summed, double* totals) {
  constexpr int kChunk = Chunk<T>::count;
  bool chunked = in_chunks(x) && in_chunks(gradient) && in_chunks(gx);
  for (int k = 0; k < Count; ++k)
    chunked =
        chunked && (parameters[k].step == 0 || in_chunks(parameters[k].data)) && in_chunks(gp[k]);
  const std::int64_t whole = chunked ? count / kChunk * kChunk : 0;
  for (std::int64_t i = std::int64_t{g.lane()} * kChunk; i < whole;
       i += std::int64_t{g.size()} * kChunk) {
    const Chunk<T> v = Chunk<T>::load(x + i), upstream = Chunk<T>::load(gradient + i);
    detail::ChunkParameters<Count, T> given;
    given.load(parameters, i);
    Chunk<T> out[Count + 1];
    LPGD_UNROLL
    for (int c = 0; c < kChunk; ++c) {
      T p[Count + 1], d[Count + 1];
      given.lane(c, p);
      detail::separable_derivative<F, Count>(v.v[c], p, d);
      for (int k = 0; k <= Count; ++k) out[k].v[c] = d[k] * upstream.v[c];
      for (int k = 0; k < Count; ++k)
        if (summed[k]) totals[k] += static_cast<double>(out[k + 1].v[c]);
    }
    out[0].store(gx + i);
    for (int k = 0; k < Count; ++k)
      if (gp[k] != nullptr) out[k + 1].store(gp[k] + i);
  }
  for (std::int64_t i = whole + g.lane(); i < count; i += g.size()) {
    T p[Count + 1], d[Count + 1];
    for (int k = 0; k < Count; ++k) p[k] = parameters[k][i];
    detail::separable_derivative<F, Count>(x[i], p, d);
    gx[i] = d[0] * gradient[i];
    for (int k = 0; k < Count; ++k) {
      const T value = d[k + 1] * gradient[i];
      if (gp[k] != nullptr) gp[k][i] = value;
      if (summed[k]) totals[k] += static_cast<double>(value);
    }
  }
}

LPGD_END_NAMESPACE
