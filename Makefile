# Everything a fresh machine needs: Linux, Python >= 3.11 with venv, a C++ compiler.
#   make demo    the main job          make test    the tests
# Each makes .venv, installs the pinned dependencies, builds and runs; later runs redo only what changed.
# PYTHON=python3.12 picks another Python, LPGD_CUDA=ON|OFF decides about the CUDA half (default: AUTO).

PYTHON ?= python3
LPGD_CUDA ?= AUTO
PYTEST_ARGS ?=
BENCH_ARGS ?=
DEMO_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# what _C and the C++ tests are made from; Python files are read from where they lie
NATIVE := CMakeLists.txt pyproject.toml $(shell find csrc cmake tests/native tests/fuzz bench/native -type f 2>/dev/null)
CXX_FILES = $(shell find csrc tests/native tests/fuzz bench/native -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null)

.PHONY: help build demo test test-all bench bench-prox docs reliability sanitize fuzz lint format wheel wheel-check cuda-check clean distclean
.DELETE_ON_ERROR:

help:
	@echo 'make demo | test | test-all | bench | bench-prox | docs | reliability | sanitize | fuzz | build | lint | format | wheel | wheel-check | cuda-check | clean | distclean'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'lpgd_native needs Python >= 3.11: make PYTHON=/path/to/python3'; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The lists of pyproject.toml, without the project itself, which the next step builds.
$(VENV)/.dependencies: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); e = p["project"]["optional-dependencies"]; print(*p["build-system"]["requires"], *p["project"]["dependencies"], *e["experiments"], *e["test"], *e["docs"], *(d for d in e["dev"] if "lpgd-native" not in d), sep="\n")' > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r $(VENV)/requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.built: $(NATIVE) $(VENV)/.dependencies $(VENV)/.cuda-$(LPGD_CUDA)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation --no-deps \
	  -C cmake.define.LPGD_BUILD_TESTS=ON -C cmake.define.LPGD_CUDA=$(LPGD_CUDA) -e .
	@touch $@

# changes when LPGD_CUDA does
$(VENV)/.cuda-$(LPGD_CUDA): | $(BIN)/python
	@rm -f $(VENV)/.cuda-*
	@touch $@

build: $(VENV)/.built

demo: build
	$(BIN)/lpgd-native demo $(DEMO_ARGS)

# STRICT: what `make` has built must be there, so nothing is skipped for want of a build folder
test: build
	LPGD_TEST_STRICT=1 $(BIN)/python -m pytest -m 'not slow' $(PYTEST_ARGS)

test-all: build
	LPGD_TEST_STRICT=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

bench: build
	$(BIN)/python bench/bench_qp.py $(BENCH_ARGS)

bench-prox: build
	$(BIN)/python bench/bench_prox.py $(BENCH_ARGS)

# build/docs/index.html; runs the tutorials; warnings are errors
docs: build
	MPLBACKEND=Agg $(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs

# What docs/reliability.md claims, each with its figure; bench/.venvs adds proxsuite and qpth where they are.
CHECKS := leaks determinism threads gradients torture hostile files licences
reliability: build
	@failed=; for check in $(CHECKS); do PYTHONPATH=tests $(BIN)/python -m reliability.$$check || failed="$$failed $$check"; done; \
	  tests/fuzz/run.sh 10 || failed="$$failed fuzz"; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

# C++ tests and a part of the Python ones with everything instrumented; minutes to build
sanitize: build
	for preset in tsan asan; do \
	  $(BIN)/cmake --preset $$preset && $(BIN)/cmake --build --preset $$preset -j 2 && \
	  for test in build/preset-$$preset/tests/native/test_native*; do \
	    case $$test in *.cmake) ;; *) [ ! -x $$test ] || setarch -R $$test || exit 1;; esac; done || exit 1; done
	PYTHONPATH=tests $(BIN)/python -m reliability.sanitized

fuzz:
	tests/fuzz/run.sh 600

lint: $(VENV)/.dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: $(VENV)/.dependencies
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

# A wheel for this Python, in dist/; it runs with every torch from 2.11 on, CPU or CUDA. What comes
# from elsewhere (torch, and with it OpenMP and CUDA's libraries) stays outside.
wheel: $(VENV)/.dependencies
	rm -rf build/wheel-raw
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-build-isolation --no-deps \
	  -C build-dir=build/wheel-{wheel_tag} -C cmake.define.LPGD_CUDA=$(LPGD_CUDA) -w build/wheel-raw .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m auditwheel repair --strip -w dist \
	  --exclude 'libtorch*' --exclude 'libc10*' --exclude 'libcudart*' --exclude 'libgomp*' build/wheel-raw/*.whl

# in bare environments, one for each torch: WHEEL_TORCH="2.11.0 2.13.0"
WHEEL_TORCH ?= 2.13.0
wheel-check: wheel
	$(BIN)/python tools/check_wheel.py dist/*.whl $(WHEEL_TORCH)

# All of csrc/cuda for every generation, warnings as errors, and linked; needs nvcc and no GPU. The compiler's account of each
# kernel goes into docs/cuda-resources.md. Minutes: the CPU kernels are built for one instruction set alone.
CUDA_CHECK := 75-virtual;80-real;90-real;120-real
cuda-check: $(VENV)/.dependencies
	$(BIN)/cmake -S . -B build/cuda-check -G Ninja -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python" -DCMAKE_MAKE_PROGRAM="$(CURDIR)/$(BIN)/ninja" \
	  -DLPGD_CUDA=ON -DLPGD_ISAS=generic "-DCMAKE_CUDA_ARCHITECTURES=$(CUDA_CHECK)"
	$(BIN)/cmake --build build/cuda-check
	$(BIN)/python tools/cuda_resources.py build/cuda-check --write docs/cuda-resources.md

clean:
	rm -rf build dist $(VENV)/.built .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find python tests bench -name __pycache__ -prune -not -path '*/.venvs/*' -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) bench/.venvs
