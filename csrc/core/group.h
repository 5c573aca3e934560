// Who walks the loops of an algorithm. A group has lanes; a loop's indices are dealt out to them
// (LPGD_FOR), sync() makes the writes of all lanes visible to all, and the reductions return the
// same value to every lane. Algorithms call them in the same order on every lane.
#pragma once

#include "scalar.h"

LPGD_BEGIN_NAMESPACE

// One lane: the CPU, where parallelism is in the packs and across the batch.
struct SerialGroup {
  LPGD_INLINE static constexpr int lane() { return 0; }
  LPGD_INLINE static constexpr int size() { return 1; }
  LPGD_INLINE void sync() const {}
  template <class S>
  LPGD_INLINE S sum(S value) const {
    return value;
  }
  template <class S>
  LPGD_INLINE S max(S value) const {
    return value;
  }
  template <class S>
  LPGD_INLINE S min(S value) const {
    return value;
  }
  template <class M>
  LPGD_INLINE M any(M value) const {
    return value;
  }
};

// One lane as well, whose products of rows use SIMD registers of `Bytes` along the row: a problem
// alone, or one too large for a pack of them to stay in the cache.
template <int Bytes>
struct VectorGroup : SerialGroup {};

#if defined(__CUDACC__)
// A CUDA block: lane = threadIdx.x, block size a multiple of 32. `scratch` is shared memory for 33
// doubles. Sums are taken in a fixed order, so results repeat bit for bit.
struct BlockGroup {
  double* scratch;

  __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ static int size() { return static_cast<int>(blockDim.x); }
  __device__ __forceinline__ void sync() const { __syncthreads(); }

  template <class S, class Op>
  __device__ __forceinline__ S reduce(S value, Op op) const {
    for (int offset = 16; offset > 0; offset >>= 1)
      value = op(value, __shfl_xor_sync(0xffffffffU, value, offset));
    const int warp = lane() >> 5;
    const int warps = size() >> 5;
    if ((lane() & 31) == 0) scratch[warp] = static_cast<double>(value);
    __syncthreads();
    S total = static_cast<S>(scratch[0]);
    for (int w = 1; w < warps; ++w) total = op(total, static_cast<S>(scratch[w]));
    __syncthreads();  // the scratch may be written again right after
    return total;
  }
  template <class S>
  __device__ __forceinline__ S sum(S value) const {
    return reduce(value, [](S a, S b) { return a + b; });
  }
  template <class S>
  __device__ __forceinline__ S max(S value) const {
    return reduce(value, [](S a, S b) { return max_nan(a, b); });
  }
  template <class S>
  __device__ __forceinline__ S min(S value) const {
    return reduce(value, [](S a, S b) { return a < b ? a : b; });
  }
  __device__ __forceinline__ bool any(bool value) const { return __syncthreads_or(value) != 0; }
};
#endif

LPGD_END_NAMESPACE
