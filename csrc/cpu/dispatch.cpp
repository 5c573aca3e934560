#include <cstdlib>
#include <cstring>

#include "cpu/isa.h"

namespace lpgd {

const char* isa_name(Isa isa) {
  switch (isa) {
#define LPGD_NAME(name) \
  case Isa::name:       \
    return #name;
    LPGD_FOR_EACH_ISA(LPGD_NAME)
#undef LPGD_NAME
  }
  return "unknown";
}

Isa detected_isa() {
#if defined(LPGD_HAVE_ISA_avx512)
  // These ask the operating system as well (XGETBV): a kernel that does not save the wide registers
  // makes the answer no.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw");
  return avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::generic;
#else
  return Isa{};  // one set is compiled, and it is the processor's baseline
#endif
}

Isa choose_isa(const char* request, Isa best, bool* honoured) {
  Isa chosen = best;
  bool found = request == nullptr || *request == '\0';
  if (!found) {
    for (const Isa isa : kCompiledIsas) {
      if (isa <= best && std::strcmp(request, isa_name(isa)) == 0) {
        chosen = isa;
        found = true;
      }
    }
  }
  if (honoured != nullptr) *honoured = found;
  return chosen;
}

Isa active_isa() {
  static const Isa isa = choose_isa(std::getenv("LPGD_ISA"), detected_isa());
  return isa;
}

}  // namespace lpgd
