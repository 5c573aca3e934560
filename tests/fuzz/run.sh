#!/usr/bin/env bash
# Fuzzes the CPU kernels with clang's libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   tests/fuzz/run.sh [seconds of each target] [target...]      default: 60, all targets
#
# Needs clang++ with libFuzzer (Debian: apt-get install clang); where there is none it says so and ends
# with success. New inputs go to build/fuzz/corpus; the small ones in tests/fuzz/corpus start it and are
# replayed by the C++ tests (tests/native). A crash is left in build/fuzz as crash-*.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
shift || true
targets=("${@:-}")
[ -n "${targets[0]}" ] || targets=(qp prox pdhg networks oracle eit)

cxx=
for name in "${CLANGXX:-clang++}" clang++-14 clang++-15 clang++-16 clang++-19; do
  if echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
    "$name" -x c++ -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null; then
    cxx=$name
    break
  fi
done
if [ -z "$cxx" ]; then
  echo "fuzzing left out: no clang++ with libFuzzer (Debian: apt-get install clang)"
  exit 0
fi

# The kernels as one instruction set, named generic so that the dispatch takes them: the widest that
# this processor has of those below, since registers of problems are where lanes could mix.
flags=(-std=c++20 -O1 -g1 -fno-math-errno -fno-omit-frame-pointer -Wno-unknown-pragmas
       -Wno-pass-failed -Icsrc -Itests/fuzz -Itests/native
       -include tests/fuzz/clang_shuffle.h -DLPGD_ISA=generic
       -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
grep -qw avx2 /proc/cpuinfo 2>/dev/null && grep -qw fma /proc/cpuinfo && flags+=(-mavx2 -mfma)

declare -A kernels=([qp]="qp qp_dispatch" [prox]="prox prox_separable prox_dispatch"
                    [pdhg]="pdhg pdhg_dispatch"
                    [oracle]="oracle oracle_dispatch" [eit]="eit eit_dispatch"
                    [networks]="momentum momentum_dispatch convolution convolution_dispatch")
mkdir -p build/fuzz/objects
object() { # source; CMAKE_CXX_COMPILER_LAUNCHER=ccache spares what has not changed
  local out=build/fuzz/objects/$(basename "$1" .cpp).o
  nice -n 5 ${CMAKE_CXX_COMPILER_LAUNCHER:-} "$cxx" "${flags[@]}" -c "$1" -o "$out"
  echo "$out"
}
for target in "${targets[@]}"; do
  objects=("$(object "tests/fuzz/fuzz_$target.cpp")" "$(object csrc/cpu/dispatch.cpp)")
  for source in ${kernels[$target]}; do objects+=("$(object "csrc/cpu/$source.cpp")"); done
  echo 'int lpgd_fuzz_'"$target"'(const unsigned char*, unsigned long);
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* d, unsigned long n) { return lpgd_fuzz_'"$target"'(d, n); }' \
    > "build/fuzz/main_$target.cpp"
  "$cxx" -fsanitize=fuzzer,address,undefined "build/fuzz/main_$target.cpp" "${objects[@]}" \
    -o "build/fuzz/fuzz_$target"
  mkdir -p "build/fuzz/corpus/$target"
  nice -n 10 "build/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=512 -timeout=60 -rss_limit_mb=2048 \
    -artifact_prefix=build/fuzz/ -print_final_stats=1 -verbosity=1 "build/fuzz/corpus/$target" \
    "tests/fuzz/corpus/$target" > "build/fuzz/$target.log" 2>&1 ||
    { grep -aE "does not hold|ERROR|runtime error|^    #|Base64" "build/fuzz/$target.log" | head -40; echo "fuzz $target: FAILED"; exit 1; }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$target.log")
  echo "fuzz $target: $runs inputs in $seconds s, $(ls "build/fuzz/corpus/$target" | wc -l) kept, no fault"
done
