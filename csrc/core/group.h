// Who walks the loops of an algorithm. A group has lanes; a loop's indices are dealt out to them
// (LPGD_FOR), sync() makes the writes of all lanes visible to all, and the reductions return the
// same value to every lane. Algorithms call them in the same order on every lane.
#pragma once

#include "group_order.h"

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
// For reduce_warp: the lane of the same warp whose number differs in one bit.
struct ShuffleLanes {
  template <class S>
  __device__ __forceinline__ S operator()(S value, int offset) const {
    return __shfl_xor_sync(0xffffffffU, value, offset);
  }
};

// A CUDA block: lane = threadIdx.x, block size a multiple of 32. `scratch` is shared memory for 33
// doubles. Sums are taken in a fixed order (group_order.h), so results repeat bit for bit.
struct BlockGroup {
  double* scratch;

  __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ static int size() { return static_cast<int>(blockDim.x); }
  __device__ __forceinline__ void sync() const { __syncthreads(); }

  template <class S, class Op>
  __device__ __forceinline__ S reduce(S value, Op op) const {
    value = reduce_warp(lane(), value, op, ShuffleLanes{});
    if (lane() % kWarp == 0) scratch[lane() / kWarp] = static_cast<double>(value);
    __syncthreads();
    const S total = reduce_parts<S>(scratch, size() / kWarp, op);
    __syncthreads();  // the scratch may be written again right after
    return total;
  }
  template <class S>
  __device__ __forceinline__ S sum(S value) const {
    return reduce(value, AddLanes{});
  }
  template <class S>
  __device__ __forceinline__ S max(S value) const {
    return reduce(value, MaxLanes{});
  }
  template <class S>
  __device__ __forceinline__ S min(S value) const {
    return reduce(value, MinLanes{});
  }
  __device__ __forceinline__ bool any(bool value) const { return __syncthreads_or(value) != 0; }
  // lane 0's value; integers up to 2^53
  template <class S>
  __device__ __forceinline__ S first(S value) const {
    if (lane() == 0) scratch[0] = static_cast<double>(value);
    __syncthreads();
    const S out = static_cast<S>(scratch[0]);
    __syncthreads();
    return out;
  }
};
#endif

LPGD_END_NAMESPACE
