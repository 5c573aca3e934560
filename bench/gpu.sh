#!/usr/bin/env bash
# All that a GPU machine should run, in under ten minutes: build, tests, sanitizers, benchmarks.
#
#   bash bench/gpu.sh [--dry-run | --list] [folder for results, default build/gpu]
#
#   --dry-run   on a machine without a GPU: builds the CUDA half, then names what would run
#   --list      only names it
#
# It has not run on a GPU yet.
#
# Needs an NVIDIA GPU and, in the Python named by PYTHON (default python3): torch >= 2.11 with CUDA,
# numpy, pybind11, scikit-build-core, pytest, hypothesis, scipy and whatever else the tests import
# (lpgd-native[test]); on the path: nvcc, cmake, ninja, a C++ compiler. compute-sanitizer and the
# peers of bench/setup_peers.sh are used where they are. No network. Installs nothing but the package
# itself, into a folder of its own under the results.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
mode=run
case "${1:-}" in
  --dry-run) mode=dry; shift ;;
  --list) mode=list; shift ;;
  -*) echo "gpu.sh: unknown option $1" >&2; exit 2 ;;
esac
folder=${1:-build/gpu}
failed=()

# The limits below add up to less than nine minutes; the build has what is left of ten.
limit() { if command -v timeout > /dev/null; then timeout --foreground "$@"; else shift; "$@"; fi; }

# step NAME SECONDS COMMAND...: runs it for so long at most, keeps its words, counts a failure
step() {
  local name=$1 seconds=$2
  shift 2
  printf '\n== %s (at most %d s)\n' "$name" "$seconds"
  printf '%q ' "$@"
  echo
  [ "$mode" = run ] || return 0
  local begin=$SECONDS
  limit "$seconds" "$@" 2>&1 | tee "$out/$name.log" | tail -n 40
  local status=${PIPESTATUS[0]}
  [ "$status" = 0 ] || failed+=("$name (status $status)")
  printf '   %d s\n' $((SECONDS - begin))
}

if [ "$mode" = list ]; then
  out=$folder
else
  out=$(mkdir -p "$folder" && cd "$folder" && pwd) || exit 1
  missing=()
  for tool in nvcc cmake ninja; do command -v "$tool" > /dev/null || missing+=("$tool"); done
  for module in torch numpy pybind11 scikit_build_core pytest hypothesis scipy; do
    "$python" -c "import $module" 2> /dev/null || missing+=("Python module $module")
  done
  if ((${#missing[@]})); then
    printf 'gpu.sh: missing: %s\n' "${missing[@]}" >&2
    exit 1
  fi
  if [ "$mode" = run ]; then
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
      { echo "gpu.sh: torch sees no GPU (--dry-run does what can be done without)" >&2; exit 1; }
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/gpu.csv"
  fi
  printf '\n== build\n'
  options=()
  [ "$mode" = run ] && options=(-C "cmake.define.CMAKE_CUDA_ARCHITECTURES=native")
  "$python" -m pip install --quiet --no-build-isolation --no-deps --upgrade --target "$out/site" . \
    -C build-dir="$out/cmake" -C cmake.define.LPGD_CUDA=ON "${options[@]}" 2>&1 |
    tee "$out/build.log" || exit 1
  export PYTHONPATH="$out/site${PYTHONPATH:+:$PYTHONPATH}"
  "$python" -P -c 'import json, lpgd_native; print(json.dumps(lpgd_native.build_info(), indent=1))' |
    tee "$out/build_info.json" || exit 1
fi

pytest=("$python" -m pytest -p no:cacheprovider -q)
mapfile -t on_device < <(grep -lE 'mark\.on_device' tests/test_*.py)
mapfile -t gpu < <(grep -lE 'mark\.gpu' tests/test_*.py)
step tests-gpu 60 "${pytest[@]}" -m gpu "${gpu[@]}"
step tests-cuda 100 "${pytest[@]}" -m 'on_device and not slow' --device cuda "${on_device[@]}"

# every kernel once or twice, on few problems: a sanitizer is some hundred times slower
small=("${pytest[@]}" -x -m gpu -k 'smallest or bad_item or empty or 16_bytes' "${gpu[@]}")
if [ "$mode" != run ] || command -v compute-sanitizer > /dev/null; then
  for check in memcheck racecheck; do
    step "$check" 45 compute-sanitizer --tool "$check" --error-exitcode 9 \
      --target-processes all "${small[@]}"
  done
else
  printf '\n== compute-sanitizer is not there: memcheck and racecheck left out\n'
fi

step floors 15 "$python" bench/floors.py --device cuda --json "$out/floors.json"
step bench-qp 110 "$python" bench/bench_qp.py --device cuda --cells 4096x10,4096x50 \
  --repeats 3 --budget 3 --timeout 30 --out "$out/qp.json" --out "$out/qp.md"
step bench-prox 40 "$python" bench/bench_prox.py --device cuda --rounds 3 --json "$out/prox.json"
step bench-momentum 35 "$python" bench/bench_momentum.py --device cuda --budget 0.1 \
  --json "$out/momentum.json"
step bench-oracles 25 "$python" bench/bench_oracles.py --device cuda --quick --rounds 3 \
  --json "$out/oracles.json"
step bench-eit 20 "$python" bench/bench_eit.py --device cuda --json "$out/eit.json"
step bench-pdhg 25 "$python" bench/bench_pdhg.py --device cuda --quick --json "$out/pdhg.json"

if [ "$mode" != run ]; then
  printf '\nNothing was run on a GPU.\n'
  exit 0
fi
printf '\nResults: %s\n' "$out"
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
