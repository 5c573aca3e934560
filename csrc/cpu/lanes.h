// How many problems the kernels of an instruction set solve side by side.
#pragma once

#include "core/pack.h"

LPGD_BEGIN_NAMESPACE

// Bytes of the widest register. The x86-64 baseline works on one problem at a time: it has no blend
// instruction, and GCC 12 crashes on selects of 64-bit lanes without one.
#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__)
constexpr int kRegisterBytes = 32;
#elif defined(__ARM_NEON)
constexpr int kRegisterBytes = 16;
#else
constexpr int kRegisterBytes = 0;
#endif

template <class T, int Bytes>
struct LanesIn {
  using type = Pack<T, Bytes / static_cast<int>(sizeof(T))>;
};
template <class T>
struct LanesIn<T, 0> {
  using type = T;
};

// A problem in each lane of a register of so many bytes
template <class T, int Bytes = kRegisterBytes>
using Lanes = typename LanesIn<T, Bytes>::type;

LPGD_END_NAMESPACE
