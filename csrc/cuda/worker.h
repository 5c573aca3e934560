// A worker of the CUDA kernels: a warp of its block, or all of it.
#pragma once

#include "core/group.h"

namespace lpgd::cuda {

// `lanes` is 32 or the size of the block. One type for both, since kernels as large as the QP's are
// not worth compiling twice for a branch that a whole block takes alike. `scratch`: 33 doubles of
// shared memory, unused by warps.
struct WorkerGroup {
  double* scratch;
  int lanes;

  __device__ __forceinline__ int lane() const {
    return static_cast<int>(threadIdx.x) & (lanes - 1);
  }
  __device__ __forceinline__ int size() const { return lanes; }
  __device__ __forceinline__ bool is_warp() const { return lanes == kWarp; }
  __device__ __forceinline__ void sync() const {
    if (is_warp()) {
      __syncwarp();
    } else {
      __syncthreads();
    }
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
  __device__ __forceinline__ bool any(bool value) const {
    return is_warp() ? __any_sync(0xffffffffU, value) != 0 : __syncthreads_or(value) != 0;
  }
  // lane 0's value
  template <class S>
  __device__ __forceinline__ S first(S value) const {
    return is_warp() ? __shfl_sync(0xffffffffU, value, 0) : BlockGroup{scratch}.first(value);
  }

 private:
  template <class S, class Op>
  __device__ __forceinline__ S reduce(S value, Op op) const {
    return is_warp() ? reduce_warp(lane(), value, op, ShuffleLanes{})
                     : BlockGroup{scratch}.reduce(value, op);
  }
};

// The worker that this thread belongs to, and its number within the block
__device__ __forceinline__ WorkerGroup worker(double* scratch, int lanes) {
  return {scratch, lanes};
}
__device__ __forceinline__ int worker_index(int lanes) {
  return static_cast<int>(threadIdx.x) / lanes;
}

}  // namespace lpgd::cuda
