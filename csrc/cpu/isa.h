// The instruction sets that the CPU kernels are compiled for, and which of them runs.
//
// An op declares its table of kernels once per set and picks one:
//
//   #define LPGD_DECLARE(name) namespace isa_##name { const QpKernels& qp_kernels(); }
//   LPGD_FOR_EACH_ISA(LPGD_DECLARE)
//   const QpKernels& qp_kernels() {
//     switch (active_isa()) { LPGD_FOR_EACH_ISA(LPGD_CASE) }
//   }
#pragma once

#if defined(LPGD_HAVE_ISA_avx512)
#define LPGD_FOR_EACH_ISA(X) X(generic) X(avx2) X(avx512)
#elif defined(LPGD_HAVE_ISA_neon)
#define LPGD_FOR_EACH_ISA(X) X(neon)
#else
#define LPGD_FOR_EACH_ISA(X) X(generic)
#endif

namespace lpgd {

// The enumerators are those that are compiled in, each better than the one before it.
enum class Isa {
#define LPGD_ENUMERATOR(name) name,
  LPGD_FOR_EACH_ISA(LPGD_ENUMERATOR)
#undef LPGD_ENUMERATOR
};

inline constexpr Isa kCompiledIsas[] = {
#define LPGD_VALUE(name) Isa::name,
    LPGD_FOR_EACH_ISA(LPGD_VALUE)
#undef LPGD_VALUE
};

const char* isa_name(Isa isa);

// The best one that this processor and its operating system run.
Isa detected_isa();

// The one named by the environment variable LPGD_ISA, or `best` where that is empty, unknown, or
// beyond `best`. `honoured` (may be null) tells whether the request was met.
Isa choose_isa(const char* request, Isa best, bool* honoured = nullptr);

// choose_isa of the environment variable LPGD_ISA, read once, and detected_isa().
Isa active_isa();

}  // namespace lpgd
