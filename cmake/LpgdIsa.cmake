# The CPU kernels are compiled from one source for several instruction sets, each copy with
#   LPGD_ISA=<name>    which puts its code into the namespace lpgd::isa_<name>,
# and csrc/cpu/dispatch.cpp picks one when the program runs.
#
#   lpgd_add_isa_kernels(target source...)   an INTERFACE target that links all copies
#   LPGD_ISA_NAMES                           the names built on this processor
#   LPGD_ISA_DEFINITIONS                     LPGD_HAVE_ISA_<name>, for the files that choose

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" lpgd_processor)
if(lpgd_processor MATCHES "^(x86_64|amd64)$")
  set(LPGD_ISA_NAMES generic avx2 avx512)
elseif(lpgd_processor MATCHES "^(aarch64|arm64)$")
  set(LPGD_ISA_NAMES neon) # part of the baseline there
else()
  set(LPGD_ISA_NAMES generic)
endif()
if(LPGD_ISAS) # fewer copies compile sooner: the sanitizers' presets
  set(LPGD_ISA_NAMES ${LPGD_ISAS})
endif()
message(STATUS "lpgd: CPU kernels for ${LPGD_ISA_NAMES}")

set(LPGD_ISA_FLAGS_generic)
set(LPGD_ISA_FLAGS_neon)
set(LPGD_ISA_FLAGS_avx2 -mavx2 -mfma)
set(LPGD_ISA_FLAGS_avx512
    -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512)

# Two permissions out of -ffast-math that change no value: std::sqrt need not set errno, and selects
# may evaluate both sides (only the floating-point exception flags could tell). Without them square
# roots are calls and loops with a condition stay scalar.
set(LPGD_KERNEL_FLAGS -fno-math-errno -fno-trapping-math)

set(LPGD_ISA_DEFINITIONS)
foreach(isa IN LISTS LPGD_ISA_NAMES)
  list(APPEND LPGD_ISA_DEFINITIONS LPGD_HAVE_ISA_${isa})
endforeach()

function(lpgd_add_isa_kernels target)
  add_library(${target} INTERFACE)
  foreach(isa IN LISTS LPGD_ISA_NAMES)
    set(copy ${target}_${isa})
    add_library(${copy} OBJECT ${ARGN})
    target_include_directories(${copy} PRIVATE ${PROJECT_SOURCE_DIR}/csrc)
    target_compile_definitions(${copy} PRIVATE LPGD_ISA=${isa})
    target_compile_options(${copy} PRIVATE
      $<$<NOT:$<CONFIG:Debug>>:-O3> ${LPGD_KERNEL_FLAGS} ${LPGD_ISA_FLAGS_${isa}})
    lpgd_set_warnings(${copy})
    target_sources(${target} INTERFACE $<TARGET_OBJECTS:${copy}>)
  endforeach()
endfunction()

# Where a result must not depend on whether a number is in the middle of a register or in the rest of a
# row, the two loops may not be contracted differently into fused multiply-adds.
function(lpgd_exact_sources)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
endfunction()
