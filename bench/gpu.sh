#!/usr/bin/env bash
# Everything a GPU machine should run: build with CUDA, the GPU tests, the benchmark on CUDA.
#
#   bash bench/gpu.sh [folder for results, default build/gpu]
#
# Not run on a GPU yet.
#
# Needs an NVIDIA GPU and, in the Python named by PYTHON (default python3): torch >= 2.11 with CUDA,
# numpy, pybind11, scikit-build-core, pytest; on the path: nvcc, cmake, ninja, a C++ compiler.
# Installs nothing but the package itself, into a folder of its own under the results.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=$(mkdir -p "${1:-build/gpu}" && cd "${1:-build/gpu}" && pwd)

missing=()
for tool in nvcc cmake ninja; do command -v "$tool" > /dev/null || missing+=("$tool"); done
for module in torch numpy pybind11 scikit_build_core pytest; do
  "$python" -c "import $module" 2> /dev/null || missing+=("Python module $module")
done
if ((${#missing[@]})); then
  printf 'gpu.sh: missing: %s\n' "${missing[@]}" >&2
  exit 1
fi
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
  { echo "gpu.sh: torch sees no GPU" >&2; exit 1; }
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/gpu.csv"

echo "== build"
"$python" -m pip install --quiet --no-build-isolation --no-deps --upgrade --target "$out/site" . \
  -C build-dir="$out/cmake" -C cmake.define.LPGD_CUDA=ON 2>&1 | tee "$out/build.log"
export PYTHONPATH="$out/site${PYTHONPATH:+:$PYTHONPATH}"
"$python" -c 'import lpgd_native; print(lpgd_native.build_info())' | tee "$out/build_info.txt"

failed=0
echo "== tests"
# only the files that have some: others may import what this machine lacks
if files=$(grep -lE 'mark\.gpu' tests/test_*.py); then
  "$python" -m pytest -m gpu -p no:cacheprovider $files 2>&1 | tee "$out/tests.log" || failed=1
else
  echo "no test is marked gpu" | tee "$out/tests.log"
fi

echo "== benchmark"
"$python" bench/bench_qp.py --device cuda --out "$out/bench_qp.json" --out "$out/bench_qp.md" ||
  failed=1
exit $failed
