// What every core header needs: function attributes, the per-instruction-set namespace, loop
// unrolling.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define LPGD_HD __device__ __noinline__  // inlined throughout, one kernel takes ptxas many minutes
#define LPGD_INLINE __device__ __forceinline__
#define LPGD_HOST_TOO __host__ __device__ inline  // sizes, which the launchers ask for as well
#define LPGD_UNROLL _Pragma("unroll")
#define LPGD_UNROLL_ALL _Pragma("unroll")
#define LPGD_ROLLED _Pragma("unroll 1")
#else
#define LPGD_HD inline
#define LPGD_HOST_TOO inline
#define LPGD_INLINE inline __attribute__((always_inline))
#define LPGD_UNROLL _Pragma("GCC unroll 8")
#define LPGD_UNROLL_ALL _Pragma("GCC unroll 32")
#define LPGD_ROLLED
#endif

// The kernels are compiled once per instruction set and linked into one binary. Were their inline
// functions to share a name, the linker would keep any one copy, and an old CPU could be handed the
// AVX-512 one. So the namespace carries the instruction set.
#ifndef LPGD_ISA
#define LPGD_ISA portable
#endif
#define LPGD_CONCAT_INNER(a, b) a##b
#define LPGD_CONCAT(a, b) LPGD_CONCAT_INNER(a, b)
#define LPGD_ISA_NAMESPACE LPGD_CONCAT(isa_, LPGD_ISA)
#define LPGD_BEGIN_NAMESPACE \
  namespace lpgd {           \
  inline namespace LPGD_ISA_NAMESPACE {
#define LPGD_END_NAMESPACE \
  }                        \
  }

// Work of a loop is dealt out to the lanes of a group; a group of one lane walks it all.
#define LPGD_FOR(group, i, count) \
  for (int i = (group).lane(), i##_end = (count); i < i##_end; i += (group).size())
