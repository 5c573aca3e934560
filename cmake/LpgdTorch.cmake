# The only file that knows where torch is. It asks the Python interpreter, without importing torch.
#
# No find_package(Torch): with a CUDA torch it demands a full CUDA toolkit and adds libtorch_cuda and
# flags of its own. The stable ABI needs one include folder and libtorch_cpu.
#
#   lpgd::torch_headers    include folder and the ABI version aimed at
#   lpgd::torch_library    libtorch_cpu
#   LPGD_TORCH_VERSION     the torch built against
#   LPGD_TORCH_TARGET      the oldest torch that the result runs on

set(LPGD_TORCH_TARGET 2.11)

execute_process(
  COMMAND ${Python_EXECUTABLE} -c [[
import importlib.metadata, importlib.util
spec = importlib.util.find_spec("torch")
if spec is None or not spec.submodule_search_locations:
    raise SystemExit("no torch in this Python environment: pip install 'torch>=2.11'")
print(spec.submodule_search_locations[0], importlib.metadata.version("torch"), sep=";", end="")
]]
  OUTPUT_VARIABLE lpgd_torch ERROR_VARIABLE lpgd_torch_error RESULT_VARIABLE lpgd_torch_result)
if(NOT lpgd_torch_result EQUAL 0)
  message(FATAL_ERROR "lpgd: ${Python_EXECUTABLE}: ${lpgd_torch_error}")
endif()
list(GET lpgd_torch 0 LPGD_TORCH_DIR)
list(GET lpgd_torch 1 LPGD_TORCH_VERSION)
string(REGEX MATCH "^[0-9]+\\.[0-9]+" lpgd_torch_short ${LPGD_TORCH_VERSION})
if(lpgd_torch_short VERSION_LESS LPGD_TORCH_TARGET)
  message(FATAL_ERROR "lpgd: torch >= ${LPGD_TORCH_TARGET} is needed, found ${LPGD_TORCH_VERSION}")
endif()
message(STATUS "lpgd: torch ${LPGD_TORCH_VERSION} in ${LPGD_TORCH_DIR}")

# 0xMMmm000000000000: major and minor, a byte each.
string(REPLACE "." ";" lpgd_target ${LPGD_TORCH_TARGET})
list(GET lpgd_target 0 lpgd_major)
list(GET lpgd_target 1 lpgd_minor)
math(EXPR lpgd_target_hex "(${lpgd_major} << 56) | (${lpgd_minor} << 48)" OUTPUT_FORMAT HEXADECIMAL)

add_library(lpgd_torch_headers INTERFACE)
add_library(lpgd::torch_headers ALIAS lpgd_torch_headers)
target_include_directories(lpgd_torch_headers SYSTEM INTERFACE ${LPGD_TORCH_DIR}/include)
target_compile_definitions(lpgd_torch_headers INTERFACE TORCH_TARGET_VERSION=${lpgd_target_hex})

add_library(lpgd_torch_library INTERFACE)
add_library(lpgd::torch_library ALIAS lpgd_torch_library)
target_link_libraries(lpgd_torch_library INTERFACE ${LPGD_TORCH_DIR}/lib/libtorch_cpu.so)
