#include "cpu/isa.h"
#include "cpu/oracle.h"

namespace lpgd {

#define LPGD_DECLARE(name)                 \
  namespace isa_##name {                   \
    const OracleKernels& oracle_kernels(); \
  }
LPGD_FOR_EACH_ISA(LPGD_DECLARE)
#undef LPGD_DECLARE

const OracleKernels& oracle_kernels() {
  switch (active_isa()) {
#define LPGD_CASE(name) \
  case Isa::name:       \
    return isa_##name::oracle_kernels();
    LPGD_FOR_EACH_ISA(LPGD_CASE)
#undef LPGD_CASE
  }
  __builtin_unreachable();
}

}  // namespace lpgd
