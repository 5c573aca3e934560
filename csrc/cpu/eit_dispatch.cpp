#include "cpu/eit.h"
#include "cpu/isa.h"

namespace lpgd {

#define LPGD_DECLARE(name)           \
  namespace isa_##name {             \
    const EitKernels& eit_kernels(); \
  }
LPGD_FOR_EACH_ISA(LPGD_DECLARE)
#undef LPGD_DECLARE

const EitKernels& eit_kernels() {
  switch (active_isa()) {
#define LPGD_CASE(name) \
  case Isa::name:       \
    return isa_##name::eit_kernels();
    LPGD_FOR_EACH_ISA(LPGD_CASE)
#undef LPGD_CASE
  }
  __builtin_unreachable();
}

}  // namespace lpgd
