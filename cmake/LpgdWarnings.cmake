# lpgd_set_warnings(target): the warnings every target is held to, in C++ and in CUDA files.

set(LPGD_CXX_WARNINGS
    -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
    # float code that widens to double by accident loses half its SIMD lanes
    -Wdouble-promotion
    # g++ notes that vectors wider than the baseline's registers changed ABI once; packs of problems
    # never cross a function that is not inlined
    -Wno-psabi)

# No -Wpedantic for nvcc's host compiler: the line markers of the files nvcc hands it are GNU style.
set(LPGD_CUDA_WARNINGS -Xcompiler=-Wall,-Wextra,-Wno-psabi)

if(LPGD_WERROR)
  list(APPEND LPGD_CXX_WARNINGS -Werror)
  list(APPEND LPGD_CUDA_WARNINGS -Werror=all-warnings -Xcompiler=-Werror)
endif()

function(lpgd_set_warnings target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:${LPGD_CXX_WARNINGS}>
    $<$<COMPILE_LANGUAGE:CUDA>:${LPGD_CUDA_WARNINGS}>)
endfunction()
