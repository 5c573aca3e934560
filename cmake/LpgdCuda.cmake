# The CUDA half: nvcc and the static CUDA runtime, nothing else, and no CUDA torch.
#
#   LPGD_CUDA=AUTO|ON|OFF          AUTO builds it where nvcc works
#   CMAKE_CUDA_ARCHITECTURES       default: machine code for 80 and 90, and PTX for what comes after
#
#   LPGD_CUDA_FOUND, lpgd_log_ptxas(target), lpgd::cuda_headers (for C++ files that name cudaStream_t), lpgd::cudart

set(LPGD_CUDA_FOUND OFF)
set(LPGD_CUDA_COMPILER "")
set(LPGD_CUDA_ARCHITECTURES_SHOWN "")
if(NOT LPGD_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "lpgd: LPGD_CUDA must be AUTO, ON or OFF, got ${LPGD_CUDA}")
endif()
if(LPGD_CUDA STREQUAL "OFF")
  message(STATUS "lpgd: CUDA half off")
  return()
endif()

include(CheckLanguage)
if(NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE) # an earlier NOTFOUND: nvcc may have come since
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(LPGD_CUDA STREQUAL "ON")
    message(FATAL_ERROR "lpgd: LPGD_CUDA=ON, but no working nvcc was found (set CUDACXX to its path)")
  endif()
  message(STATUS "lpgd: no working nvcc, CUDA half left out")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
# Device code may call constexpr functions of the standard library, such as numeric_limits.
string(APPEND CMAKE_CUDA_FLAGS " --expt-relaxed-constexpr")

# lpgd_log_ptxas(target): registers, spills, stack and shared memory of its kernels are kept beside
# the object files (tools/cuda_resources.py). Architectures are compiled one after the other: what
# several ptxas write at once could not be told apart.
function(lpgd_log_ptxas target)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-v>)
  set(launcher ${CMAKE_CURRENT_SOURCE_DIR}/cmake/ptxas_log.sh ${CMAKE_CUDA_COMPILER_LAUNCHER})
  set_target_properties(${target} PROPERTIES CUDA_COMPILER_LAUNCHER "${launcher}")
endfunction()

add_library(lpgd_cuda_headers INTERFACE)
add_library(lpgd::cuda_headers ALIAS lpgd_cuda_headers)
target_include_directories(lpgd_cuda_headers SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
add_library(lpgd_cudart INTERFACE)
add_library(lpgd::cudart ALIAS lpgd_cudart)
target_link_libraries(lpgd_cudart INTERFACE CUDA::cudart_static)

set(LPGD_CUDA_FOUND ON)
set(LPGD_CUDA_COMPILER "nvcc ${CMAKE_CUDA_COMPILER_VERSION}")
string(REPLACE ";" "," LPGD_CUDA_ARCHITECTURES_SHOWN "${CMAKE_CUDA_ARCHITECTURES}")
message(STATUS "lpgd: CUDA half with ${LPGD_CUDA_COMPILER} for ${LPGD_CUDA_ARCHITECTURES_SHOWN}")
